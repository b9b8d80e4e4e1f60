//! `SecurityGroup`.

use ipnet::IpNet;

use super::Field;
use crate::intent::name::{Name, shortened};
use crate::intent::object::{
    EgressRule, IcmpType, IngressRule, Peer, PortRange, SecurityGroupSpec, Traffic,
};
use crate::intent::reader::{Known, Reader, decimal, did_you_mean};
use crate::intent::report::{At, Position};
use crate::intent::yaml::Node;
use crate::policy::{ICMP, ICMPV6, TCP, UDP};

pub(in crate::intent) struct SecurityGroupDraft {
    pub(in crate::intent) vpc: Field<Name>,
    pub(in crate::intent) ingress: Option<Vec<RuleDraft>>,
    pub(in crate::intent) egress: Option<Vec<RuleDraft>>,
}

pub(in crate::intent) struct RuleDraft {
    traffic: Option<Traffic>,
    /// `None` when the rule names none, or when it was refused.
    pub(in crate::intent) peer: Field<Peer>,
}

/// Which list a rule is in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Ingress,
    Egress,
}

impl SecurityGroupDraft {
    pub(super) fn read(node: &Node<'_>, reader: &mut Reader<'_>) -> Option<Self> {
        const KNOWN: Known<3> = Known { fields: ["vpc", "ingress", "egress"], later: &[] };
        let [vpc, ingress, egress] = reader.fields(node, &KNOWN)?;
        let vpc =
            reader.required(node, "vpc", vpc).and_then(|node| reader.parse(node, "a VPC's name"));
        let mut rules = |node: Option<&Node<'_>>, direction| -> Option<Vec<RuleDraft>> {
            let items = reader.list(node?)?;
            Some(items.iter().filter_map(|item| RuleDraft::read(item, direction, reader)).collect())
        };
        let ingress = rules(ingress, Direction::Ingress);
        let egress = rules(egress, Direction::Egress);
        Some(Self { vpc, ingress, egress })
    }

    /// All rules.
    pub(in crate::intent) fn rules(&self) -> impl Iterator<Item = &RuleDraft> {
        self.ingress.iter().flatten().chain(self.egress.iter().flatten())
    }

    pub(in crate::intent) fn of(spec: &SecurityGroupSpec, at: Position) -> Self {
        let rule = |traffic: Traffic, peer: &Option<Peer>| RuleDraft {
            traffic: Some(traffic),
            peer: peer.clone().map(|value| At { value, at }),
        };
        let ingress =
            |rules: &Vec<IngressRule>| rules.iter().map(|it| rule(it.traffic, &it.from)).collect();
        let egress =
            |rules: &Vec<EgressRule>| rules.iter().map(|it| rule(it.traffic, &it.to)).collect();
        Self {
            vpc: Some(At { value: spec.vpc.clone(), at }),
            ingress: spec.ingress.as_ref().map(ingress),
            egress: spec.egress.as_ref().map(egress),
        }
    }

    pub(in crate::intent) fn finish(self) -> Option<SecurityGroupSpec> {
        let ingress = |rule: RuleDraft| {
            Some(IngressRule { traffic: rule.traffic?, from: rule.peer.map(|peer| peer.value) })
        };
        let egress = |rule: RuleDraft| {
            Some(EgressRule { traffic: rule.traffic?, to: rule.peer.map(|peer| peer.value) })
        };
        Some(SecurityGroupSpec {
            vpc: self.vpc?.value,
            ingress: match self.ingress {
                None => None,
                Some(rules) => Some(rules.into_iter().map(ingress).collect::<Option<_>>()?),
            },
            egress: match self.egress {
                None => None,
                Some(rules) => Some(rules.into_iter().map(egress).collect::<Option<_>>()?),
            },
        })
    }
}

impl RuleDraft {
    fn read(node: &Node<'_>, direction: Direction, reader: &mut Reader<'_>) -> Option<Self> {
        const KNOWN: Known<6> = Known {
            fields: ["protocol", "ports", "icmpType", "icmpCode", "from", "to"],
            later: &[],
        };
        let [protocol, ports, icmp_type, icmp_code, from, to] = reader.fields(node, &KNOWN)?;
        let (peer, other, wrong, right) = match direction {
            Direction::Ingress => (from, to, "to", "from"),
            Direction::Egress => (to, from, "from", "to"),
        };
        if let Some(other) = other {
            let list = if direction == Direction::Ingress { "ingress" } else { "egress" };
            let message = format!("an {list} rule has no `{wrong}`");
            reader.error_with_hint(other.at, message, format!("write `{right}`"));
        }
        let protocol = reader
            .required(node, "protocol", protocol)
            .and_then(|node| read_protocol(node, reader));
        let traffic = protocol
            .and_then(|protocol| read_traffic(protocol, ports, icmp_type, icmp_code, reader));
        let peer = peer.and_then(|node| read_peer(node, reader));
        if let (Some(traffic), Some(At { value: Peer::Cidr(cidr), at })) = (traffic, &peer) {
            check_family(traffic, *cidr, *at, reader);
        }
        Some(Self { traffic, peer })
    }
}

