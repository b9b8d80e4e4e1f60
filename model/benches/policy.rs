//! What a look-up in policy costs: routes and security groups, small and as large as they may become.
//!
//!     cargo bench -p model --bench policy

mod cpu_time;
mod load;

use std::collections::BTreeSet;
use std::hint::black_box;
use std::net::IpAddr;
use std::sync::Arc;

use cpu_time::{CpuTime, each};
use criterion::{Criterion, criterion_group, criterion_main};
use load::{Chance, Load, NODE};
use model::policy::{FlowProperties, Group};
use model::route::RouteSet;
use model::snapshot::Snapshot;

/// Look-ups of one measurement.
const QUESTIONS: usize = 1 << 16;

/// What the node has to know of a load.
fn snapshot(load: &Load) -> Snapshot {
    Snapshot::compile(&load.intent(), NODE, None).expect("a known node")
}

/// Routes to random prefixes of these lengths, none of them in the VPC.
fn routes(count: usize, v6: bool) -> (Arc<RouteSet>, Vec<IpAddr>) {
    let mut chance = Chance(1);
    let mut prefixes = BTreeSet::new();
    while prefixes.len() < count {
        let prefix = if v6 {
            let length = 40 + chance.below(25);
            let bits = u128::from(chance.next() >> 4) << 64 | 2 << 124;
            let address = std::net::Ipv6Addr::from_bits(bits >> (128 - length) << (128 - length));
            format!("\"{address}/{length}\"")
        } else {
            let length = 16 + chance.below(13);
            let bits = 0x4000_0000 | chance.below(1 << 30);
            let address = std::net::Ipv4Addr::from_bits(bits >> (32 - length) << (32 - length));
            format!("{address}/{length}")
        };
        prefixes.insert(prefix);
    }
    let mut load = Load::new(true);
    let lines: Vec<String> = prefixes
        .iter()
        .map(|prefix| {
            let via = if chance.below(2) == 0 { "local" } else { "blackhole" };
            format!("\n    - {{destination: {prefix}, via: {{{via}: {{}}}}}}")
        })
        .collect();
    load.object("RouteTable", "routes", &format!("\n  vpc: vpc\n  routes:{}", lines.concat()));
    load.group("none", std::iter::empty());
    load.interface(0, NODE, 0, "none");
    let snapshot = snapshot(&load);
    let set = snapshot.subnets().next().expect("a subnet").1.routes.clone();
    // Half of the destinations are in a route.
    let destination = |index: usize| -> IpAddr {
        let random = u128::from(chance.next()) << 64 | u128::from(chance.next());
        let (prefix, _) = set.routes()[chance.below(set.routes().len() as u32) as usize];
        match (prefix.network(), index % 2) {
            (IpAddr::V6(network), 0) => {
                let host = random & (u128::MAX >> prefix.prefix_len());
                std::net::Ipv6Addr::from_bits(network.to_bits() | host).into()
            }
            (IpAddr::V4(network), 0) => {
                let host =
                    random as u32 & u32::MAX.checked_shr(prefix.prefix_len().into()).unwrap_or(0);
                std::net::Ipv4Addr::from_bits(network.to_bits() | host).into()
            }
            (IpAddr::V6(_), _) => std::net::Ipv6Addr::from_bits(random >> 4 | 2 << 124).into(),
            (IpAddr::V4(_), _) => {
                std::net::Ipv4Addr::from_bits(0x4000_0000 | random as u32 >> 2).into()
            }
        }
    };
    let destinations = (0..QUESTIONS).map(destination).collect();
    (set, destinations)
}

fn longest_prefix(criterion: &mut Criterion<CpuTime>) {
    let mut group = criterion.benchmark_group("route");
    group.throughput(each(QUESTIONS));
    for (name, count, v6) in [
        ("100 of IPv4", 100, false),
        ("1M of IPv4", 1_000_000, false),
        ("1M of IPv6", 1_000_000, true),
    ] {
        let (set, destinations) = routes(count, v6);
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                for destination in &destinations {
                    black_box(set.lookup(*destination));
                }
            });
        });
    }
    group.finish();
}

