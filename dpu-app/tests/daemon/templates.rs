//! A NIC with hardware steering, which takes rules through templates only.

use std::time::Duration;

use dpu_app::api::v1::flow_direction::Path as FlowPath;
use dpu_app::api::v1::{Flow, FlowDirection};
use dpu_app::offload::Place;

use crate::support::{Connection, Daemon, Namespace, wait_for};
use crate::{MAC_0, MAC_1, can_run, files, intent, switch};

fn directions(flow: &Flow) -> impl Iterator<Item = &FlowDirection> {
    [&flow.forward, &flow.reverse].into_iter().flatten()
}

#[test]
fn connections_move_into_hardware_through_templates() {
    if !can_run() {
        return;
    }
    let open = intent("{protocol: any}");
    let directory = tempfile::tempdir().unwrap();
    let files = files(directory.path(), &switch("bluefield3-hws-22.11"));
    let [dpu, vm0, vm1] = ["hws-dpu", "hws-vm0", "hws-vm1"].map(Namespace::new);
    dpu.add_uplink();
    let daemon = Daemon::start(&dpu, &files.config, &files.socket);
    assert_eq!(daemon.apply(&open), Ok(6));
    vm0.become_static_vm(&dpu, "vf0", MAC_0, ["10.0.1.10/24", "2001:db8:0:1::10/64"]);
    vm1.become_static_vm(&dpu, "vf1", MAC_1, ["10.0.1.11/24", "2001:db8:0:1::11/64"]);

    // IPv4: in hardware both ways, and counted there. The card refreshes its counters twice a second.
    let mut v4 = Connection::open(&vm0, &vm1, "10.0.1.11:5000".parse().unwrap());
    let before = wait_for("flow in hardware", Duration::from_secs(10), || {
        assert!(v4.echoes());
        daemon.tcp_flows().into_iter().find(|flow| {
            directions(flow).all(|direction| {
                direction.path() == FlowPath::Hardware && direction.hardware_packets > 10
            })
        })
    });
    for _ in 0..20 {
        assert!(v4.echoes());
    }
    let in_software = |flow: &Flow| directions(flow).map(|d| d.software_packets).sum::<u64>();
    assert_eq!(in_software(&daemon.tcp_flows()[0]), in_software(&before));
    // What is in the NIC is what was decided.
    daemon.prove(2);

    // IPv6: its tuple is too wide for the card to match at once, and is matched over two groups. What the rules of both
    // directions share are two rules more.
    let statics = |daemon: &Daemon| daemon.status().unwrap().offload.unwrap().static_rules;
    let rules = |daemon: &Daemon| daemon.status().unwrap().offload.unwrap().flow_rules;
    wait_for("its rules, counted", Duration::from_secs(10), || (rules(&daemon) == 2).then_some(()));
    let before = statics(&daemon);
    let mut v6 = Connection::open(&vm0, &vm1, "[2001:db8:0:1::11]:5001".parse().unwrap());
    wait_for("IPv6 flow in hardware", Duration::from_secs(10), || {
        assert!(v6.echoes());
        daemon.tcp_flows().into_iter().find(|flow| {
            flow.destination_port == 5001
                && directions(flow).all(|direction| {
                    direction.path() == FlowPath::Hardware && direction.hardware_packets > 10
                })
        })
    });
    wait_for("its shared rules", Duration::from_secs(10), || {
        (rules(&daemon) == 4 && statics(&daemon) == before + 2).then_some(())
    });

    // It can be explained.
    let flow = daemon.tcp_flows().into_iter().find(|flow| flow.destination_port == 5001).unwrap();
    let source = format!("[{}]:{}", flow.source, flow.source_port).parse().unwrap();
    let destination = "[2001:db8:0:1::11]:5001".parse().unwrap();
    for end in ["vf0", &flow.interface] {
        let explanation = daemon.explain(end, source, destination).unwrap();
        assert_eq!(
            (explanation.profile.as_str(), explanation.dropped),
            ("bluefield3-hws-22.11", None)
        );
        assert_eq!(explanation.directions.len(), 2);
        for direction in explanation.directions {
            assert_eq!((direction.verdict, direction.rules.len()), (Place::Hardware, 2));
            let now = direction.now.expect("the daemon knows the connection");
            assert!(now.starts_with("hardware; "), "{now}");
        }
    }
    assert!(daemon.explain("vf7", source, destination).is_err());
    let unknown = daemon.explain("vf0", source, "[2001:db8:0:1::11]:1".parse().unwrap()).unwrap();
    assert!(unknown.directions.iter().all(|direction| direction.now.is_none()));

    // Policy takes rules out, and new rules go in where they were.
    assert_eq!(daemon.apply(&intent("")), Ok(1));
    wait_for("end of the forbidden connections", Duration::from_secs(10), || {
        daemon.tcp_flows().is_empty().then_some(())
    });
    assert!(!v4.echoes());
    wait_for("end of their rules", Duration::from_secs(10), || {
        (rules(&daemon) == 0 && statics(&daemon) == before).then_some(())
    });
    assert_eq!(daemon.apply(&open), Ok(1));
    let mut again = Connection::open(&vm1, &vm0, "10.0.1.10:5002".parse().unwrap());
    wait_for("new flow in hardware", Duration::from_secs(10), || {
        assert!(again.echoes());
        (rules(&daemon) == 2).then_some(())
    });
    assert_eq!(daemon.end(libc::SIGTERM).code(), Some(0));
}
