//! Frames between links and the application, in an unmodified `dpdk-testpmd`: no rules.

#[path = "support/pcap.rs"]
mod pcap;
mod support;

use std::fs;
use std::time::Duration;

use pcap::{capture, frames_of};
use support::namespace::{Namespace, echo, transfer};
use support::testpmd::{Testpmd, dpdk};
use support::turn;

/// Two VMs on TAP links; the application passes frames from one representor to the other.
#[test]
fn software_connects_two_vms() {
    let Some(_turn) = turn() else { return };
    let (card, a, b) = (Namespace::new("card"), Namespace::new("a"), Namespace::new("b"));
    let mut testpmd = Testpmd::start(
        &card,
        "net_eswitch0,vfs=2,representor=vf[0-1],vf0=tap:vf0,vf1=tap:vf1",
        &["--portmask=6"],
    );
    a.take(&card, "vf0", "10.0.0.1/24");
    b.take(&card, "vf1", "10.0.0.2/24");
    testpmd.command("start");
    assert_eq!(echo(&a, &b, "10.0.0.2", 100, 64), 100);
    assert_eq!(transfer(&a, &b, "10.0.0.2", 1_000_000), 1_000_000);
    testpmd.command("stop");

    let received = testpmd.statistic(1, "software_rx_packets");
    assert!(received > 100);
    assert_eq!(testpmd.statistic(1, "hw_missed_packets"), received);
    assert_eq!(testpmd.statistic(1, "hw_forwarded_packets"), 0);
    assert_eq!(testpmd.statistic(1, "link_rx_packets"), received);
    assert_eq!(testpmd.statistic(1, "software_rx_missed"), 0);
    assert!(testpmd.quit().contains("Bye"));
}

/// The uplink on a packet socket, at whose other end a kernel leaves checksums to the card.
#[test]
fn a_packet_socket_completes_checksums() {
    let Some(_turn) = turn() else { return };
    let (card, vm, wire) = (Namespace::new("card"), Namespace::new("vm"), Namespace::new("wire"));
    card.ip(&["link", "add", "up0", "type", "veth", "peer", "name", "wire0"]);
    card.ip(&["link", "set", "up0", "up"]);
    wire.take(&card, "wire0", "10.0.0.2/24");
    // The peer of a packet socket must segment itself; its checksums it may leave open.
    wire.ip(&["link", "set", "wire0", "gso_max_segs", "1"]);
    let mut testpmd = Testpmd::start(
        &card,
        "net_eswitch0,vfs=1,representor=vf0,uplink=packet:up0,vf0=tap:vf0",
        &[],
    );
    vm.take(&card, "vf0", "10.0.0.1/24");
    testpmd.command("start");
    assert_eq!(echo(&vm, &wire, "10.0.0.2", 50, 1000), 50);
    assert_eq!(echo(&wire, &vm, "10.0.0.1", 50, 1000), 50);
    assert_eq!(transfer(&wire, &vm, "10.0.0.1", 300_000), 300_000);
    testpmd.expect("show port summary 0", "up");
    testpmd.quit();
}

/// A kernel shares the uplink: in isolated mode it has all that no rule takes, else what the application leaves.
#[test]
fn a_kernel_shares_the_uplink() {
    let Some(_turn) = turn() else { return };
    let (card, host, wire) =
        (Namespace::new("card"), Namespace::new("host"), Namespace::new("wire"));
    let device = "net_eswitch0,uplink=tap:up0,kernel=tap:kern0";
    let mut testpmd = Testpmd::start(&card, device, &["--flow-isolate-all"]);
    host.take(&card, "kern0", "10.0.0.1/24");
    wire.take(&card, "up0", "10.0.0.2/24");
    testpmd.command("set fwd rxonly");
    testpmd.command("start");
    assert_eq!(echo(&wire, &host, "10.0.0.1", 50, 64), 50);
    assert_eq!(echo(&host, &wire, "10.0.0.2", 50, 64), 50);
    assert_eq!(testpmd.statistic(0, "software_rx_packets"), 0);
    let rule = "flow create 0 ingress pattern eth / ipv4 / udp / end actions queue index 0 / end";
    testpmd.expect(rule, "created");
    assert_eq!(echo(&wire, &host, "10.0.0.1", 3, 64), 0);
    assert!(testpmd.statistic(0, "software_rx_packets") >= 3);
    testpmd.command("flow flush 0");
    assert_eq!(echo(&wire, &host, "10.0.0.1", 3, 64), 3);
    // Not isolated and promiscuous, the application has everything.
    for line in
        ["stop", "port stop 0", "flow isolate 0 0", "port start 0", "set promisc 0 on", "start"]
    {
        testpmd.command(line);
    }
    assert_eq!(echo(&wire, &host, "10.0.0.1", 3, 64), 0);
    testpmd.quit();
}

