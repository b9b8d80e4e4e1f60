//! Rules in testpmd's `flow create` syntax, to paste.
//!
//! Fields that testpmd 22.11 has no word for appear under DPDK's name of the field; the line then documents the rule,
//! and a later testpmd may take it.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use packet::Mac;

use crate::action::{Action, ActionKind};
use crate::attribute::Attributes;
use crate::field::Field;
use crate::header::{Eth, GeneveOption, Header, Ipv4, Ipv6, Udp, Vxlan};
use crate::item::{FieldMatch, Item, ItemKind, Match};
use crate::rule::Rule;

impl fmt::Display for Attributes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "group {} priority {} {}", self.group, self.priority, self.domain.name())
    }
}

/// A value in the form that testpmd reads for the field.
struct Value {
    bits: u32,
    number: u128,
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.bits {
            48 => Mac(Field::from_bits(self.number)).fmt(f),
            128 => Ipv6Addr::from(self.number).fmt(f),
            _ => write!(f, "{}", self.number),
        }
    }
}

/// testpmd's words for one field of an item; nothing where no bit counts.
fn write_field(f: &mut fmt::Formatter<'_>, kind: ItemKind, field: &FieldMatch) -> fmt::Result {
    for (word, shift, width) in field.info.words {
        let ones = 1_u128.checked_shl(*width).map_or(u128::MAX, |bit| bit - 1);
        let part = |number: u128| (number >> shift) & ones;
        let mask = part(field.mask);
        if mask == 0 {
            continue;
        }
        let has_addresses = matches!(kind, ItemKind::Ipv4 | ItemKind::ArpEthIpv4);
        let is_address = has_addresses && field.info.bits == 32;
        let show = |number: u128| {
            if is_address {
                Ipv4Addr::from(number as u32).to_string()
            } else {
                Value { bits: *width, number }.to_string()
            }
        };
        // The port of REPRESENTED_PORT is the one word that differs between items of the same structure.
        let word = if kind == ItemKind::RepresentedPort { "ethdev_port_id" } else { word };
        // The only field of CONNTRACK has no word of its own.
        let gap = if word.is_empty() { "" } else { " " };
        let word = format!("{gap}{word}");
        let spec = part(field.spec.unwrap_or(0));
        if mask == ones && field.last.is_none() {
            write!(f, "{word} is {}", show(spec))?;
        } else {
            write!(f, "{word} spec {}", show(spec))?;
            if let Some(last) = field.last {
                write!(f, "{word} last {}", show(part(last)))?;
            }
            // testpmd reads masks of numbers in hexadecimal too.
            if *width == 48 || *width == 128 || is_address {
                write!(f, "{word} mask {}", show(mask))?;
            } else {
                write!(f, "{word} mask {mask:#x}")?;
            }
        }
    }
    Ok(())
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind().name())?;
        let mut result = Ok(());
        self.for_each_field(&mut |field| {
            // An option's data is one string of hexadecimal digits.
            if result.is_ok() && field.info.name != "data" || self.kind() != ItemKind::GeneveOpt {
                result = write_field(f, self.kind(), &field);
            }
        });
        result?;
        match self {
            Self::GeneveOpt(asked) => write_option_data(f, asked),
            _ => Ok(()),
        }
    }
}

/// testpmd's words for an option's data; nothing where no bit counts.
fn write_option_data(f: &mut fmt::Formatter<'_>, asked: &Match<GeneveOption>) -> fmt::Result {
    let (Some(spec), mask) = (&asked.spec, asked.effective_mask()) else { return Ok(()) };
    let length = GeneveOption::tail_length(spec).unwrap_or(0);
    let data = |option: &GeneveOption| option.data.into_iter().take(length);
    if data(&mask).all(|byte| byte == 0) {
        return Ok(());
    }
    let show = |option: &GeneveOption| {
        data(option).fold(String::from("0x"), |text, byte| format!("{text}{byte:02x}"))
    };
    if data(&mask).all(|byte| byte == 0xff) && asked.last.is_none() {
        return write!(f, " data is {}", show(spec));
    }
    write!(f, " data spec {}", show(spec))?;
    if let Some(last) = &asked.last {
        write!(f, " data last {}", show(last))?;
    }
    write!(f, " data mask {}", show(&mask))
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind().name())?;
        match self {
            Self::PortRepresentor(_) => f.write_str(" port_id")?,
            Self::RepresentedPort(_) => f.write_str(" ethdev_port_id")?,
            _ => {}
        }
        self.text_conf(f)
    }
}

