//! Bytes to text, for people who compare packets. What the notation would build otherwise is shown as `hex(...)`.

use std::fmt::Write;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::packet;

/// A frame in the notation: [`packet`] of it gives the same bytes.
#[must_use]
pub fn show(frame: &[u8]) -> String {
    // As deep as the notation reproduces the bytes: a wrong length or checksum ends it.
    (0..12)
        .rev()
        .map(|depth| ethernet(frame, depth))
        .find(|text| packet(text).is_ok_and(|bytes| bytes == frame))
        .unwrap_or_else(|| raw(frame))
}

fn raw(bytes: &[u8]) -> String {
    let mut text = String::from("hex(");
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text.push(')');
    text
}

fn payload(bytes: &[u8]) -> String {
    let printable = |b: &u8| b.is_ascii_graphic() && *b != b'"' || *b == b' ';
    if bytes.is_empty() {
        String::new()
    } else if bytes.iter().all(|b| *b == 0) {
        format!("/zeros({})", bytes.len())
    } else if bytes.iter().all(printable) {
        format!("/\"{}\"", String::from_utf8_lossy(bytes))
    } else {
        format!("/{}", raw(bytes))
    }
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).map_or(0, |b| u16::from_be_bytes([b[0], b[1]]))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) << 16 | u32::from(u16_at(bytes, at + 2))
}

fn mac(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(":")
}

fn v4(bytes: &[u8], at: usize) -> Ipv4Addr {
    Ipv4Addr::from(u32_at(bytes, at))
}

fn v6(bytes: &[u8], at: usize) -> Ipv6Addr {
    let mut octets = [0; 16];
    if let Some(address) = bytes.get(at..at + 16) {
        octets.copy_from_slice(address);
    }
    octets.into()
}

/// Adds `, key=value` unless the value is the notation's default.
fn unless<T: PartialEq + std::fmt::Display + Copy>(
    text: &mut String,
    key: &str,
    value: T,
    default: T,
) {
    if value != default {
        let _ = write!(text, ", {key}={value}");
    }
}

fn ethernet(frame: &[u8], depth: usize) -> String {
    let Some((header, rest)) = frame.split_at_checked(14) else {
        return raw(frame);
    };
    let start = format!("eth(dst={}, src={}", mac(&header[..6]), mac(&header[6..12]));
    typed(&start, u16_at(header, 12), rest, depth)
}

/// Ends the text of a header whose last field is an EtherType, and adds what it announces.
fn typed(start: &str, kind: u16, rest: &[u8], depth: usize) -> String {
    let inner = match kind {
        _ if depth == 0 => None,
        0x0806 if rest.len() >= 28 => Some(arp(rest)),
        0x0800 if rest.len() >= 20 => Some(ipv4(rest, depth - 1)),
        0x86dd if rest.len() >= 40 => Some(ipv6(rest, depth - 1)),
        0x8100 if rest.len() >= 4 => Some(vlan("vlan", rest, depth - 1)),
        0x88a8 if rest.len() >= 4 => Some(vlan("qinq", rest, depth - 1)),
        0x6558 if rest.len() >= 14 => Some(ethernet(rest, depth - 1)),
        _ => None,
    };
    if let Some(inner) = inner {
        return format!("{start})/{inner}");
    }
    let separator = if start.ends_with('(') { "" } else { ", " };
    format!("{start}{separator}type=0x{kind:04x}){}", payload(rest))
}

fn vlan(name: &str, rest: &[u8], depth: usize) -> String {
    let tag = u16_at(rest, 0);
    let mut text = format!("{name}(id={}", tag & 0x0fff);
    unless(&mut text, "pcp", tag >> 13, 0);
    typed(&text, u16_at(rest, 2), &rest[4..], depth)
}

fn arp(message: &[u8]) -> String {
    let operation = match u16_at(message, 6) {
        1 => "request".to_owned(),
        2 => "reply".to_owned(),
        other => other.to_string(),
    };
    format!(
        "arp(op={operation}, sha={}, spa={}, tha={}, tpa={}){}",
        mac(&message[8..14]),
        v4(message, 14),
        mac(&message[18..24]),
        v4(message, 24),
        payload(&message[28..])
    )
}

