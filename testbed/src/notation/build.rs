//! Layers to bytes. Each layer builds what follows it first: that is its payload.

use std::net::IpAddr;

use super::checksum::{crc32c, entropy, internet, transport};
use super::read::Layer;
use super::tunnel;
use super::value::{Arguments, Mac, bytes, hex, number, octets};

/// What a layer has to know of those around it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Inside {
    /// Source and destination of the IP header around it.
    addresses: Option<(IpAddr, IpAddr)>,
}

pub type Built = Result<Vec<u8>, String>;

/// Builds layers, from the outermost on.
pub fn stack(layers: &[Layer], inside: Inside) -> Built {
    let Some((first, rest)) = layers.split_first() else {
        return Ok(Vec::new());
    };
    let mut arguments = Arguments::of(first);
    let a = &mut arguments;
    let built = match first.name.as_str() {
        "eth" => ethernet(a, rest)?,
        "vlan" | "qinq" => vlan(a, rest)?,
        "arp" => arp(a, rest)?,
        "ipv4" => ipv4(a, rest)?,
        "ipv6" => ipv6(a, rest)?,
        "hopopts" | "routing" | "destopts" => extension(a, rest, inside)?,
        "ah" => authentication(a, rest, inside)?,
        "fragment" => fragment(a, rest, inside)?,
        "tcp" => tcp(a, rest, inside)?,
        "udp" => udp(a, rest, inside)?,
        "sctp" => sctp(a, rest)?,
        "esp" => esp(a, rest)?,
        "icmp" => icmp(a, rest, 1, inside)?,
        "icmpv6" => icmp(a, rest, 58, inside)?,
        "echo" => echo(a, rest, inside, [8, 128])?,
        "echo-reply" => echo(a, rest, inside, [0, 129])?,
        "rs" => neighbor_discovery(a, rest, inside, 133)?,
        "ra" => router_advertisement(a, rest, inside)?,
        "ns" => neighbor_discovery(a, rest, inside, 135)?,
        "na" => neighbor_discovery(a, rest, inside, 136)?,
        "ndopt" => nd_option(a, rest, inside)?,
        "vxlan" => tunnel::vxlan(a, rest)?,
        "vxlan-gpe" => tunnel::vxlan_gpe(a, rest)?,
        "geneve" => tunnel::geneve(a, rest)?,
        "gre" => tunnel::gre(a, rest)?,
        "nvgre" => tunnel::nvgre(a, rest)?,
        "dhcp" => dhcp(a, rest, inside)?,
        "opt" => option::<1>(a, rest, inside)?,
        "dhcp6" => dhcp6(a, rest, inside)?,
        "opt6" => option::<2>(a, rest, inside)?,
        "end" => [vec![255], stack(rest, inside)?].concat(),
        "bytes" => slice(a, rest, inside)?,
        "\"" => [a.positional()?.as_bytes().to_vec(), stack(rest, inside)?].concat(),
        "hex" => [hex(a.positional()?)?, stack(rest, inside)?].concat(),
        "data" => [bytes(a.positional()?)?, stack(rest, inside)?].concat(),
        "zeros" => [vec![0; number(a.positional()?)?], stack(rest, inside)?].concat(),
        other => return Err(format!("`{other}` is no layer")),
    };
    arguments.end()?;
    Ok(built)
}

/// The first layer that decides about a protocol field: `bytes(...)` only cuts.
pub fn deciding(rest: &[Layer]) -> Option<&str> {
    rest.iter().map(|layer| layer.name.as_str()).find(|name| *name != "bytes")
}

pub fn ether_type(a: &mut Arguments<'_>, rest: &[Layer]) -> Result<u16, String> {
    if let Some(number) = a.number("type")? {
        return Ok(number);
    }
    Ok(match deciding(rest) {
        Some("arp") => 0x0806,
        Some("ipv4") => 0x0800,
        Some("ipv6") => 0x86dd,
        Some("vlan") => 0x8100,
        Some("qinq") => 0x88a8,
        // Transparent Ethernet bridging, within tunnels.
        Some("eth") => 0x6558,
        _ => return Err("the payload does not tell the EtherType; write type=".to_owned()),
    })
}

