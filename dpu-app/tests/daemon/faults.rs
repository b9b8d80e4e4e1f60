//! A NIC that refuses, is full, answers late or not at all: no packet is lost, and flows say where they are.
//!
//! Faults are switched on through the simulated NIC's control socket while the daemon runs.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::path::Path;
use std::time::Duration;

use dpu_app::api::v1::flow_direction::Path as FlowPath;
use dpu_app::api::v1::{Flow, FlowDirection};
use sim::control::RuleFaults;

use crate::support::{Connection, Daemon, Echo, Namespace, Nic, wait_for};
use crate::{MAC_0, MAC_1, can_run, files, intent};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(10);
const UDP: u32 = 17;
const TCP: u32 = 6;
/// A daemon with two VMs, and the NIC between them.
struct Rig {
    daemon: Daemon,
    nic: Nic,
    vms: [Namespace; 2],
    _dpu: Namespace,
    _directory: tempfile::TempDir,
}

/// The configuration from `[ports]` on. Waits are short, but for those that a test looks at.
fn configuration(control: &Path, profile: &str, faults: &str) -> String {
    format!(
        r#"[ports]
devices = ["net_eswitch0,vfs=2,representor=vf[0-1],uplink=packet:up0,vf0=tap:vf0,vf1=tap:vf1,profile={profile},control={control},{faults}"]
[offload]
profile = "{profile}"
[offload.timing]
pollIntervalMs = 100
retryAfterMs = 400
retryAtMostMs = 400
answerWithinMs = 500
"#,
        control = control.display(),
    )
}

impl Rig {
    fn new(name: &str, profile: &str, faults: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let control = directory.path().join("nic.sock");
        let files = files(directory.path(), &configuration(&control, profile, faults));
        let [dpu, vm0, vm1] =
            ["dpu", "vm0", "vm1"].map(|role| Namespace::new(&format!("{name}-{role}")));
        dpu.add_uplink();
        let daemon = Daemon::start(&dpu, &files.config, &files.socket);
        assert_eq!(daemon.apply(&intent("{protocol: any}")), Ok(6));
        vm0.become_static_vm(&dpu, "vf0", MAC_0, ["10.0.1.10/24", "2001:db8:0:1::10/64"]);
        vm1.become_static_vm(&dpu, "vf1", MAC_1, ["10.0.1.11/24", "2001:db8:0:1::11/64"]);
        let nic = Nic::connect(&control);
        Self { daemon, nic, vms: [vm0, vm1], _dpu: dpu, _directory: directory }
    }

    /// Waits until the static rules are in the NIC; how many there are.
    fn statics(&mut self) -> u64 {
        wait_for("static rules", PATIENCE, || {
            let offload = self.daemon.status()?.offload?;
            let there = self.nic.rules();
            (there > 0 && offload.static_rules == there && offload.flow_rules == 0).then_some(there)
        })
    }

    /// UDP flows between the VMs.
    fn echoes(&self, count: u16) -> Vec<Echo> {
        let [vm0, vm1] = &self.vms;
        Echo::open(vm0, vm1, "10.0.1.11:0".parse().unwrap(), count)
    }

    /// UDP flows, by the port of their initiator.
    fn udp(&self) -> BTreeMap<u16, Flow> {
        let port = |flow: &Flow| u16::try_from(flow.source_port).unwrap();
        self.daemon.flows(UDP).into_iter().map(|flow| (port(&flow), flow)).collect()
    }

    /// Waits until all directions of all these flows are where they should be.
    fn wait_until(&self, what: &str, is_right: impl Fn(&FlowDirection) -> bool) {
        wait_for(what, PATIENCE, || {
            let flows = self.udp();
            (!flows.is_empty() && flows.values().flat_map(directions).all(&is_right)).then_some(())
        });
    }

    /// Waits until every packet of every flow was counted once.
    fn counted(&self, echoes: &[Echo]) -> BTreeMap<u16, Flow> {
        wait_for("counters that tell all packets", PATIENCE, || {
            let flows = self.udp();
            let is_whole = |echo: &Echo| {
                directions(&flows[&echo.port()]).all(|direction| {
                    direction.software_packets + direction.hardware_packets == echo.sent()
                })
            };
            echoes.iter().all(is_whole).then(|| flows.clone())
        })
    }

