//! Which layer of a packet each item of a pattern is about: items stand on each other as headers do, from the outermost
//! inwards, and a tunnel begins a second stack.

use std::borrow::Cow;

use crate::error::{EINVAL, ENOTSUP, ErrorKind, FlowError};
use crate::header::{Eth, Header, Vlan};
use crate::item::{Item, ItemKind, Match};
use crate::profile::{IpInIp, Matching};

/// Which of two nested stacks of headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Depth {
    /// From the packet's first byte on.
    Outer,
    /// Behind the tunnel's header.
    Inner,
}

/// Where an item looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// In which stack; for tunnel headers the outer one, for metadata that which the pattern has reached.
    pub depth: Depth,
    /// At which VLAN tag of the stack, from 0.
    pub tag: u8,
    /// ANY: stands for the network layer of the stack.
    pub any_network: bool,
    /// ANY: stands for the transport layer of the stack.
    pub any_transport: bool,
}

impl Position {
    const fn at(depth: Depth) -> Self {
        Self { depth, tag: 0, any_network: false, any_transport: false }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Network {
    V4,
    V6,
    Arp,
    /// Covered by ANY.
    Any,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Transport {
    Udp,
    Other,
    /// Covered by ANY.
    Any,
}

/// What the pattern has said of one stack so far.
#[derive(Clone, Copy, Default)]
struct Stack {
    link: bool,
    tags: u8,
    /// The type that the link layer asks for, where it asks for one.
    ether_type: Option<u16>,
    network: Option<Network>,
    /// The protocol that the network layer asks for, where it asks for one.
    protocol: Option<u8>,
    transport: Option<Transport>,
    /// ANY covers some layers, it is not said how many.
    open: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Tunnel {
    Udp,
    Geneve,
    /// With the flags that the pattern asks to be clear.
    Gre {
        absent: u16,
    },
    Nvgre,
    IpInIp,
}

/// Walks over a pattern.
pub struct Layers<'a> {
    matching: &'a Matching,
    outer: Stack,
    inner: Stack,
    tunnel: Option<Tunnel>,
    has_key: bool,
    /// The length of GENEVE's options in words that the pattern asks for, where it does.
    option_words: Option<u8>,
}

/// The IP protocol numbers of IP-in-IP: IPv4 (RFC 2003) and IPv6 (RFC 2473).
const IPV4_IN_IP: u8 = 4;
const IPV6_IN_IP: u8 = 41;
const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const GRE: u8 = 47;
const ESP: u8 = 50;
const ICMPV6: u8 = 58;
const SCTP: u8 = 132;

/// The IP protocol number of what an item stands for, where it stands on IP.
pub(crate) const fn protocol_of(kind: ItemKind) -> Option<u8> {
    match kind {
        ItemKind::Icmp => Some(ICMP),
        ItemKind::Tcp => Some(TCP),
        ItemKind::Udp => Some(UDP),
        ItemKind::Gre | ItemKind::Nvgre => Some(GRE),
        ItemKind::Esp => Some(ESP),
        ItemKind::Icmp6 => Some(ICMPV6),
        ItemKind::Sctp => Some(SCTP),
        _ => None,
    }
}

/// GRE's flags: checksum, key, sequence number.
const GRE_CHECKSUM: u16 = 0x8000;
const GRE_KEY: u16 = 0x2000;
const GRE_SEQUENCE: u16 = 0x1000;

fn refuse(index: usize, errno: i32, message: impl Into<Cow<'static, str>>) -> FlowError {
    FlowError::item(index, ErrorKind::Item, errno, message)
}

/// The value that an item asks of a field of 16 bits or less, where all its bits count.
fn exact<H: Header, T: Copy + Into<u32>>(
    asked: &Match<H>,
    field: impl Fn(&H) -> T,
    ones: T,
) -> Option<T> {
    let full = field(&asked.effective_mask()).into() == ones.into();
    let is_range = asked.last.as_ref().is_some_and(|last| field(last).into() != 0);
    asked.spec.as_ref().filter(|_| full && !is_range).map(field)
}

impl<'a> Layers<'a> {
    /// Before the first item.
    #[must_use]
    pub fn new(matching: &'a Matching) -> Self {
        Self {
            matching,
            outer: Stack::default(),
            inner: Stack::default(),
            tunnel: None,
            has_key: false,
            option_words: None,
        }
    }

    /// Takes the next item, which is the pattern's at `index`.
    ///
    /// # Errors
    /// `EINVAL` or `ENOTSUP` where no such packet can be, or none that the parser follows; both as mlx5 says it.
    pub fn push(&mut self, index: usize, item: &Item) -> Result<Position, FlowError> {
        let mut tag = 0;
        let mut any = (false, false);
        match item {
            Item::Eth(asked) => self.ethernet(index, asked)?,
            Item::Vlan(asked) => tag = self.vlan(index, asked)?,
            Item::ArpEthIpv4(_) => self.network(index, Network::Arp, 0x0806, "arp_eth_ipv4")?,
            Item::Ipv4(asked) => {
                self.network(index, Network::V4, 0x0800, "ipv4")?;
                self.stack().protocol = exact(asked, |ip| ip.protocol, 0xff);
            }
            Item::Ipv6(asked) => {
                self.network(index, Network::V6, 0x86dd, "ipv6")?;
                self.stack().protocol = exact(asked, |ip| ip.protocol, 0xff);
            }
            Item::Ipv6FragExt(asked) => {
                let stack = self.stack();
                if stack.transport.is_some() {
                    let message = "item ipv6_frag_ext follows a transport layer; put it before";
                    return Err(refuse(index, EINVAL, message));
                }
                if stack.network != Some(Network::V6) {
                    let message = "item ipv6_frag_ext needs ipv6 before it; add one";
                    return Err(refuse(index, EINVAL, message));
                }
                stack.protocol = exact(asked, |header| header.next_header, 0xff);
            }
            Item::Tcp(_)
            | Item::Udp(_)
            | Item::Sctp(_)
            | Item::Esp(_)
            | Item::Icmp(_)
            | Item::Icmp6(_) => self.transport(index, item.kind())?,
            Item::Vxlan(_) | Item::VxlanGpe(_) | Item::Gtp(_) => {
                self.udp_tunnel(index, item.kind(), Tunnel::Udp)?;
                return Ok(Position::at(Depth::Outer));
            }
            Item::Geneve(asked) => {
                self.udp_tunnel(index, ItemKind::Geneve, Tunnel::Geneve)?;
                let mask = asked.effective_mask().control;
                let words = asked.spec.map(|spec| ((spec.control & mask) >> 8) as u8 & 0x3f);
                self.option_words = words.filter(|_| mask & 0x3f00 == 0x3f00);
                return Ok(Position::at(Depth::Outer));
            }
            Item::Gre(asked) => {
                let mask = asked.effective_mask().c_rsvd0_ver;
                let flags = asked.spec.map_or(0, |spec| spec.c_rsvd0_ver);
                let absent = if asked.spec.is_some() { !flags & mask } else { 0 };
                self.ip_tunnel(index, ItemKind::Gre, Tunnel::Gre { absent })?;
                return Ok(Position::at(Depth::Outer));
            }
            Item::Nvgre(_) => {
                self.ip_tunnel(index, ItemKind::Nvgre, Tunnel::Nvgre)?;
                return Ok(Position::at(Depth::Outer));
            }
            Item::GreKey(_) => {
                self.gre_fields(index, ItemKind::GreKey, GRE_KEY)?;
                if std::mem::replace(&mut self.has_key, true) {
                    return Err(refuse(index, ENOTSUP, "a GRE header has one key; keep one item"));
                }
                return Ok(Position::at(Depth::Outer));
            }
            Item::GreOption(asked) => {
                let mask = asked.effective_mask();
                let fields = [
                    (mask.checksum != 0, GRE_CHECKSUM),
                    (mask.key != 0, GRE_KEY),
                    (mask.sequence != 0, GRE_SEQUENCE),
                ];
                let wanted = fields.iter().filter(|(asked, _)| *asked);
                let wanted = wanted.fold(0, |bits, (_, bit)| bits | bit);
                self.gre_fields(index, ItemKind::GreOption, wanted)?;
                return Ok(Position::at(Depth::Outer));
            }
            Item::GeneveOpt(asked) => {
                self.option(index, asked.spec.map_or(0, |option| option.length))?;
                return Ok(Position::at(Depth::Outer));
            }
            Item::Any(asked) => {
                let count = exact(asked, |any| any.num, u32::MAX);
                any = self.any(index, asked.spec.map_or(0, |any| any.num), count)?;
            }
            Item::Void
            | Item::PortId(_)
            | Item::PortRepresentor(_)
            | Item::RepresentedPort(_)
            | Item::Meta(_)
            | Item::Tag(_)
            | Item::Mark(_)
            | Item::Integrity(_)
            | Item::Conntrack(_) => {}
        }
        let (any_network, any_transport) = any;
        Ok(Position { depth: self.depth(), tag, any_network, any_transport })
    }

    const fn depth(&self) -> Depth {
        if self.tunnel.is_some() { Depth::Inner } else { Depth::Outer }
    }

    const fn stack(&mut self) -> &mut Stack {
        match self.depth() {
            Depth::Outer => &mut self.outer,
            Depth::Inner => &mut self.inner,
        }
    }

    fn ethernet(&mut self, index: usize, asked: &Match<Eth>) -> Result<(), FlowError> {
        if self.tunnel == Some(Tunnel::IpInIp) {
            let message = "IP in IP carries no Ethernet; remove item eth";
            return Err(refuse(index, EINVAL, message));
        }
        let stack = self.stack();
        if stack.network.is_some() || stack.transport.is_some() {
            let message = "item eth follows a higher layer; put it first";
            return Err(refuse(index, EINVAL, message));
        }
        if stack.tags > 0 {
            return Err(refuse(index, EINVAL, "item eth follows a VLAN tag; put it before"));
        }
        if stack.link {
            return Err(refuse(
                index,
                ENOTSUP,
                "the link layer is matched twice; keep one item eth",
            ));
        }
        stack.link = true;
        stack.ether_type = exact(asked, |eth| eth.ether_type, 0xffff);
        Ok(())
    }

    fn vlan(&mut self, index: usize, asked: &Match<Vlan>) -> Result<u8, FlowError> {
        let most = self.matching.vlan_items;
        let stack = self.stack();
        if stack.network.is_some() || stack.transport.is_some() {
            let message = "item vlan follows a higher layer; put it behind eth";
            return Err(refuse(index, EINVAL, message));
        }
        let tag = stack.tags;
        if tag >= most {
            let message = if most == 1 {
                "a second item vlan is not supported; match has_more_vlan of the first".to_owned()
            } else {
                format!("a pattern has at most {most} items vlan for one stack; remove the others")
            };
            return Err(refuse(index, EINVAL, message));
        }
        stack.tags += 1;
        stack.ether_type = exact(asked, |vlan| vlan.inner_type, 0xffff);
        Ok(tag)
    }

    fn network(
        &mut self,
        index: usize,
        network: Network,
        ether_type: u16,
        name: &str,
    ) -> Result<(), FlowError> {
        if self.is_ip_in_ip(index, network, name)? {
            self.tunnel = Some(Tunnel::IpInIp);
        }
        let needs_link = self.tunnel == Some(Tunnel::Nvgre);
        let stack = self.stack();
        let is_other = |asked: u16| asked != 0 && asked != ether_type;
        if stack.ether_type.is_some_and(is_other) {
            let message = format!(
                "item {name} follows a link layer of another EtherType; ask for {ether_type:#06x} or none"
            );
            return Err(refuse(index, EINVAL, message));
        }
        if stack.network.is_some() {
            let message = format!("item {name} follows another network layer; match one");
            return Err(refuse(index, ENOTSUP, message));
        }
        if stack.transport.is_some() {
            let message = format!("item {name} follows a transport layer; put it before");
            return Err(refuse(index, EINVAL, message));
        }
        if needs_link && !stack.link {
            let message = format!("NVGRE carries Ethernet; put eth before item {name}");
            return Err(refuse(index, EINVAL, message));
        }
        stack.network = Some(network);
        Ok(())
    }

    /// Whether a network layer is that of a packet inside the one before.
    fn is_ip_in_ip(&self, index: usize, network: Network, name: &str) -> Result<bool, FlowError> {
        let Stack { network: outer, protocol, transport, .. } = self.outer;
        let above_ip = matches!(outer, Some(Network::V4 | Network::V6)) && transport.is_none();
        if self.tunnel.is_some() || !above_ip || network == Network::Arp {
            return Ok(false);
        }
        let inner = match protocol {
            Some(IPV4_IN_IP) => Network::V4,
            Some(IPV6_IN_IP) => Network::V6,
            Some(_) => return Ok(false),
            None => return Ok(self.matching.ip_in_ip == IpInIp::Always),
        };
        if self.matching.ip_in_ip == IpInIp::Never {
            return Ok(false);
        }
        if inner != network {
            let message = format!("the outer protocol is not that of item {name}; change one");
            return Err(refuse(index, EINVAL, message));
        }
        Ok(true)
    }

    fn transport(&mut self, index: usize, kind: ItemKind) -> Result<(), FlowError> {
        let stack = self.stack();
        let (fits, needed) = match kind {
            ItemKind::Icmp => (stack.network == Some(Network::V4), "ipv4"),
            ItemKind::Icmp6 => (stack.network == Some(Network::V6), "ipv6"),
            _ => (matches!(stack.network, Some(Network::V4 | Network::V6)), "ipv4 or ipv6"),
        };
        if stack.protocol.is_some_and(|asked| Some(asked) != protocol_of(kind)) {
            let message =
                format!("the network layer asks for another protocol than {kind}'s; change one");
            return Err(refuse(index, EINVAL, message));
        }
        if !fits && !stack.open && stack.network != Some(Network::Any) {
            return Err(refuse(
                index,
                EINVAL,
                format!("item {kind} needs {needed} before it; add one"),
            ));
        }
        if stack.transport.is_some() {
            let message = format!("item {kind} follows another transport layer; match one");
            return Err(refuse(index, EINVAL, message));
        }
        stack.transport =
            Some(if kind == ItemKind::Udp { Transport::Udp } else { Transport::Other });
        Ok(())
    }

    fn only_tunnel(&self, index: usize, kind: ItemKind) -> Result<(), FlowError> {
        if self.tunnel.is_none() {
            return Ok(());
        }
        let message =
            format!("item {kind} inside another tunnel is not parsed; match the outer one only");
        Err(refuse(index, ENOTSUP, message))
    }

    fn udp_tunnel(
        &mut self,
        index: usize,
        kind: ItemKind,
        tunnel: Tunnel,
    ) -> Result<(), FlowError> {
        self.only_tunnel(index, kind)?;
        let Stack { transport, open, .. } = self.outer;
        if !open && !matches!(transport, Some(Transport::Udp | Transport::Any)) {
            let message = format!("item {kind} needs an outer udp before it; add one");
            return Err(refuse(index, EINVAL, message));
        }
        self.tunnel = Some(tunnel);
        Ok(())
    }

    fn ip_tunnel(&mut self, index: usize, kind: ItemKind, tunnel: Tunnel) -> Result<(), FlowError> {
        let Stack { protocol, network, transport, open, .. } = self.outer;
        if self.tunnel.is_none() && protocol.is_some_and(|asked| asked != GRE) {
            let message =
                format!("the network layer asks for another protocol than {kind}'s; change one");
            return Err(refuse(index, EINVAL, message));
        }
        self.only_tunnel(index, kind)?;
        if !open && !matches!(network, Some(Network::V4 | Network::V6 | Network::Any)) {
            let message = format!("item {kind} needs ipv4 or ipv6 before it; add one");
            return Err(refuse(index, ENOTSUP, message));
        }
        if transport.is_some() {
            let message = format!("item {kind} follows a transport layer; remove that");
            return Err(refuse(index, EINVAL, message));
        }
        self.tunnel = Some(tunnel);
        Ok(())
    }

    /// Fields behind the GRE header, which must say that they are there.
    fn gre_fields(&self, index: usize, kind: ItemKind, wanted: u16) -> Result<(), FlowError> {
        let Some(Tunnel::Gre { absent, .. }) = self.tunnel else {
            return Err(refuse(
                index,
                ENOTSUP,
                format!("item {kind} needs gre before it; add one"),
            ));
        };
        if self.inner.link || self.inner.tags > 0 || self.inner.network.is_some() {
            let message = format!("item {kind} follows an inner layer; put it behind gre");
            return Err(refuse(index, ENOTSUP, message));
        }
        if absent & wanted != 0 {
            let message =
                format!("item gre asks for a header without the field of {kind}; set its flag");
            return Err(refuse(index, EINVAL, message));
        }
        Ok(())
    }

    fn option(&self, index: usize, words: u8) -> Result<(), FlowError> {
        let inside = self.inner.link || self.inner.tags > 0 || self.inner.network.is_some();
        if self.tunnel != Some(Tunnel::Geneve) || inside {
            let message = "item geneve-opt must follow geneve; put it there";
            return Err(refuse(index, ENOTSUP, message));
        }
        if self.option_words.is_some_and(|all| all <= words) {
            let message = "the option is longer than geneve's optlen; ask for more words there";
            return Err(refuse(index, ENOTSUP, message));
        }
        Ok(())
    }

    /// ANY in place of the next layers.
    fn any(
        &mut self,
        index: usize,
        given: u32,
        count: Option<u32>,
    ) -> Result<(bool, bool), FlowError> {
        let stack = self.stack();
        let before = *stack;
        let Some(count) = count.filter(|count| *count > 0) else {
            if given != 0 {
                let message =
                    "the number of ANY is matched whole or not at all; set all its mask bits";
                return Err(FlowError::item(index, ErrorKind::ItemMask, ENOTSUP, message));
            }
            stack.open = true;
            return Ok((false, false));
        };
        for _ in 0..count {
            if !stack.link && stack.network.is_none() {
                stack.link = true;
            } else if stack.network.is_none() {
                stack.network = Some(Network::Any);
            } else if stack.transport.is_none() {
                stack.transport = Some(Transport::Any);
            } else {
                let message =
                    "ANY covers layers up to the transport; name the tunnel and go on behind it";
                return Err(refuse(index, ENOTSUP, message));
            }
        }
        let network = before.network.is_none() && stack.network.is_some();
        let transport = before.transport.is_none() && stack.transport.is_some();
        Ok((network, transport))
    }
}
