//! DHCP for IPv6 (RFC 8415): the gateway hands each VM all IPv6 addresses of its interface.

use std::net::{IpAddr, Ipv6Addr};

use arrayvec::ArrayVec;
use model::decision::DropReason;
use model::snapshot::{Interface, Subnet};
use packet::wire::dhcpv6::{
    ALL_RELAYS_AND_SERVERS, ALL_SERVERS, CLIENT_PORT, Dhcpv6, IaAddress, IaNa, Options,
    SERVER_PORT, message, option, status,
};
use packet::wire::udp::Udp;
use packet::{Fragment, Frame, IpPacket, Mac, NoRoom, Transport};
use zerocopy::big_endian::U32;
use zerocopy::{FromBytes, IntoBytes};

use super::{Response, gateways};
use crate::datapath::compose::{Addresses, Envelope, Writer, verified};

const HOP_LIMIT: u8 = 64;
/// Seconds; long for the same reason as in DHCP for IPv4.
const PREFERRED_LIFETIME: u32 = 24 * 60 * 60;
/// Seconds.
const VALID_LIFETIME: u32 = 2 * PREFERRED_LIFETIME;
/// Seconds; section 21.4 recommends these parts of the preferred lifetime.
const T1: u32 = PREFERRED_LIFETIME / 2;
/// Seconds.
const T2: u32 = PREFERRED_LIFETIME / 5 * 4;
/// The highest: a client need not wait for other servers' advertisements, there are none.
const PREFERENCE: u8 = 255;
/// Addresses of an interface that are handed out, at most, so that the reply fits any link.
const ADDRESS_LIMIT: usize = 32;
/// Longest UDP payload that fits any link (RFC 8200, section 5).
const MESSAGE_LIMIT: usize = 1280 - 48;

/// A group of addresses the client wants.
struct Group {
    kind: GroupKind,
    /// The client's number for it.
    id: U32,
    /// The addresses it names.
    addresses: ArrayVec<Ipv6Addr, 8>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum GroupKind {
    Addresses,
    Temporary,
    Prefixes,
}

/// What the responder reads from a client's message.
struct Request {
    header: Dhcpv6,
    /// A DUID has at most 130 bytes (section 11.1); empty: none given.
    client: ArrayVec<u8, 130>,
    server: Server,
    rapid_commit: bool,
    groups: ArrayVec<Group, 8>,
}

/// Which server the client names.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Server {
    Any,
    Ours,
    Another,
}

/// What the reply says besides who it is from and for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Content {
    /// Addresses and settings; what becomes of addresses the client named that are not its own.
    Addresses(Foreign),
    /// Settings alone.
    Settings,
    /// A status alone.
    Status(u16),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Foreign {
    /// They were only wishes.
    Ignored,
    /// The client must start anew.
    Refused,
    /// They end now.
    Withdrawn,
}

/// Whether the packet is for the DHCP server of the subnet: UDP to port 547 of the servers' multicast groups or of a
/// gateway. To any other address port 547 is ordinary traffic.
pub(super) fn is_for_server(subnet: &Subnet, packet: &IpPacket) -> bool {
    packet.transport == Transport::Udp
        && packet.fragment == Fragment::None
        && packet.tuple.destination_port() == SERVER_PORT
        && match packet.tuple.destination() {
            IpAddr::V6(to) => {
                to == ALL_RELAYS_AND_SERVERS || to == ALL_SERVERS || gateways::is_v6(subnet, to)
            }
            IpAddr::V4(_) => false,
        }
}

/// Answers all messages of clients. Those to other servers, and those of relays and servers, end here; so does all of
/// it in a subnet without IPv6.
pub(super) fn answer(
    interface: &Interface,
    subnet: &Subnet,
    packet: &IpPacket,
    frame: &mut Frame,
) -> Response {
    let (IpAddr::V6(client), IpAddr::V6(destination)) =
        (packet.tuple.source(), packet.tuple.destination())
    else {
        return Response::NotForUs;
    };
    if subnet.v6.is_empty() {
        return Response::UNANSWERED;
    }
    let Some(data) = verified(frame.bytes(), packet).and_then(|udp| udp.get(Udp::LENGTH..)) else {
        return Response::Drop(DropReason::Malformed);
    };
    if client.is_unspecified() || client.is_multicast() {
        return Response::Drop(DropReason::Malformed);
    }
    let duid = server_duid(subnet.gateway_mac);
    let Ok((header, options)) = Dhcpv6::read_from_prefix(data) else {
        return Response::Drop(DropReason::Malformed);
    };
    if !matches!(
        header.kind,
        message::SOLICIT | message::REQUEST
            ..=message::REBIND | message::RELEASE | message::DECLINE | message::INFORMATION_REQUEST
    ) {
        return Response::UNANSWERED;
    }
    let Some(request) = Request::read(header, options, &duid).filter(Request::is_valid) else {
        return Response::Drop(DropReason::Malformed);
    };
    let Some(content) = request.content(interface, destination.is_multicast()) else {
        return Response::UNANSWERED;
    };
    let server = if destination.is_multicast() { gateways::LINK_LOCAL } else { destination };
    let envelope = Envelope {
        source_mac: subnet.gateway_mac,
        destination_mac: interface.mac,
        addresses: Addresses::V6(server, client),
        hop_limit: HOP_LIMIT,
    };
    let written = envelope.udp(frame, (SERVER_PORT, CLIENT_PORT), MESSAGE_LIMIT, |writer| {
        write(&request, content, &duid, interface, subnet, writer)
    });
    Response::answered(written)
}

