//! Headers to prepend and to remove.

use std::sync::Arc;

use rte_flow::{Action, Domain, FlowError, Item, Profile};

use super::super::program::Step;
use super::super::tunnel::Encapsulation;
use super::{ActionRules, Plan, domain, refuse, wrong};

/// A buffer of no more than Ethernet and IPv4 stands for a link header, a longer one for a tunnel.
const LINK_BYTES: usize = 34;

/// The headers that an encapsulation prepends.
pub fn encapsulation(
    index: usize,
    action: &Action,
    profile: &Profile,
) -> Result<Arc<Encapsulation>, FlowError> {
    let rules = &profile.encap;
    let made = match action {
        Action::VxlanEncap(items) | Action::NvgreEncap(items) => {
            Encapsulation::new(&header_bytes(index, items)?)
        }
        Action::RawEncap(raw) => {
            if raw.data.len() <= LINK_BYTES {
                let message =
                    "RAW_ENCAP of a link header alone needs a RAW_DECAP before it; add one";
                return Err(refuse(index, message));
            }
            let preserve = raw.preserve.as_deref().filter(|_| rules.preserves);
            if rules.checks_buffers {
                Encapsulation::new(&raw.data).map(|made| made.preserving(preserve))
            } else {
                Encapsulation::unchecked(&raw.data).map(|made| made.preserving(preserve))
            }
        }
        _ => return Err(refuse(index, "the action prepends no header; choose an encapsulation")),
    };
    made.map(Arc::new).map_err(|problem| wrong(index, problem.to_string()))
}

/// Adds the steps of `RAW_DECAP` and the `RAW_ENCAP` right behind it, if there is one. Together they can change what a tunnel
/// carries: a link header goes off and a tunnel on for an IP packet inside, or a tunnel goes off and a link header on.
pub fn raw_decap(
    index: usize,
    removed: &[u8],
    encap: Option<(usize, &Action)>,
    rules: &ActionRules<'_>,
    plan: &mut Plan,
) -> Result<(), FlowError> {
    let decap_domain = || domain(rules.attributes, index, &[Domain::Transfer, Domain::Ingress]);
    let is_link = removed.len() <= LINK_BYTES;
    let Some((encap_index, action @ Action::RawEncap(raw))) = encap else {
        decap_domain()?;
        if is_link && rules.profile.encap.checks_buffers {
            let message =
                "RAW_DECAP alone removes whole tunnels; give Ethernet, IP and tunnel headers";
            return Err(refuse(index, message));
        }
        plan.push(Step::Decapsulate);
        return Ok(());
    };
    let encap_domain =
        || domain(rules.attributes, encap_index, &[Domain::Transfer, Domain::Egress]);
    let encapsulate = || encapsulation(encap_index, action, rules.profile).map(Step::Encapsulate);
    match (is_link, raw.data.len() <= LINK_BYTES) {
        (true, false) => {
            encap_domain()?;
            plan.push(Step::StripLink);
            plan.push(encapsulate()?);
        }
        (false, true) => {
            decap_domain()?;
            if raw.data.len() < 14 {
                return Err(wrong(encap_index, "a link header has at least 14 bytes; complete it"));
            }
            plan.push(Step::DecapsulateNetwork(raw.data.as_slice().into()));
        }
        (false, false) => {
            decap_domain()?;
            encap_domain()?;
            plan.push(Step::Decapsulate);
            plan.push(encapsulate()?);
        }
        (true, true) => {
            let message = "one of RAW_DECAP and RAW_ENCAP must be a tunnel's; give longer headers";
            return Err(refuse(index, message));
        }
    }
    Ok(())
}

/// The protocol number of GRE.
const GRE: u8 = 47;

/// The bytes of an encapsulation that is defined by items. Next-protocol fields that are 0 follow from the next item.
fn header_bytes(index: usize, items: &[Item]) -> Result<Vec<u8>, FlowError> {
    let mut header = Vec::new();
    let mut next_protocol = None;
    for item in items {
        let start = header.len();
        let (ether_type, protocol) = match item {
            Item::Void => continue,
            Item::Eth(_) | Item::Vxlan(_) => (None, None),
            Item::Nvgre(_) => (None, Some(GRE)),
            Item::Vlan(_) => (Some(0x8100), None),
            Item::Ipv4(_) => (Some(0x0800), None),
            Item::Ipv6(_) => (Some(0x86dd), None),
            Item::Udp(_) => (None, Some(17)),
            _ => {
                let name = item.kind().name();
                let message = format!("an encapsulation cannot hold item {name}; remove it");
                return Err(wrong(index, message));
            }
        };
        if let Some(place) = next_protocol.take() {
            fill_next(&mut header, place, ether_type, protocol);
        }
        item.for_each_field(&mut |field| {
            // Derived bits are not part of the header.
            if !matches!(field.info.name, "has_vlan" | "has_more_vlan" | "extensions") {
                let bytes = field.spec.unwrap_or(0).to_be_bytes();
                let length = field.info.bits.div_ceil(8) as usize;
                header.extend_from_slice(bytes.get(16 - length.min(16)..).unwrap_or_default());
            }
        });
        complete(&mut header, start, item);
        next_protocol = match item {
            Item::Eth(_) => Some(start + 12),
            Item::Vlan(_) => Some(start + 2),
            Item::Ipv4(_) => Some(start + 9),
            Item::Ipv6(_) => Some(start + 6),
            _ => None,
        };
    }
    Ok(header)
}

/// Writes the type of the next header where a definition left it 0.
fn fill_next(header: &mut [u8], place: usize, ether_type: Option<u16>, protocol: Option<u8>) {
    let Some(rest) = header.get_mut(place..) else { return };
    match (rest, ether_type, protocol) {
        ([high, low, ..], Some(ether_type), _) if (*high, *low) == (0, 0) => {
            [*high, *low] = ether_type.to_be_bytes();
        }
        ([next, ..], None, Some(protocol)) if *next == 0 => *next = protocol,
        _ => {}
    }
}

/// Writes what every header of its kind has where a definition left it 0.
fn complete(header: &mut [u8], start: usize, item: &Item) {
    let Some(fields) = header.get_mut(start..) else { return };
    match (item, fields) {
        (Item::Ipv4(_), [version @ 0, _, _, _, _, _, _, _, ttl, ..]) => {
            *version = 0x45;
            if *ttl == 0 {
                *ttl = 64;
            }
        }
        (Item::Ipv6(_), [version, _, _, _, _, _, _, hops, ..]) => {
            *version = 0x60 | (*version & 0x0f);
            if *hops == 0 {
                *hops = 64;
            }
        }
        (Item::Udp(_), [_, _, high @ 0, low @ 0, ..]) => {
            [*high, *low] = packet::wire::vxlan::PORT.to_be_bytes();
        }
        (Item::Vxlan(_), [flags @ 0, ..]) => *flags = 0x08,
        // A key, and Ethernet inside (RFC 7637, section 3.2).
        (Item::Nvgre(_), [flags, version, high, low, ..]) => {
            if (*flags, *version) == (0, 0) {
                *flags = 0x20;
            }
            if (*high, *low) == (0, 0) {
                [*high, *low] = [0x65, 0x58];
            }
        }
        _ => {}
    }
}
