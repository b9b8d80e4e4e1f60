//! Whatever bytes arrive, as a capture, as packets or as intent: an answer, never a panic or a hang.
//!
//!     cargo test -p cli --test hostile
//!     PENSTOCK_HOSTILE_CASES=100000 PENSTOCK_HOSTILE_SEED=7 cargo test --release -p cli --test hostile
//!
//! `model/tests/hostile.rs` has more that may be wrong with intent.

use std::cell::Cell;

use cli::pcapng::Writer;
use cli::replay::{Carrier, EventKind, Input, Output, Timeline, lines, replay};
use dpu_app::datapath::settings::Settings;
use model::intent::{Intent, Source};
use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;
use rte_flow::Profile;
use testbed::notation::packet;

/// Two nodes; on the first an interface at `vf0` and one at `vf1`, on the other one behind the wire.
const INTENT: &str = r#"
{"apiVersion": "penstock.dev/v1alpha1", "kind": "Node", "metadata": {"name": "a"}, "spec":
  {"vtep": "192.0.2.1", "mac": "02:00:00:00:aa:01", "underlay":
   {"prefix": "192.0.2.0/24", "neighbors": {"192.0.2.2": "02:00:00:00:bb:01"}}}}
---
{"apiVersion": "penstock.dev/v1alpha1", "kind": "Node", "metadata": {"name": "b"}, "spec":
  {"vtep": "192.0.2.2", "mac": "02:00:00:00:bb:01", "underlay": {"prefix": "192.0.2.0/24"}}}
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
---
{"apiVersion": "penstock.dev/v1alpha1", "kind": "Interface", "metadata": {"name": "far"}, "spec":
  {"subnet": "front", "node": "b", "vf": 0, "mac": "02:00:00:00:01:12", "antiSpoof": false,
   "addresses": ["10.0.1.12", "fd00:10:0:1::12"], "securityGroups": ["open"]}}
"#;

/// Tries `test` on random values, 300 of them unless the environment says otherwise.
fn check<S: Strategy>(strategy: &S, test: impl Fn(S::Value) -> TestCaseResult) {
    testbed::random::check("HOSTILE", 300, strategy, test);
}

fn intent(bytes: &[u8]) -> Option<Intent> {
    Intent::parse(&[Source { name: "intent.yaml", bytes }]).ok()
}

/// What replays make of a capture: without offload, and with each NIC.
struct Replays {
    off: Output,
    nics: Vec<Output>,
}

/// Replays captures, if they are some.
struct Replayer {
    settings: Settings,
    intent: Intent,
    profiles: Vec<Profile>,
}

impl Replayer {
    fn new() -> Self {
        let settings = "connections.tableSize = 64\nfragments.tableSize = 16\nkernelPort.burst = 8";
        let profiles = Profile::names().map(Profile::named).collect::<Result<_, _>>();
        Self {
            settings: toml::from_str(settings).expect("good settings"),
            intent: intent(INTENT.as_bytes()).expect("the intent is good"),
            profiles: profiles.expect("the profiles are good"),
        }
    }

    fn run(&self, capture: &[u8]) -> Option<Replays> {
        let input = Input::read(capture, &self.settings).ok()?;
        let replay = |profile: Option<&Profile>| {
            let timeline =
                Timeline::compile("a", &self.intent, Vec::new()).expect("the node is there");
            let card = profile.map(|profile| profile.clone().into());
            let output =
                replay(&input, timeline, self.settings, card).expect("a NIC for this intent");
            let frames = Input::read(&output.capture(&input), &self.settings)
                .expect("what replay writes can be read")
                .packets
                .len();
            assert_eq!(frames, output.departures.len());
            let events = String::from_utf8(lines(&output.events)).expect("events are text");
            assert_eq!(events.lines().count(), output.events.len());
            output
        };
        let off = replay(None);
        let nics: Vec<Output> = self.profiles.iter().map(|profile| replay(Some(profile))).collect();
        for (profile, on) in self.profiles.iter().zip(&nics) {
            if profile.name == "unlimited" {
                assert_eq!(on.departures, off.departures, "offload changes nothing");
            }
        }
        Some(Replays { off, nics })
    }
}

