//! Where a packet goes.

use rte_flow::{Action, Depth, Domain, ENOTSUP, ErrorKind, FlowError, Rss, RssTypes};

use super::super::port::Ports;
use super::super::program::{Fate, Spread};
use super::super::rss::{DEFAULT_RSS_KEY, RSS_KEY_BYTES, RssHash};
use super::{ActionRules, domain, wrong};

/// The fate that an action is; `None` for the others.
pub fn fate(
    index: usize,
    action: &Action,
    rules: &ActionRules<'_>,
) -> Result<Option<Fate>, FlowError> {
    let attributes = rules.attributes;
    let port = |id: u32| {
        domain(attributes, index, &[Domain::Transfer])?;
        u16::try_from(id).ok().filter(|id| rules.ports.get(*id).is_some()).ok_or_else(|| {
            let message =
                format!("port {id} does not belong to this switch; name one of its ports");
            wrong(index, message)
        })
    };
    Ok(Some(match action {
        Action::Jump(group) if *group == attributes.group => {
            return Err(wrong(index, "a jump into the rule's own group never ends; name another"));
        }
        Action::Jump(group) => Fate::Jump(*group),
        Action::Drop => Fate::Drop,
        Action::Passthru => Fate::Passthru,
        Action::RepresentedPort(id) => Fate::Represented(port(u32::from(*id))?),
        Action::PortRepresentor(id) => Fate::Representor(port(u32::from(*id))?),
        Action::PortId(to) => {
            Fate::Represented(port(if to.original { rules.port.into() } else { to.id })?)
        }
        Action::Queue(queue) => {
            domain(attributes, index, &[Domain::Ingress])?;
            rules.ports.check_queues(rules.port, index, &[*queue])?;
            Fate::Queues(Box::new(Spread { hash: None, queues: [*queue].into() }))
        }
        Action::Rss(rss) => {
            domain(attributes, index, &[Domain::Ingress])?;
            Fate::Queues(Box::new(spread(index, rss, rules.port, rules.ports)?))
        }
        _ => return Ok(None),
    }))
}

/// How `RSS` spreads packets.
pub fn spread(index: usize, rss: &Rss, port: u16, ports: &Ports) -> Result<Spread, FlowError> {
    let refuse =
        |message: &'static str| FlowError::action(index, ErrorKind::ActionConf, ENOTSUP, message);
    if rss.queues.is_empty() {
        return Err(wrong(index, "RSS without queues; name at least one"));
    }
    ports.check_queues(port, index, &rss.queues)?;
    let depth = match rss.level {
        0 | 1 => Depth::Outer,
        2 => Depth::Inner,
        _ => return Err(refuse("RSS hashes headers of level 0 to 2; use one of them")),
    };
    if !RssTypes::all().contains(rss.types) {
        return Err(refuse(
            "RSS hashes IP addresses and the ports of TCP, UDP and SCTP; ask for those alone",
        ));
    }
    for (source, destination, layer) in [
        (RssTypes::L3_SRC_ONLY, RssTypes::L3_DST_ONLY, "addresses"),
        (RssTypes::L4_SRC_ONLY, RssTypes::L4_DST_ONLY, "ports"),
    ] {
        if rss.types.contains(source | destination) {
            let message = format!("RSS by source {layer} only and by destination {layer} only");
            return Err(wrong(index, message + "; choose one"));
        }
    }
    let key = match rss.key.as_slice() {
        [] => DEFAULT_RSS_KEY,
        key => *key.first_chunk().filter(|_| key.len() == RSS_KEY_BYTES).ok_or_else(|| {
            let length = key.len();
            wrong(
                index,
                format!("an RSS key has {RSS_KEY_BYTES} bytes, not {length}; give as many"),
            )
        })?,
    };
    let types = if rss.types.is_empty() { RssTypes::IP } else { rss.types };
    let hash = RssHash { function: rss.function, types, depth, key };
    Ok(Spread { hash: Some(hash), queues: rss.queues.as_slice().into() })
}
