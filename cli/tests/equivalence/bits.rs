//! Each bit of an offloaded connection's packet flipped, one at a time, each on a connection of its own; with the checksums of its
//! IPv4 headers made right again, and as it is.

use cli::replay::Input;
use dpu_app::datapath::settings::Settings;
use rte_flow::Profile;

use crate::scenario::{Scenario, carried, compare};
use crate::traffic::{Flow, Packet, Step, Timed, Twist};
use crate::world;

/// What is flipped, and where.
#[expect(clippy::struct_excessive_bools, reason = "all combinations are tried")]
#[derive(Debug, Clone, Copy)]
struct Way {
    underlay_v6: bool,
    v6: bool,
    tcp: bool,
    /// From one VM of the node to another, or from the wire.
    local: bool,
    /// IPv4 header checksums are made right again.
    mend: bool,
}

impl Way {
    /// All but those that differ in nothing.
    fn all() -> impl Iterator<Item = Self> {
        (0..32_u8)
            .map(|bits| {
                let switch = |bit: u8| bits >> bit & 1 == 1;
                let [underlay_v6, v6, tcp, local, mend] = [0, 1, 2, 3, 4].map(switch);
                Self { underlay_v6, v6, tcp, local, mend }
            })
            .filter(|way| !(way.underlay_v6 && way.local))
    }

    /// The bit of the VXLAN header that says that the VNI is valid.
    fn vni_flag(self) -> Option<u16> {
        let header = 14 + if self.underlay_v6 { 40 } else { 20 } + 8;
        (!self.local).then_some(header * 8 + 4)
    }

    /// Flips all bits but `unseen` of packets in a NIC; how many packets it carried.
    fn run(self, profile: &str, unseen: Option<u16>) -> u64 {
        let world = world::plain_world(self.underlay_v6);
        let (from, to) = if self.local { (0, 1) } else { (2, 0) };
        let mut flow = Flow { vpc: 0, from, to: Some(to), v6: self.v6, tcp: self.tcp, port: 1000 };
        let length = Packet::plain(flow, false, "A").build(&world, &world).frame.len();
        let mut steps = Vec::new();
        for bit in (0..length as u16 * 8).filter(|bit| Some(*bit) != unseen) {
            flow.port += 8;
            let mut packet = Packet::plain(flow, false, "A");
            let plain = Step::Packet(packet.clone());
            packet.twists = vec![Twist::Flip { bit, mend: self.mend }];
            let timed = |step| Timed { gap: 1_000_000, step };
            steps.extend([timed(Step::Open(flow)), timed(Step::Packet(packet)), timed(plain)]);
        }
        let settings = toml::from_str("connections.tableSize = 8192").expect("good settings");
        let scenario = Scenario::new(&world, &steps, settings).expect("the world is good");
        let file = scenario.capture();
        let input = Input::read(&file, &Settings::default()).expect("the capture is good");
        let off = scenario.play(&input, None);
        let card = Profile::named(profile).expect("there is such a profile").into();
        let on = scenario.play(&input, Some(card));
        compare(&off, &on)
            .and_then(|()| scenario.check_isolation(&on))
            .unwrap_or_else(|error| panic!("{profile}, {self:?}: {error}"));
        let (by_hardware, _) = carried(&on);
        assert!(by_hardware as usize >= length * 6, "{self:?}: {by_hardware} in hardware");
        by_hardware
    }
}

#[test]
fn a_packet_with_one_wrong_bit_is_treated_as_software_treats_it() {
    let hardware: u64 = Way::all().map(|way| way.run("unlimited", None)).sum();
    eprintln!("{hardware} packets carried by hardware");
}

/// The one bit that rules of software steering do not see stands in `docs/reference/offload-differences.md`.
#[test]
fn with_limits_too_but_for_the_flag_of_the_vni() {
    for way in Way::all().filter(|way| way.mend) {
        for profile in ["bluefield2-sws-22.11", "bluefield3-sws-22.11"] {
            way.run(profile, way.vni_flag());
        }
        for profile in ["bluefield3-hws-22.11", "bluefield3-hws-24.11"] {
            way.run(profile, None);
        }
    }
}
