//! Whatever bytes arrive, as a capture, as packets or as intent: an answer, never a panic or a hang.

use cli::pcapng::Writer;
use cli::replay::{Input, Output, Timeline, lines, replay};
use dpu_app::datapath::settings::Settings;
use model::intent::{Intent, Source};
use proptest::prelude::*;
use rte_flow::Profile;

/// The README's kind of intent: two nodes, an interface on `vf0` and one on `vf1`.
const INTENT: &str = r#"
{"apiVersion": "penstock.dev/v1alpha1", "kind": "Node", "metadata": {"name": "a"}, "spec":
  {"vtep": "192.0.2.1", "mac": "02:00:00:00:aa:01", "underlay": {"prefix": "192.0.2.0/24"}}}
---
{"apiVersion": "penstock.dev/v1alpha1", "kind": "Vpc", "metadata": {"name": "red"}, "spec":
  {"vni": 100, "cidrs": ["10.0.0.0/16", "fd00:10::/32"]}}
---
{"apiVersion": "penstock.dev/v1alpha1", "kind": "Subnet", "metadata": {"name": "front"}, "spec":
  {"vpc": "red", "cidrs": ["10.0.1.0/24", "fd00:10:0:1::/64"]}}
---
{"apiVersion": "penstock.dev/v1alpha1", "kind": "SecurityGroup", "metadata": {"name": "open"}, "spec":
  {"vpc": "red", "ingress": [{"protocol": "any"}]}}
---
{"apiVersion": "penstock.dev/v1alpha1", "kind": "Interface", "metadata": {"name": "web"}, "spec":
  {"subnet": "front", "node": "a", "vf": 0, "mac": "02:00:00:00:01:10", "antiSpoof": false,
   "addresses": ["10.0.1.10", "fd00:10:0:1::10"], "securityGroups": ["open"]}}
---
{"apiVersion": "penstock.dev/v1alpha1", "kind": "Interface", "metadata": {"name": "db"}, "spec":
  {"subnet": "front", "node": "a", "vf": 1, "mac": "02:00:00:00:01:11", "antiSpoof": false,
   "addresses": ["10.0.1.11", "fd00:10:0:1::11"], "securityGroups": ["open"]}}
"#;

fn intent(bytes: &[u8]) -> Option<Intent> {
    Intent::parse(&[Source { name: "intent.yaml", bytes }]).ok()
}

/// Replays a capture, if it is one.
fn run(capture: &[u8]) -> Option<Output> {
    let settings: Settings = toml::from_str(
        "connections.tableSize = 64\nfragments.tableSize = 16\nkernelPort.burst = 8",
    )
    .expect("good settings");
    let input = Input::read(capture, &settings).ok()?;
    let intent = intent(INTENT.as_bytes()).expect("the intent is good");
    let replay = |profile| {
        let timeline = Timeline::compile("a", &intent, Vec::new()).expect("the node is there");
        replay(&input, timeline, settings, profile).expect("a NIC for this intent")
    };
    let output = replay(None);
    let unlimited = Profile::named("unlimited").expect("there is such a profile");
    assert_eq!(
        replay(Some(unlimited.into())).departures,
        output.departures,
        "offload changes nothing"
    );
    let frames = Input::read(&output.capture(&input), &settings)
        .expect("what replay writes can be read")
        .packets
        .len();
    assert_eq!(frames, output.departures.len());
    let events = String::from_utf8(lines(&output.events)).expect("events are text");
    assert_eq!(events.lines().count(), output.events.len());
    Some(output)
}

/// A frame that gets past the first checks more often than not.
fn frame() -> impl Strategy<Value = Vec<u8>> {
    let addresses = [[10, 0, 1, 10], [10, 0, 1, 11], [10, 0, 1, 1], [10, 0, 9, 9], [11, 0, 0, 1]];
    let address = prop::sample::select(addresses.to_vec());
    let protocol = prop::sample::select(vec![1u8, 6, 17, 58, 47]);
    let payload = prop::collection::vec(any::<u8>(), 0..80);
    let fragment = prop::sample::select(vec![0u16, 0x2000, 0x2001, 0x4000]);
    let v4 = (address.clone(), address, protocol.clone(), payload.clone(), fragment).prop_map(
        |(source, destination, protocol, payload, fragment)| {
            let mut header = vec![0x45, 0];
            header.extend((20 + payload.len() as u16).to_be_bytes());
            header.extend([0, 7]);
            header.extend(fragment.to_be_bytes());
            header.extend([64, protocol, 0, 0]);
            header.extend(source);
            header.extend(destination);
            let mut sum: u32 =
                header.chunks(2).map(|w| u32::from(u16::from_be_bytes([w[0], w[1]]))).sum();
            sum = (sum & 0xffff) + (sum >> 16);
            header[10..12].copy_from_slice(&(!(sum as u16)).to_be_bytes());
            [&[2, 0, 0, 0, 1, 0x11, 2, 0, 0, 0, 1, 0x10, 8, 0], &header[..], &payload].concat()
        },
    );
    let v6 = (any::<bool>(), protocol, payload).prop_map(|(reverse, protocol, payload)| {
        let mut header = vec![0x60, 0, 0, 0];
        header.extend((payload.len() as u16).to_be_bytes());
        header.extend([protocol, 255]);
        let mut ends = [0x10u8, 0x11];
        if reverse {
            ends.reverse();
        }
        for end in ends {
            header.extend([0xfd, 0, 0, 0x10, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, end]);
        }
        [&[2, 0, 0, 0, 1, 0x11, 2, 0, 0, 0, 1, 0x10, 0x86, 0xdd], &header[..], &payload].concat()
    });
    prop_oneof![v4, v6, prop::collection::vec(any::<u8>(), 0..120)]
}

fn capture() -> impl Strategy<Value = Vec<u8>> {
    let step = prop_oneof![0..1_000_000_000u64, Just(0), Just(1 << 62)];
    prop::collection::vec((0..4u32, step, frame()), 1..24).prop_map(|packets| {
        let mut file = Writer::new(["vf0", "vf1", "uplink", "kernel"]);
        let mut time = 0u64;
        for (interface, step, frame) in packets {
            time = time.saturating_add(step);
            file.packet(interface, time, &frame);
        }
        file.finish()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_packets_are_answered(capture in capture()) {
        let output = run(&capture).expect("the capture is good");
        let of_packets = output.events.iter().filter(|event| {
            let line = serde_json::to_value(event).expect("an event has a JSON form");
            matches!(line["event"].as_str(), Some("drop" | "forward" | "reply"))
        });
        prop_assert!(of_packets.count() <= 2 * 24);
    }

    #[test]
    fn any_capture_is_answered(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(run(&bytes).is_none_or(|output| output.departures.is_empty()));
    }

    #[test]
    fn a_spoiled_capture_is_answered(
        capture in capture(),
        spoiled in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut capture = capture;
        for (index, byte) in spoiled {
            let at = index.index(capture.len());
            capture[at] = byte;
        }
        run(&capture);
    }

    #[test]
    fn any_intent_is_answered(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        intent(&bytes);
    }

    #[test]
    fn a_spoiled_intent_is_answered(
        spoiled in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = INTENT.as_bytes().to_vec();
        for (index, byte) in spoiled {
            let at = index.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some(intent) = intent(&bytes) {
            for node in intent.nodes() {
                Timeline::compile(node.name().as_str(), &intent, Vec::new()).expect("the node is there");
            }
        }
    }
}
