//! The colour that a packet brings with it to a meter.

use packet::Frame;
use rte_flow::{Color, ColorSource};

use super::super::headers::{Depth, Network};
use super::super::subject::Subject;

/// Where a meter takes that colour from.
#[derive(Clone, Debug, Default)]
pub struct Input {
    /// First, from the meter before, if there was one.
    pub previous: bool,
    /// Then from the first of these headers that the packet has.
    pub sources: Vec<PrioritisedSource>,
    /// The colour of each DSCP; `None`: all green.
    pub dscp: Option<Box<[Color; 64]>>,
    /// The colour of each DEI and PCP; `None`: all green.
    pub vlan: Option<Box<[Color; 16]>>,
    /// Else this one.
    pub default: Color,
}

/// A source of colours with its priority, of which the lowest number goes first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PrioritisedSource {
    /// The priority.
    pub priority: u32,
    /// The source.
    pub source: ColorSource,
}

impl Input {
    /// Every packet comes with this colour.
    pub fn constant(default: Color) -> Self {
        Self { default, ..Self::default() }
    }

    /// Uses a source, or changes its priority.
    pub fn set_source(&mut self, source: ColorSource, priority: u32) {
        self.sources.retain(|entry| entry.source != source);
        self.sources.push(PrioritisedSource { priority, source });
        self.sources.sort_by_key(|entry| entry.priority);
    }

    /// The colour of a packet.
    pub fn color(&self, subject: &mut Subject, frame: &Frame<'_>) -> Color {
        if let Some(color) = subject.registers.color.filter(|_| self.previous) {
            return color;
        }
        if self.sources.is_empty() {
            return self.default;
        }
        subject.refresh(frame.bytes());
        let said = |entry: &PrioritisedSource| self.read(entry.source, subject, frame.bytes());
        self.sources.iter().find_map(said).unwrap_or(self.default)
    }

    /// What a header says; `None` when the packet does not have it.
    fn read(&self, source: ColorSource, subject: &Subject, frame: &[u8]) -> Option<Color> {
        let headers = &subject.headers;
        let innermost = if headers.inner.is_some() { Depth::Inner } else { Depth::Outer };
        let depth = match source {
            ColorSource::OuterVlan | ColorSource::OuterIp => Depth::Outer,
            ColorSource::InnerVlan | ColorSource::InnerIp => innermost,
        };
        let layer = headers.layer(depth)?;
        match source {
            ColorSource::OuterVlan | ColorSource::InnerVlan => {
                let [outer, inner] = &layer.vlans;
                let tag = if source == ColorSource::OuterVlan { *outer } else { inner.or(*outer) };
                let [high, ..] = tag?;
                // DEI above PCP: the table's order (`rte_mtr_params::vlan_table`).
                let index = usize::from(high >> 4 & 1) << 3 | usize::from(high >> 5);
                Some(
                    self.vlan
                        .as_ref()
                        .and_then(|table| table.get(index).copied())
                        .unwrap_or_default(),
                )
            }
            ColorSource::OuterIp | ColorSource::InnerIp => {
                let (network, at) = layer.network?;
                let at = usize::from(at);
                let (first, second) = (*frame.get(at)?, *frame.get(at + 1)?);
                let class = match network {
                    Network::V4 => second,
                    Network::V6 => first << 4 | second >> 4,
                };
                let index = usize::from(class >> 2);
                Some(
                    self.dscp
                        .as_ref()
                        .and_then(|table| table.get(index).copied())
                        .unwrap_or_default(),
                )
            }
        }
    }
}
