//! DHCP for IPv4 (RFC 2131): the gateway hands each VM its interface's first IPv4 address.

use std::net::{IpAddr, Ipv4Addr};

use arrayvec::ArrayVec;
use model::decision::DropReason;
use model::snapshot::{Interface, Snapshot, Subnet};
use packet::wire::dhcpv4::{
    BOOT_REPLY, BOOT_REQUEST, BROADCAST_FLAG, CLIENT_PORT, Dhcpv4, MAGIC_COOKIE, Options,
    SERVER_PORT, message, option,
};
use packet::wire::udp::Udp;
use packet::{Fragment, Frame, IpPacket, NoRoom, Transport};
use zerocopy::big_endian::{U16, U32};
use zerocopy::{FromBytes, IntoBytes};

use super::{Response, gateways};
use crate::datapath::compose::{Addresses, Envelope, Writer, verified};

const HOP_LIMIT: u8 = 64;
/// Seconds. Addresses are fixed by intent, so that a short lease would buy nothing; a long one lets VMs keep their
/// address while the daemon is away.
const LEASE_TIME: u32 = 24 * 60 * 60;
/// RFC 2131, section 4.4.5.
const RENEWAL_TIME: u32 = LEASE_TIME / 2;
/// RFC 2131, section 4.4.5.
const REBINDING_TIME: u32 = LEASE_TIME / 8 * 7;
/// IP packets every client takes, bytes (RFC 2131, section 2).
const MESSAGE_MIN: u16 = 576;
/// Shortest message some clients and relays take: that of BOOTP (RFC 951, section 3).
const BOOTP_LENGTH: usize = 300;
/// IPv4 and UDP header.
const HEADERS: usize = 28;

/// What the responder reads from a client's message.
struct Request {
    fixed: Dhcpv4,
    kind: u8,
    requested: Option<Ipv4Addr>,
    server: Option<Ipv4Addr>,
    max_size: u16,
    client_id: ArrayVec<u8, 255>,
}

/// What the client gets.
struct Lease {
    address: Ipv4Addr,
    prefix: ipnet::Ipv4Net,
    gateway: Ipv4Addr,
    mtu: u16,
}

/// Whether the packet is for the DHCP server of the subnet: UDP to port 67 of the limited broadcast address or of a
/// gateway. To any other address port 67 is ordinary traffic.
pub(super) fn is_for_server(subnet: &Subnet, packet: &IpPacket) -> bool {
    packet.transport == Transport::Udp
        && packet.fragment == Fragment::None
        && packet.tuple.destination_port() == SERVER_PORT
        && match packet.tuple.destination() {
            IpAddr::V4(to) => to.is_broadcast() || gateways::is_v4(subnet, to),
            IpAddr::V6(_) => false,
        }
}

/// Answers DISCOVER, REQUEST and INFORM. RELEASE and DECLINE end here: the address stays the interface's. So do messages
/// to other servers, plain BOOTP, and everything when the interface has no IPv4 address. Messages that came through a
/// relay are not ours.
pub(super) fn answer(
    snapshot: &Snapshot,
    interface: &Interface,
    subnet: &Subnet,
    packet: &IpPacket,
    frame: &mut Frame,
) -> Response {
    let Some(data) = verified(frame.bytes(), packet).and_then(|udp| udp.get(Udp::LENGTH..)) else {
        return Response::Drop(DropReason::Malformed);
    };
    let Ok((fixed, options)) = Dhcpv4::read_from_prefix(data) else {
        return Response::Drop(DropReason::Malformed);
    };
    if fixed.operation != BOOT_REQUEST || fixed.cookie.get() != MAGIC_COOKIE {
        return Response::UNANSWERED;
    }
    if fixed.relay != [0; 4] {
        return Response::NotForUs;
    }
    let Some(request) = Request::read(fixed, options) else {
        return Response::Drop(DropReason::Malformed);
    };
    if request.fixed.client_mac != interface.mac {
        return if interface.anti_spoof {
            Response::Drop(DropReason::SpoofedSource)
        } else {
            Response::UNANSWERED
        };
    }
    let Some(lease) = Lease::of(snapshot, interface, subnet) else {
        return Response::UNANSWERED;
    };
    let Some((kind, to)) = request.reply(&lease, interface, packet.tuple.source()) else {
        return Response::UNANSWERED;
    };
    let envelope = Envelope {
        source_mac: subnet.gateway_mac,
        destination_mac: interface.mac,
        addresses: Addresses::V4(lease.gateway, to),
        hop_limit: HOP_LIMIT,
    };
    let size = request.max_size.min(lease.mtu).max(MESSAGE_MIN);
    let limit = usize::from(size).saturating_sub(HEADERS);
    let written = envelope.udp(frame, (SERVER_PORT, CLIENT_PORT), limit, |writer| {
        write(&request, kind, &lease, subnet, writer)
    });
    Response::answered(written)
}