fn protocol(a: &mut Arguments<'_>, key: &str, rest: &[Layer], v6: bool) -> Result<u8, String> {
    if let Some(number) = a.number(key)? {
        return Ok(number);
    }
    Ok(match deciding(rest) {
        Some("hopopts") => 0,
        Some("ipv4") => 4,
        Some("tcp") => 6,
        Some("udp") => 17,
        Some("ipv6") => 41,
        Some("routing") => 43,
        Some("fragment") => 44,
        Some("gre" | "nvgre") => 47,
        Some("esp") => 50,
        Some("ah") => 51,
        Some("destopts") => 60,
        Some("icmpv6" | "rs" | "ra" | "ns" | "na") => 58,
        Some("echo" | "echo-reply") if v6 => 58,
        Some("icmp" | "echo" | "echo-reply") => 1,
        Some("sctp") => 132,
        _ => return Err(format!("the payload does not tell the protocol; write {key}=")),
    })
}

fn ethernet(a: &mut Arguments<'_>, rest: &[Layer]) -> Built {
    let Mac(destination) = a.need("dst")?;
    let Mac(source) = a.need("src")?;
    let mut frame = [destination, source].concat();
    frame.extend(ether_type(a, rest)?.to_be_bytes());
    let pad = a.number_or("pad", 0)?;
    frame.extend(stack(rest, Inside::default())?);
    frame.resize(frame.len().max(pad), 0);
    Ok(frame)
}

fn vlan(a: &mut Arguments<'_>, rest: &[Layer]) -> Built {
    let tag = a.need_number::<u16>("id")? | a.number_or::<u16>("pcp", 0)? << 13;
    let kind = ether_type(a, rest)?;
    Ok([tag.to_be_bytes().to_vec(), kind.to_be_bytes().to_vec(), stack(rest, Inside::default())?]
        .concat())
}

fn arp(a: &mut Arguments<'_>, rest: &[Layer]) -> Built {
    let operation = match a.text("op") {
        None => return Err("arp: op= is missing".to_owned()),
        Some("request") => 1,
        Some("reply") => 2,
        Some(other) => number(other)?,
    };
    let zero = Mac([0; 6]);
    let Mac(sender) = a.need("sha")?;
    let Mac(target) = a.get("tha")?.unwrap_or(zero);
    let mut message = Vec::new();
    message.extend(a.number_or::<u16>("htype", 1)?.to_be_bytes());
    message.extend(a.number_or::<u16>("ptype", 0x0800)?.to_be_bytes());
    message.extend([a.number_or("hlen", 6)?, a.number_or("plen", 4)?]);
    message.extend(u16::to_be_bytes(operation));
    message.extend(sender);
    message.extend(octets(a.need("spa")?));
    message.extend(target);
    message.extend(octets(a.need("tpa")?));
    message.extend(stack(rest, Inside::default())?);
    Ok(message)
}

/// DSCP and ECN, as the octet they share.
fn traffic_class(a: &mut Arguments<'_>) -> Result<u8, String> {
    Ok(a.number_or::<u8>("dscp", 0)? << 2 | a.number_or::<u8>("ecn", 0)?)
}

