//! Rules that an unmodified `dpdk-testpmd` makes, and the frames they carry.

mod support;

use support::namespace::{Namespace, echo, transfer};
use support::testpmd::Testpmd;
use support::turn;

/// Two VMs, and a testpmd that polls but forwards nothing itself: what arrives was carried by rules.
struct Rig {
    testpmd: Testpmd,
    a: Namespace,
    b: Namespace,
    _card: Namespace,
}

const A: &str = "10.0.0.1";
const B: &str = "10.0.0.2";

impl Rig {
    fn new(arguments: &str) -> Self {
        let (card, a, b) = (Namespace::new("card"), Namespace::new("a"), Namespace::new("b"));
        let device =
            format!("net_eswitch0,vfs=2,representor=vf[0-1],vf0=tap:vf0,vf1=tap:vf1,{arguments}");
        let mut testpmd = Testpmd::start(&card, &device, &[]);
        a.take(&card, "vf0", &format!("{A}/24"));
        b.take(&card, "vf1", &format!("{B}/24"));
        testpmd.command("set fwd rxonly");
        testpmd.command("start");
        Self { testpmd, a, b, _card: card }
    }

    fn connect(&mut self) {
        for (from, to) in [(1, 2), (2, 1)] {
            self.testpmd.expect(
                &format!(
                    "flow create {from} transfer pattern represented_port ethdev_port_id is {from} / eth / end \
                     actions count / represented_port ethdev_port_id {to} / end"
                ),
                "created",
            );
        }
    }

    fn reachable(&self) -> bool {
        echo(&self.a, &self.b, B, 1, 100) == 1
    }
}

/// The number after `hits: ` of a query.
fn hits(output: &str) -> u64 {
    output
        .lines()
        .find_map(|line| line.trim().strip_prefix("hits: ")?.parse().ok())
        .unwrap_or_else(|| panic!("no hits in\n{output}"))
}

#[test]
fn rules_connect_two_vms_without_the_application() {
    let Some(_turn) = turn() else { return };
    let mut rig = Rig::new("profile=unlimited");
    assert_eq!(echo(&rig.a, &rig.b, B, 1, 100), 0, "nobody forwards yet");
    rig.connect();
    let missed = rig.testpmd.statistic(1, "hw_missed_packets");
    assert_eq!(echo(&rig.a, &rig.b, B, 200, 1000), 200);
    assert_eq!(transfer(&rig.a, &rig.b, B, 1_000_000), 1_000_000);
    assert_eq!(rig.testpmd.statistic(1, "hw_missed_packets"), missed);
    let carried = rig.testpmd.statistic(1, "hw_forwarded_packets");
    assert!(carried > 200);
    assert_eq!(hits(&rig.testpmd.expect("flow query 1 0 count", "COUNT")), carried);
    rig.testpmd.expect("flow list 1", "REPRESENTED_PORT ETH => COUNT REPRESENTED_PORT");

    rig.testpmd.expect("flow destroy 1 rule 0", "destroyed");
    assert!(!rig.reachable());
    rig.testpmd.command("flow flush 2");
    rig.connect();
    assert!(rig.reachable());
    // Rules do not outlive the start of the port they were made through.
    rig.testpmd.command("stop");
    rig.testpmd.command("port stop all");
    rig.testpmd.command("port start all");
    rig.testpmd.command("start");
    assert!(!rig.reachable());
    rig.testpmd.quit();
}

