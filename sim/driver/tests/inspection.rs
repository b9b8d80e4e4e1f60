//! What the telemetry socket of an unmodified `dpdk-testpmd` tells about a card.

#[expect(dead_code, reason = "no sockets of namespaces are needed here")]
mod support;
#[path = "support/telemetry.rs"]
mod telemetry;

use support::namespace::Namespace;
use support::testpmd::Testpmd;
use support::turn;
use telemetry::Telemetry;

#[test]
fn a_card_can_be_looked_into() {
    let Some(_turn) = turn() else { return };
    let card = Namespace::new("card");
    let device = "net_eswitch0,vfs=2,representor=vf1,profile=unlimited,uplink=gen:[flows=3]";
    let mut testpmd = Testpmd::start(&card, device, &["--no-flush-rx"]);
    for line in [
        "flow create 0 transfer group 0 priority 3 pattern eth / ipv4 src is 10.0.0.2 / end actions count / jump group 7 / end",
        "flow create 0 transfer group 7 pattern eth / end actions drop / end",
        "flow create 1 ingress pattern eth / ipv4 / end actions queue index 0 / end",
    ] {
        testpmd.expect(line, "created");
    }
    let mut telemetry = Telemetry::connect(card.runtime.path(), "rte").expect("telemetry");
    let mut shows = |question: &str, words: &[&str]| {
        let answer = telemetry.ask(&format!("/penstock_eswitch/{question}"));
        // Some versions put blanks between names and values.
        let compact = answer.replace("\": ", "\":").replace(", \"", ",\"");
        for words in words {
            assert!(compact.contains(words), "{question}: expected {words} in\n{answer}");
        }
        compact
    };
    shows("list", &["\"net_eswitch0\""]);
    shows("info,net_eswitch0", &["\"profile\":\"unlimited\"", "\"vfs\":2", "\"rules\":3"]);
    shows(
        "ports,net_eswitch0",
        &[
            "\"uplink\":{\"link\":\"up\",\"ethdev\":0}",
            "\"vf0\":{\"link\":\"down\"}",
            "\"ethdev\":1",
        ],
    );
    let tables =
        ["\"transfer_group_0\":1", "\"transfer_group_7\":1", "\"ingress_port_1_group_0\":1"];
    shows("tables,net_eswitch0", &tables);
    shows("counters,net_eswitch0,uplink", &["\"hw_dropped_packets\":0"]);
    let off = shows("trace,net_eswitch0", &["\"trace\":\"off\""]);
    shows("trace,net_eswitch0,on", &["\"trace\":\"on\""]);
    testpmd.command("start");
    std::thread::sleep(std::time::Duration::from_millis(100));
    testpmd.command("stop");
    let dropped = testpmd.statistic(0, "hw_dropped_packets");
    assert!(dropped > 0);
    let rule =
        format!("port 0 transfer group 0 priority 3: {dropped} packets, {} bytes", dropped * 64);
    shows("rules,net_eswitch0", &["\"total\":3", &rule]);
    shows("rules,net_eswitch0,2", &["\"skipped\":2"]);
    shows("counters,net_eswitch0,uplink", &[&format!("\"hw_dropped_packets\":{dropped}")]);
    let frames = shows(
        "trace,net_eswitch0,off",
        &["frame_63_0", "10.0.0.2 ", "link 0: transfer 0 miss, to port 0; 64 B"],
    );
    assert!(frames.contains("transfer 7 rule 0x") && !off.contains("frame_"), "{frames}");
    // What is not there is refused.
    for question in ["info,net_eswitch9", "counters,net_eswitch0,vf2", "rules,net_eswitch0,x"] {
        shows(question, &["null"]);
    }
    testpmd.quit();
}