    /// Sends packets; all must arrive, and be counted where their flows say that they are.
    fn check(&self, echoes: &mut [Echo]) {
        const PACKETS: u64 = 20;
        let before = self.counted(echoes);
        for echo in &mut *echoes {
            echo.exchange(PACKETS);
        }
        let after = self.counted(echoes);
        for echo in echoes {
            let (before, after) = (&before[&echo.port()], &after[&echo.port()]);
            for (before, after) in directions(before).zip(directions(after)) {
                assert_eq!(before.path(), after.path(), "it stays where it is meanwhile");
                let software = after.software_packets - before.software_packets;
                let hardware = after.hardware_packets - before.hardware_packets;
                let expected = match after.path() {
                    FlowPath::Hardware => (0, PACKETS),
                    _ => (PACKETS, 0),
                };
                assert_eq!((software, hardware), expected, "{after:?}");
            }
        }
    }
}

fn directions(flow: &Flow) -> impl Iterator<Item = &FlowDirection> {
    [&flow.forward, &flow.reverse].into_iter().flatten()
}

fn in_hardware(direction: &FlowDirection) -> bool {
    direction.path() == FlowPath::Hardware
}

fn because(reason: &'static str) -> impl Fn(&FlowDirection) -> bool {
    move |direction| direction.path() == FlowPath::Software && direction.reason == reason
}

/// What both interfaces to rules have in common; how many static rules there are. `refusal` is what the NIC says of a failed
/// insertion.
fn a_bad_nic(rig: &mut Rig, late_ms: u32, refusal: &str) -> u64 {
    // A static rule failed at first (a device argument says so). Without it nothing is in hardware, with it all is.
    let statics = rig.statics();

    // Every other insertion fails.
    rig.nic.set(RuleFaults { refuse_every: NonZeroU64::new(2), ..RuleFaults::default() });
    let mut echoes = rig.echoes(4);
    for echo in &mut echoes {
        echo.exchange(20);
    }
    let refused = wait_for("a refused flow", PATIENCE, || {
        let flows = rig.udp();
        flows.values().flat_map(directions).find(|d| because("refused")(d)).cloned()
    });
    assert!(refused.message.contains(refusal), "{}", refused.message);
    for echo in &mut echoes {
        echo.exchange(20);
    }
    rig.wait_until("flows in hardware all the same", in_hardware);
    rig.check(&mut echoes);
    assert_eq!(rig.nic.rules(), statics + 8);

    // Room for one more flow, which another one takes.
    rig.nic.set(RuleFaults { enospc_after: Some(statics as u32 + 10), ..RuleFaults::default() });
    let [vm0, vm1] = &rig.vms;
    let mut tcp = Connection::open(vm0, vm1, "10.0.1.11:5000".parse().unwrap());
    wait_for("TCP in hardware", PATIENCE, || {
        assert!(tcp.echoes());
        rig.daemon.flows(TCP).first().filter(|flow| directions(flow).all(in_hardware)).map(|_| ())
    });
    let mut more = rig.echoes(1);
    more[0].exchange(20);
    let port = more[0].port();
    wait_for("the reason", PATIENCE, || {
        directions(rig.udp().get(&port)?).all(because("nic_table_full")).then_some(())
    });
    echoes.append(&mut more);
    rig.check(&mut echoes);
    // The end of the one lets the other in.
    drop(tcp);
    rig.wait_until("the flow in hardware that found no room", in_hardware);
    rig.check(&mut echoes);

    // Answers are late, the rules themselves are not.
    rig.nic.set(RuleFaults { late_ms, ..RuleFaults::default() });
    let mut late = rig.echoes(2);
    for _ in 0..10 {
        for echo in &mut late {
            echo.exchange(10);
        }
    }
    echoes.append(&mut late);
    rig.wait_until("late flows in hardware", in_hardware);
    rig.check(&mut echoes);
    rig.nic.set(RuleFaults::default());
    statics
}

