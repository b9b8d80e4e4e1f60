//! What a rule does, ready to run.

use std::fmt;
use std::sync::Arc;

use rte_flow::{Color, Direction};

use super::arena::Id;
use super::conntrack::Tracker;
use super::counter::{Ageing, Counter};
use super::headers::Headers;
use super::meter::Meter;
use super::rewrite::Rewrite;
use super::rss::RssHash;
use super::sample::Sampler;
use super::tunnel::Encapsulation;

/// What is done to a packet on its way.
#[derive(Clone, Debug)]
pub enum Step {
    /// Count it.
    Count(Id<Counter>),
    /// Note that the rule is in use.
    Age(Id<Ageing>),
    /// Change header fields or registers.
    Rewrite(Rewrite),
    /// Set the mark.
    Mark(u32),
    /// Flag it.
    Flag,
    /// Prepend headers.
    Encapsulate(Arc<Encapsulation>),
    /// Remove the outer headers up to the inner Ethernet header.
    Decapsulate,
    /// Remove the link header, to have an IP packet to encapsulate.
    StripLink,
    /// Remove the outer headers up to the inner network header, and prepend a link header.
    DecapsulateNetwork(Arc<[u8]>),
    /// Add a VLAN tag of this `EtherType`.
    PushVlan(u16),
    /// Remove the outermost VLAN tag.
    PopVlan,
    /// Set bits of the outermost VLAN tag's control information.
    SetVlan {
        /// The bits.
        value: u16,
        /// Which ones.
        mask: u16,
    },
    /// Track it as a segment of a connection.
    Track(Id<Tracker>, Direction),
    /// Meter it.
    Meter(Id<Meter>),
    /// Colour it.
    Color(Color),
    /// Copy it now and then.
    Sample(Id<Sampler>),
}

/// Receive queues, and how packets are spread over them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Spread {
    /// How they are hashed; `None`: all go to the first queue.
    pub hash: Option<RssHash>,
    /// The queues, never none.
    pub queues: Box<[u16]>,
}

impl Spread {
    /// The hash and the queue of a packet; those without hash go to the first queue.
    pub fn choose(&self, frame: &[u8], headers: &Headers) -> (Option<u32>, u16) {
        let hash = self.hash.and_then(|hash| hash.hash_parsed(frame, headers));
        let index = (hash.unwrap_or(0) as usize).checked_rem(self.queues.len()).unwrap_or(0);
        (hash, self.queues.get(index).copied().unwrap_or(0))
    }
}

/// Where a packet goes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fate {
    /// To another group of the same domain.
    Jump(u32),
    /// Nowhere.
    Drop,
    /// To the entity behind a port.
    Represented(u16),
    /// To a port's ethdev.
    Representor(u16),
    /// To receive queues of the ethdev.
    Queues(Box<Spread>),
    /// To receive queues that rules share.
    SharedQueues(Id<Spread>),
    /// On to the next rule that matches.
    Passthru,
    /// Where a miss goes: there is no fate action.
    Default,
}

/// All that is done to a packet.
#[derive(Clone, Debug)]
pub struct Program {
    /// In order.
    pub steps: Box<[Step]>,
    /// At last.
    pub fate: Fate,
}

/// As testpmd writes the actions, in short.
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(_) => f.write_str("count"),
            Self::Age(_) => f.write_str("age"),
            Self::Rewrite(rewrite) => write!(f, "modify_field width {}", rewrite.destination.width),
            Self::Mark(mark) => write!(f, "mark id {mark}"),
            Self::Flag => f.write_str("flag"),
            Self::Encapsulate(_) => f.write_str("raw_encap"),
            Self::Decapsulate | Self::StripLink | Self::DecapsulateNetwork(_) => {
                f.write_str("raw_decap")
            }
            Self::PushVlan(ether_type) => write!(f, "of_push_vlan ethertype {ether_type:#06x}"),
            Self::PopVlan => f.write_str("of_pop_vlan"),
            Self::SetVlan { value, mask: 0x0fff } => write!(f, "of_set_vlan_vid vlan_vid {value}"),
            Self::SetVlan { value, .. } => write!(f, "of_set_vlan_pcp vlan_pcp {}", value >> 13),
            Self::Track(..) => f.write_str("conntrack"),
            Self::Meter(_) => f.write_str("meter"),
            Self::Color(color) => write!(f, "color {color:?}"),
            Self::Sample(_) => f.write_str("sample"),
        }
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("actions ")?;
        self.steps.iter().try_for_each(|step| write!(f, "{step} / "))?;
        match &self.fate {
            Fate::Jump(group) => write!(f, "jump group {group} / ")?,
            Fate::Drop => f.write_str("drop / ")?,
            Fate::Represented(port) => write!(f, "represented_port ethdev_port_id {port} / ")?,
            Fate::Representor(port) => write!(f, "port_representor port_id {port} / ")?,
            Fate::Queues(spread) => match &spread.queues[..] {
                [queue] => write!(f, "queue index {queue} / ")?,
                queues => {
                    f.write_str("rss queues ")?;
                    queues.iter().try_for_each(|queue| write!(f, "{queue} "))?;
                    f.write_str("end / ")?;
                }
            },
            Fate::SharedQueues(_) => f.write_str("rss / ")?,
            Fate::Passthru => f.write_str("passthru / ")?,
            Fate::Default => {}
        }
        f.write_str("end")
    }
}
