//! The eswitch model as a witness: it runs a table's rules and says which of them a packet meets, and where it ends.

use packet::Frame;
use rte_flow::Profile;
use sim::eswitch::{Eswitch, Ingress, PortConfig, PortRole, RuleId, Time, Trace, Verdict};
use verify::dump::Dump;
use verify::{Packet, RuleIndex};

use crate::rig::UPLINK;

/// What became of a packet.
pub struct Run {
    /// The rules it met, in order.
    pub rules: Vec<RuleIndex>,
    /// Where it ended.
    pub verdict: Verdict,
    /// What it was then.
    pub frame: Vec<u8>,
}

/// The rules of a table in a switch; `None` when the NIC refuses one of them.
pub struct Switch {
    switch: Eswitch,
    ids: Vec<(RuleId, RuleIndex)>,
}

impl Switch {
    /// A switch with a dump's rules but those in `without`.
    pub fn new(dump: &Dump, profile: &Profile, without: &[RuleIndex]) -> Option<Self> {
        let config = |id, role| PortConfig { id, role, mtu: u16::MAX };
        let vfs = dump.node.vfs.iter().map(|vf| config(vf.port, PortRole::Vf(vf.vf)));
        let ports: Vec<_> = [config(UPLINK, PortRole::Uplink)].into_iter().chain(vfs).collect();
        let mut switch = Eswitch::new(profile.clone(), &ports).expect("ports that can be");
        for port in &ports {
            switch.start(port.id).expect("a port starts");
        }
        let mut ids = Vec::new();
        for (index, rule) in dump.rules.iter().enumerate() {
            if !without.contains(&index) {
                let created = switch.create(UPLINK, &rule.rule, Time(0)).ok()?;
                ids.push((created.rule, index));
            }
        }
        Some(Self { switch, ids })
    }

    /// Lets a packet through.
    pub fn run(&mut self, packet: &Packet) -> Run {
        let mut buffer = vec![0; 256];
        buffer.extend(&packet.frame);
        let end = buffer.len();
        let mut frame = Frame::new(&mut buffer, 256, end).expect("a frame");
        let mut trace = Trace::default();
        let from = if packet.by_software {
            Ingress::Representor(packet.port)
        } else {
            Ingress::Represented(packet.port)
        };
        // Every rule is in force by then.
        let verdict = self.switch.process(Time(1 << 40), from, &mut frame, &mut trace);
        let place = |id: RuleId| self.ids.iter().find(|(known, _)| *known == id).map(|(_, at)| *at);
        let rules = trace.visits().iter().filter_map(|visit| place(visit.rule?)).collect();
        Run { rules, verdict, frame: frame.bytes().to_vec() }
    }
}