#[test]
fn a_bad_nic_with_software_steering_loses_no_packet() {
    if !can_run() {
        return;
    }
    let mut rig = Rig::new("bad-sws", "bluefield3-sws", "fail-insert=2");
    a_bad_nic(&mut rig, 50, "the card refuses the rule because of an injected fault");
    assert_eq!(rig.daemon.end(libc::SIGTERM).code(), Some(0));
}

#[test]
fn a_bad_nic_with_hardware_steering_loses_no_packet() {
    if !can_run() {
        return;
    }
    let mut rig = Rig::new("bad-hws", "bluefield3-hws-22.11", "fail-insert=2");
    let statics = a_bad_nic(&mut rig, 300, "the NIC did not make the rule, and does not say why");

    // It stops answering. More flows than its queue has places: those that it took are in doubt, all others wait.
    rig.nic.set(RuleFaults { freeze_queue: Some(0), ..RuleFaults::default() });
    let mut many = rig.echoes(600);
    for echo in &mut many {
        echo.exchange(2);
    }
    let doubt = |rig: &Rig| rig.daemon.status().unwrap().offload.unwrap().rules_in_doubt;
    wait_for("doubt", PATIENCE, || {
        (doubt(&rig).get("insertion_unanswered") == Some(&1024)).then_some(())
    });
    let ports: Vec<u16> = many.iter().map(Echo::port).collect();
    let flows = rig.udp();
    let of_many: Vec<_> = ports.iter().flat_map(|port| directions(&flows[port])).collect();
    let count =
        |is_so: &dyn Fn(&FlowDirection) -> bool| of_many.iter().filter(|d| is_so(d)).count();
    assert_eq!(count(&because("unanswered")), 1024);
    assert_eq!(count(&|direction| direction.path() == FlowPath::Pending), 1200 - 1024);
    for echo in &mut many {
        echo.exchange(1);
    }
    rig.nic.set(RuleFaults::default());
    rig.wait_until("the answers that were owed", in_hardware);
    wait_for("end of all doubt", PATIENCE, || doubt(&rig).is_empty().then_some(()));
    rig.check(&mut many[..50]);

    // One removal fails for good.
    rig.nic.set(RuleFaults { refuse_removal: NonZeroU64::new(1), ..RuleFaults::default() });
    assert_eq!(rig.daemon.apply(&intent("")), Ok(1));
    wait_for("end of the forbidden flows", PATIENCE, || rig.udp().is_empty().then_some(()));
    wait_for("end of all rules but one", PATIENCE, || {
        (rig.nic.rules() == statics + 1).then_some(())
    });
    wait_for("doubt about that one", PATIENCE, || {
        (doubt(&rig) == [("removal_failed".to_owned(), 1)].into()).then_some(())
    });
    assert_eq!(rig.daemon.end(libc::SIGTERM).code(), Some(0));
}