fn ipv4(a: &mut Arguments<'_>, rest: &[Layer]) -> Built {
    let source: IpAddr = a.need("src")?;
    let destination: IpAddr = a.need("dst")?;
    let mut options = a.bytes("options")?;
    options.resize(options.len().next_multiple_of(4), 0);
    let payload = stack(rest, Inside { addresses: Some((source, destination)) })?;
    let words = a.number_or("ihl", (20 + options.len()) as u8 / 4)?;
    let length = a.number_or("length", (20 + options.len() + payload.len()) as u16)?;
    let offset = a.number_or::<u16>("offset", 0)?;
    if offset % 8 != 0 {
        return Err("ipv4: offset= counts bytes and must be a multiple of 8".to_owned());
    }
    let flags = u16::from(a.word("reserved")) << 15
        | u16::from(a.word("df")) << 14
        | u16::from(a.word("mf")) << 13;

    let mut header = vec![a.number_or::<u8>("version", 4)? << 4 | words, traffic_class(a)?];
    header.extend(length.to_be_bytes());
    header.extend(a.number_or::<u16>("id", 0)?.to_be_bytes());
    header.extend((flags | (offset / 8)).to_be_bytes());
    header.extend([a.number_or("ttl", 64)?, protocol(a, "protocol", rest, false)?, 0, 0]);
    header.extend(octets(source));
    header.extend(octets(destination));
    header.extend(options);
    let checksum = a.number_or("checksum", internet(&header))?;
    header[10..12].copy_from_slice(&checksum.to_be_bytes());
    header.extend(payload);
    Ok(header)
}

fn ipv6(a: &mut Arguments<'_>, rest: &[Layer]) -> Built {
    let source: IpAddr = a.need("src")?;
    let destination: IpAddr = a.need("dst")?;
    let payload = stack(rest, Inside { addresses: Some((source, destination)) })?;
    let first = a.number_or::<u32>("version", 6)? << 28
        | u32::from(traffic_class(a)?) << 20
        | a.number_or::<u32>("flow", 0)?;
    let mut header = first.to_be_bytes().to_vec();
    header.extend(a.number_or("length", payload.len() as u16)?.to_be_bytes());
    header.extend([protocol(a, "next", rest, true)?, a.number_or("hops", 64)?]);
    header.extend(octets(source));
    header.extend(octets(destination));
    header.extend(payload);
    Ok(header)
}

/// Hop-by-hop options, routing header, destination options: length in units of 8 bytes, the first not counted.
fn extension(a: &mut Arguments<'_>, rest: &[Layer], inside: Inside) -> Built {
    let mut data = a.bytes("data")?;
    if data.is_empty() {
        // PadN over four bytes.
        data = vec![1, 4, 0, 0, 0, 0];
    }
    let length = a.number_or("length", ((data.len() + 2).div_ceil(8) - 1) as u8)?;
    let header = vec![protocol(a, "next", rest, true)?, length];
    Ok([header, data, stack(rest, inside)?].concat())
}

/// Authentication header: length in units of 4 bytes, the first two not counted.
fn authentication(a: &mut Arguments<'_>, rest: &[Layer], inside: Inside) -> Built {
    let mut data = a.bytes("data")?;
    data.resize(data.len().max(10), 0);
    let length = a.number_or("length", ((data.len() + 2).div_ceil(4) - 2) as u8)?;
    let v6 = inside.addresses.is_some_and(|(source, _)| source.is_ipv6());
    let header = vec![protocol(a, "next", rest, v6)?, length];
    Ok([header, data, stack(rest, inside)?].concat())
}

fn fragment(a: &mut Arguments<'_>, rest: &[Layer], inside: Inside) -> Built {
    let offset = a.number_or::<u16>("offset", 0)?;
    if offset % 8 != 0 {
        return Err("fragment: offset= counts bytes and must be a multiple of 8".to_owned());
    }
    let mut header = vec![protocol(a, "next", rest, true)?, 0];
    header.extend((offset | u16::from(a.word("mf"))).to_be_bytes());
    header.extend(a.need_number::<u32>("id")?.to_be_bytes());
    Ok([header, stack(rest, inside)?].concat())
}

