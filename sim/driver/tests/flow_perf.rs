//! DPDK's own benchmark of rules, unmodified, with everything that it can ask of a NIC.

#[expect(dead_code, reason = "no testpmd is needed here")]
mod support;

use std::process::Output;

use support::namespace::Namespace;
use support::testpmd::dpdk;
use support::turn;

/// Runs `dpdk-test-flow-perf` on the uplink of a card.
fn flow_perf(card: &Namespace, profile: &str, rules: u32, arguments: &str) -> Output {
    let device = format!("net_eswitch0,vfs=1,representor=vf0,profile={profile}");
    dpdk(&["dpdk-test-flow-perf"], card, &device)
        .args(["--", "--portmask=1", "--rules-batch=500"])
        .arg(format!("--rules-count={rules}"))
        .args(arguments.split(' '))
        .output()
        .expect("run dpdk-test-flow-perf")
}

/// The benchmark's own report, if it came to its end.
fn report(output: &Output) -> Result<String, String> {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() && text.contains("Total flows insertion rate") {
        return Ok(text);
    }
    Err(format!("{text}\n{}", String::from_utf8_lossy(&output.stderr)))
}

#[test]
fn rules_are_inserted_and_deleted() {
    let Some(_turn) = turn() else { return };
    let card = Namespace::new("card");
    let arguments = "--transfer --group=1 --ether --ipv4 --tcp --port-id=1 --deletion-rate";
    let output = flow_perf(&card, "bluefield3-sws-22.11", 20_000, arguments);
    let text = report(&output).unwrap_or_else(|text| panic!("{text}"));
    assert!(text.contains("Total deletion rate"), "{text}");
}

/// What stands before the actions, and the actions that each run has one of.
const RUNS: &[(&str, &[&str])] = &[
    (
        "--transfer --group=1 --ether --ipv4 --tcp --port-id=1",
        &[
            "--count",
            "--set-meta",
            "--set-tag",
            "--mark",
            "--flag",
            "--set-src-mac --set-dst-mac",
            "--set-src-ipv4 --set-dst-ipv4",
            "--set-src-tp --set-dst-tp",
            "--inc-tcp-ack --inc-tcp-seq",
            "--dec-tcp-ack --dec-tcp-seq",
            "--set-ttl",
            "--dec-ttl",
            "--set-ipv4-dscp",
            "--vxlan-encap",
            "--vxlan-encap --unique-data",
            "--raw-encap=ether,ipv4,udp,vxlan",
            "--meter",
            "--meter --meter-profile=1000,1000,1000 --packet-mode",
            "--random-priority=4,7",
        ],
    ),
    (
        "--transfer --group=1 --ether --port-id=1",
        &[
            "--vlan --ipv4",
            "--ipv4 --udp",
            "--ipv4 --udp --vxlan --vxlan-decap",
            "--ipv4 --udp --vxlan --raw-decap=ether,ipv4,udp,vxlan",
            "--ipv4 --udp --vxlan-gpe",
            "--ipv4 --udp --geneve",
            "--ipv4 --udp --gtp",
            "--ipv4 --gre",
            "--ipv4 --icmpv4",
            "--ipv4 --meta",
            "--ipv4 --tag",
            "--ipv6 --icmpv6",
            "--ipv6 --tcp --set-src-ipv6 --set-dst-ipv6 --set-ipv6-dscp",
        ],
    ),
    (
        "--transfer --group=1 --ether --ipv4",
        &["--jump", "--drop", "--meter --policy-mtr=jump:jump:drop"],
    ),
    ("--ingress --group=1 --ether --ipv4 --rxq=2", &["--queue", "--rss", "--mark --flag --queue"]),
    ("--ingress --group=1 --ether --ipv4", &["--hairpin-queue=1", "--hairpin-rss=2"]),
    ("--egress --group=1 --ether --ipv4", &["--drop", "--set-ttl --drop"]),
];

#[test]
fn every_item_and_action_is_accepted_without_a_card() {
    let Some(_turn) = turn() else { return };
    let card = Namespace::new("card");
    let runs = RUNS.iter().flat_map(|(before, actions)| {
        actions.iter().map(move |action| format!("{before} {action}"))
    });
    let refused: Vec<String> = runs
        .filter_map(|run| {
            report(&flow_perf(&card, "unlimited", 500, &run)).err().map(|text| run + ":\n" + &text)
        })
        .collect();
    assert!(refused.is_empty(), "{}", refused.join("\n"));
}
