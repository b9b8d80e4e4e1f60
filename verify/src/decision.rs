//! What a connection's decision says: which packets software would treat by it, and what becomes of them (`DESIGN.md`,
//! section 5, "Hardware").

use std::net::IpAddr;

use packet::{Vni, VtepAddr, VxlanHeader, VxlanTunnel};
use rte_flow::{
    Api, Attributes, Context, Domain, Eth, EthdevPort, Ipv4, Ipv6, Item, Match, NoObjects, Profile,
    Rule, U24, Udp, Vxlan,
};

use crate::bits::{
    BY_SOFTWARE, Cube, IPV4_CHECKSUM_OK, L3_OK, L4_OK, Layer4, NOTHING, PORT, Row, Span, Stack,
    TUNNEL_HEADER, TUNNEL_KIND, Tunnel, write,
};
use crate::dump::{Connection, Output, Side};
use crate::pattern::Range;
use crate::places::Places;
use crate::space::{PROTOCOLS, Region, Space, with};
use crate::view::{Header, View};

/// What of a decision's match set a profile cannot match: the windows of `docs/reference/offload-differences.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exemptions {
    /// Lengths.
    pub oversize: bool,
    /// The VXLAN header's flag.
    pub vni_flag: bool,
    /// The IPv4 header's length.
    pub options: bool,
}

impl Exemptions {
    /// Those of a profile, found by what it refuses.
    pub fn of(profile: &Profile) -> Self {
        let accepts = |pattern: Vec<Item>| {
            let api = if profile.interface.synchronous { Api::Synchronous } else { Api::Template };
            let rule = Rule {
                attributes: Attributes { group: 1, priority: 0, domain: Domain::Transfer },
                pattern,
                actions: vec![rte_flow::Action::Jump(2)],
            };
            let context = Context { api, is_proxy: true, objects: &NoObjects };
            rte_flow::check(&rule, profile, context).is_ok()
        };
        // Beside all else that is asked of the same headers: a card may match a field, and not with so many others.
        let eth = || Item::Eth(Match::<Eth>::default().dst([2, 0, 0, 0, 0, 1]).has_vlan(false));
        let v4 = |mut ip: Match<Ipv4>| {
            ip.spec.get_or_insert_default();
            ip.mask.get_or_insert_default().fragment_offset = 0x3fff;
            Item::Ipv4(ip)
        };
        let mut outer_v4 = Match::<Ipv4>::default().dst(1_u32);
        outer_v4.mask.get_or_insert_default().tos = 3;
        let mut outer_v6 = Match::<Ipv6>::default().dst(1_u128).protocol(17_u8);
        outer_v6.mask.get_or_insert_default().vtc_flow = 3 << 20;
        let flag = |outer| {
            accepts(vec![
                Item::RepresentedPort(Match::<EthdevPort>::default().port_id(0_u16)),
                Item::Eth(Match::<Eth>::default().has_vlan(false)),
                outer,
                Item::Udp(Match::<Udp>::default().dst(4789_u16)),
                Item::Vxlan(Match::<Vxlan>::default().flags(8_u8).vni(U24::MAX)),
                eth(),
            ])
        };
        let options = v4(Match::<Ipv4>::default().version_ihl(0x45_u8));
        Self {
            oversize: !profile.can_match_length(),
            vni_flag: !flag(v4(outer_v4)) || !flag(Item::Ipv6(outer_v6)),
            options: !accepts(vec![Item::Eth(Match::<Eth>::default()), options]),
        }
    }

    /// Their names, with what they mean.
    pub fn names(self) -> Vec<&'static str> {
        [
            (self.oversize, "oversize: the profile cannot match lengths"),
            (self.vni_flag, "vni-flag: the profile cannot match the flags of VXLAN"),
            (self.options, "IPv4 options: the profile cannot match the header's length"),
        ]
        .into_iter()
        .filter_map(|(is_exempt, name)| is_exempt.then_some(name))
        .collect()
    }
}

