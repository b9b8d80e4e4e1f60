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
        echo(&self.a, &self.b, B, 3, 100) == 3
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
