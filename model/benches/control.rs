//! What intent costs before it is in force: read, checked, compiled; and how much memory it takes then.
//!
//!     cargo bench -p model --bench control
//!
//! Each thing is done once: it takes seconds. Both times are printed, the wall's, which needs a quiet machine, and the
//! processor's, of all threads together.

mod load;

use std::fs;
use std::time::{Duration, Instant};

use load::{Chance, Load, NODE};
use model::intent::{Intent, Patch, Source};
use model::snapshot::Snapshot;
use rustix::time::{ClockId, clock_gettime};

/// Time of the process's own work.
fn cpu() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).unwrap_or_default()
}

/// Does something, and says how long it took.
fn timed<T>(what: &str, done: impl FnOnce() -> T) -> T {
    let (wall_before, cpu_before) = (Instant::now(), cpu());
    let result = done();
    let (wall, cpu) = (wall_before.elapsed(), cpu().saturating_sub(cpu_before));
    println!(
        "  {what:<40} {:>12.3} ms {:>12.3} ms of CPU",
        wall.as_secs_f64() * 1e3,
        cpu.as_secs_f64() * 1e3
    );
    result
}

/// Bytes of memory that the process has.
fn resident() -> f64 {
    let text = fs::read_to_string("/proc/self/smaps_rollup").unwrap_or_default();
    let kilobytes = text.lines().find_map(|line| {
        line.strip_prefix("Rss:")?.trim().strip_suffix(" kB")?.trim().parse::<f64>().ok()
    });
    kilobytes.unwrap_or_default() * 1024.0
}

fn compile(intent: &Intent, previous: Option<&Snapshot>) -> Snapshot {
    Snapshot::compile(intent, NODE, previous).expect("a known node")
}

/// Prints by how much a snapshot makes the process grow, for each of `count` things: the mean of several, behind the
/// first ones, which fill the holes that reading left.
fn memory(what: &str, count: u32, load: &Load) {
    const KEPT: u32 = 8;
    let intent = load.intent();
    let mut snapshots: Vec<Snapshot> = (0..3).map(|_| compile(&intent, None)).collect();
    let before = resident();
    snapshots.extend((0..KEPT).map(|_| compile(&intent, None)));
    let each = (resident() - before) / f64::from(KEPT) / f64::from(count);
    println!("  {what:<40} {each:>12.0} bytes each");
}

/// A group's rules, each with a prefix and a port; the first one's port is given.
fn rules(count: u32, first_port: u32, chance: &mut Chance) -> impl Iterator<Item = String> {
    (0..count).map(move |number| {
        let [_, a, b, c] = (chance.below(1 << 23) | 1 << 23).to_be_bytes();
        let port = if number == 0 { first_port } else { chance.below(1 << 16) };
        format!("{{protocol: tcp, ports: {port}, from: {{cidr: {a}.{b}.{c}.0/24}}}}")
    })
}

/// Local interfaces, each with a group of its own, and remote ones on 1,000 nodes.
fn load(interfaces: u32, rules_each: u32, remote: u32, first_port: u32) -> Load {
    let mut load = Load::new(false);
    let mut chance = Chance(1);
    for node in 0..1000 {
        load.node(&format!("node-{node}"), node + 1);
    }
    for number in 0..interfaces {
        let port = if number == 0 { first_port } else { 80 };
        let group = format!("group-{number}");
        load.group(&group, rules(rules_each, port, &mut chance));
        load.interface(number, NODE, number, &group);
    }
    load.group("far", std::iter::empty());
    for number in 0..remote {
        load.interface(
            interfaces + number,
            &format!("node-{}", number % 1000),
            number / 1000,
            "far",
        );
    }
    load
}

/// A group by itself, its first rule with another port.
fn changed_group(number: u32, rules_each: u32, port: u32) -> Load {
    let mut load = Load::default();
    load.group(&format!("group-{number}"), rules(rules_each, port, &mut Chance(number.into())));
    load
}

/// Makes a change many times, each time another one; prints the median and the longest time from the change's text to
/// the snapshot that is to be put in force, and who was decided anew.
fn change(what: &str, intent: &mut Intent, snapshot: &mut Snapshot, text: impl Fn(u32) -> Load) {
    const TIMES: u32 = 101;
    let mut times = Vec::new();
    let before = snapshot.last_generation();
    for number in 0..TIMES {
        let text = text(number);
        let sources = [Source { name: "change", bytes: text.0.as_bytes() }];
        let (start, cpu_before) = (Instant::now(), cpu());
        let patch = Patch { sources: &sources, removed: &[] };
        let patched = intent.patch(&patch).unwrap_or_else(|errors| panic!("{}", errors.render()));
        let next = Snapshot::follow(intent, &patched, NODE, snapshot).expect("a known node");
        times.push((start.elapsed(), cpu().saturating_sub(cpu_before)));
        assert!(patched.is_partial() && next.epoch == snapshot.epoch + 1, "a change in part");
        *snapshot = next;
    }
    let generations = f64::from(snapshot.last_generation() - before) / f64::from(TIMES);
    let median = |mut times: Vec<Duration>| {
        times.sort_unstable();
        times.get(times.len() / 2).map_or(0.0, |time| time.as_secs_f64() * 1e3)
    };
    let (wall, cpu) = times.into_iter().unzip();
    println!(
        "  {what:<40} {:>12.3} ms {:>12.3} ms of CPU, {generations:.1} generations each",
        median(wall),
        median(cpu)
    );
}

fn times(interfaces: u32, rules_each: u32, remote: u32) {
    let text = load(interfaces, rules_each, remote, 80);
    println!(
        "{interfaces} interfaces of {rules_each} rules, {remote} remote ones, {} MB of YAML:",
        text.0.len() >> 20
    );
    let mut intent = timed("read and checked", || text.intent());
    drop(text);
    let mut snapshot = timed("compiled", || compile(&intent, None));
    timed("prepared for changes", || intent.prepare());
    timed("compiled again, nothing changed", || compile(&intent, Some(&snapshot)));
    change("one rule", &mut intent, &mut snapshot, |number| {
        changed_group(number % interfaces, rules_each, 81 + number)
    });
    change("a remote interface comes", &mut intent, &mut snapshot, |number| {
        let mut load = Load::default();
        load.interface(interfaces + remote + number, "node-7", 40_000 + number, "far");
        load
    });
    change("an interface gets another group", &mut intent, &mut snapshot, |number| {
        let mut load = Load::default();
        let local = number % (interfaces - 3);
        load.interface(local, NODE, local, &format!("group-{}", interfaces - 1 - number % 3));
        load
    });
}

fn main() {
    println!("Memory of a snapshot:");
    let mut one = load(0, 0, 0, 80);
    one.group("group", rules(100_000, 80, &mut Chance(2)));
    one.interface(0, NODE, 0, "group");
    memory("a rule, of 100,000 in a group", 100_000, &one);

    let mut one = Load::new(true);
    let route = |number: u32| {
        let [_, a, b, c] = (number * 16 + (1 << 22)).to_be_bytes();
        format!("\n    - {{destination: {a}.{b}.{c}.0/24, via: {{blackhole: {{}}}}}}")
    };
    let routes: String = (0..100_000).map(route).collect();
    one.object("RouteTable", "routes", &format!("\n  vpc: vpc\n  routes:{routes}"));
    one.group("group", std::iter::empty());
    one.interface(0, NODE, 0, "group");
    memory("a route, of 100,000 in a table", 100_000, &one);

    memory("a mapping, of 100,000", 100_000, &load(1, 0, 100_000, 80));

    times(100, 1000, 100_000);
    times(1000, 1000, 1_000_000);
}
