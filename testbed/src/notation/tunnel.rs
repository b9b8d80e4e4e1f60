//! Tunnel headers to bytes.

use super::build::{Built, Inside, deciding, ether_type, stack};
use super::read::Layer;
use super::value::Arguments;

/// VXLAN (RFC 7348, section 5).
pub fn vxlan(a: &mut Arguments<'_>, rest: &[Layer]) -> Built {
    let mut header = vec![a.number_or("flags", 8)?];
    header.extend(&a.number_or::<u32>("reserved", 0)?.to_be_bytes()[1..]);
    header.extend(vni(a)?);
    Ok([header, stack(rest, Inside::default())?].concat())
}

/// VXLAN with a next protocol (draft-ietf-nvo3-vxlan-gpe, section 3).
pub fn vxlan_gpe(a: &mut Arguments<'_>, rest: &[Layer]) -> Built {
    let next = match a.number("next")? {
        Some(number) => number,
        None => match deciding(rest) {
            Some("ipv4") => 1,
            Some("ipv6") => 2,
            Some("eth") => 3,
            _ => {
                return Err("vxlan-gpe: the payload does not tell the protocol; write next=".into());
            }
        },
    };
    let mut header = vec![a.number_or("flags", 0x0c)?, 0, 0, next];
    header.extend(vni(a)?);
    Ok([header, stack(rest, Inside::default())?].concat())
}

/// A network identifier and the octet behind it.
fn vni(a: &mut Arguments<'_>) -> Result<[u8; 4], String> {
    Ok((a.need_number::<u32>("vni")? << 8 | a.number_or::<u32>("last", 0)?).to_be_bytes())
}

/// Geneve (RFC 8926, section 3.4); options are bytes, each with its own header.
pub fn geneve(a: &mut Arguments<'_>, rest: &[Layer]) -> Built {
    let mut options = a.bytes("options")?;
    options.resize(options.len().next_multiple_of(4), 0);
    let words = a.number_or("words", (options.len() / 4) as u8)?;
    let flags = u8::from(a.word("oam")) << 7 | u8::from(a.word("critical")) << 6;
    let mut header = vec![a.number_or::<u8>("version", 0)? << 6 | words, flags];
    header.extend(ether_type(a, rest)?.to_be_bytes());
    header.extend(vni(a)?);
    Ok([header, options, stack(rest, Inside::default())?].concat())
}

/// GRE (RFC 2784, RFC 2890): key and sequence number where they are given.
pub fn gre(a: &mut Arguments<'_>, rest: &[Layer]) -> Built {
    let key = a.number::<u32>("key")?;
    let sequence = a.number::<u32>("seq")?;
    let flags = u16::from(key.is_some()) << 13 | u16::from(sequence.is_some()) << 12;
    let flags = flags | a.number_or::<u16>("version", 0)?;
    let mut header = flags.to_be_bytes().to_vec();
    header.extend(ether_type(a, rest)?.to_be_bytes());
    for number in [key, sequence].into_iter().flatten() {
        header.extend(number.to_be_bytes());
    }
    Ok([header, stack(rest, Inside::default())?].concat())
}

/// NVGRE (RFC 7637, section 3.2).
pub fn nvgre(a: &mut Arguments<'_>, rest: &[Layer]) -> Built {
    let mut header = 0x2000_u16.to_be_bytes().to_vec();
    header.extend(ether_type(a, rest)?.to_be_bytes());
    let network = a.need_number::<u32>("tni")? << 8 | a.number_or::<u32>("flow", 0)?;
    header.extend(network.to_be_bytes());
    Ok([header, stack(rest, Inside::default())?].concat())
}