impl Request {
    fn read(fixed: Dhcpv4, options: &[u8]) -> Option<Self> {
        if fixed.hardware_type != 1 || fixed.hardware_length != 6 {
            return None;
        }
        let mut request = Self {
            fixed,
            kind: 0,
            requested: None,
            server: None,
            max_size: MESSAGE_MIN,
            client_id: ArrayVec::new(),
        };
        let overload = request.read_options(options)?;
        if overload & 1 != 0 {
            request.read_options(&fixed.boot_file)?;
        }
        if overload & 2 != 0 {
            request.read_options(&fixed.server_name)?;
        }
        (request.kind != 0).then_some(request)
    }

    /// Returns the value of the overload option, 0 without one.
    fn read_options(&mut self, options: &[u8]) -> Option<u8> {
        let mut overload = 0;
        for option in Options::new(options) {
            match option.ok()? {
                (option::MESSAGE_TYPE, [kind]) => self.kind = *kind,
                (option::REQUESTED_ADDRESS, [a, b, c, d]) => {
                    self.requested = Some(Ipv4Addr::new(*a, *b, *c, *d));
                }
                (option::SERVER_IDENTIFIER, [a, b, c, d]) => {
                    self.server = Some(Ipv4Addr::new(*a, *b, *c, *d));
                }
                (option::MAX_MESSAGE_SIZE, [high, low]) => {
                    self.max_size = u16::from_be_bytes([*high, *low]).max(MESSAGE_MIN);
                }
                (option::OVERLOAD, [value]) => overload = *value,
                (option::CLIENT_IDENTIFIER, id) if self.client_id.is_empty() => {
                    self.client_id.try_extend_from_slice(id).ok()?;
                }
                (
                    option::MESSAGE_TYPE
                    | option::REQUESTED_ADDRESS
                    | option::SERVER_IDENTIFIER
                    | option::MAX_MESSAGE_SIZE
                    | option::OVERLOAD,
                    _,
                ) => return None,
                _ => {}
            }
        }
        Some(overload)
    }

    /// Type and destination address of the reply (RFC 2131, sections 4.1 and 4.3), if there is one. `source` is the IP
    /// source of the request.
    fn reply(
        &self,
        lease: &Lease,
        interface: &Interface,
        source: IpAddr,
    ) -> Option<(u8, Ipv4Addr)> {
        let client = Ipv4Addr::from(self.fixed.client);
        let without_address = if self.fixed.flags.get() & BROADCAST_FLAG == 0 {
            lease.address
        } else {
            Ipv4Addr::BROADCAST
        };
        match self.kind {
            message::DISCOVER => Some((message::OFFER, without_address)),
            message::REQUEST => {
                if self.server.is_some_and(|server| server != lease.gateway) {
                    return None;
                }
                // Selecting and rebooting clients ask by option, renewing and rebinding ones by their address.
                let asked = self.requested.or((!client.is_unspecified()).then_some(client))?;
                Some(match (asked == lease.address, client.is_unspecified()) {
                    (false, _) => (message::NAK, Ipv4Addr::BROADCAST),
                    (true, true) => (message::ACK, without_address),
                    (true, false) => (message::ACK, lease.address),
                })
            }
            message::INFORM => {
                let client = match (client.is_unspecified(), source) {
                    (true, IpAddr::V4(source)) => source,
                    _ => client,
                };
                interface.addresses.contains(&IpAddr::V4(client)).then_some((message::ACK, client))
            }
            _ => None,
        }
    }
}