/// What must hold of every packet that a connection's rules take.
#[derive(Debug)]
pub struct MatchSet {
    /// All of it but the length.
    all: Cube,
    /// The same, each with its name.
    parts: Vec<(&'static str, Cube)>,
    length: Option<Range>,
}

/// TCP's FIN, SYN and RST.
const TRANSITION: u128 = 0x07;

fn address(ip: IpAddr) -> (u128, u128) {
    match ip {
        IpAddr::V4(ip) => (ip.to_bits().into(), 0b10),
        IpAddr::V6(ip) => (ip.to_bits(), 0b11),
    }
}

/// Source and destination address of a stack's header of a family.
fn addresses(stack: Stack, family: u128) -> (Span, Span) {
    if family == 0b10 {
        (stack.network(12, 4), stack.network(16, 4))
    } else {
        (stack.network(8, 16), stack.network(24, 16))
    }
}

impl MatchSet {
    /// That of a connection.
    ///
    /// # Errors
    /// What the dump lacks to say so.
    pub fn new(
        connection: &Connection,
        node: &Places<'_>,
        exempt: Exemptions,
    ) -> Result<Self, String> {
        let interface = node.enabled(&connection.interface)?;
        if let Output::Interface(receiver) = &connection.output {
            node.enabled(receiver)?;
        }
        let mut parts = Parts::default();
        let stack = match connection.side {
            Side::Vm => {
                let port = node.port_of(&connection.interface)?;
                parts.add(
                    "does not come in at the interface's port",
                    &[(PORT, port.into()), (BY_SOFTWARE, 0)],
                );
                if interface.anti_spoof {
                    let mac = mac_number(interface.mac);
                    parts.add(
                        "has another source MAC than the interface's",
                        &[(Stack::OUTER.source_mac(), mac)],
                    );
                }
                Stack::OUTER
            }
            Side::Network => {
                parts.add(
                    "does not come in at the uplink",
                    &[(PORT, node.node.uplink.into()), (BY_SOFTWARE, 0)],
                );
                let source = connection.outer_source;
                let source = source.ok_or("the dump does not say which VTEP it comes from")?;
                let vni = node.vni_of(&interface.vpc)?;
                parts.outer(node.node.vtep, source, vni, exempt);
                let mac = mac_number(interface.mac);
                parts.add(
                    "has another inner destination MAC than the interface's",
                    &[(Stack::INNER.destination_mac(), mac)],
                );
                Stack::INNER
            }
        };
        parts.inner(stack, connection, exempt)?;
        let length = (connection.side == Side::Vm && !exempt.oversize && connection.mtu < u16::MAX)
            .then(|| {
                let (span, most) = match connection.source {
                    IpAddr::V4(_) => (stack.network(2, 2), connection.mtu),
                    IpAddr::V6(_) => (stack.network(4, 2), connection.mtu.saturating_sub(40)),
                };
                Range { span, mask: 0xffff, low: 0, high: most.into() }
            });
        let mut all = Cube::ALL;
        for (_, part) in &parts.0 {
            if !all.narrow(part) {
                return Err("what it asks for contradicts itself".to_owned());
            }
        }
        Ok(Self { all, parts: parts.0, length })
    }