/// Captures in and out, with a port that has no link and one that nobody represents.
#[test]
fn captures_go_in_and_out() {
    let Some(_turn) = turn() else { return };
    let card = Namespace::new("card");
    let directory = tempfile::tempdir().expect("a directory");
    let input = directory.path().join("in.pcap");
    let output = directory.path().join("out.pcap");
    let frames: Vec<Vec<u8>> =
        (0..100_u8).map(|number| [vec![0x02, 0, 0, 0, 0, 1], vec![number; 60]].concat()).collect();
    fs::write(&input, capture(&frames)).expect("write the input");
    let device = format!(
        "net_eswitch0,vfs=2,representor=vf0,uplink=pcap:{},vf0=pcap::{}",
        input.display(),
        output.display()
    );
    // Otherwise "start" reads and forgets what is there already.
    let mut testpmd = Testpmd::start(&card, &device, &["--no-flush-rx"]);
    testpmd.command("start");
    let mut copied = Vec::new();
    for _ in 0..50 {
        copied = frames_of(&fs::read(&output).expect("read the output"));
        if copied.len() >= frames.len() {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(copied == frames, "{} of {} frames, or others", copied.len(), frames.len());
    testpmd.command("stop");
    testpmd.quit();
}

/// Promiscuous mode is the application's choice.
#[test]
fn a_port_takes_only_what_is_addressed_to_it_unless_promiscuous() {
    let Some(_turn) = turn() else { return };
    let card = Namespace::new("card");
    let directory = tempfile::tempdir().expect("a directory");
    let input = directory.path().join("in.pcap");
    let frames = [
        [vec![0xff; 6], vec![0; 54]].concat(),
        [vec![0x02, 0, 0, 0, 0, 9], vec![0; 54]].concat(),
        [vec![0x02, 0, 0, 0, 0, 8], vec![0; 54]].concat(),
        [vec![0x01, 0, 0x5e, 0, 0, 1], vec![0; 54]].concat(),
    ];
    fs::write(&input, capture(&frames)).expect("write the input");
    let device = format!("net_eswitch0,uplink=pcap:{}", input.display());
    let mut testpmd = Testpmd::start(&card, &device, &["--no-flush-rx"]);
    testpmd.command("set promisc all off");
    testpmd.command("mac_addr set 0 02:00:00:00:00:09");
    testpmd.command("set fwd rxonly");
    testpmd.command("start");
    std::thread::sleep(Duration::from_secs(1));
    testpmd.command("stop");
    assert_eq!(testpmd.statistic(0, "software_rx_packets"), 2);
    assert_eq!(testpmd.statistic(0, "filtered"), 2);
    testpmd.quit();
}

/// Frames of a generator, every flow as often as the others.
#[test]
fn a_generator_sends_all_its_flows() {
    let Some(_turn) = turn() else { return };
    let card = Namespace::new("card");
    let directory = tempfile::tempdir().expect("a directory");
    let output = directory.path().join("out.pcap");
    let device = format!(
        "net_eswitch0,vfs=1,representor=vf0,uplink=gen:[flows=50,size=100,seed=3],vf0=pcap::{}",
        output.display()
    );
    // Otherwise "start" tries to read all that is there already, for seconds.
    let mut testpmd = Testpmd::start(&card, &device, &["--no-flush-rx"]);
    testpmd.command("start");
    std::thread::sleep(Duration::from_millis(100));
    testpmd.command("stop");
    assert_eq!(testpmd.statistic(0, "link_rx_errors"), 0);
    testpmd.quit();
    let frames = frames_of(&fs::read(&output).expect("read the output"));
    assert!(frames.len() > 200, "{} frames", frames.len());
    let mut times = std::collections::BTreeMap::<_, usize>::new();
    // The source address of IPv4.
    for frame in &frames {
        *times.entry(&frame[26..30]).or_default() += 1;
    }
    assert_eq!(times.len(), 50);
    let rounds = frames.len() / 50;
    assert!(times.values().all(|&times| times == rounds || times == rounds + 1), "{times:?}");
}

/// Two cards with a cable between their uplinks; the second comes later, goes, and comes again.
#[test]
fn two_cards_back_to_back() {
    let Some(_turn) = turn() else { return };
    let (card, a, b) = (Namespace::new("card"), Namespace::new("a"), Namespace::new("b"));
    let first = "net_eswitch0,vfs=1,representor=vf0,uplink=peer:cable,vf0=tap:vf0";
    let mut testpmd = Testpmd::start(&card, first, &[]);
    a.take(&card, "vf0", "10.0.0.1/24");
    // Another address each time: nobody remembers the one before.
    for address in ["10.0.0.2", "10.0.0.3"] {
        testpmd.until("show port summary 0", "down");
        let second = "net_eswitch1,vfs=1,representor=vf0,uplink=peer:cable,vf0=tap:vf1";
        testpmd.command(&format!("port attach {second}"));
        testpmd.command("port start all");
        b.take(&card, "vf1", &format!("{address}/24"));
        testpmd.until("show port summary 0", "up");
        testpmd.until("show port summary 2", "up");
        testpmd.command("start");
        assert_eq!(echo(&a, &b, address, 50, 1000), 50);
        testpmd.command("stop");
        assert!(testpmd.statistic(2, "link_rx_packets") > 50);
        testpmd.command("port stop all");
        testpmd.command("port close 2");
        testpmd.command("port close 3");
        testpmd.expect("device detach net_eswitch1", "detached");
        testpmd.command("port start all");
    }
    testpmd.quit();
}

/// A virtual machine's `virtio_net`, here another DPDK program, on a vhost-user socket. Either side goes and comes again.
#[test]
fn a_machine_attaches_to_a_vhost_socket() {
    let Some(_turn) = turn() else { return };
    let (card, vm) = (Namespace::new("card"), Namespace::new("vm"));
    let directory = tempfile::tempdir().expect("a directory");
    let socket = directory.path().join("vm0");
    let device = format!("net_eswitch0,uplink=vhost:{}", socket.display());
    let machine = format!("net_virtio_user0,path={},queues=1", socket.display());
    // A machine sends a burst; the card's application sends it back, the machine's again, and so on.
    let exchange = |testpmd: &mut Testpmd| {
        testpmd.until("show port summary 0", "down");
        let before = testpmd.statistic(0, "link_rx_packets");
        let mut machine = Testpmd::start(&vm, &machine, &["--txpkts=1000", "--no-flush-rx"]);
        testpmd.until("show port summary 0", "up");
        machine.command("start tx_first");
        let bounced = (0..50).any(|_| {
            std::thread::sleep(Duration::from_millis(100));
            testpmd.statistic(0, "link_rx_packets") > before + 1000
        });
        assert!(bounced, "{}", machine.command("show port stats 0"));
        machine.quit();
        testpmd.until("show port summary 0", "down");
        assert_eq!(testpmd.statistic(0, "link_rx_errors"), 0);
        assert_eq!(
            testpmd.statistic(0, "link_rx_bytes"),
            testpmd.statistic(0, "link_rx_packets") * 1000
        );
    };
    let mut testpmd = Testpmd::start(&card, &device, &[]);
    testpmd.command("start");
    exchange(&mut testpmd);
    exchange(&mut testpmd);
    testpmd.quit();
    assert!(!socket.exists(), "the socket goes with the link");
    // Killed, it leaves the socket behind.
    drop(Testpmd::start(&card, &device, &[]));
    assert!(socket.exists());
    let mut testpmd = Testpmd::start(&card, &device, &[]);
    testpmd.command("start");
    exchange(&mut testpmd);
    testpmd.quit();
}

/// A mistake in the arguments refuses the device with a line that says what.
#[test]
fn mistakes_in_the_arguments_are_named() {
    let Some(_turn) = turn() else { return };
    let card = Namespace::new("card");
    for (arguments, words) in [
        ("vfs=1,representor=vf[0-3]", "VF 1 does not exist, the device has vfs=1"),
        ("uplnk=tap:x", "unknown argument \"uplnk\""),
        ("uplink=packet:nowhere", "uplink: find the interface nowhere"),
        ("uplink=pcap:/nowhere.pcap", "uplink: read /nowhere.pcap"),
        ("uplink=vhost:/nowhere/vm0", "uplink: listen at the socket /nowhere/vm0"),
        (
            "vfs=2,uplink=peer:x,vf0=peer:x,vf1=peer:x",
            "vf1: the cable x has two ends already; name another",
        ),
    ] {
        let output = dpdk(&["dpdk-testpmd"], &card, &format!("net_eswitch0,{arguments}"))
            .output()
            .expect("run dpdk-testpmd");
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        assert!(!output.status.success(), "{arguments} was accepted:\n{text}");
        let line = format!("net_eswitch: net_eswitch0: {words}");
        assert!(
            text.contains("net_eswitch: net_eswitch0: ") && text.contains(words),
            "{arguments}: expected \"{line}\" in\n{text}"
        );
    }
}

/// Two programs with a device of the same name run side by side.
#[test]
fn several_programs_run_at_once() {
    let Some(_turn) = turn() else { return };
    let (one, two) = (Namespace::new("one"), Namespace::new("two"));
    let device = "net_eswitch0,vfs=1,representor=vf0,vf0=tap:vf0";
    let mut first = Testpmd::start(&one, device, &[]);
    let mut second = Testpmd::start(&two, device, &[]);
    for testpmd in [&mut first, &mut second] {
        testpmd.expect("show port summary all", "net_eswitch0_representor_vf0");
        // More ports than the device has are not there.
        testpmd.expect("show port summary all", "Number of available ports: 2");
    }
    first.quit();
    second.quit();
}

/// Ports can be stopped, started, and the whole device taken away and attached again.
#[test]
fn the_device_comes_and_goes() {
    let Some(_turn) = turn() else { return };
    let card = Namespace::new("card");
    let device = "net_eswitch0,vfs=1,representor=vf0,vf0=tap:vf0";
    let mut testpmd = Testpmd::start(&card, device, &["--rxq=4", "--txq=4"]);
    for _ in 0..3 {
        testpmd.command("port stop all");
        testpmd.expect("show port summary 1", "down");
        testpmd.command("port start all");
        testpmd.expect("show port summary 1", "up");
    }
    testpmd.command("port stop all");
    testpmd.command("port close all");
    testpmd.expect("device detach net_eswitch0", "detached");
    testpmd.command(&format!("port attach {device}"));
    testpmd.command("port start all");
    testpmd.expect("show port summary all", "Number of available ports: 2");
    testpmd.quit();
}

/// What rules send to a hairpin queue leaves through the port again; the application does not see it.
#[test]
fn a_hairpin_queue_leads_back_to_the_wire() {
    let Some(_turn) = turn() else { return };
    let card = Namespace::new("card");
    let directory = tempfile::tempdir().expect("a directory");
    let (input, output) = (directory.path().join("in.pcap"), directory.path().join("out.pcap"));
    let frames: Vec<Vec<u8>> = (0..100_u8)
        .map(|number| {
            let ether_type = if number % 2 == 0 { 0x88b5_u16 } else { 0x88b6 };
            let macs = [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
            [&macs[..], &ether_type.to_be_bytes(), &[number; 50]].concat()
        })
        .collect();
    fs::write(&input, capture(&frames)).expect("write the input");
    let device = format!(
        "net_eswitch0,vfs=1,uplink=pcap:{}:{},profile=unlimited",
        input.display(),
        output.display()
    );
    let mut testpmd = Testpmd::start(&card, &device, &["--no-flush-rx", "--hairpinq=1"]);
    testpmd.command("set fwd rxonly");
    testpmd.expect(
        "flow create 0 ingress pattern eth type is 0x88b5 / end actions queue index 1 / end",
        "created",
    );
    testpmd.command("start");
    let back: Vec<&Vec<u8>> = frames.iter().step_by(2).collect();
    let mut copied = Vec::new();
    for _ in 0..50 {
        copied = frames_of(&fs::read(&output).expect("read the output"));
        if copied.len() >= back.len() {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(copied.iter().eq(back), "{} frames came back, or others", copied.len());
    testpmd.command("stop");
    assert_eq!(testpmd.statistic(0, "hw_forwarded_packets"), 50);
    testpmd.quit();
}