impl Lease {
    fn of(snapshot: &Snapshot, interface: &Interface, subnet: &Subnet) -> Option<Self> {
        let address = interface.addresses.iter().find_map(|address| match address {
            IpAddr::V4(address) => Some(*address),
            IpAddr::V6(_) => None,
        })?;
        let (prefix, gateway) = *subnet.v4.iter().find(|(prefix, _)| prefix.contains(&address))?;
        let mtu = snapshot.vpc(interface.vpc)?.mtu;
        Some(Self { address, prefix, gateway, mtu })
    }
}

fn write(
    request: &Request,
    kind: u8,
    lease: &Lease,
    subnet: &Subnet,
    writer: &mut Writer,
) -> Result<(), NoRoom> {
    let (acknowledges, informs) = (kind != message::NAK, request.kind == message::INFORM);
    let gives = acknowledges && !informs;
    let message = Dhcpv4 {
        operation: BOOT_REPLY,
        hops: 0,
        seconds: U16::ZERO,
        client: if kind == message::ACK { request.fixed.client } else { [0; 4] },
        your: if gives { lease.address.octets() } else { [0; 4] },
        next_server: [0; 4],
        client_mac_padding: [0; 10],
        server_name: [0; 64],
        boot_file: [0; 128],
        cookie: U32::new(MAGIC_COOKIE),
        ..request.fixed
    };
    writer.put(message.as_bytes())?;
    put(writer, option::MESSAGE_TYPE, &[kind])?;
    put(writer, option::SERVER_IDENTIFIER, &lease.gateway.octets())?;
    if gives {
        put(writer, option::LEASE_TIME, &LEASE_TIME.to_be_bytes())?;
        put(writer, option::RENEWAL_TIME, &RENEWAL_TIME.to_be_bytes())?;
        put(writer, option::REBINDING_TIME, &REBINDING_TIME.to_be_bytes())?;
    }
    if acknowledges {
        put(writer, option::SUBNET_MASK, &lease.prefix.netmask().octets())?;
        put(writer, option::ROUTER, &lease.gateway.octets())?;
        put(writer, option::INTERFACE_MTU, &lease.mtu.to_be_bytes())?;
        if lease.prefix.prefix_len() < 31 {
            put(writer, option::BROADCAST_ADDRESS, &lease.prefix.broadcast().octets())?;
        }
    }
    // RFC 6842: the client's identity comes back, so that several clients of one MAC can tell their answers apart.
    if !request.client_id.is_empty() {
        put(writer, option::CLIENT_IDENTIFIER, &request.client_id)?;
    }
    if acknowledges {
        put_dns(subnet, writer)?;
    }
    writer.put(&[option::END])?;
    writer.pad_to(BOOTP_LENGTH)
}

fn put(writer: &mut Writer, code: u8, value: &[u8]) -> Result<(), NoRoom> {
    writer.put(&[code, value.len() as u8])?;
    writer.put(value)
}

/// As many servers as there is room for, the end option included.
fn put_dns(subnet: &Subnet, writer: &mut Writer) -> Result<(), NoRoom> {
    let servers = || {
        subnet.dns.iter().filter_map(|server| match server {
            IpAddr::V4(address) => Some(address.octets()),
            IpAddr::V6(_) => None,
        })
    };
    // The option's length field counts to 255.
    let count = servers().count().min(writer.room().saturating_sub(3) / 4).min(63);
    if count == 0 {
        return Ok(());
    }
    writer.put(&[option::DNS_SERVERS, 4 * count as u8])?;
    servers().take(count).try_for_each(|server| writer.put(&server))
}
