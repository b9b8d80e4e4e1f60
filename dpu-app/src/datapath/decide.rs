//! The decision about a connection: from its key and intent alone, without a packet, so that it can be made again for
//! a live connection when intent changes.

use std::net::IpAddr;

use arrayvec::ArrayVec;
use model::decision::{Decision, DropReason, Key, Output, Path, Side, Step, Verdict, Zone};
use model::policy::FlowProperties;
use model::route::RouteTarget;
use model::snapshot::{Interface, InterfaceId, Location, Mapping, Snapshot, Subnet};
use packet::wire::protocol;

/// Decides what happens to both directions of the connection that a packet with `key` begins.
///
/// `icmp` is type and code of that packet if it is ICMP or ICMPv6. `previous` is what was decided for the connection
/// before; what must outlive a change of intent (a translated port, a load balancer's choice) is taken from there, and
/// nothing is translated yet. The same arguments give the same decision.
///
/// Whether the ends may use their addresses is asked here too: for a packet it was asked before, but a connection outlives
/// what intent said at its beginning. Then, from a VM, the order is: its egress groups, route, mapping, then for a receiver on this node whether it is enabled,
/// and its ingress groups. From the network, where the sender's node did the first half: only the latter.
///
/// # Errors
/// The first reason against it.
pub fn decide(
    snapshot: &Snapshot,
    key: &Key,
    icmp: Option<(u8, u8)>,
    _previous: Option<&Decision>,
) -> Result<Decision, DropReason> {
    let interface = snapshot.interface(key.zone.interface()).ok_or(DropReason::InterfaceDown)?;
    decide_at(snapshot, interface, key, icmp)
}

/// The same, for whom has the interface of the key's zone at hand. Each look-up is done once, and nothing of the snapshot copied
/// but what the decision is made of.
pub(super) fn decide_at(
    snapshot: &Snapshot,
    interface: &Interface,
    key: &Key,
    icmp: Option<(u8, u8)>,
) -> Result<Decision, DropReason> {
    if !interface.enabled {
        return Err(DropReason::InterfaceDown);
    }
    let question = Question::new(key, icmp);
    match key.zone.side() {
        Side::FromVm => decide_from_vm(snapshot, interface, key, &question),
        Side::FromNetwork => {
            if !has_address(interface, question.destination) {
                return Err(DropReason::UnknownDestination);
            }
            check_ingress(interface, &question)?;
            let zone = Zone::new(interface.id, Side::FromVm);
            Ok(Decision {
                forward: delivery(interface.id),
                reverse_key: Key { zone, tuple: key.tuple.reversed() },
                reverse: answers_of(snapshot, interface, &question),
            })
        }
    }
}

/// What a key asks policy, read from it once.
struct Question {
    source: IpAddr,
    destination: IpAddr,
    /// As its sender's groups see it.
    flow: FlowProperties,
}

impl Question {
    #[inline]
    fn new(key: &Key, icmp: Option<(u8, u8)>) -> Self {
        let (tuple, protocol) = (&key.tuple, key.tuple.protocol());
        let has_ports = matches!(protocol, protocol::TCP | protocol::UDP);
        let destination_port = if has_ports { tuple.destination_port() } else { 0 };
        let (source, destination) = (tuple.source(), tuple.destination());
        let flow = FlowProperties { remote: destination, protocol, destination_port, icmp };
        Self { source, destination, flow }
    }
}

#[inline]
fn decide_from_vm(
    snapshot: &Snapshot,
    interface: &Interface,
    key: &Key,
    question: &Question,
) -> Result<Decision, DropReason> {
    if !has_address(interface, question.source) {
        return Err(DropReason::SpoofedSource);
    }
    if !interface.groups.is_empty()
        && !interface.groups.iter().any(|group| group.allows_egress(&question.flow))
    {
        return Err(DropReason::SecurityGroupEgress);
    }
    let subnet = subnet_of(snapshot, interface)?;
    let target = route(snapshot, interface, subnet, question.destination)?;
    let (forward, receiver) = path(snapshot, interface, target)?;
    let (zone, reverse) = if let Some(receiver) = receiver {
        check_ingress(receiver, question)?;
        (Zone::new(receiver.id, Side::FromVm), answers_of(snapshot, receiver, question))
    } else {
        // Answers come out of a tunnel as they are to be delivered.
        let answers = Verdict::Forward(delivery(interface.id));
        (Zone::new(interface.id, Side::FromNetwork), answers)
    };
    let reverse_key = Key { zone, tuple: key.tuple.reversed() };
    Ok(Decision { forward, reverse_key, reverse })
}