/// The rule without command and port: attributes, pattern, actions.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} pattern ", self.attributes)?;
        self.pattern.iter().try_for_each(|item| write!(f, "{item} / "))?;
        f.write_str("end actions ")?;
        self.actions.iter().try_for_each(|action| write!(f, "{action} / "))?;
        f.write_str("end")
    }
}

impl Rule {
    /// The testpmd commands that create this rule on an ethdev port, one a line: first those that set what its
    /// encapsulations and decapsulations use.
    #[must_use]
    pub fn testpmd(&self, port: u16) -> String {
        let mut text = String::new();
        let sampled = self.actions.iter().filter_map(|action| match action {
            Action::Sample(sample) => Some(&sample.actions),
            _ => None,
        });
        for action in self.actions.iter().chain(sampled.flatten()) {
            match action {
                Action::VxlanEncap(definition) => text += &set_vxlan(definition),
                Action::RawEncap(encap) => text += &set_raw("raw_encap", &encap.data),
                Action::RawDecap(data) if !data.is_empty() => text += &set_raw("raw_decap", data),
                _ => {}
            }
        }
        for action in &self.actions {
            if let Action::Sample(sample) = action {
                let words: Vec<String> = sample.actions.iter().map(ToString::to_string).collect();
                text += &["set sample_actions 0 ", &words.join(" / "), " / end\n"].concat();
            }
        }
        text + &format!("flow create {port} {self}\n")
    }
}

/// `set vxlan ...` for an encapsulation's definition.
fn set_vxlan(definition: &[Item]) -> String {
    let (mut eth, mut vni, mut ports) = (Eth::default(), 0, (0, 0));
    let (mut version, mut source, mut destination) = ("ipv4", String::new(), String::new());
    for item in definition {
        match item {
            Item::Eth(Match { spec: Some(spec), .. }) => eth = *spec,
            Item::Ipv4(Match { spec: Some(spec), .. }) => {
                source = Ipv4Addr::from(spec.src).to_string();
                destination = Ipv4Addr::from(spec.dst).to_string();
            }
            Item::Ipv6(Match { spec: Some(spec), .. }) => {
                version = "ipv6";
                source = Ipv6Addr::from(spec.src).to_string();
                destination = Ipv6Addr::from(spec.dst).to_string();
            }
            Item::Udp(Match { spec: Some(spec), .. }) => ports = (spec.src, spec.dst),
            Item::Vxlan(Match { spec: Some(spec), .. }) => vni = spec.vni.get(),
            _ => {}
        }
    }
    format!(
        "set vxlan ip-version {version} vni {vni} udp-src {} udp-dst {} ip-src {source} ip-dst {destination} \
         eth-src {} eth-dst {}\n",
        ports.0,
        ports.1,
        Mac(eth.src),
        Mac(eth.dst)
    )
}

/// `set raw_encap ...` or `set raw_decap ...` for a header's bytes.
fn set_raw(command: &str, data: &[u8]) -> String {
    let Some(items) = layers(data) else {
        return format!("# {command} of layers that testpmd has no words for: {data:02x?}\n");
    };
    let text: Vec<String> = items.iter().map(ToString::to_string).collect();
    format!("set {command} {} / end_set\n", text.join(" / "))
}