impl Request {
    fn read(header: Dhcpv6, options: &[u8], our_duid: &[u8]) -> Option<Self> {
        let mut request = Self {
            header,
            client: ArrayVec::new(),
            server: Server::Any,
            rapid_commit: false,
            groups: ArrayVec::new(),
        };
        for option in Options::new(options) {
            let (code, value) = option.ok()?;
            let group = match code {
                option::CLIENT_IDENTIFIER => {
                    // Type, and at least one byte more.
                    if value.len() < 3 || !request.client.is_empty() {
                        return None;
                    }
                    request.client.try_extend_from_slice(value).ok()?;
                    continue;
                }
                option::SERVER_IDENTIFIER => {
                    request.server = if value == our_duid { Server::Ours } else { Server::Another };
                    continue;
                }
                option::RAPID_COMMIT => {
                    request.rapid_commit = true;
                    continue;
                }
                option::IA_NA => Group::read(GroupKind::Addresses, value)?,
                option::IA_TA => Group::read(GroupKind::Temporary, value)?,
                option::IA_PD => Group::read(GroupKind::Prefixes, value)?,
                _ => continue,
            };
            // What is more than any client asks for goes without an answer.
            let _ = request.groups.try_push(group);
        }
        Some(request)
    }

    /// Which identities each message must and must not carry (section 16).
    fn is_valid(&self) -> bool {
        let (client, server) = (!self.client.is_empty(), self.server != Server::Any);
        match self.header.kind {
            message::INFORMATION_REQUEST => self.groups.is_empty(),
            message::SOLICIT | message::CONFIRM | message::REBIND => client && !server,
            _ => client && server,
        }
    }

    /// What to reply (section 18.3), if anything.
    fn content(&self, interface: &Interface, multicast: bool) -> Option<Content> {
        if self.server == Server::Another {
            return None;
        }
        match self.header.kind {
            message::REQUEST => Some(Content::Addresses(Foreign::Refused)),
            message::RENEW => Some(Content::Addresses(Foreign::Withdrawn)),
            message::RELEASE | message::DECLINE => Some(Content::Status(status::SUCCESS)),
            // The rest may only be sent to the servers' group (section 16).
            _ if !multicast => None,
            message::SOLICIT => Some(Content::Addresses(Foreign::Ignored)),
            message::REBIND => Some(Content::Addresses(Foreign::Withdrawn)),
            message::INFORMATION_REQUEST => Some(Content::Settings),
            message::CONFIRM => {
                let mut named = self.groups.iter().flat_map(|group| &group.addresses).peekable();
                named.peek()?;
                Some(Content::Status(if named.all(|address| is_own(interface, *address)) {
                    status::SUCCESS
                } else {
                    status::NOT_ON_LINK
                }))
            }
            _ => None,
        }
    }
}

impl Group {
    fn read(kind: GroupKind, value: &[u8]) -> Option<Self> {
        let (id, options) = match kind {
            GroupKind::Addresses | GroupKind::Prefixes => {
                let (head, options) = IaNa::ref_from_prefix(value).ok()?;
                (head.id, options)
            }
            GroupKind::Temporary => U32::read_from_prefix(value).ok()?,
        };
        let mut addresses = ArrayVec::new();
        for option in Options::new(options) {
            if let (option::IA_ADDRESS, value) = option.ok()? {
                let (address, _) = IaAddress::ref_from_prefix(value).ok()?;
                let _ = addresses.try_push(Ipv6Addr::from(address.address));
            }
        }
        Some(Self { kind, id, addresses })
    }
}

/// A VM's link has one host: an address belongs on it exactly when it is the interface's.
fn is_own(interface: &Interface, address: Ipv6Addr) -> bool {
    interface.addresses.contains(&IpAddr::V6(address))
}

/// A DUID made from a link-layer address (section 11.4).
fn server_duid(mac: Mac) -> [u8; 10] {
    let mut duid = [0, 3, 0, 1, 0, 0, 0, 0, 0, 0];
    for (to, from) in duid.iter_mut().skip(4).zip(mac.0) {
        *to = from;
    }
    duid
}

