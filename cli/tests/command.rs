//! The `penstock` program as its users meet it: arguments, messages, exit codes, files.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use cli::pcapng::{Reader, Writer};
use tempfile::TempDir;

/// A directory of files, and the program run in it.
struct Bench {
    directory: TempDir,
}

impl Bench {
    fn new() -> Self {
        Self { directory: TempDir::new().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn file(self, name: &str, content: impl AsRef<[u8]>) -> Self {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        self
    }

    fn command(&self, arguments: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_penstock"));
        command.args(arguments.split_whitespace()).current_dir(self.directory.path());
        command
    }

    fn run(&self, arguments: &str) -> (i32, String, String) {
        told(&self.command(arguments).output().unwrap())
    }
}

/// Exit code, standard output, standard error.
fn told(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

const NODE: &str = "
apiVersion: penstock.dev/v1alpha1
kind: Node
metadata: {name: a}
spec: {vtep: 192.0.2.1, mac: '02:00:00:00:aa:01', underlay: {prefix: 192.0.2.0/24}}
";

const TENANT: &str = "
apiVersion: penstock.dev/v1alpha1
kind: Vpc
metadata: {name: red}
spec: {vni: 100, cidrs: [10.0.0.0/16]}
---
apiVersion: penstock.dev/v1alpha1
kind: Subnet
metadata: {name: front}
spec: {vpc: red, cidrs: [10.0.1.0/24]}
---
apiVersion: penstock.dev/v1alpha1
kind: Interface
metadata: {name: web}
spec: {subnet: front, node: a, vf: 0, mac: '02:00:00:00:01:10', addresses: [10.0.1.10]}
";

/// An ARP request of the VM on vf0 for its gateway.
fn arp_request() -> Vec<u8> {
    let mut frame = vec![0xff; 6];
    frame.extend([2, 0, 0, 0, 1, 0x10, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
    frame.extend([2, 0, 0, 0, 1, 0x10, 10, 0, 1, 10, 0, 0, 0, 0, 0, 0, 10, 0, 1, 1]);
    frame
}

fn capture(packets: &[(u64, &[u8])]) -> Vec<u8> {
    let mut file = Writer::new(["uplink", "vf0"]);
    for (time, frame) in packets {
        file.packet(1, *time, frame);
    }
    file.finish()
}

#[test]
fn good_intent_is_summed_up() {
    let bench = Bench::new()
        .file("intent/node.yaml", NODE)
        .file("intent/tenant.yml", TENANT)
        .file("intent/notes.txt", "}");
    let good = (0, "valid: 1 node, 1 VPC, 1 subnet, 1 interface\n".to_owned(), String::new());
    assert_eq!(bench.run("validate -f intent"), good);
    assert_eq!(bench.run("validate -f intent/tenant.yml -f intent/node.yaml"), good);

    let mut child = bench
        .command("validate -f intent/node.yaml -f -")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(TENANT.as_bytes()).unwrap();
    assert_eq!(told(&child.wait_with_output().unwrap()), good);
}

#[test]
fn all_that_is_wrong_is_told_with_its_place() {
    let wrong =
        TENANT.replace("subnet: front", "subnet: frnt").replace("cidrs: [10.0.0.0/16]", "cidr: []");
    let bench = Bench::new().file("node.yaml", NODE).file("tenant.yaml", wrong);
    let (code, out, errors) = bench.run("validate -f node.yaml -f tenant.yaml");
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(errors.contains("tenant.yaml:5:"), "{errors}");
    assert!(errors.contains("Interface/web: "), "{errors}");
    assert!(errors.contains("frnt"), "{errors}");
}

#[test]
fn files_that_are_not_there_are_named() {
    let bench = Bench::new();
    fs::create_dir(bench.path("empty")).unwrap();
    for (argument, what) in [("none.yaml", "none.yaml: "), ("empty", "empty: the directory has no")]
    {
        let (code, _, errors) = bench.run(&format!("validate -f {argument}"));
        assert_eq!(code, 1);
        assert!(errors.starts_with(what), "{errors}");
    }
}

#[test]
fn wrong_usage_is_exit_code_2() {
    let bench = Bench::new();
    for arguments in [
        "",
        "validate",
        "frobnicate",
        "apply --patch",
        "apply --remove Vpc/blue",
        "apply --patch --remove blue",
        "replay --in x",
        "replay --intent a --node a --in a --out b --intent-at 5",
    ] {
        assert_eq!(bench.run(arguments).0, 2, "{arguments}");
    }
}

const REPLAY: &str = "replay --offload off --intent intent --node a --in in.pcapng --out out.pcapng --events events.jsonl";

fn replay_bench(input: impl AsRef<[u8]>) -> Bench {
    Bench::new()
        .file("intent/node.yaml", NODE)
        .file("intent/tenant.yaml", TENANT)
        .file("in.pcapng", input)
}

#[test]
fn replay_writes_what_the_ports_send_and_what_happened() {
    const START: u64 = 1_700_000_000_000_000_007;
    let request = arp_request();
    let bench = replay_bench(capture(&[(START, &request), (START + 1_500_000_000, &[1, 2, 3])]));
    let (code, out, errors) = bench.run(REPLAY);
    assert_eq!((code, errors.as_str()), (0, ""));
    assert_eq!(out, "2 packets in, 1 out, 2 events\n");
    assert_eq!(
        fs::read_to_string(bench.path("events.jsonl")).unwrap(),
        "{\"time_ns\":0,\"event\":\"reply\",\"port\":\"vf0\",\"packet\":0}\n\
         {\"time_ns\":1500000000,\"event\":\"drop\",\"port\":\"vf0\",\"packet\":1,\"reason\":\"malformed\"}\n"
    );
    let out = fs::read(bench.path("out.pcapng")).unwrap();
    let mut reader = Reader::new(&out);
    let packets: Vec<_> = reader.by_ref().map(Result::unwrap).collect();
    let names: Vec<_> = reader.interfaces().iter().map(|i| i.name.as_deref().unwrap()).collect();
    assert_eq!(names, ["uplink", "vf0"]);
    let [answer] = packets[..] else { panic!("one packet, not {}", packets.len()) };
    assert_eq!((answer.interface, answer.time), (1, START));
    assert_eq!(answer.frame[..12], [2, 0, 0, 0, 1, 0x10, 0x02, 0x50, 0x4e, 0x53, 0x00, 0x01]);

    bench.run(REPLAY);
    assert_eq!(
        fs::read(bench.path("out.pcapng")).unwrap(),
        out,
        "a second run gives the same bytes"
    );
}

#[test]
fn intent_changes_at_its_time() {
    let request = arp_request();
    let disabled = TENANT.replace("addresses:", "enabled: false, addresses:");
    let bench = replay_bench(capture(&[
        (0, &request),
        (2_499_999_999, &request),
        (2_500_000_000, &request),
    ]))
    .file("later/intent.yaml", format!("{NODE}---{disabled}"));
    let (code, _, errors) = bench.run(&format!("{REPLAY} --intent-at 2.5:later"));
    assert_eq!((code, errors.as_str()), (0, ""));
    let events = fs::read_to_string(bench.path("events.jsonl")).unwrap();
    let kinds: Vec<_> = events.lines().map(|line| line.split('"').nth(5).unwrap()).collect();
    assert_eq!(kinds, ["reply", "reply", "drop"]);
    assert!(events.ends_with("\"reason\":\"interface_down\"}\n"), "{events}");
}

/// Runs a replay that must fail with a message, and write nothing.
fn refused(bench: &Bench, arguments: &str, message: &str) {
    let (code, out, errors) = bench.run(arguments);
    assert_eq!((code, out.as_str()), (1, ""), "{arguments}");
    assert!(errors.contains(message), "{arguments}: {errors}");
    for file in ["out.pcapng", "events.jsonl"] {
        assert!(!Path::new(&bench.path(file)).exists(), "{arguments} wrote {file}");
    }
}

#[test]
fn a_replay_that_cannot_be_right_writes_nothing() {
    let bench = replay_bench(capture(&[(0, &[0; 60])]))
        .file("other.yaml", NODE.replace("name: a", "name: b"))
        .file("broken.yaml", "kind: Node")
        .file("settings.toml", "[timeouts]\nudp = 5\n")
        .file("old.pcap", [0xd4, 0xc3, 0xb2, 0xa1]);
    refused(&bench, &REPLAY.replace("--node a", "--node x"), "no Node `x`; its nodes are: a");
    refused(
        &bench,
        &format!("{REPLAY} --intent-at 1:other.yaml"),
        "the intent from 1s on has no Node `a`; its nodes are: b",
    );
    refused(&bench, &format!("{REPLAY} --intent-at 1:broken.yaml"), "broken.yaml:1:");
    refused(&bench, &format!("{REPLAY} --settings settings.toml"), "settings.toml: ");
    refused(&bench, &REPLAY.replace("in.pcapng", "old.pcap"), "not a pcapng file");
    refused(&bench, &REPLAY.replace("in.pcapng", "none"), "none: ");
    refused(&bench, &format!("{REPLAY} --profile toaster"), "toaster");
}

#[test]
fn settings_reach_the_datapath() {
    const SECOND: &str = "
apiVersion: penstock.dev/v1alpha1
kind: Interface
metadata: {name: db}
spec:
  {subnet: front, node: a, vf: 1, mac: '02:00:00:00:01:11', addresses: [10.0.1.11], securityGroups: [open]}
---
apiVersion: penstock.dev/v1alpha1
kind: SecurityGroup
metadata: {name: open}
spec: {vpc: red, ingress: [{protocol: any}]}
";
    let mid_stream = [
        &[2, 0, 0, 0, 1, 0x11, 2, 0, 0, 0, 1, 0x10, 8, 0][..],
        // IPv4 10.0.1.10 > 10.0.1.11, TCP 1 > 2 with ACK alone.
        &[0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0x64, 0xbc, 10, 0, 1, 10, 10, 0, 1, 11],
        &[0, 1, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0x10, 0xff, 0xff, 0, 0, 0, 0],
    ]
    .concat();
    let bench = replay_bench(capture(&[(0, &mid_stream)]))
        .file("intent/second.yaml", SECOND)
        .file("settings.toml", "tcp.pickUp = 'always'\n");
    let events = |arguments: &str| {
        assert_eq!(bench.run(arguments).0, 0);
        fs::read_to_string(bench.path("events.jsonl")).unwrap()
    };
    assert!(events(REPLAY).contains("\"reason\":\"tcp_not_syn\""));
    let picked_up = events(&format!("{REPLAY} --settings settings.toml"));
    assert!(picked_up.contains("\"event\":\"forward\""), "{picked_up}");
}

/// A replay after which a UDP connection between two VMs is in the NIC, both ways.
fn rules_bench() -> Bench {
    let second = "
apiVersion: penstock.dev/v1alpha1
kind: SecurityGroup
metadata: {name: open}
spec: {vpc: red, ingress: [{protocol: any}], egress: [{protocol: any}]}
---
apiVersion: penstock.dev/v1alpha1
kind: Interface
metadata: {name: db}
spec: {subnet: front, node: a, vf: 1, mac: '02:00:00:00:01:11', addresses: [10.0.1.11], securityGroups: [open]}
";
    let packet = |text: &str| testbed::notation::packet(text).unwrap();
    let question = packet(
        "eth(dst=02:00:00:00:01:11, src=02:00:00:00:01:10)/ipv4(src=10.0.1.10, dst=10.0.1.11)/udp(sport=1000, dport=53)",
    );
    let answer = packet(
        "eth(dst=02:00:00:00:01:10, src=02:00:00:00:01:11)/ipv4(src=10.0.1.11, dst=10.0.1.10)/udp(sport=53, dport=1000)",
    );
    let mut file = Writer::new(["vf0", "vf1"]);
    for (time, interface, frame) in [(0, 0, &question), (1, 1, &answer), (2, 0, &question)] {
        file.packet(interface, time, frame);
    }
    let bench = replay_bench(file.finish()).file("intent/second.yaml", second);
    let replay = REPLAY.replace("--offload off", "--offload on");
    let (code, _, errors) = bench.run(&format!("{replay} --dump-rules rules.jsonl"));
    assert_eq!((code, errors.as_str()), (0, ""));
    bench
}

#[test]
fn rules_of_a_replay_are_proven() {
    let bench = rules_bench();
    let (code, out, errors) = bench.run("verify --dump rules.jsonl");
    assert_eq!((code, errors.as_str()), (0, ""));
    assert!(out.contains("2 rules of connections, 0 on their way"), "{out}");
    assert_eq!(out.lines().filter(|line| line.starts_with("ok   ")).count(), 6, "{out}");
    assert!(!bench.path("counterexample.pcapng").exists());
}

#[test]
fn a_rule_that_was_touched_is_named_and_shown_by_a_packet() {
    let bench = rules_bench();
    let rules = fs::read_to_string(bench.path("rules.jsonl")).unwrap();
    // The rule of the question: any port of the server will do.
    let touched: String = rules
        .lines()
        .map(|line| {
            let is_it = line.contains("\"sourcePort\":1000") && line.contains("connection");
            let port = ",{\"name\":\"dst\",\"spec\":\"0x35\"}";
            let line = if is_it { line.replace(port, "") } else { line.to_owned() };
            line + "\n"
        })
        .collect();
    assert_ne!(touched, rules, "the rule has the port");
    let bench = bench.file("touched.jsonl", touched);
    let (code, out, errors) = bench.run("verify --dump touched.jsonl --packets shown.pcapng");
    assert_eq!((code, out.as_str()), (1, ""));
    for told in [
        "decision: a packet meets the rules of connection udp 10.0.1.10:1000 > 10.0.1.11:53 at web, and has another destination port",
        "flow create 0 group 0 priority 0 transfer pattern represented_port ethdev_port_id is 1",
        "packet 1 of shown.pcapng, in at vf0",
        "FAIL decision",
    ] {
        assert!(errors.contains(told), "{told}: {errors}");
    }
    let shown = fs::read(bench.path("shown.pcapng")).unwrap();
    let mut reader = Reader::new(&shown);
    let packets: Vec<_> = reader.by_ref().map(Result::unwrap).collect();
    let names: Vec<_> = reader.interfaces().iter().map(|i| i.name.as_deref().unwrap()).collect();
    assert_eq!(names, ["vf0"]);
    // The packet is the connection's but for the port.
    let text = testbed::notation::show(packets[0].frame);
    assert!(text.contains("src=10.0.1.10, dst=10.0.1.11") && text.contains("sport=1000"), "{text}");
    assert!(!text.contains("dport=53"), "{text}");
}

#[test]
fn a_dump_that_cannot_be_read_is_refused_with_its_line() {
    let bench = rules_bench().file("wrong.jsonl", "{\"format\":1}\n").file("empty.jsonl", "");
    for (arguments, message) in [
        ("verify --dump wrong.jsonl", "line 1 of the dump: missing field"),
        ("verify --dump empty.jsonl", "the dump is empty"),
        ("verify --dump none.jsonl", "none.jsonl: "),
        ("verify --socket none.sock", "no daemon answers"),
    ] {
        let (code, out, errors) = bench.run(arguments);
        assert_eq!((code, out.as_str()), (1, ""), "{arguments}");
        assert!(errors.contains(message), "{arguments}: {errors}");
    }
    let (code, ..) = bench.run("verify --dump rules.jsonl --save other.jsonl");
    assert_eq!(code, 2);
    refused(
        &replay_bench(capture(&[(0, &[0; 60])])),
        &format!("{REPLAY} --dump-rules rules.jsonl"),
        "--dump-rules needs a NIC",
    );
}

#[test]
fn a_host_without_a_daemon() {
    let bench = Bench::new();
    for arguments in [
        "vm list --socket none.sock",
        "vm --socket none.sock detach vm-1",
        "vm attach vm-1 --mac 02:00:00:00:00:01 --socket none.sock",
        "host inventory --socket none.sock",
        "host topology --socket none.sock",
        "host vfs eth0 4 --socket none.sock",
        "host doctor --socket none.sock",
        "host support-bundle --socket none.sock",
        "host dpu --socket none.sock",
        "enroll penstock1:x --socket none.sock",
    ] {
        let (code, out, errors) = bench.run(arguments);
        assert_eq!((code, out.as_str()), (1, ""), "{arguments}");
        let expected = "is penstock-hostd running, and is this its [api] socket? (--socket, PENSTOCK_HOST_SOCKET)";
        assert!(errors.contains(expected), "{arguments}: {errors}");
    }
    // Those that are the DPU's to answer.
    for arguments in ["token create --host one", "list", "revoke one"] {
        let (code, out, errors) = bench.run(&format!("host {arguments} --dpu-socket none.sock"));
        assert_eq!((code, out.as_str()), (1, ""), "{arguments}");
        let expected = "is penstock-dpud running, and is this its [api] socket? (--dpu-socket, PENSTOCK_SOCKET)";
        assert!(errors.contains(expected), "{arguments}: {errors}");
    }
    // A port of a VM means nothing without the VM's socket.
    for usage in
        ["vm attach vm-1", "vm attach vm-1 --mac 02:00:00:00:00:01 --bus rp1", "host vfs eth0 many"]
    {
        assert_eq!(bench.run(usage).0, 2, "{usage}");
    }
}
