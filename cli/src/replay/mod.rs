//! `penstock replay`: the real datapath in virtual time, from a capture to a capture.

mod command;
mod event;
mod input;
mod output;
mod software;
mod timeline;

pub use command::{Arguments, IntentAt, Offload, run};
pub use event::{Carrier, Event, EventKind, Flow, lines};
pub use input::{Arrival, Input, InputError};
pub use output::{Departure, Output};
pub use timeline::{NodeMissing, Timeline};

use dpu_app::datapath::settings::Settings;

use software::Software;

/// Replays a capture.
///
/// A change of intent comes before packets of the same time; changes after the last packet are still made.
#[must_use]
pub fn replay(input: &Input<'_>, timeline: Timeline, settings: Settings) -> Output {
    let mut datapath = Software::new(settings, timeline.first);
    let mut changes = timeline.later.into_iter().peekable();
    for arrival in &input.packets {
        while let Some((time, snapshot)) = changes.next_if(|(time, _)| *time <= arrival.time) {
            datapath.change(time, snapshot);
        }
        datapath.packet(arrival);
    }
    for (time, snapshot) in changes {
        datapath.change(time, snapshot);
    }
    datapath.finish()
}
