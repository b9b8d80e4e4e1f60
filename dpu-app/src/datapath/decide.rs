//! The decision about a connection: from its key and intent alone, without a packet, so that it can be made again for
//! a live connection when intent changes.

use std::net::IpAddr;

use arrayvec::ArrayVec;
use model::decision::{Decision, DropReason, Key, Output, Path, Side, Step, Verdict, Zone};
use model::policy::FlowProperties;
use model::route::RouteTarget;
use model::snapshot::{Interface, Location, Mapping, Snapshot};
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
    let id = key.zone.interface();
    let interface = snapshot.interface(id).ok_or(DropReason::InterfaceDown)?;
    if !interface.enabled {
        return Err(DropReason::InterfaceDown);
    }
    match key.zone.side() {
        Side::FromVm => decide_from_vm(snapshot, interface, key, icmp),
        Side::FromNetwork => {
            if !has_address(interface, key.tuple.destination()) {
                return Err(DropReason::UnknownDestination);
            }
            check_ingress(interface, key, icmp)?;
            Ok(Decision {
                forward: Path { steps: ArrayVec::new(), output: Output::Local(id), mtu: u16::MAX },
                reverse_key: Key { zone: Zone::new(id, Side::FromVm), tuple: key.tuple.reversed() },
                reverse: answers_of(snapshot, interface, key),
            })
        }
    }
}

fn decide_from_vm(
    snapshot: &Snapshot,
    interface: &Interface,
    key: &Key,
    icmp: Option<(u8, u8)>,
) -> Result<Decision, DropReason> {
    if !has_address(interface, key.tuple.source()) {
        return Err(DropReason::SpoofedSource);
    }
    check_egress(interface, key, icmp)?;
    let target = route(snapshot, interface, key.tuple.destination())?;
    let forward = path(snapshot, interface, &target)?;
    let tuple = key.tuple.reversed();
    let (zone, reverse) = match target.location {
        Location::Local(id) => {
            let receiver = snapshot.interface(id).ok_or(DropReason::NoMapping)?;
            check_ingress(receiver, key, icmp)?;
            let answers = answers_of(snapshot, receiver, key);
            (Zone::new(id, Side::FromVm), answers)
        }
        // Answers come out of a tunnel as they are to be delivered.
        Location::Remote(_) => (
            Zone::new(interface.id, Side::FromNetwork),
            Verdict::Forward(Path {
                steps: ArrayVec::new(),
                output: Output::Local(interface.id),
                mtu: u16::MAX,
            }),
        ),
    };
    Ok(Decision { forward, reverse_key: Key { zone, tuple }, reverse })
}

/// What the answers of `replier` to a packet with `key` take: its own routes say, groups are not asked.
fn answers_of(snapshot: &Snapshot, replier: &Interface, key: &Key) -> Verdict {
    if !has_address(replier, key.tuple.destination()) {
        return Verdict::Drop(DropReason::SpoofedSource);
    }
    route(snapshot, replier, key.tuple.source())
        .and_then(|target| path(snapshot, replier, &target))
        .map_or_else(Verdict::Drop, Verdict::Forward)
}

/// Whether an interface may have packets with this address of its own.
fn has_address(interface: &Interface, address: IpAddr) -> bool {
    !interface.anti_spoof || interface.addresses.contains(&address)
}

/// Where packets of `sender` to `destination` are delivered.
fn route(
    snapshot: &Snapshot,
    sender: &Interface,
    destination: IpAddr,
) -> Result<Mapping, DropReason> {
    let subnet = snapshot.subnet(sender.subnet).ok_or(DropReason::NoRoute)?;
    match subnet.routes.lookup(destination).ok_or(DropReason::NoRoute)? {
        RouteTarget::Blackhole => Err(DropReason::BlackholeRoute),
        RouteTarget::Interface(target) => Ok(target),
        RouteTarget::Local => snapshot
            .vpc(sender.vpc)
            .and_then(|vpc| vpc.mappings.lookup(destination))
            .copied()
            .ok_or(DropReason::NoMapping),
    }
}

/// How packets of `sender` get to `target`.
fn path(snapshot: &Snapshot, sender: &Interface, target: &Mapping) -> Result<Path, DropReason> {
    let vpc = snapshot.vpc(sender.vpc).ok_or(DropReason::NoRoute)?;
    let source = if target.subnet == sender.subnet {
        sender.mac
    } else {
        snapshot.subnet(target.subnet).ok_or(DropReason::NoMapping)?.gateway_mac
    };
    let output = match target.location {
        Location::Local(id) => {
            let receiver = snapshot.interface(id).ok_or(DropReason::NoMapping)?;
            if !receiver.enabled {
                return Err(DropReason::InterfaceDown);
            }
            Output::Local(id)
        }
        Location::Remote(tunnel) => Output::Tunnel(tunnel),
    };
    Ok(Path {
        steps: ArrayVec::from_iter([Step::SetMacs { source, destination: target.mac }]),
        output,
        mtu: vpc.mtu,
    })
}

fn check_egress(sender: &Interface, key: &Key, icmp: Option<(u8, u8)>) -> Result<(), DropReason> {
    let flow = properties(key, icmp, key.tuple.destination());
    let allowed =
        sender.groups.is_empty() || sender.groups.iter().any(|group| group.allows_egress(&flow));
    if allowed { Ok(()) } else { Err(DropReason::SecurityGroupEgress) }
}

fn check_ingress(
    receiver: &Interface,
    key: &Key,
    icmp: Option<(u8, u8)>,
) -> Result<(), DropReason> {
    let flow = properties(key, icmp, key.tuple.source());
    let allowed = receiver.groups.iter().any(|group| group.allows_ingress(&flow));
    if allowed { Ok(()) } else { Err(DropReason::SecurityGroupIngress) }
}

fn properties(key: &Key, icmp: Option<(u8, u8)>, remote: IpAddr) -> FlowProperties {
    let has_ports = matches!(key.tuple.protocol(), protocol::TCP | protocol::UDP);
    FlowProperties {
        remote,
        protocol: key.tuple.protocol(),
        destination_port: if has_ports { key.tuple.destination_port() } else { 0 },
        icmp,
    }
}