/// The same through pattern and action templates, a table and a queue, on a card that has nothing else.
#[test]
fn templates_connect_two_vms() {
    let Some(_turn) = turn() else { return };
    let mut rig = Rig::new("profile=bluefield3-hws-22.11");
    let testpmd = &mut rig.testpmd;
    testpmd.expect(
        "flow create 0 transfer pattern eth / end actions drop / end",
        "Operation not supported",
    );
    testpmd.command("stop");
    testpmd.command("port stop all");
    testpmd.expect(
        "flow configure 0 queues_number 1 queues_size 64 counters_number 16 aging_counters_number 0 meters_number 0 \
         flags 0",
        "number of queues 1",
    );
    for port in [1, 2] {
        testpmd.expect(
            &format!(
                "flow configure {port} queues_number 1 queues_size 1 counters_number 0 aging_counters_number 0 \
                 meters_number 0 flags 0"
            ),
            "number of queues 1",
        );
    }
    testpmd.command("port start all");
    testpmd.command("start");
    testpmd.expect(
        "flow pattern_template 0 create transfer relaxed no pattern_template_id 1 template represented_port \
         ethdev_port_id mask 0xffff / eth / end",
        "Pattern template #1 created",
    );
    testpmd.expect(
        "flow actions_template 0 create transfer actions_template_id 1 template count / represented_port / end \
         mask count / represented_port / end",
        "Actions template #1 created",
    );
    testpmd.expect(
        "flow template_table 0 create table_id 1 group 0 priority 0 transfer rules_number 2 pattern_template 1 \
         actions_template 1",
        "Template table #1 created",
    );
    let rule = |postpone: &str, from: u16, to: u16| {
        format!(
            "flow queue 0 create 0 template_table 1 pattern_template 0 actions_template 0 postpone {postpone} \
             pattern represented_port ethdev_port_id is {from} / eth / end \
             actions count / represented_port ethdev_port_id {to} / end"
        )
    };
    testpmd.expect(&rule("yes", 1, 2), "Flow rule #0 creation enqueued");
    testpmd.expect(&rule("yes", 2, 1), "Flow rule #1 creation enqueued");
    testpmd.expect("flow pull 0 queue 0", "pulled 0 operations");
    assert_eq!(echo(&rig.a, &rig.b, B, 1, 100), 0, "nothing was pushed yet");
    testpmd.expect("flow push 0 queue 0", "pushed");
    testpmd.expect("flow pull 0 queue 0", "pulled 2 operations (0 failed, 2 succeeded)");
    testpmd.expect(&rule("no", 0, 1), "No space left on device");
    assert_eq!(echo(&rig.a, &rig.b, B, 100, 100), 100);

    testpmd.expect("flow template_table 0 destroy table 1", "Device or resource busy");
    testpmd.expect("flow queue 0 destroy 0 postpone no rule 0", "destruction enqueued");
    testpmd.expect("flow pull 0 queue 0", "pulled 1 operations (0 failed, 1 succeeded)");
    assert!(!rig.reachable());
    rig.testpmd.quit();
}

/// VXLAN towards a kernel's own `vxlan` device behind the uplink, on the first target card.
#[test]
fn rules_encapsulate_towards_a_kernel() {
    let Some(_turn) = turn() else { return };
    let (card, vm, wire) = (Namespace::new("card"), Namespace::new("vm"), Namespace::new("wire"));
    let mut testpmd =
        Testpmd::start(&card, "net_eswitch0,vfs=1,representor=vf0,uplink=tap:up0,vf0=tap:vf0", &[]);
    vm.take(&card, "vf0", "10.0.0.1/24");
    vm.ip(&["link", "set", "vf0", "mtu", "1450"]);
    card.ip(&["link", "set", "up0", "down"]);
    card.ip(&["link", "set", "up0", "address", "02:00:00:00:00:bb"]);
    wire.take(&card, "up0", "192.168.0.2/24");
    let card_mac = "02:00:00:00:00:aa";
    wire.ip(&["neigh", "add", "192.168.0.1", "lladdr", card_mac, "dev", "up0", "nud", "permanent"]);
    wire.ip(&[
        "link",
        "add",
        "vx0",
        "type",
        "vxlan",
        "id",
        "100",
        "local",
        "192.168.0.2",
        "remote",
        "192.168.0.1",
        "dstport",
        "4789",
    ]);
    wire.ip(&["addr", "add", "10.0.0.2/24", "dev", "vx0"]);
    wire.ip(&["link", "set", "vx0", "up"]);
    testpmd.command("set fwd rxonly");
    testpmd.command("start");
    testpmd.command(
        "set vxlan ip-version ipv4 vni 100 udp-src 0 udp-dst 4789 ip-src 192.168.0.1 ip-dst 192.168.0.2 \
         eth-src 02:00:00:00:00:aa eth-dst 02:00:00:00:00:bb",
    );
    testpmd.expect(
        "flow create 1 transfer pattern represented_port ethdev_port_id is 1 / eth / end \
         actions count / vxlan_encap / represented_port ethdev_port_id 0 / end",
        "created",
    );
    testpmd.expect(
        "flow create 0 transfer pattern represented_port ethdev_port_id is 0 / eth / ipv4 / udp dst is 4789 / vxlan vni \
         is 100 / end actions count / vxlan_decap / represented_port ethdev_port_id 1 / end",
        "created",
    );
    assert_eq!(echo(&vm, &wire, "10.0.0.2", 100, 1400), 100);
    assert_eq!(transfer(&wire, &vm, "10.0.0.1", 1_000_000), 1_000_000);
    let sent = testpmd.statistic(1, "hw_forwarded_bytes");
    let packets = testpmd.statistic(1, "hw_forwarded_packets");
    // Each frame left 50 bytes longer.
    assert_eq!(testpmd.statistic(0, "link_tx_bytes"), sent + 50 * packets);

    // An underlay too small for what a VM sends: the frame dies at the port, and is counted there.
    testpmd.command("port stop 0");
    testpmd.command("port config mtu 0 1000");
    testpmd.command("port start 0");
    assert_eq!(echo(&vm, &wire, "10.0.0.2", 1, 1400), 0);
    assert!(testpmd.statistic(0, "oversize") > 0);
    testpmd.quit();
}