    /// The packets of a region that are not in the set, with what is wrong with them.
    pub fn outside(&self, space: &Space, region: &Region) -> Option<(String, Region)> {
        if !region.cube.is_within(&self.all) {
            for (name, part) in &self.parts {
                if let Some(outside) = region.outside(space, part) {
                    return Some(((*name).to_owned(), outside));
                }
            }
        }
        let too_long = View::new().range(space, self.length.as_ref()?)?.not();
        let outside = region.meet_set(&too_long).filter(|region| region.has_some(space))?;
        Some(("is longer than the MTU".to_owned(), outside))
    }
}

#[derive(Default)]
struct Parts(Vec<(&'static str, Cube)>);

impl Parts {
    fn add(&mut self, name: &'static str, asked: &[(Span, u128)]) {
        self.0.push((name, with(asked)));
    }

    fn integrity(&mut self, name: &'static str, stack: Stack, family: u128) {
        let mut checks = L3_OK | L4_OK;
        if family == 0b10 {
            checks |= IPV4_CHECKSUM_OK;
        }
        let mut cube = Cube::ALL;
        cube.set(stack.integrity(), checks, checks);
        self.0.push((name, cube));
    }

    fn outer(&mut self, vtep: IpAddr, source: IpAddr, vni: u32, exempt: Exemptions) {
        let stack = Stack::OUTER;
        let (number, family) = address(vtep);
        let (from, to) = addresses(stack, family);
        self.add("is no VXLAN packet", &[(TUNNEL_KIND, Tunnel::Vxlan as u128)]);
        self.add("has an outer VLAN tag", &[(stack.has_vlan(), 0)]);
        self.add("has outer headers of the other family", &[(stack.family(), family)]);
        self.add("is for another VTEP", &[(to, number)]);
        self.add("comes from another VTEP than the connection's", &[(from, address(source).0)]);
        self.add("is an outer fragment", &[(stack.is_fragment(), 0)]);
        let ecn = if family == 0b10 {
            stack.network(1, 1).part(6, 2)
        } else {
            stack.network(0, 2).part(10, 2)
        };
        self.add("has an outer header that is ECN-capable", &[(ecn, 0)]);
        self.integrity("has outer headers that are not in order", stack, family);
        if !exempt.vni_flag {
            // The I flag.
            self.add("has a VXLAN header without a valid VNI", &[(TUNNEL_HEADER.part(4, 1), 1)]);
        }
        self.add("has another VNI", &[(TUNNEL_HEADER.part(32, 24), vni.into())]);
        self.add("carries no Ethernet frame", &[(Stack::INNER.has_ethernet(), 1)]);
    }

    fn inner(
        &mut self,
        stack: Stack,
        connection: &Connection,
        exempt: Exemptions,
    ) -> Result<(), String> {
        let (source, family) = address(connection.source);
        let (destination, other) = address(connection.destination);
        if family != other {
            return Err("its addresses are of two families".to_owned());
        }
        let protocol = u128::from(connection.protocol);
        let layer =
            PROTOCOLS.iter().find(|(_, number)| *number == protocol).map(|(layer, _)| *layer);
        let layer = layer
            .filter(|layer| matches!(layer, Layer4::Tcp | Layer4::Udp))
            .ok_or_else(|| format!("protocol {protocol} is never offloaded"))?;
        let (from, to) = addresses(stack, family);
        self.add("has a VLAN tag", &[(stack.has_vlan(), 0)]);
        self.add("is of the other address family", &[(stack.family(), family)]);
        if family == 0b10 {
            if !exempt.options {
                self.add("has IPv4 options", &[(stack.network(0, 1).part(4, 4), 5)]);
            }
        } else {
            self.add("has an extension header", &[(stack.extensions(), 0)]);
        }
        self.add("is a fragment", &[(stack.is_fragment(), 0)]);
        self.add(
            "is of another protocol",
            &[(stack.has_transport(), 1), (stack.transport_kind(), layer as u128)],
        );
        self.add("has another source address", &[(from, source)]);
        self.add("has another destination address", &[(to, destination)]);
        self.add(
            "has another source port",
            &[(stack.transport(0, 2), connection.source_port.into())],
        );
        self.add(
            "has another destination port",
            &[(stack.transport(2, 2), connection.destination_port.into())],
        );
        if layer == Layer4::Tcp {
            let mut cube = Cube::ALL;
            cube.set(stack.transport(13, 1), 0, TRANSITION);
            self.0.push(("is a SYN, FIN or RST", cube));
        }
        self.integrity("has headers that are not in order", stack, family);
        Ok(())
    }
}

fn mac_number(mac: packet::Mac) -> u128 {
    mac.0.iter().fold(0, |number, octet| number << 8 | u128::from(*octet))
}

/// The MAC bits of a stack.
fn mac_bits(stack: Stack) -> Row {
    let mut bits = NOTHING;
    write(&mut bits, stack.destination_mac(), u128::MAX);
    write(&mut bits, stack.source_mac(), u128::MAX);
    bits
}

/// What is wrong with how a connection's packets leave at a port, if anything.
pub fn wrong_outcome(
    connection: &Connection,
    node: &Places<'_>,
    region: &Region,
    view: &View,
    port: u16,
) -> Result<Option<String>, String> {
    let (encapsulations, now, came) = match (connection.side, &connection.output) {
        (Side::Network, Output::Tunnel(_)) => {
            return Err("it goes from a tunnel into a tunnel, which nothing is made for".to_owned());
        }
        (Side::Network, _) => (-1, Stack::OUTER, Stack::INNER),
        (Side::Vm, Output::Interface(_)) => (0, Stack::OUTER, Stack::OUTER),
        (Side::Vm, Output::Tunnel(_)) => (1, Stack::INNER, Stack::OUTER),
    };
    let wanted = match &connection.output {
        Output::Interface(name) => node.port_of(name)?,
        Output::Tunnel(_) => node.node.uplink,
    };
    if port != wanted {
        let (is, should) = (node.port_name(port), node.port_name(wanted));
        return Ok(Some(format!("leaves at {is} instead of {should}")));
    }
    if view.encapsulations != encapsulations {
        let what = if view.encapsulations > encapsulations { "too few" } else { "too many" };
        return Ok(Some(format!("leaves with {what} headers taken off")));
    }
    let Some(mut changed) = view.changes(now, came) else {
        return Ok(Some("leaves as another packet than it came".to_owned()));
    };
    let known = view.known(&region.cube);
    if let Some(macs) = &connection.macs {
        let (source, destination) = (mac_number(macs.source), mac_number(macs.destination));
        if known.known(now.source_mac()) != Some(source) {
            return Ok(Some(format!("does not leave with the source MAC {}", macs.source)));
        }
        if known.known(now.destination_mac()) != Some(destination) {
            return Ok(Some(format!(
                "does not leave with the destination MAC {}",
                macs.destination
            )));
        }
        changed.iter_mut().zip(mac_bits(now)).for_each(|(bits, macs)| *bits &= !macs);
    }
    if changed != NOTHING {
        return Ok(Some("leaves with a header rewritten that no step changes".to_owned()));
    }
    // A tunnel's packet that a VM sends is its own affair, and must stay as it is inside, too.
    if encapsulations == 0 && view.changes(Stack::INNER, Stack::INNER).is_none_or(|c| c != NOTHING)
    {
        return Ok(Some("leaves with an inner header rewritten".to_owned()));
    }
    match &connection.output {
        Output::Tunnel(id) => wrong_header(*id, node, view),
        Output::Interface(_) => Ok(None),
    }
}

/// What is wrong with the outer headers for a tunnel, if anything.
fn wrong_header(id: u32, node: &Places<'_>, view: &View) -> Result<Option<String>, String> {
    let tunnel = node.tunnel(id)?;
    let vtep = |ip: IpAddr| VtepAddr::try_from(ip).map_err(|_| format!("{ip} is no VTEP"));
    let header = VxlanHeader::new(&VxlanTunnel {
        source_mac: node.node.mac,
        destination_mac: tunnel.next_hop.unwrap_or(node.node.mac),
        source: vtep(node.node.vtep)?,
        destination: vtep(tunnel.vtep)?,
        vni: Vni::try_from(u64::from(tunnel.vni)).map_err(|error| error.to_string())?,
        dscp: tunnel.dscp,
    })
    .map_err(|error| error.to_string())?;
    let mut wanted = Header::new(header.as_bytes()).ok_or("its headers are not followed")?.known;
    if tunnel.next_hop.is_none() {
        let mut bits = NOTHING;
        write(&mut bits, Stack::OUTER.destination_mac(), u128::MAX);
        for (word, bits) in bits.iter().enumerate() {
            wanted.mask[word] &= !bits;
            wanted.value[word] &= !bits;
        }
    }
    let is_right = view.made().is_within(&wanted);
    Ok((!is_right)
        .then(|| format!("leaves with other outer headers than those to {}", tunnel.node)))
}
