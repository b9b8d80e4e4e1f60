//! Events as cases write them.

use cli::replay::{Event, EventKind, Flow};

/// An event as cases write it; what is said of offload is not part of a case, which holds with and without.
pub fn line(event: &Event) -> Option<String> {
    Some(match &event.kind {
        EventKind::FlowOffloaded(_) | EventKind::FlowNotOffloaded { .. } => return None,
        EventKind::Drop { port, packet, reason } => format!("#{packet} {port}: drop {reason}"),
        EventKind::Forward { port, packet, out, .. } => format!("#{packet} {port}: forward {out}"),
        EventKind::Reply { port, packet } => format!("#{packet} {port}: reply"),
        EventKind::FlowCreated(flow) => format!("flow_created {}", name(flow)),
        EventKind::FlowRemoved { flow, reason } => format!("flow_removed {} {reason}", name(flow)),
    })
}

fn name(flow: &Flow) -> String {
    let end = |address, port| std::net::SocketAddr::new(address, port);
    let source = end(flow.source, flow.source_port);
    let destination = end(flow.destination, flow.destination_port);
    format!("{} {} {source} > {destination}", flow.interface, flow.protocol)
}
