//! What the card's parser finds in a frame: the outer headers, a tunnel's header, and the inner ones behind it.
//!
//! The card never refuses a frame. Where a header is cut short or contradicts itself, it and all that follows are
//! simply not there for rules to match; [`Headers::integrity`] says more about the ones that are.

mod integrity;
mod layer;
mod tunnel;

pub use rte_flow::Depth;

pub use layer::{Layer, Network, Transport, link_length};
pub use tunnel::{Gre, Tunnel, geneve_option};

use tunnel::Carried;

/// Both stacks of headers, and what lies between them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Headers {
    /// The outer stack; absent in frames of less than 14 bytes.
    pub outer: Option<Layer>,
    /// The inner stack, behind a tunnel's header.
    pub inner: Option<Layer>,
    /// The tunnel's header.
    pub tunnel: Option<Tunnel>,
}

impl Headers {
    /// Parses a frame.
    #[inline]
    pub fn parse(frame: &[u8]) -> Self {
        let outer = Layer::ethernet(frame, 0);
        let found = outer.as_ref().and_then(|outer| tunnel::find(frame, outer));
        let Some((tunnel, carried)) = found else {
            return Self { outer, inner: None, tunnel: None };
        };
        // The inner packet must lie within the tunnel's.
        let end = outer.map_or(frame.len(), |outer| outer.payload_end(frame));
        let within = frame.get(..end).unwrap_or(frame);
        let inner = match carried {
            Some(Carried::Ethernet(at)) => Layer::ethernet(within, at),
            Some(Carried::Ip(ether_type, at)) => Layer::ip(within, ether_type, at),
            None => None,
        };
        Self { outer, inner, tunnel: Some(tunnel) }
    }

    /// The stack at a depth.
    pub fn layer(&self, depth: Depth) -> Option<&Layer> {
        match depth {
            Depth::Outer => self.outer.as_ref(),
            Depth::Inner => self.inner.as_ref(),
        }
    }
}
