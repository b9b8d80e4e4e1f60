//! What a packet and a rule cost, in instructions and allocations: figures that a busy machine does not change, and that grow with what
//! nobody meant to add.
//!
//! They are those of the driver that tests are built with, without optimisation. What users have is measured by `cargo xtask bench`.

#[expect(dead_code, reason = "no sockets are needed here")]
mod support;

use support::namespace::Namespace;
use support::testpmd::{Testpmd, dpdk};
use support::turn;
use testbed::callgrind::{self, Cost};

/// How far the instructions may be from the figures that are written down here, in percent: more than another compiler changes, less than a
/// further pass over a packet or a rule.
const TOLERANCE: u64 = 10;

/// What was found when somebody last looked, for each packet or rule.
struct Known {
    instructions: u64,
    /// At most, of a hundred of them.
    allocations: u64,
}

impl Known {
    #[track_caller]
    fn check(&self, what: &str, cost: Cost, count: u64) {
        let instructions = cost.instructions / count;
        let allocations = cost.allocations * 100 / count;
        println!("{what}: {instructions} instructions; a hundred: {allocations} allocations");
        let difference = instructions.abs_diff(self.instructions) * 100 / self.instructions;
        assert!(
            difference <= TOLERANCE,
            "{what}: {instructions} instructions, and {} were expected; mend it, or write down what it is worth",
            self.instructions
        );
        assert!(
            allocations <= self.allocations,
            "a hundred of {what}: {allocations} allocations, and {} were expected; do without",
            self.allocations
        );
    }
}

/// Permission to run, where valgrind is there.
fn valgrind_turn() -> Option<std::sync::MutexGuard<'static, ()>> {
    let turn = turn()?;
    if std::process::Command::new("valgrind").arg("--version").output().is_ok() {
        return Some(turn);
    }
    assert!(std::env::var_os("CI").is_none(), "valgrind is missing; run `cargo xtask setup`");
    eprintln!("skipped: valgrind is missing; run `cargo xtask setup`");
    None
}

const THREE_GROUPS: &[&str] = &[
    "set fwd rxonly",
    "set portlist 1",
    "set vxlan ip-version ipv4 vni 100 udp-src 0 udp-dst 4789 ip-src 192.168.0.1 ip-dst 192.168.0.2 eth-src 02:00:00:00:00:aa eth-dst 02:00:00:00:00:bb",
    "flow create 0 transfer group 0 pattern represented_port ethdev_port_id is 1 / eth / end actions jump group 1 / end",
    "flow create 0 transfer group 1 pattern eth / ipv4 / end actions count / jump group 2 / end",
    "flow create 0 transfer group 2 pattern eth / ipv4 / udp dst is 9 / end actions count / vxlan_encap / represented_port ethdev_port_id 0 / end",
    "start",
];

#[test]
fn a_packet_through_three_groups_with_encapsulation() {
    const PACKETS: u64 = 1_000;
    let Some(_turn) = valgrind_turn() else { return };
    let card = Namespace::new("card");
    let file = card.runtime.path().join("cost");
    let mut program = callgrind::counting("penstock_eswitch::queue::receive_burst", &file);
    program.push("dpdk-testpmd".to_owned());
    let program: Vec<&str> = program.iter().map(String::as_str).collect();
    let device = "net_eswitch0,vfs=1,representor=vf0,profile=unlimited,uplink=gen:[flows=1,size=64],\
                  vf0=gen:[flows=1000,size=64,seed=3]";
    let mut command = dpdk(&program, &card, device);
    command.args(["--", "-i", "--total-num-mbufs=4096", "--no-flush-rx"]);
    let mut testpmd = Testpmd::run(command);
    for line in THREE_GROUPS {
        testpmd.command(line);
    }
    while testpmd.statistic(1, "link_rx_packets") < PACKETS {}
    testpmd.command("stop");
    let packets = testpmd.statistic(1, "link_rx_packets");
    assert_eq!(testpmd.statistic(0, "link_tx_packets"), packets, "all of them came through");
    testpmd.quit();
    let cost = callgrind::read(&file).expect("callgrind's figures");
    Known { instructions: 30_455, allocations: 0 }.check("a packet", cost, packets);
}

/// The cost of the rules that `dpdk-test-flow-perf` makes with these items and actions.
fn insertion(arguments: &str, known: &Known) {
    const RULES: u64 = 4_000;
    let Some(_turn) = valgrind_turn() else { return };
    let card = Namespace::new("card");
    let file = card.runtime.path().join("cost");
    let mut program = callgrind::counting("penstock_eswitch::flow_ops::create", &file);
    program.push("dpdk-test-flow-perf".to_owned());
    let program: Vec<&str> = program.iter().map(String::as_str).collect();
    let output = dpdk(&program, &card, "net_eswitch0,vfs=1,representor=vf0,profile=unlimited")
        .args(["--", "--portmask=1", "--rules-batch=1000"])
        .arg(format!("--rules-count={RULES}"))
        .args(arguments.split(' '))
        .output()
        .expect("run dpdk-test-flow-perf");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("Total flows insertion rate"), "{text}");
    let cost = callgrind::read(&file).expect("callgrind's figures");
    known.check(arguments, cost, RULES);
}

#[test]
fn a_rule_of_one_address() {
    // Pattern, actions, plan; and tables that grow.
    let known = Known { instructions: 62_895, allocations: 350 };
    insertion("--ingress --group=1 --ether --ipv4 --udp --jump", &known);
}

#[test]
fn a_rule_of_five_items_and_five_actions() {
    // The same, and its steps.
    let known = Known { instructions: 91_799, allocations: 450 };
    insertion(
        "--transfer --group=1 --ether --ipv4 --udp --vxlan --count --vxlan-decap --set-dst-mac --dec-ttl --jump",
        &known,
    );
}
