//! Faults of the simulated NIC, by device arguments and through its control socket, under an unmodified `dpdk-testpmd`.

mod support;

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sim::control::{Answer, Request, RuleFaults, Status};
use sim::link_faults::{Carrier, FrameFaults, LinkFaults, Rates};
use support::namespace::{Namespace, echo, transfer};
use support::testpmd::Testpmd;
use support::turn;

/// A client of a control socket.
struct Control(BufReader<UnixStream>);

impl Control {
    fn connect(path: &Path) -> Self {
        Self(BufReader::new(UnixStream::connect(path).expect("somebody listens")))
    }

    fn ask(&mut self, line: &str) -> Answer {
        writeln!(self.0.get_mut(), "{line}").expect("it takes a line");
        let mut answer = String::new();
        self.0.read_line(&mut answer).expect("it answers");
        serde_json::from_str(&answer).unwrap_or_else(|problem| panic!("{problem}: {answer}"))
    }

    fn request(&mut self, request: &Request) -> Status {
        match self.ask(&serde_json::to_string(request).expect("as text")) {
            Answer::Ok(status) => status,
            Answer::Error(problem) => panic!("{problem}"),
        }
    }

    fn rules(&mut self, faults: RuleFaults) -> Status {
        self.request(&Request::Rules(faults))
    }

    fn link(&mut self, port: &str, rates: Rates, carrier: Carrier) -> Status {
        let frames = FrameFaults::try_from(rates).expect("few");
        let faults = LinkFaults { frames, carrier };
        self.request(&Request::Link { port: port.to_owned(), faults })
    }
}

/// A device that nothing is connected to, and its control socket.
struct Card {
    testpmd: Testpmd,
    control: Control,
    path: PathBuf,
    _directory: tempfile::TempDir,
    _namespace: Namespace,
}

impl Card {
    fn new(arguments: &str) -> Self {
        let namespace = Namespace::new("card");
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("nic.sock");
        let device =
            format!("net_eswitch0,vfs=1,representor=vf0,control={},{arguments}", path.display());
        let testpmd = Testpmd::start(&namespace, &device, &[]);
        let control = Control::connect(&path);
        Self { testpmd, control, path, _directory: directory, _namespace: namespace }
    }

    fn insert(&mut self, port: u32, words: &str) {
        self.testpmd.expect(
            &format!(
                "flow create 0 transfer pattern eth / ipv4 / udp dst is {port} / end actions drop / end"
            ),
            words,
        );
    }
}

#[test]
fn every_so_many_insertions_fail_with_the_errno_that_was_asked_for() {
    let Some(_turn) = turn() else { return };
    let mut card = Card::new("profile=unlimited,refuse-every=3,fault-errno=12");
    card.insert(1, "created");
    card.insert(2, "created");
    card.insert(3, "Cannot allocate memory");
    card.insert(4, "created");
    let every = std::num::NonZeroU64::new(2);
    let faults = RuleFaults { refuse_every: every, errno: Some(28), ..RuleFaults::default() };
    let status = card.control.rules(faults);
    assert_eq!((status.rules, status.rule_faults), (3, faults));
    card.insert(5, "created");
    card.insert(6, "No space left on device");
    card.control.rules(RuleFaults { enospc_after: Some(4), ..RuleFaults::default() });
    card.insert(7, "No space left on device");
    card.control.request(&Request::Clear);
    card.insert(7, "created");
    card.testpmd.quit();
}