/// Marks and queues of ingress rules arrive with the packet.
#[test]
fn marks_reach_the_application() {
    let Some(_turn) = turn() else { return };
    let (card, vm) = (Namespace::new("card"), Namespace::new("vm"));
    let mut testpmd = Testpmd::start(
        &card,
        "net_eswitch0,vfs=1,representor=vf0,vf0=tap:vf0,profile=unlimited",
        &["--rxq=2", "--txq=2"],
    );
    vm.take(&card, "vf0", "10.0.0.1/24");
    testpmd.command("set fwd rxonly");
    testpmd.command("set verbose 1");
    testpmd.expect(
        "flow create 1 ingress pattern eth type is 0x0806 / end actions mark id 0x2a / queue index 1 / end",
        "created",
    );
    testpmd.command("start");
    assert_eq!(echo(&vm, &vm, "10.0.0.9", 1, 100), 0);
    let output = testpmd.command("stop");
    assert!(output.contains("port 1/queue 1: received"), "no packet on queue 1 in\n{output}");
    assert!(output.contains("FDIR matched ID=0x2a"), "no mark in\n{output}");
    testpmd.quit();
}

/// Refusals have a kind, a cause within the caller's array, an errno and words.
#[test]
fn refusals_say_what_and_where() {
    let Some(_turn) = turn() else { return };
    let card = Namespace::new("card");
    let mut testpmd = Testpmd::start(&card, "net_eswitch0,vfs=1,representor=vf0", &[]);
    for (line, words) in [
        (
            "flow create 1 ingress transfer pattern eth / end actions drop / end",
            "set exactly one of ingress, egress and transfer",
        ),
        (
            "flow create 1 transfer pattern eth / end actions represented_port ethdev_port_id 77 / end",
            "port 77 does not belong to this switch",
        ),
        ("flow create 1 transfer pattern eth / end actions count / end", "PMD error type"),
        ("flow validate 1 transfer pattern eth / mpls / end actions drop / end", "item type"),
        ("flow info 0", "incorrect steering mode"),
    ] {
        testpmd.expect(line, words);
    }
    let output = testpmd.command(
        "flow create 1 transfer pattern eth / end actions count / represented_port ethdev_port_id 77 / end",
    );
    assert!(output.contains("cause: 0x"), "no cause in\n{output}");
    assert!(!testpmd.command("flow list 1").contains("=>"), "a refused rule is there");
    testpmd.quit();
}

/// The faults that `--vdev` switches on.
#[test]
fn faults_happen_when_they_are_due() {
    let Some(_turn) = turn() else { return };
    let card = Namespace::new("card");
    let mut testpmd = Testpmd::start(
        &card,
        "net_eswitch0,vfs=1,representor=vf0,profile=unlimited,fail-insert=2,fail-remove=1,enospc-after=3,late-completion-ms=300",
        &[],
    );
    let rule = |vni: u32| {
        format!(
            "flow create 0 transfer pattern eth / ipv4 / udp / vxlan vni is {vni} / end actions drop / end"
        )
    };
    let begin = std::time::Instant::now();
    testpmd.expect(&rule(1), "created");
    assert!(begin.elapsed().as_millis() >= 300);
    testpmd.expect(&rule(2), "Remote I/O error");
    testpmd.expect(&rule(3), "created");
    testpmd.expect(&rule(4), "created");
    testpmd.expect(&rule(5), "No space left on device");
    testpmd.expect("flow destroy 0 rule 0", "Remote I/O error");
    testpmd.expect("flow destroy 0 rule 0", "destroyed");
    testpmd.expect(&rule(5), "created");
    testpmd.quit();
}