fn ipv4(packet: &[u8], depth: usize) -> String {
    let mut text = format!("ipv4(src={}, dst={}", v4(packet, 12), v4(packet, 16));
    unless(&mut text, "ttl", packet[8], 64);
    unless(&mut text, "id", u16_at(packet, 4), 0);
    unless(&mut text, "dscp", packet[1] >> 2, 0);
    unless(&mut text, "ecn", packet[1] & 3, 0);
    let fragment = u16_at(packet, 6);
    if fragment & 0x4000 != 0 {
        text += ", df";
    }
    if fragment & 0x2000 != 0 {
        text += ", mf";
    }
    unless(&mut text, "offset", (fragment & 0x1fff) * 8, 0);
    let header = (usize::from(packet[0] & 15) * 4).clamp(20, packet.len());
    if header > 20 {
        let _ = write!(text, ", options=0x");
        for byte in &packet[20..header] {
            let _ = write!(text, "{byte:02x}");
        }
    }
    unless(&mut text, "length", usize::from(u16_at(packet, 2)), packet.len());
    transport(text, "protocol", packet[9], &packet[header..], depth)
}

fn ipv6(packet: &[u8], depth: usize) -> String {
    let mut text = format!("ipv6(src={}, dst={}", v6(packet, 8), v6(packet, 24));
    unless(&mut text, "hops", packet[7], 64);
    let first = u32_at(packet, 0);
    unless(&mut text, "dscp", (first >> 22) & 63, 0);
    unless(&mut text, "ecn", (first >> 20) & 3, 0);
    unless(&mut text, "flow", first & 0xf_ffff, 0);
    unless(&mut text, "length", usize::from(u16_at(packet, 4)), packet.len() - 40);
    transport(text, "next", packet[6], &packet[40..], depth)
}

/// Ends an IP header's text and adds what it carries.
fn transport(mut ip: String, key: &str, protocol: u8, bytes: &[u8], depth: usize) -> String {
    let inner = match protocol {
        _ if depth == 0 => None,
        4 if bytes.len() >= 20 => Some(ipv4(bytes, depth - 1)),
        6 if bytes.len() >= 20 => Some(tcp(bytes)),
        17 if bytes.len() >= 8 => Some(udp(bytes, depth - 1)),
        41 if bytes.len() >= 40 => Some(ipv6(bytes, depth - 1)),
        47 if bytes.len() >= 4 => Some(gre(bytes, depth - 1)),
        50 if bytes.len() >= 8 => Some(esp(bytes)),
        132 if bytes.len() >= 12 => Some(sctp(bytes)),
        1 | 58 if bytes.len() >= 8 => Some(icmp(protocol, bytes)),
        _ => None,
    };
    if let Some(inner) = inner {
        return format!("{ip})/{inner}");
    }
    let _ = write!(ip, ", {key}={protocol}");
    format!("{ip}){}", payload(bytes))
}

fn tcp(bytes: &[u8]) -> String {
    let mut text = format!("tcp(sport={}, dport={}", u16_at(bytes, 0), u16_at(bytes, 2));
    let flags: String = "FSRPAUEC"
        .chars()
        .zip(0..)
        .filter(|(_, bit)| (bytes[13] >> bit) & 1 == 1)
        .map(|(c, _)| c)
        .collect();
    unless(&mut text, "flags", flags.as_str(), "");
    unless(&mut text, "seq", u32_at(bytes, 4), 0);
    unless(&mut text, "ack", u32_at(bytes, 8), 0);
    unless(&mut text, "window", u16_at(bytes, 14), 65535);
    let header = (usize::from(bytes[12] >> 4) * 4).clamp(20, bytes.len());
    if header > 20 {
        text += ", options=0x";
        for byte in &bytes[20..header] {
            let _ = write!(text, "{byte:02x}");
        }
    }
    format!("{text}){}", payload(&bytes[header..]))
}

fn udp(bytes: &[u8], depth: usize) -> String {
    let port = u16_at(bytes, 2);
    let mut text = format!("udp(sport={}, dport={port}", u16_at(bytes, 0));
    if u16_at(bytes, 6) == 0 {
        text += ", checksum=0";
    }
    text.push(')');
    let tunnel = match bytes[8..].split_at_checked(8) {
        _ if depth == 0 => None,
        Some((header, frame)) if port == 4789 => Some(vxlan(header, frame, depth - 1)),
        Some((header, rest)) if port == 4790 => Some(vxlan_gpe(header, rest, depth - 1)),
        Some((header, rest)) if port == 6081 => geneve(header, rest, depth - 1),
        _ => None,
    };
    match tunnel {
        Some(tunnel) => format!("{text}/{tunnel}"),
        None => text + &payload(&bytes[8..]),
    }
}