#[test]
fn a_frozen_queue_completes_nothing_until_it_is_thawed() {
    let Some(_turn) = turn() else { return };
    let mut card = Card::new("profile=bluefield3-hws-22.11");
    let testpmd = &mut card.testpmd;
    for line in [
        "port stop all",
        "flow configure 0 queues_number 1 queues_size 64 counters_number 16 aging_counters_number 0 meters_number 0 \
         flags 0",
        "flow configure 1 queues_number 1 queues_size 1 counters_number 0 aging_counters_number 0 meters_number 0 flags 0",
        "port start all",
        "flow pattern_template 0 create transfer relaxed no pattern_template_id 1 template represented_port \
         ethdev_port_id mask 0xffff / eth / end",
        "flow actions_template 0 create transfer actions_template_id 1 template drop / end mask drop / end",
        "flow template_table 0 create table_id 1 group 0 priority 0 transfer rules_number 4 pattern_template 1 \
         actions_template 1",
    ] {
        testpmd.command(line);
    }
    let frozen = RuleFaults { freeze_queue: Some(0), ..RuleFaults::default() };
    card.control.rules(frozen);
    let testpmd = &mut card.testpmd;
    testpmd.expect(
        "flow queue 0 create 0 template_table 1 pattern_template 0 actions_template 0 postpone no pattern \
         represented_port ethdev_port_id is 1 / eth / end actions drop / end",
        "creation enqueued",
    );
    testpmd.expect("flow pull 0 queue 0", "pulled 0 operations");
    card.control.rules(RuleFaults::default());
    testpmd.expect("flow pull 0 queue 0", "pulled 1 operations (0 failed, 1 succeeded)");
    card.testpmd.quit();
}

/// Two VMs, and rules that connect them.
#[test]
fn links_lose_frames_and_go_down_as_they_are_told() {
    let Some(_turn) = turn() else { return };
    let (namespace, a, b) = (Namespace::new("card"), Namespace::new("a"), Namespace::new("b"));
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("nic.sock");
    let device = format!(
        "net_eswitch0,vfs=2,representor=vf[0-1],vf0=tap:vf0,vf1=tap:vf1,profile=unlimited,link-drop=vf1:1000,\
         fault-seed=7,control={}",
        path.display()
    );
    let mut testpmd = Testpmd::start(&namespace, &device, &["--portmask=6"]);
    let mut control = Control::connect(&path);
    a.take(&namespace, "vf0", "10.0.0.1/24");
    b.take(&namespace, "vf1", "10.0.0.2/24");
    testpmd.command("start");
    assert_eq!(echo(&a, &b, "10.0.0.2", 1, 100), 0, "every frame of VF 1 is lost");

    let status = control.link("vf1", Rates::default(), Carrier::Up);
    let counters = |status: &Status, port: usize| status.ports[port].link.expect("a link").counters;
    assert!(counters(&status, 2).dropped > 0);
    assert_eq!(counters(&status, 1).dropped, 0);
    assert_eq!(echo(&a, &b, "10.0.0.2", 20, 100), 20);

    // Damage shows in the checksum: no datagram arrives wrong, and some do not arrive.
    let status = control.link("vf0", Rates { corrupt: 300, ..Rates::default() }, Carrier::Up);
    assert_eq!(status.ports[1].name, "vf0");
    let intact = echo(&a, &b, "10.0.0.2", 12, 1000);
    let status = control.request(&Request::Status);
    let corrupted = counters(&status, 1).corrupted;
    assert!(corrupted > 0 && intact < 12, "{corrupted} damaged, {intact} echoed");

    control.link("vf0", Rates { duplicate: 500, reorder: 500, ..Rates::default() }, Carrier::Up);
    assert_eq!(echo(&a, &b, "10.0.0.2", 20, 100), 20, "late and twice, but there");
    let done = counters(&control.request(&Request::Status), 1);
    assert!(done.duplicated > 0 && done.reordered > 0, "{done:?}");

    // What VMs do about it is what they do about any bad network.
    control.link("vf0", Rates { drop: 10, reorder: 10, ..Rates::default() }, Carrier::Up);
    assert_eq!(transfer(&a, &b, "10.0.0.2", 200_000), 200_000);

    link_shows(&mut testpmd, "up");
    let errors = testpmd.statistic(1, "link_rx_errors");
    let status = control.link("vf0", Rates::default(), Carrier::Down);
    assert!(!status.ports[1].link.expect("a link").is_up);
    link_shows(&mut testpmd, "down");
    assert_eq!(echo(&a, &b, "10.0.0.2", 1, 100), 0);
    assert!(testpmd.statistic(1, "link_rx_errors") > errors);
    control.link("vf0", Rates::default(), Carrier::Up);
    link_shows(&mut testpmd, "up");
    assert_eq!(echo(&a, &b, "10.0.0.2", 5, 100), 5);
    testpmd.quit();
}