/// A group, and flows of which about half are allowed.
fn members_group() -> (Arc<Group>, Vec<IpAddr>) {
    let mut load = Load::new(false);
    for node in 0..2 {
        load.node(&format!("node-{node}"), node + 1);
    }
    // 100,000 addresses in 1,000 groups.
    for number in 0..100_000 {
        let group = format!("peers-{}", number % 1000);
        load.interface(number, &format!("node-{}", number / 50_000), number % 50_000, &group);
    }
    for group in 0..1000 {
        load.group(&format!("peers-{group}"), std::iter::empty());
    }
    let rule = |rule: u32| {
        let port = 1 + rule * 50;
        format!(
            "{{protocol: tcp, ports: \"{port}-{}\", from: {{securityGroup: peers-{rule}}}}}",
            port + 999
        )
    };
    load.group("measured", (0..1000).map(rule));
    load.interface(200_000, NODE, 0, "measured");
    let mut chance = Chance(2);
    let remotes = (0..QUESTIONS).map(|_| ipv4(0x0a00_0000 | chance.below(1 << 17))).collect();
    (only_group(&load), remotes)
}

fn prefix_group(rules: u32, prefixes: u32, shortest: u32) -> (Arc<Group>, Vec<IpAddr>) {
    let mut load = Load::new(false);
    let mut chance = Chance(3);
    let rule = |_| {
        let length = shortest + chance.below(33 - shortest);
        let bits = chance.below(prefixes) << 8;
        let prefix = std::net::Ipv4Addr::from_bits(bits >> (32 - length) << (32 - length));
        let port = chance.below(60_000);
        let last = port + chance.below(1000);
        let protocol = if chance.below(2) == 0 { "tcp" } else { "udp" };
        format!(
            "{{protocol: {protocol}, ports: \"{port}-{last}\", from: {{cidr: {prefix}/{length}}}}}"
        )
    };
    load.group("measured", (0..rules).map(rule));
    load.interface(0, NODE, 0, "measured");
    let group = only_group(&load);
    let mut chance = Chance(4);
    let remotes =
        (0..QUESTIONS).map(|_| ipv4(chance.below(prefixes) << 8 | chance.below(256))).collect();
    (group, remotes)
}

fn ipv4(bits: u32) -> IpAddr {
    std::net::Ipv4Addr::from_bits(bits).into()
}

fn only_group(load: &Load) -> Arc<Group> {
    let snapshot = snapshot(load);
    let interface = snapshot.interfaces.values().next().expect("an interface");
    interface.groups[0].clone()
}

fn classification(criterion: &mut Criterion<CpuTime>) {
    let mut bench = criterion.benchmark_group("security group");
    bench.throughput(each(QUESTIONS));
    for (name, (group, remotes)) in [
        ("10 rules", prefix_group(10, 1 << 16, 12)),
        ("1000 rules of a prefix", prefix_group(1000, 1 << 16, 12)),
        ("1000 rules of 100 members", members_group()),
        ("100k rules of a prefix", prefix_group(100_000, 1 << 20, 24)),
        ("100k rules, 500 of them for an address", prefix_group(100_000, 1 << 16, 12)),
    ] {
        let mut chance = Chance(5);
        let flows: Vec<FlowProperties> = remotes
            .into_iter()
            .map(|remote| FlowProperties {
                remote,
                protocol: if chance.below(2) == 0 { 6 } else { 17 },
                destination_port: chance.below(1 << 16) as u16,
                icmp: None,
            })
            .collect();
        let allowed = flows.iter().filter(|flow| group.allows_ingress(flow)).count();
        eprintln!("{name}: {allowed} of {QUESTIONS} allowed");
        bench.bench_function(name, |bencher| {
            bencher.iter(|| {
                for flow in &flows {
                    black_box(group.allows_ingress(flow));
                }
            });
        });
    }
    bench.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().with_measurement(CpuTime);
    targets = longest_prefix, classification
}
criterion_main!(benches);
