//! What packets show of a NIC: the questions, each with the rules and the frame that answer it.

use rte_flow::{
    Action, AskedField, Domain, EEXIST, FieldId, FieldRef, Item, ItemKind, ModifyField,
    ModifyOperation,
};

use crate::behaviour::{self, Experiments, Outcome};
use crate::items::{FoundItem, full};
use crate::trial::{Trial, bare};

/// What packets show.
pub struct Shown {
    /// What a duplicate does.
    pub duplicates: &'static str,
    /// What spec bits outside the mask do.
    pub spec_outside_mask: &'static str,
    /// What an item that asks for a VLAN tag says of further ones.
    pub vlan_tags: &'static str,
    /// What port items stand for.
    pub ports: &'static str,
    /// An option of GENEVE is asked to be the only one.
    pub geneve_option_alone: bool,
    /// Adding a field copies it.
    pub arithmetic_copies: Option<bool>,
    /// Transfer rules without a port item are about the port through which they are made.
    pub own_port_only: bool,
}

/// Sends packets through rules; what they show of ranges is noted in the items.
pub fn observe(trial: &mut Trial<'_, '_>, items: &mut [FoundItem]) -> Shown {
    let ip = [ItemKind::Ipv4, ItemKind::Udp];
    let udp = behaviour::plain(&[&[ItemKind::Eth][..], &ip].concat());
    let mut experiments = Experiments::new();
    let witness = experiments.add(Domain::Egress, &[], &[vec![]], udp.clone());
    let twice = experiments.add(Domain::Egress, &[], &[vec![], vec![]], udp.clone());
    // A destination that no mask asks for.
    let outside = experiments.add(Domain::Egress, &[full(0, 1, 0)], &[vec![]], udp.clone());
    let tags = experiments.add(
        Domain::Egress,
        &[],
        &[bare(&[ItemKind::Vlan])],
        behaviour::plain(&[
            ItemKind::Eth,
            ItemKind::Vlan,
            ItemKind::Vlan,
            ItemKind::Ipv4,
            ItemKind::Udp,
        ]),
    );
    let own = experiments.add(Domain::Transfer, &[], &[vec![]], udp.clone());
    let other = u128::from(trial.nic.representor().unwrap_or(0));
    let of_port = |kind: ItemKind, fields: &[AskedField]| vec![Item::asking(kind, fields)];
    let by_name = of_port(ItemKind::PortRepresentor, &[full(0, other, u16::MAX.into())]);
    let any = of_port(ItemKind::RepresentedPort, &[]);
    let ports = [by_name, any]
        .map(|pattern| experiments.add(Domain::Transfer, &[], &[pattern], udp.clone()));
    let option = items.iter().find(|item| item.kind == ItemKind::GeneveOpt);
    let option = option.map(|option| {
        let tunnel = [&ip[..], &[ItemKind::Geneve]].concat();
        let mut pattern = bare(&tunnel);
        pattern.push(Item::asking(ItemKind::GeneveOpt, &option.least));
        let frame = behaviour::plain(&[&[ItemKind::Eth][..], &tunnel].concat());
        experiments.add(Domain::Egress, &[], &[pattern], frame)
    });
    // Both ports of the frame, and what one becomes when the other is added to it, or copied.
    let [source, destination] = [0xc001, 0x0402];
    let addition = ModifyField {
        operation: ModifyOperation::Add,
        ..ModifyField::copy(
            FieldRef::outermost(FieldId::UdpPortDst),
            FieldRef::outermost(FieldId::UdpPortSrc),
            u16::BITS,
        )
    };
    let becomes = |port: u16| {
        let udp = full(1, port.into(), u16::MAX.into());
        vec![Item::asking(ItemKind::Ipv4, &[]), Item::asking(ItemKind::Udp, &[udp])]
    };
    let sum = experiments.add_behind(
        Domain::Egress,
        &[Action::ModifyField(addition)],
        &[becomes(source), becomes(source + destination)],
        udp.clone(),
    );
    let ranges = behaviour::add_ranges(&mut experiments, items);
    let outcomes = experiments.run(trial, witness);
    behaviour::note_ranges(&ranges, &outcomes, items);
    let hit = |number: usize| outcomes.get(number).is_some_and(|outcome| outcome.hit(0));
    Shown {
        arithmetic_copies: match outcomes.get(sum) {
            Some(outcome) if outcome.hit(2) => Some(true),
            Some(outcome) if outcome.hit(3) => Some(false),
            _ => None,
        },
        duplicates: match outcomes.get(twice) {
            Some(Outcome::Refused(error)) if error.errno == EEXIST => "refused",
            Some(outcome) if outcome.hit(1) => "newest_wins",
            _ => "first_wins",
        },
        spec_outside_mask: if hit(outside) { "ignored" } else { "never_hits" },
        vlan_tags: if hit(tags) { "at_least" } else { "exactly" },
        ports: if ports.into_iter().any(hit) { "virtual_ports" } else { "ports" },
        geneve_option_alone: option.is_some_and(|option| !hit(option)),
        own_port_only: !hit(own),
    }
}