/// Waits until an application that asked for link events has heard of a change at port 1.
fn link_shows(testpmd: &mut Testpmd, state: &str) {
    let begin = Instant::now();
    loop {
        let output = testpmd.command("show port summary 1");
        let line = output.lines().find(|line| line.trim_start().starts_with("1 "));
        if line.is_some_and(|line| line.split_whitespace().any(|word| word == state)) {
            return;
        }
        assert!(begin.elapsed() < Duration::from_secs(20), "not {state}:\n{output}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// testpmd hears of the reset, detaches the device, and can have it again.
#[test]
fn the_application_hears_of_a_reset_and_recovers() {
    let Some(_turn) = turn() else { return };
    let mut card = Card::new("profile=unlimited");
    card.insert(1, "created");
    let status = card.control.request(&Request::Reset { outage_ms: 60_000 });
    assert_eq!((status.rules, status.resets, status.is_away), (0, 1, true));
    detached(&mut card);
    let again = format!(
        "port attach net_eswitch0,vfs=1,representor=vf0,profile=unlimited,reset-after-ms=3000,control={}",
        card.path.display()
    );
    card.testpmd.expect(&again, "Done");
    card.testpmd.command("port start all");
    // A new card, which resets by itself.
    detached(&mut card);
    card.testpmd.quit();
}

/// Waits until testpmd has detached the device because of the event: the socket goes with the device. testpmd itself must
/// not be asked meanwhile, as it detaches on another thread than it takes commands on.
fn detached(card: &mut Card) {
    let begin = Instant::now();
    while card.path.exists() {
        assert!(begin.elapsed() < Duration::from_secs(20), "the device is still there");
        std::thread::sleep(Duration::from_millis(20));
    }
    std::thread::sleep(Duration::from_secs(1));
    card.testpmd.expect("show port summary all", "Number of available ports: 0");
}

/// An application that is not told, or does not want to know, restarts its ports when the card is back.
#[test]
fn ports_start_again_when_the_card_is_back() {
    let Some(_turn) = turn() else { return };
    let namespace = Namespace::new("card");
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("nic.sock");
    let device =
        format!("net_eswitch0,vfs=1,representor=vf0,profile=unlimited,control={}", path.display());
    let mut testpmd = Testpmd::start(&namespace, &device, &["--no-rmv-interrupt"]);
    let mut control = Control::connect(&path);
    let rule = "flow create 0 transfer pattern eth / end actions drop / end";
    testpmd.expect(rule, "created");
    control.request(&Request::Reset { outage_ms: 4000 });
    assert!(!testpmd.command(rule).contains("created"), "the card is away");
    testpmd.command("port stop all");
    testpmd.command("flow flush 0");
    assert!(testpmd.command("port start all").contains("Fail to start port"));
    while control.request(&Request::Status).is_away {
        std::thread::sleep(Duration::from_millis(50));
    }
    testpmd.command("port start all");
    testpmd.expect(rule, "created");
    testpmd.quit();
}

#[test]
fn nonsense_is_answered_with_a_line() {
    let Some(_turn) = turn() else { return };
    let mut card = Card::new("profile=unlimited");
    for (line, words) in [
        ("hello", "not a request"),
        (r#"{"rules": {"refuse_every": 0}}"#, "not a request"),
        (r#"{"link": {"port": "vf0", "frames": {"drop": 5}}}"#, "no port vf0 with a link"),
        (r#"{"link": {"port": "moon"}}"#, "no port moon"),
    ] {
        match card.control.ask(line) {
            Answer::Error(problem) => assert!(problem.contains(words), "{line}: {problem}"),
            Answer::Ok(status) => panic!("{line}: {status:?}"),
        }
    }
    // Half a line, and another client.
    card.control.0.get_mut().write_all(b"\"stat").expect("it takes some");
    drop(std::mem::replace(&mut card.control, Control::connect(&card.path)));
    assert_eq!(card.control.request(&Request::Status).profile, "unlimited");
    card.testpmd.quit();
}