fn sum(words: &[u8]) -> u16 {
    let sum: u32 = words.chunks(2).map(|w| u32::from(u16::from_be_bytes([w[0], w[1]]))).sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    !((sum & 0xffff) + (sum >> 16)) as u16
}

/// A frame between VMs.
fn inner() -> impl Strategy<Value = Vec<u8>> {
    const LAST: [u8; 5] = [0x10, 0x11, 0x12, 1, 99];
    let end = || 0..LAST.len();
    let protocol = prop::sample::select(vec![17u8, 6, 1, 58, 47, 0, 44]);
    let fragment = prop::sample::select(vec![0u16, 0x2000, 0x2001, 0x4000]);
    let payload = prop::collection::vec(any::<u8>(), 0..80);
    let mac = |last: u8| [2, 0, 0, 0, 1, last];
    (any::<bool>(), end(), end(), protocol, fragment, payload).prop_map(
        move |(v6, from, to, protocol, fragment, payload)| {
            let macs = [mac(LAST[to]), mac(LAST[from])].concat();
            let length = payload.len() as u16;
            if v6 {
                let ip = |end: usize| {
                    [&[0xfd, 0, 0, 0x10, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0][..], &[LAST[end]]]
                        .concat()
                };
                let fixed =
                    [&[0x60, 0, 0, 0][..], &length.to_be_bytes(), &[protocol, 255]].concat();
                return [macs, vec![0x86, 0xdd], fixed, ip(from), ip(to), payload].concat();
            }
            let host = |end: usize| [10, 0, 1, [10, 11, 12, 1, 99][end]];
            let mut header = [
                &[0x45, 0][..],
                &(20 + length).to_be_bytes(),
                &[0, 7],
                &fragment.to_be_bytes(),
                &[64, protocol, 0, 0],
                &host(from),
                &host(to),
            ]
            .concat();
            let checksum = sum(&header);
            header[10..12].copy_from_slice(&checksum.to_be_bytes());
            [macs, vec![8, 0], header, payload].concat()
        },
    )
}

/// Interfaces of the captures; a frame's is its place here.
const INTERFACES: [&str; 4] = ["vf0", "vf1", "uplink", "kernel"];
/// What a frame from the other node begins with.
const TUNNEL: &str = "eth(dst=02:00:00:00:aa:01, src=02:00:00:00:bb:01)/ipv4(src=192.0.2.2, dst=192.0.2.1)\
                      /udp(sport=50000, dport=4789, checksum=0)/vxlan(vni=100)";

/// A packet of one of a few connections of the VM at `vf0`, and where it arrives.
fn talk() -> impl Strategy<Value = (usize, Vec<u8>)> {
    let flags = prop::sample::select(vec!["S", "SA", "A", "A", "A", "FA", "R"]);
    (any::<bool>(), any::<bool>(), prop::bool::weighted(0.3), any::<bool>(), flags).prop_map(
        |(v6, far, tcp, reverse, flags)| {
            let peer = if far { 12 } else { 11 };
            let (from, to, sport, dport) =
                if reverse { (peer, 10, 53, 1000) } else { (10, peer, 1000, 53) };
            let (layer, prefix) = if v6 { ("ipv6", "fd00:10:0:1::") } else { ("ipv4", "10.0.1.") };
            let transport = if tcp { format!("tcp(flags={flags}, ") } else { "udp(".to_owned() };
            let text = format!(
                "eth(dst=02:00:00:00:01:{to}, src=02:00:00:00:01:{from})\
                 /{layer}(src={prefix}{from}, dst={prefix}{to})/{transport}sport={sport}, dport={dport})"
            );
            let (at, text) = match (reverse, far) {
                (false, _) => (0, text),
                (true, false) => (1, text),
                (true, true) => (2, format!("{TUNNEL}/{text}")),
            };
            (at, packet(&text).unwrap_or_else(|error| panic!("{text}: {error}")))
        },
    )
}