/// What came out of a tunnel goes to its interface as it is.
fn delivery(id: InterfaceId) -> Path {
    Path { steps: ArrayVec::new(), output: Output::Local(id), mtu: u16::MAX }
}

/// What the answers of `replier` take: its own routes say, groups are not asked.
fn answers_of(snapshot: &Snapshot, replier: &Interface, question: &Question) -> Verdict {
    if !has_address(replier, question.destination) {
        return Verdict::Drop(DropReason::SpoofedSource);
    }
    let answers = || {
        let subnet = subnet_of(snapshot, replier)?;
        let target = route(snapshot, replier, subnet, question.source)?;
        path(snapshot, replier, target)
    };
    match answers() {
        Ok((path, _)) => Verdict::Forward(path),
        Err(reason) => Verdict::Drop(reason),
    }
}

/// Whether an interface may have packets with this address of its own.
#[inline]
fn has_address(interface: &Interface, address: IpAddr) -> bool {
    !interface.anti_spoof || interface.addresses.contains(&address)
}

#[inline]
fn subnet_of<'s>(snapshot: &'s Snapshot, sender: &Interface) -> Result<&'s Subnet, DropReason> {
    snapshot.subnet(sender.subnet).ok_or(DropReason::NoRoute)
}

/// Where packets of `sender`, in its subnet, to `destination` are delivered.
#[inline]
fn route<'s>(
    snapshot: &'s Snapshot,
    sender: &Interface,
    subnet: &'s Subnet,
    destination: IpAddr,
) -> Result<&'s Mapping, DropReason> {
    match subnet.routes.lookup(destination).ok_or(DropReason::NoRoute)? {
        RouteTarget::Blackhole => Err(DropReason::BlackholeRoute),
        RouteTarget::Interface(target) => Ok(target),
        RouteTarget::Local => snapshot
            .vpc(sender.vpc)
            .and_then(|vpc| vpc.mappings.lookup(destination))
            .ok_or(DropReason::NoMapping),
    }
}

/// How packets of `sender` get to `target`; and the receiver, if it is on this node.
#[inline]
fn path<'s>(
    snapshot: &'s Snapshot,
    sender: &Interface,
    target: &Mapping,
) -> Result<(Path, Option<&'s Interface>), DropReason> {
    let vpc = snapshot.vpc(sender.vpc).ok_or(DropReason::NoRoute)?;
    let source = if target.subnet == sender.subnet {
        sender.mac
    } else {
        snapshot.subnet(target.subnet).ok_or(DropReason::NoMapping)?.gateway_mac
    };
    let (output, receiver) = match target.location {
        Location::Local(id) => {
            let receiver = snapshot.interface(id).ok_or(DropReason::NoMapping)?;
            if !receiver.enabled {
                return Err(DropReason::InterfaceDown);
            }
            (Output::Local(id), Some(&**receiver))
        }
        Location::Remote(tunnel) => (Output::Tunnel(tunnel), None),
    };
    let mut steps = ArrayVec::new();
    steps.push(Step::SetMacs { source, destination: target.mac });
    Ok((Path { steps, output, mtu: vpc.mtu }, receiver))
}

#[inline]
fn check_ingress(receiver: &Interface, question: &Question) -> Result<(), DropReason> {
    let flow = FlowProperties { remote: question.source, ..question.flow };
    let allowed = receiver.groups.iter().any(|group| group.allows_ingress(&flow));
    if allowed { Ok(()) } else { Err(DropReason::SecurityGroupIngress) }
}