/// Puts the checksum into a transport header at `at`: the given one, else the right one.
fn seal(
    a: &mut Arguments<'_>,
    mut message: Vec<u8>,
    at: usize,
    right: impl FnOnce(&[u8]) -> u16,
) -> Built {
    let checksum = match a.number("checksum")? {
        Some(given) => given,
        None => right(&message),
    };
    message[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
    Ok(message)
}

fn with_pseudo_header(inside: Inside, protocol: u8) -> impl FnOnce(&[u8]) -> u16 {
    move |message| {
        let (source, destination) = inside.addresses.unwrap_or_else(|| {
            let none = IpAddr::from([0; 4]);
            (none, none)
        });
        transport(source, destination, protocol, message)
    }
}

fn tcp(a: &mut Arguments<'_>, rest: &[Layer], inside: Inside) -> Built {
    const LETTERS: &str = "FSRPAUEC";
    let mut flags = 0u8;
    for letter in a.text("flags").unwrap_or_default().chars() {
        let bit = LETTERS.find(letter).ok_or_else(|| format!("tcp: no flag {letter}"))?;
        flags |= 1 << bit;
    }
    let mut options = a.bytes("options")?;
    options.resize(options.len().next_multiple_of(4), 0);
    let words = a.number_or("words", (20 + options.len()) as u8 / 4)?;
    let mut message = a.need_number::<u16>("sport")?.to_be_bytes().to_vec();
    message.extend(a.need_number::<u16>("dport")?.to_be_bytes());
    message.extend(a.number_or::<u32>("seq", 0)?.to_be_bytes());
    message.extend(a.number_or::<u32>("ack", 0)?.to_be_bytes());
    message.extend([words << 4, flags]);
    message.extend(a.number_or::<u16>("window", 65535)?.to_be_bytes());
    message.extend([0, 0]);
    message.extend(a.number_or::<u16>("urgent", 0)?.to_be_bytes());
    message.extend(options);
    message.extend(stack(rest, inside)?);
    seal(a, message, 16, with_pseudo_header(inside, 6))
}

fn udp(a: &mut Arguments<'_>, rest: &[Layer], inside: Inside) -> Built {
    let payload = stack(rest, inside)?;
    let sport = match a.text("sport") {
        Some("entropy") => payload
            .get(8..)
            .and_then(entropy_of)
            .ok_or("udp: sport=entropy needs vxlan(...)/eth(...)/ an IP packet behind it")?,
        Some(text) => number(text)?,
        None => return Err("udp: sport= is missing".to_owned()),
    };
    let mut message = sport.to_be_bytes().to_vec();
    message.extend(a.need_number::<u16>("dport")?.to_be_bytes());
    message.extend(a.number_or("length", (8 + payload.len()) as u16)?.to_be_bytes());
    message.extend([0, 0]);
    message.extend(payload);
    seal(a, message, 6, |message| match with_pseudo_header(inside, 17)(message) {
        // Zero means that there is none (RFC 768).
        0 => 0xffff,
        checksum => checksum,
    })
}

/// The UDP source port for a tunnelled frame whose IP header is plain.
fn entropy_of(frame: &[u8]) -> Option<u16> {
    let ip = frame.get(14..)?;
    let v4 = |at: usize| Some(IpAddr::from(<[u8; 4]>::try_from(ip.get(at..at + 4)?).ok()?));
    let v6 = |at: usize| Some(IpAddr::from(<[u8; 16]>::try_from(ip.get(at..at + 16)?).ok()?));
    let (source, destination, protocol, ports, is_fragment) = match frame.get(12..14)? {
        [0x08, 0x00] => {
            let length = usize::from(ip.first()? & 15) * 4;
            let fragment = u16::from_be_bytes([*ip.get(6)?, *ip.get(7)?]) & 0x3fff != 0;
            (v4(12)?, v4(16)?, *ip.get(9)?, ip.get(length..length + 4), fragment)
        }
        [0x86, 0xdd] => (v6(8)?, v6(24)?, *ip.get(6)?, ip.get(40..44), false),
        _ => return None,
    };
    let (sport, dport) = match (protocol, ports) {
        (6 | 17, Some([a, b, c, d])) if !is_fragment => {
            (u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d]))
        }
        _ => (0, 0),
    };
    Some(entropy(source, destination, protocol, sport, dport))
}