#[test]
fn rules_that_no_packet_meets_leave_and_are_tried_again() {
    /// A rule is given up when its counter does not move for so long as counters may be late, and some more.
    const PATIENCE: Duration = Duration::from_secs(30);
    if !can_run() {
        return;
    }
    // Of the static rules every third is lost, and nothing hits what builds upon them until they are made anew.
    let mut rig = Rig::new("lossy", "bluefield3-sws", "lose-every=3");
    let statics = rig.statics();
    rig.nic.set(RuleFaults::default());
    let mut echoes = rig.echoes(3);
    let go_on = |rig: &Rig, echoes: &mut [Echo], what| {
        wait_for(what, PATIENCE, || {
            for echo in &mut *echoes {
                echo.exchange(2);
            }
            rig.udp().values().flat_map(directions).all(in_hardware).then_some(())
        });
    };
    wait_for("a rule without effect", PATIENCE, || {
        for echo in &mut echoes {
            echo.exchange(2);
        }
        // The first one that is found out brings new static rules, and the others may work by then.
        rig.udp().values().flat_map(directions).any(because("no_effect")).then_some(())
    });
    go_on(&rig, &mut echoes, "flows in hardware by new static rules");
    wait_for("traffic by rules", PATIENCE, || {
        for echo in &mut echoes {
            echo.exchange(2);
        }
        let flows = rig.udp();
        flows.values().flat_map(directions).all(|d| d.hardware_packets > 0).then_some(())
    });
    rig.check(&mut echoes);
    wait_for("end of the rules without effect", PATIENCE, || {
        (rig.nic.rules() == statics + 6).then_some(())
    });

    // Now the rules of connections.
    rig.nic.set(RuleFaults { lose_every: NonZeroU64::new(1), ..RuleFaults::default() });
    let mut lost = rig.echoes(2);
    for echo in &mut lost {
        echo.exchange(1);
    }
    let ports: Vec<u16> = lost.iter().map(Echo::port).collect();
    wait_for("their reason", PATIENCE, || {
        for echo in &mut lost {
            echo.exchange(2);
        }
        let flows = rig.udp();
        let all = ports.iter().flat_map(|port| directions(&flows[port])).all(because("no_effect"));
        all.then_some(())
    });
    rig.nic.set(RuleFaults::default());
    echoes.append(&mut lost);
    go_on(&rig, &mut echoes, "all flows in hardware");
    rig.check(&mut echoes);
    assert_eq!(rig.daemon.end(libc::SIGTERM).code(), Some(0));
}

/// A card that is away for a while: connections and their counters stay, and nothing that reaches software is lost.
fn a_reset(rig: &mut Rig) {
    let statics = rig.statics();
    let mut echoes = rig.echoes(4);
    for echo in &mut echoes {
        echo.exchange(20);
    }
    let [vm0, vm1] = &rig.vms;
    let mut tcp = Connection::open(vm0, vm1, "10.0.1.11:5000".parse().unwrap());
    wait_for("TCP in hardware", PATIENCE, || {
        assert!(tcp.echoes());
        rig.daemon.flows(TCP).first().filter(|flow| directions(flow).all(in_hardware)).map(|_| ())
    });
    rig.wait_until("flows in hardware", in_hardware);
    for outage_ms in [1500, 0] {
        // What rules carried and nobody has read is lost with them.
        rig.counted(&echoes);
        let before = rig.udp();
        rig.nic.reset(outage_ms);
        if outage_ms > 0 {
            rig.wait_until("the reason", because("nic_away"));
            let status = rig.daemon.status().expect("the daemon answers meanwhile");
            assert!(status.alive);
            let offload = status.offload.unwrap();
            assert!(!offload.enabled && offload.reason.contains("reset"), "{offload:?}");
            assert_eq!((offload.static_rules, offload.flow_rules), (0, 0));
            assert_eq!(rig.nic.rules(), 0);
        }
        wait_for("rules made anew", PATIENCE, || (rig.nic.rules() == statics + 10).then_some(()));
        rig.wait_until("flows in hardware again", in_hardware);
        let after = rig.udp();
        assert_eq!(before.len(), after.len());
        rig.check(&mut echoes);
        assert!(tcp.echoes(), "the same connection");
    }
}

#[test]
fn a_reset_interrupts_nothing_for_good_with_software_steering() {
    if !can_run() {
        return;
    }
    let mut rig = Rig::new("reset-sws", "bluefield3-sws", "fault-seed=1");
    a_reset(&mut rig);
    assert_eq!(rig.daemon.end(libc::SIGTERM).code(), Some(0));
}

#[test]
fn a_reset_interrupts_nothing_for_good_with_hardware_steering() {
    if !can_run() {
        return;
    }
    let mut rig = Rig::new("reset-hws", "bluefield3-hws-22.11", "fault-seed=1");
    a_reset(&mut rig);
    // Away for good: the daemon ends all the same.
    rig.nic.reset(60_000);
    rig.wait_until("the reason", because("nic_away"));
    assert_eq!(rig.daemon.end(libc::SIGTERM).code(), Some(0));
}