fn vxlan(header: &[u8], frame: &[u8], depth: usize) -> String {
    let mut text = format!("vxlan(vni={}", u32_at(header, 4) >> 8);
    unless(&mut text, "flags", header[0], 8);
    unless(&mut text, "reserved", u32_at(header, 0) & 0xff_ffff, 0);
    unless(&mut text, "last", header[7], 0);
    format!("{text})/{}", ethernet(frame, depth))
}

fn vxlan_gpe(header: &[u8], rest: &[u8], depth: usize) -> String {
    let mut text = format!("vxlan-gpe(vni={}", u32_at(header, 4) >> 8);
    unless(&mut text, "flags", header[0], 0x0c);
    unless(&mut text, "last", header[7], 0);
    match header[3] {
        1 if rest.len() >= 20 => format!("{text})/{}", ipv4(rest, depth)),
        2 if rest.len() >= 40 => format!("{text})/{}", ipv6(rest, depth)),
        3 if rest.len() >= 14 => format!("{text})/{}", ethernet(rest, depth)),
        next => format!("{text}, next={next}){}", payload(rest)),
    }
}

fn geneve(header: &[u8], rest: &[u8], depth: usize) -> Option<String> {
    let (options, rest) = rest.split_at_checked(usize::from(header[0] & 0x3f) * 4)?;
    let mut text = format!("geneve(vni={}", u32_at(header, 4) >> 8);
    unless(&mut text, "last", header[7], 0);
    for (bit, word) in [(0x80, ", oam"), (0x40, ", critical")] {
        if header[1] & bit != 0 {
            text += word;
        }
    }
    if !options.is_empty() {
        text += ", options=0x";
        for byte in options {
            let _ = write!(text, "{byte:02x}");
        }
    }
    Some(typed(&text, u16_at(header, 2), rest, depth))
}

/// GRE; with a key over Ethernet it is shown as NVGRE.
fn gre(bytes: &[u8], depth: usize) -> String {
    let (flags, kind) = (u16_at(bytes, 0), u16_at(bytes, 2));
    let numbers = [0x2000, 0x1000].map(|bit| flags & bit != 0);
    let length = 4 + 4 * numbers.iter().filter(|number| **number).count();
    let Some((header, rest)) = bytes.split_at_checked(length) else {
        return raw(bytes);
    };
    if flags == 0x2000 && kind == 0x6558 {
        let mut text = format!("nvgre(tni={}", u32_at(header, 4) >> 8);
        unless(&mut text, "flow", header[7], 0);
        return typed(&text, kind, rest, depth);
    }
    let mut arguments = Vec::new();
    let mut at = 4;
    for (key, is_there) in ["key", "seq"].into_iter().zip(numbers) {
        if is_there {
            arguments.push(format!("{key}={}", u32_at(header, at)));
            at += 4;
        }
    }
    typed(&format!("gre({}", arguments.join(", ")), kind, rest, depth)
}

fn esp(bytes: &[u8]) -> String {
    let mut text = format!("esp(spi={}", u32_at(bytes, 0));
    unless(&mut text, "seq", u32_at(bytes, 4), 0);
    format!("{text}){}", payload(&bytes[8..]))
}

fn sctp(bytes: &[u8]) -> String {
    let mut text = format!("sctp(sport={}, dport={}", u16_at(bytes, 0), u16_at(bytes, 2));
    unless(&mut text, "tag", u32_at(bytes, 4), 0);
    format!("{text}){}", payload(&bytes[12..]))
}

fn icmp(protocol: u8, bytes: &[u8]) -> String {
    let (kind, code, rest) = (bytes[0], bytes[1], u32_at(bytes, 4));
    match (protocol, kind, code) {
        (1, 8, 0) | (58, 128, 0) => echo("echo", rest, bytes),
        (1, 0, 0) | (58, 129, 0) => echo("echo-reply", rest, bytes),
        _ => {
            let name = if protocol == 1 { "icmp" } else { "icmpv6" };
            let mut text = format!("{name}(type={kind}");
            unless(&mut text, "code", code, 0);
            unless(&mut text, "rest", rest, 0);
            format!("{text}){}", payload(&bytes[8..]))
        }
    }
}

fn echo(name: &str, rest: u32, bytes: &[u8]) -> String {
    let mut text = format!("{name}(id={}", rest >> 16);
    unless(&mut text, "seq", rest & 0xffff, 0);
    format!("{text}){}", payload(&bytes[8..]))
}