/// The layers of a VXLAN encapsulation, or of its beginning, as items.
fn layers(data: &[u8]) -> Option<Vec<Item>> {
    fn take<H: Header>(data: &mut &[u8], length: usize) -> Option<H> {
        let (head, rest) = data.split_at_checked(length)?;
        *data = rest;
        // The item's structure begins as the header does, and may be longer.
        let mut bytes = [0; 64];
        bytes.get_mut(..length)?.copy_from_slice(head);
        Some(H::load(bytes.get(..H::SIZE.max(length))?))
    }
    let mut rest = data;
    let eth: Eth = take(&mut rest, 14)?;
    let exact = Match::<Eth>::default().dst(eth.dst).src(eth.src).ether_type(eth.ether_type);
    let mut items = vec![Item::Eth(exact)];
    if rest.is_empty() {
        return Some(items);
    }
    match eth.ether_type {
        0x0800 => {
            let ip: Ipv4 = take(&mut rest, 20)?;
            let exact = Match::<Ipv4>::default().tos(ip.tos).ttl(ip.ttl).protocol(ip.protocol);
            items.push(Item::Ipv4(exact.src(ip.src).dst(ip.dst)));
        }
        0x86dd => {
            let ip: Ipv6 = take(&mut rest, 40)?;
            let exact = Match::<Ipv6>::default().protocol(ip.protocol).hop_limit(ip.hop_limit);
            items.push(Item::Ipv6(exact.src(ip.src).dst(ip.dst)));
        }
        _ => return None,
    }
    if rest.is_empty() {
        return Some(items);
    }
    let udp: Udp = take(&mut rest, 8)?;
    items.push(Item::Udp(Match::<Udp>::default().src(udp.src).dst(udp.dst)));
    let vxlan: Vxlan = take(&mut rest, 8)?;
    items.push(Item::Vxlan(Match::<Vxlan>::default().vni(vxlan.vni)));
    rest.is_empty().then_some(items)
}

impl fmt::Display for ActionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for ItemKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::RawEncap;
    use crate::attribute::Domain;
    use crate::field::U24;
    use crate::header::{EthdevPort, Integrity, Tcp};
    use crate::modify::{FieldId, ModifyField};

    #[test]
    fn a_rule_reads_as_testpmd_writes_it() {
        let tcp = Match::masked(
            Tcp { flags: 0, ..Tcp::default() },
            Tcp { flags: 0x07, ..Tcp::default() },
        );
        let rule = Rule {
            attributes: Attributes { group: 3, priority: 1, domain: Domain::Transfer },
            pattern: vec![
                Item::RepresentedPort(Match::<EthdevPort>::default().port_id(2_u16)),
                Item::Eth(Match::<Eth>::default().dst([2, 0, 0, 0, 0, 1]).has_vlan(false)),
                Item::Ipv4(Match::<Ipv4>::default().dst(Ipv4Addr::new(10, 0, 0, 2))),
                Item::Tcp(tcp),
                Item::Integrity(Match::<Integrity>::default().level(0_u32)),
            ],
            actions: vec![
                Action::ModifyField(ModifyField::set(FieldId::Ipv4Ttl, 63)),
                Action::Count(0),
                Action::RepresentedPort(1),
            ],
        };
        assert_eq!(
            rule.to_string(),
            "group 3 priority 1 transfer pattern represented_port ethdev_port_id is 2 / \
             eth dst is 02:00:00:00:00:01 has_vlan is 0 / ipv4 dst is 10.0.0.2 / \
             tcp flags spec 0 flags mask 0x7 / integrity level is 0 / end \
             actions modify_field op set dst_type ipv4_ttl dst_level 0 dst_offset 0 \
             src_type value src_value 3f width 8 / count identifier 0 / \
             represented_port ethdev_port_id 1 / end"
        );
    }

    #[test]
    fn a_raw_encapsulation_is_set_before_the_rule() {
        let mut data = Vec::new();
        data.extend([2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x08, 0x00]);
        data.extend([0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2]);
        data.extend([0xc0, 0, 0x12, 0xb5, 0, 0, 0, 0]);
        data.extend([8, 0, 0, 0, 0, 0, 7, 0]);
        let rule = Rule {
            attributes: Attributes { group: 0, priority: 0, domain: Domain::Egress },
            pattern: vec![],
            actions: vec![Action::RawEncap(RawEncap { data, preserve: None })],
        };
        assert_eq!(
            rule.testpmd(4),
            "set raw_encap eth dst is 02:00:00:00:00:01 src is 02:00:00:00:00:02 type is 2048 / \
             ipv4 tos is 0 ttl is 64 proto is 17 src is 192.0.2.1 dst is 192.0.2.2 / \
             udp src is 49152 dst is 4789 / vxlan vni is 7 / end_set\n\
             flow create 4 group 0 priority 0 egress pattern end actions raw_encap / end\n"
        );
        assert_eq!(U24::from(packet::Vni::MAX), U24::MAX);
    }
}