/// A frame that gets past the first checks more often than not, and where it arrives.
fn arriving() -> impl Strategy<Value = (usize, Vec<u8>)> {
    let at = || 0..INTERFACES.len();
    let tunnelled = inner().prop_map(|inner| {
        let hex = inner.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
        let text = format!("{TUNNEL}/hex({hex})");
        (2, packet(&text).unwrap_or_else(|error| panic!("{text}: {error}")))
    });
    let good = prop_oneof![9 => talk(), 2 => (at(), inner()), 2 => tunnelled].boxed();
    let spoiled =
        (good.clone(), edits()).prop_map(|((at, frame), edits)| (at, spoil(frame, &edits)));
    prop_oneof![6 => good, 2 => spoiled, 2 => (at(), prop::collection::vec(any::<u8>(), 0..120))]
}

/// Places and what stands there instead.
fn edits() -> impl Strategy<Value = Vec<(prop::sample::Index, u8)>> {
    prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)
}

fn spoil(mut bytes: Vec<u8>, edits: &[(prop::sample::Index, u8)]) -> Vec<u8> {
    for (index, byte) in edits {
        let at = index.index(bytes.len());
        bytes[at] = *byte;
    }
    bytes
}

fn capture() -> impl Strategy<Value = Vec<u8>> {
    // Years of silence, too.
    let step = prop_oneof![4 => 0..10_000_000u64, 2 => 0..20_000_000_000u64, 2 => Just(0), 1 => Just(1 << 59)];
    prop::collection::vec((step, arriving()), 1..24).prop_map(|packets| {
        let mut file = Writer::new(INTERFACES);
        let mut time = 0u64;
        for (step, (at, frame)) in packets {
            time = time.saturating_add(step);
            file.packet(at as u32, time, &frame);
        }
        file.finish()
    })
}

#[test]
fn any_packets_are_answered() {
    let replayer = Replayer::new();
    let (packets, hardware) = (Cell::new(0), Cell::new(0));
    check(&capture(), |capture| {
        let replays = replayer.run(&capture).expect("the capture is good");
        for output in replays.nics.iter().chain([&replays.off]) {
            let mut answered = 0;
            for event in &output.events {
                match event.kind {
                    EventKind::Forward { path: Carrier::Hardware, .. } => {
                        hardware.set(hardware.get() + 1);
                        answered += 1;
                    }
                    EventKind::Drop { .. } | EventKind::Forward { .. } => answered += 1,
                    _ => {}
                }
            }
            prop_assert!(answered < 24);
        }
        let numbered = replays.off.events.iter().filter_map(|event| match event.kind {
            EventKind::Forward { packet, .. } | EventKind::Drop { packet, .. } => Some(packet),
            _ => None,
        });
        packets.set(packets.get() + numbered.count());
        Ok(())
    });
    eprintln!("{} packets, {} times one in hardware", packets.get(), hardware.get());
    assert!(hardware.get() > 0);
}

#[test]
fn any_capture_is_answered() {
    let replayer = Replayer::new();
    check(&prop::collection::vec(any::<u8>(), 0..200), |bytes| {
        prop_assert!(replayer.run(&bytes).is_none_or(|replays| replays.off.departures.is_empty()));
        Ok(())
    });
}

#[test]
fn a_spoiled_capture_is_answered() {
    let replayer = Replayer::new();
    check(&(capture(), edits()), |(capture, edits)| {
        replayer.run(&spoil(capture, &edits));
        Ok(())
    });
}

#[test]
fn any_intent_is_answered() {
    check(&prop::collection::vec(any::<u8>(), 0..200), |bytes| {
        prop_assert!(intent(&bytes).is_none_or(|intent| intent.nodes().is_empty()));
        Ok(())
    });
}

#[test]
fn a_spoiled_intent_is_answered() {
    check(&edits(), |edits| {
        if let Some(intent) = intent(&spoil(INTENT.as_bytes().to_vec(), &edits)) {
            for node in intent.nodes() {
                Timeline::compile(node.name().as_str(), &intent, Vec::new())
                    .expect("the node is there");
            }
        }
        Ok(())
    });
}