/// SCTP's common header (RFC 9260, section 3.1) over its chunks.
fn sctp(a: &mut Arguments<'_>, rest: &[Layer]) -> Built {
    let mut message = a.need_number::<u16>("sport")?.to_be_bytes().to_vec();
    message.extend(a.need_number::<u16>("dport")?.to_be_bytes());
    message.extend(a.number_or::<u32>("tag", 0)?.to_be_bytes());
    message.extend([0; 4]);
    message.extend(stack(rest, Inside::default())?);
    let checksum = match a.number::<u32>("checksum")? {
        Some(given) => given.to_be_bytes(),
        None => crc32c(&message).to_le_bytes(),
    };
    message[8..12].copy_from_slice(&checksum);
    Ok(message)
}

/// The part of ESP that is not encrypted (RFC 4303, section 2).
fn esp(a: &mut Arguments<'_>, rest: &[Layer]) -> Built {
    let mut header = a.need_number::<u32>("spi")?.to_be_bytes().to_vec();
    header.extend(a.number_or::<u32>("seq", 0)?.to_be_bytes());
    Ok([header, stack(rest, Inside::default())?].concat())
}

fn icmp(a: &mut Arguments<'_>, rest: &[Layer], protocol: u8, inside: Inside) -> Built {
    let kind = a.need_number("type")?;
    let code = a.number_or("code", 0)?;
    let field = match a.number::<u32>("mtu")? {
        Some(mtu) => mtu,
        None => a.number_or("rest", 0)?,
    };
    let body = [field.to_be_bytes().to_vec(), stack(rest, inside)?].concat();
    message(a, kind, code, &body, protocol, inside)
}

/// An ICMP message with its checksum: ICMPv6 covers a pseudo-header, ICMP does not.
fn message(
    a: &mut Arguments<'_>,
    kind: u8,
    code: u8,
    body: &[u8],
    protocol: u8,
    inside: Inside,
) -> Built {
    let bytes = [&[kind, code, 0, 0], body].concat();
    if protocol == 58 {
        seal(a, bytes, 2, with_pseudo_header(inside, 58))
    } else {
        seal(a, bytes, 2, internet)
    }
}

fn echo(a: &mut Arguments<'_>, rest: &[Layer], inside: Inside, kinds: [u8; 2]) -> Built {
    let [v4, v6] = kinds;
    let is_v6 = inside.addresses.is_some_and(|(source, _)| source.is_ipv6());
    let mut body = a.need_number::<u16>("id")?.to_be_bytes().to_vec();
    body.extend(a.number_or::<u16>("seq", 0)?.to_be_bytes());
    body.extend(stack(rest, inside)?);
    let (kind, protocol) = if is_v6 { (v6, 58) } else { (v4, 1) };
    message(a, kind, 0, &body, protocol, inside)
}

/// Router solicitation, neighbour solicitation and advertisement (RFC 4861, section 4).
fn neighbor_discovery(a: &mut Arguments<'_>, rest: &[Layer], inside: Inside, kind: u8) -> Built {
    let mut body = vec![0; 4];
    for letter in a.text("flags").unwrap_or_default().chars() {
        body[0] |= match letter {
            'R' => 0x80,
            'S' => 0x40,
            'O' => 0x20,
            other => return Err(format!("na: no flag {other}")),
        };
    }
    if kind != 133 {
        body.extend(octets(a.need("target")?));
    }
    for (key, code) in [("sll", 1), ("tll", 2)] {
        if let Some(Mac(mac)) = a.get(key)? {
            body.extend([code, 1]);
            body.extend(mac);
        }
    }
    body.extend(stack(rest, inside)?);
    message(a, kind, 0, &body, 58, inside)
}

fn router_advertisement(a: &mut Arguments<'_>, rest: &[Layer], inside: Inside) -> Built {
    let mut body = vec![a.number_or("hops", 0)?, a.number_or("flags", 0)?];
    body.extend(a.need_number::<u16>("lifetime")?.to_be_bytes());
    body.extend(a.number_or::<u32>("reachable", 0)?.to_be_bytes());
    body.extend(a.number_or::<u32>("retransmit", 0)?.to_be_bytes());
    body.extend(stack(rest, inside)?);
    message(a, 134, 0, &body, 58, inside)
}