fn read_protocol(node: &Node<'_>, reader: &mut Reader<'_>) -> Option<Traffic> {
    const NAMES: [&str; 5] = ["tcp", "udp", "icmp", "icmpv6", "any"];
    let text = reader.text(node, "a protocol")?;
    match text {
        "tcp" => return Some(Traffic::Tcp(None)),
        "udp" => return Some(Traffic::Udp(None)),
        "icmp" => return Some(Traffic::Icmp(None)),
        "icmpv6" => return Some(Traffic::Icmpv6(None)),
        "any" => return Some(Traffic::Any),
        _ => {}
    }
    match decimal(text).map(u8::try_from) {
        Some(Ok(TCP)) => Some(Traffic::Tcp(None)),
        Some(Ok(UDP)) => Some(Traffic::Udp(None)),
        Some(Ok(ICMP)) => Some(Traffic::Icmp(None)),
        Some(Ok(ICMPV6)) => Some(Traffic::Icmpv6(None)),
        Some(Ok(number)) => Some(Traffic::Protocol(number)),
        _ => {
            let message = format!("`{}` is not a protocol", shortened(text));
            let hint = did_you_mean(text, NAMES).unwrap_or_else(|| {
                "write tcp, udp, icmp, icmpv6, any or a number from 0 to 255".into()
            });
            reader.error_with_hint(node.at, message, hint);
            None
        }
    }
}

/// The protocol with its ports or types.
fn read_traffic(
    protocol: Traffic,
    ports: Option<&Node<'_>>,
    icmp_type: Option<&Node<'_>>,
    icmp_code: Option<&Node<'_>>,
    reader: &mut Reader<'_>,
) -> Option<Traffic> {
    let has_ports = matches!(protocol, Traffic::Tcp(_) | Traffic::Udp(_));
    let has_types = matches!(protocol, Traffic::Icmp(_) | Traffic::Icmpv6(_));
    let range = ports.map(|node| read_ports(node, reader));
    let kind = icmp_type.map(|node| reader.integer(node, 0..=u8::MAX));
    let code = icmp_code.map(|node| reader.integer(node, 0..=u8::MAX));
    if let Some(ports) = ports.filter(|_| !has_ports) {
        let hint = "leave `ports` out, or write `protocol: tcp` or `protocol: udp`";
        reader.error_with_hint(ports.at, "`ports` needs protocol tcp or udp", hint);
    }
    for (node, name) in [(icmp_type, "icmpType"), (icmp_code, "icmpCode")] {
        if let Some(node) = node.filter(|_| !has_types) {
            let message = format!("`{name}` needs protocol icmp or icmpv6");
            let hint =
                format!("leave `{name}` out, or write `protocol: icmp` or `protocol: icmpv6`");
            reader.error_with_hint(node.at, message, hint);
        }
    }
    if let (Some(node), None, true) = (icmp_code, icmp_type, has_types) {
        let hint = "give the type as well; codes have no meaning without it";
        reader.error_with_hint(node.at, "`icmpCode` needs `icmpType`", hint);
    }
    // A refused value inside; an absent field outside.
    let range = match range {
        None => None,
        Some(range) => Some(range?),
    };
    let code = match code {
        None => None,
        Some(code) => Some(code?.value),
    };
    let icmp = match kind {
        None => None,
        Some(kind) => Some(IcmpType { kind: kind?.value, code }),
    };
    Some(match protocol {
        Traffic::Tcp(_) => Traffic::Tcp(range),
        Traffic::Udp(_) => Traffic::Udp(range),
        Traffic::Icmp(_) => Traffic::Icmp(icmp),
        Traffic::Icmpv6(_) => Traffic::Icmpv6(icmp),
        Traffic::Any | Traffic::Protocol(_) => protocol,
    })
}

/// `80`, `"80"` or `"8000-8100"`.
fn read_ports(node: &Node<'_>, reader: &mut Reader<'_>) -> Option<PortRange> {
    let text = reader.text(node, "a port or a range of ports")?;
    let port = |text: &str| decimal(text.trim()).and_then(|port| u16::try_from(port).ok());
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (Some(first), Some(last)) = (port(first), port(last)) else {
        let message = format!("`{}` is not a port or a range of ports", shortened(text));
        reader.error_with_hint(node.at, message, "write 80 or \"8000-8100\", from 0 to 65535");
        return None;
    };
    let range = PortRange::new(first, last);
    if range.is_none() {
        let message = format!("the range of ports {first}-{last} ends before it starts");
        reader.error_with_hint(node.at, message, format!("write \"{last}-{first}\""));
    }
    range
}

fn read_peer(node: &Node<'_>, reader: &mut Reader<'_>) -> Field<Peer> {
    const KNOWN: Known<2> = Known { fields: ["cidr", "securityGroup"], later: &[] };
    let [cidr, group] = reader.fields(node, &KNOWN)?;
    let cidr = cidr.map(|node| reader.cidr(node));
    let group = group.map(|node| reader.parse::<Name>(node, "a security group's name"));
    match (cidr, group) {
        (Some(cidr), None) => cidr.map(|cidr| At { value: Peer::Cidr(cidr.value), at: cidr.at }),
        (None, Some(group)) => {
            group.map(|group| At { value: Peer::SecurityGroup(group.value), at: group.at })
        }
        (given, _) => {
            let message = match given {
                Some(_) => "both `cidr` and `securityGroup` are given",
                None => "neither `cidr` nor `securityGroup` is given",
            };
            reader.error_with_hint(node.at, message, "give exactly one of them");
            None
        }
    }
}

/// ICMP is IPv4's, ICMPv6 IPv6's.
fn check_family(traffic: Traffic, cidr: IpNet, at: Position, reader: &mut Reader<'_>) {
    let (protocol, family, other) = match (traffic, cidr) {
        (Traffic::Icmp(_), IpNet::V6(_)) => ("icmp", "IPv4", "icmpv6"),
        (Traffic::Icmpv6(_), IpNet::V4(_)) => ("icmpv6", "IPv6", "icmp"),
        _ => return,
    };
    let message = format!("protocol {protocol} is {family} only, and {cidr} is not");
    reader.error_with_hint(at, message, format!("write `protocol: {other}`, or another prefix"));
}
