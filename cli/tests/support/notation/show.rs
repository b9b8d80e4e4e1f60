//! Bytes to text, for people who compare packets. What the notation would build otherwise is shown as `hex(...)`.

use std::fmt::Write;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::packet;

/// A frame in the notation: [`packet`] of it gives the same bytes.
#[must_use]
pub fn show(frame: &[u8]) -> String {
    // As deep as the notation reproduces the bytes: a wrong length or checksum ends it.
    (0..8)
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
    let kind = u16_at(header, 12);
    let inner = match kind {
        _ if depth == 0 => None,
        0x0806 if rest.len() >= 28 => Some(arp(rest)),
        0x0800 if rest.len() >= 20 => Some(ipv4(rest, depth - 1)),
        0x86dd if rest.len() >= 40 => Some(ipv6(rest, depth - 1)),
        _ => None,
    };
    match inner {
        Some(inner) => format!("{start})/{inner}"),
        None => format!("{start}, type=0x{kind:04x}){}", payload(rest)),
    }
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
        6 if bytes.len() >= 20 => Some(tcp(bytes)),
        17 if bytes.len() >= 8 => Some(udp(bytes, depth - 1)),
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
    match bytes[8..].split_at_checked(8) {
        Some((header, frame)) if port == 4789 && depth > 0 => {
            let vni = u32_at(header, 4) >> 8;
            format!("{text}/vxlan(vni={vni})/{}", ethernet(frame, depth - 1))
        }
        _ => text + &payload(&bytes[8..]),
    }
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