/// A neighbour discovery option: length in units of 8 bytes, all counted.
fn nd_option(a: &mut Arguments<'_>, rest: &[Layer], inside: Inside) -> Built {
    let code = number(a.positional()?)?;
    let mut data = values(a)?;
    let units = (data.len() + 2).div_ceil(8);
    data.resize(units * 8 - 2, 0);
    let length = a.number_or("length", units as u8)?;
    Ok([vec![code, length], data, stack(rest, inside)?].concat())
}

/// The fixed part of a DHCPv4 message (RFC 2131, section 2) and the cookie before its options.
fn dhcp(a: &mut Arguments<'_>, rest: &[Layer], inside: Inside) -> Built {
    let none = IpAddr::from([0; 4]);
    let mut message = vec![a.number_or("op", 1)?, 1, 6, a.number_or("hops", 0)?];
    message.extend(a.need_number::<u32>("xid")?.to_be_bytes());
    message.extend(a.number_or::<u16>("secs", 0)?.to_be_bytes());
    message.extend(a.number_or::<u16>("flags", 0)?.to_be_bytes());
    for key in ["ciaddr", "yiaddr", "siaddr", "giaddr"] {
        message.extend(octets(a.get(key)?.unwrap_or(none)));
    }
    let Mac(client) = a.need("chaddr")?;
    message.extend(client);
    message.extend([0; 10]);
    for (key, room) in [("sname", 64), ("file", 128)] {
        let mut field = a.bytes(key)?;
        field.resize(room, 0);
        message.extend(field);
    }
    message.extend([0x63, 0x82, 0x53, 0x63]);
    message.extend(stack(rest, inside)?);
    Ok(message)
}

fn dhcp6(a: &mut Arguments<'_>, rest: &[Layer], inside: Inside) -> Built {
    const KINDS: [&str; 11] = [
        "solicit",
        "advertise",
        "request",
        "confirm",
        "renew",
        "rebind",
        "reply",
        "release",
        "decline",
        "reconfigure",
        "information-request",
    ];
    let kind = a.text("type").ok_or("dhcp6: type= is missing")?;
    let kind = match KINDS.iter().position(|name| *name == kind) {
        Some(at) => at as u8 + 1,
        None => number(kind)?,
    };
    let header = u32::from(kind) << 24 | a.need_number::<u32>("xid")?;
    Ok([header.to_be_bytes().to_vec(), stack(rest, inside)?].concat())
}

/// A DHCP option: code and length of `N` bytes each.
fn option<const N: usize>(a: &mut Arguments<'_>, rest: &[Layer], inside: Inside) -> Built {
    let field = |number: usize| (number as u32).to_be_bytes()[4 - N..].to_vec();
    let code = number(a.positional()?)?;
    let data = values(a)?;
    let length = a.number_or("length", data.len())?;
    Ok([field(code), field(length), data, stack(rest, inside)?].concat())
}

/// All values that stand there, one after the other.
fn values(a: &mut Arguments<'_>) -> Built {
    Ok(a.rest().into_iter().map(bytes).collect::<Result<Vec<_>, _>>()?.concat())
}

/// `bytes(FROM..TO)`: that part of what follows; either end may be left out.
fn slice(a: &mut Arguments<'_>, rest: &[Layer], inside: Inside) -> Built {
    let range = a.positional()?;
    let (from, to) = range.split_once("..").ok_or("bytes: write FROM..TO")?;
    let all = stack(rest, inside)?;
    let from = if from.is_empty() { 0 } else { number(from)? };
    let to = if to.is_empty() { all.len() } else { number(to)? };
    all.get(from..to)
        .map(<[u8]>::to_vec)
        .ok_or_else(|| format!("bytes({range}): there are only {} bytes", all.len()))
}