fn write(
    request: &Request,
    content: Content,
    duid: &[u8],
    interface: &Interface,
    subnet: &Subnet,
    writer: &mut Writer,
) -> Result<(), NoRoom> {
    let advertises = request.header.kind == message::SOLICIT && !request.rapid_commit;
    let kind = if advertises { message::ADVERTISE } else { message::REPLY };
    writer.put(Dhcpv6 { kind, ..request.header }.as_bytes())?;
    if !request.client.is_empty() {
        put(writer, option::CLIENT_IDENTIFIER, &request.client)?;
    }
    put(writer, option::SERVER_IDENTIFIER, duid)?;
    if advertises {
        put(writer, option::PREFERENCE, &[PREFERENCE])?;
    } else if request.header.kind == message::SOLICIT {
        put(writer, option::RAPID_COMMIT, &[])?;
    }
    match content {
        Content::Status(code) => put_status(writer, code),
        Content::Settings => put_dns(subnet, writer),
        Content::Addresses(foreign) => {
            let mut first = true;
            for group in &request.groups {
                put_group(writer, group, first, foreign, interface)?;
                first &= group.kind != GroupKind::Addresses;
            }
            put_dns(subnet, writer)
        }
    }
}

/// The answer to one group. The `first` group of addresses gets all of the interface's.
fn put_group(
    writer: &mut Writer,
    group: &Group,
    first: bool,
    foreign: Foreign,
    interface: &Interface,
) -> Result<(), NoRoom> {
    let own = || {
        interface.addresses.iter().filter_map(|address| match address {
            IpAddr::V6(address) => Some(*address),
            IpAddr::V4(_) => None,
        })
    };
    let others = || group.addresses.iter().filter(|address| !is_own(interface, **address));
    let (code, refusal) = match group.kind {
        GroupKind::Prefixes => (option::IA_PD, Some(status::NO_PREFIXES)),
        GroupKind::Temporary => (option::IA_TA, Some(status::NO_ADDRESSES)),
        GroupKind::Addresses if foreign == Foreign::Refused && others().next().is_some() => {
            (option::IA_NA, Some(status::NOT_ON_LINK))
        }
        GroupKind::Addresses if !first || own().next().is_none() => {
            (option::IA_NA, Some(status::NO_ADDRESSES))
        }
        GroupKind::Addresses => (option::IA_NA, None),
    };
    let start = writer.written();
    writer.put(&code.to_be_bytes())?;
    writer.put(&[0, 0])?;
    if group.kind == GroupKind::Temporary {
        writer.put(group.id.as_bytes())?;
    } else {
        let (t1, t2) = if refusal.is_none() { (T1, T2) } else { (0, 0) };
        writer.put(IaNa { id: group.id, t1: U32::new(t1), t2: U32::new(t2) }.as_bytes())?;
    }
    match refusal {
        Some(code) => put_status(writer, code)?,
        None => own()
            .take(ADDRESS_LIMIT)
            .try_for_each(|ip| put_address(writer, ip, PREFERRED_LIFETIME, VALID_LIFETIME))?,
    }
    if group.kind == GroupKind::Addresses && foreign == Foreign::Withdrawn {
        others().try_for_each(|ip| put_address(writer, *ip, 0, 0))?;
    }
    let length = writer.written().saturating_sub(start + 4) as u16;
    writer.patch(start + 2, &length.to_be_bytes());
    Ok(())
}

fn put_address(
    writer: &mut Writer,
    address: Ipv6Addr,
    preferred: u32,
    valid: u32,
) -> Result<(), NoRoom> {
    let address = IaAddress {
        address: address.octets(),
        preferred_lifetime: U32::new(preferred),
        valid_lifetime: U32::new(valid),
    };
    put(writer, option::IA_ADDRESS, address.as_bytes())
}

/// A status without text.
fn put_status(writer: &mut Writer, code: u16) -> Result<(), NoRoom> {
    put(writer, option::STATUS, &code.to_be_bytes())
}

fn put(writer: &mut Writer, code: u16, value: &[u8]) -> Result<(), NoRoom> {
    writer.put(&code.to_be_bytes())?;
    writer.put(&(value.len() as u16).to_be_bytes())?;
    writer.put(value)
}

/// As many servers as there is room for.
fn put_dns(subnet: &Subnet, writer: &mut Writer) -> Result<(), NoRoom> {
    let servers = || {
        subnet.dns.iter().filter_map(|server| match server {
            IpAddr::V6(address) => Some(address.octets()),
            IpAddr::V4(_) => None,
        })
    };
    let count = servers().count().min(writer.room().saturating_sub(4) / 16);
    if count == 0 {
        return Ok(());
    }
    writer.put(&option::DNS_SERVERS.to_be_bytes())?;
    writer.put(&(16 * count as u16).to_be_bytes())?;
    servers().take(count).try_for_each(|server| writer.put(&server))
}
