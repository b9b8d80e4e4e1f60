//! `penstock replay`: the real datapath in virtual time, from a capture to a capture.

mod command;
mod event;
mod hardware;
mod input;
mod nic;
mod node;
mod output;
mod timeline;

pub use command::{Arguments, IntentAt, Offload, run};
pub use event::{Carrier, Event, EventKind, Flow, lines};
pub use input::{Arrival, Input, InputError};
pub use output::{Departure, Output};
pub use timeline::{NodeMissing, Timeline};

use std::sync::Arc;

use dpu_app::datapath::settings::Settings;
use dpu_app::offload::OffloadSettings;
use verify::Dump;

pub use hardware::{Card, HardwareError, simulated_ports};

use hardware::Hardware;
use node::Node;

/// Replays a capture, with connections moving into a NIC if there is one.
///
/// A change of intent comes before packets of the same time; changes after the last packet are still made.
///
/// # Errors
/// [`HardwareError`] when there cannot be such a NIC for this intent.
pub fn replay(
    input: &Input<'_>,
    timeline: Timeline,
    settings: Settings,
    card: Option<Card>,
) -> Result<Output, HardwareError> {
    replay_with_rules(input, timeline, settings, card).map(|(output, _)| output)
}

/// [`replay`], with the rules that are in the NIC at the end, if there is one.
///
/// # Errors
/// As for [`replay`].
pub fn replay_with_rules(
    input: &Input<'_>,
    timeline: Timeline,
    mut settings: Settings,
    card: Option<Card>,
) -> Result<(Output, Option<Dump>), HardwareError> {
    if let Some(card) = &card {
        settings.timeouts.counter_delay = OffloadSettings::default().counter_delay(&card.profile);
    }
    let all = || timeline.later.iter().map(|(_, snapshot)| snapshot).chain([&timeline.first]);
    let hardware = card
        .map(|card| Hardware::new(card, Arc::clone(&timeline.first), all().map(AsRef::as_ref)))
        .transpose()?;
    let mut node = Node::new(settings, timeline.first, hardware);
    let mut changes = timeline.later.into_iter().peekable();
    for arrival in &input.packets {
        while let Some((time, snapshot)) = changes.next_if(|(time, _)| *time <= arrival.time) {
            node.change(time, snapshot);
        }
        node.packet(arrival);
    }
    for (time, snapshot) in changes {
        node.change(time, snapshot);
    }
    Ok(node.finish())
}
