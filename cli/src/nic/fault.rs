//! `penstock nic fault`: let things go wrong in a simulated NIC, and stop that.

use std::num::NonZeroU64;

use clap::{Args, Subcommand};
use sim::control::{Request, RuleFaults};
use sim::link_faults::{Carrier, FrameFaults, LinkFaults, Rates};

use super::ControlError;
use super::control::Control;
use super::status::show;

/// Arguments of `penstock nic fault`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    fault: Fault,
}

#[derive(Debug, Subcommand)]
enum Fault {
    /// Faults of rule updates; what is not named is switched off
    Rules {
        #[command(flatten)]
        faults: RuleArguments,
        #[command(flatten)]
        control: Control,
    },
    /// Faults of one link, in both directions; what is not named is switched off
    Link {
        /// Its port: uplink, vf0, vf1, ...
        port: String,
        #[command(flatten)]
        faults: LinkArguments,
        #[command(flatten)]
        control: Control,
    },
    /// Reset the card: rules, templates and queues are gone, and it is away for a while
    Reset {
        /// For how long, in milliseconds
        #[arg(long, value_name = "MS", default_value_t = 100)]
        outage_ms: u32,
        #[command(flatten)]
        control: Control,
    },
    /// End all faults
    Clear {
        #[command(flatten)]
        control: Control,
    },
}

#[derive(Debug, Args)]
struct RuleArguments {
    /// Refuse the N-th insertion from now, once
    #[arg(long, value_name = "N")]
    refuse: Option<NonZeroU64>,
    /// Refuse the N-th removal from now, once
    #[arg(long, value_name = "N")]
    refuse_removal: Option<NonZeroU64>,
    /// Refuse every N-th insertion
    #[arg(long, value_name = "N")]
    refuse_every: Option<NonZeroU64>,
    /// errno of refusals (121, EREMOTEIO, unless given)
    #[arg(long, value_name = "ERRNO")]
    errno: Option<i32>,
    /// Lose every N-th insertion: it seems to succeed, and no packet ever hits the rule
    #[arg(long, value_name = "N")]
    lose_every: Option<NonZeroU64>,
    /// Be full (ENOSPC) while there are N rules
    #[arg(long, value_name = "N")]
    enospc_after: Option<u32>,
    /// Completions, and returns of synchronous calls, come late
    #[arg(long, value_name = "MS", default_value_t = 0)]
    late_ms: u32,
    /// Take nothing from the flow queues of this number, and complete nothing there
    #[arg(long, value_name = "QUEUE")]
    freeze_queue: Option<u32>,
}

#[derive(Debug, Args)]
struct LinkArguments {
    /// Of 1000 frames, lose so many
    #[arg(long, value_name = "N", default_value_t = 0)]
    drop: u16,
    /// Of 1000 frames, double so many
    #[arg(long, value_name = "N", default_value_t = 0)]
    duplicate: u16,
    /// Of 1000 frames, let so many be overtaken by the next
    #[arg(long, value_name = "N", default_value_t = 0)]
    reorder: u16,
    /// Of 1000 frames, flip a bit in so many
    #[arg(long, value_name = "N", default_value_t = 0)]
    corrupt: u16,
    /// Hold the link down
    #[arg(long, conflicts_with = "flap")]
    down: bool,
    /// Let the link be up and down by turns
    #[arg(long, num_args = 2, value_names = ["UP-MS", "DOWN-MS"])]
    flap: Option<Vec<u32>>,
}

impl RuleArguments {
    const fn faults(&self) -> RuleFaults {
        RuleFaults {
            refuse: self.refuse,
            refuse_every: self.refuse_every,
            refuse_removal: self.refuse_removal,
            errno: self.errno,
            lose_every: self.lose_every,
            enospc_after: self.enospc_after,
            late_ms: self.late_ms,
            freeze_queue: self.freeze_queue,
        }
    }
}

impl LinkArguments {
    fn faults(&self) -> Result<LinkFaults, ControlError> {
        let Self { drop, duplicate, reorder, corrupt, .. } = *self;
        let frames = FrameFaults::try_from(Rates { drop, duplicate, reorder, corrupt })?;
        let carrier = match self.flap.as_deref() {
            Some(&[up_ms, down_ms]) => Carrier::Flapping { up_ms, down_ms },
            _ if self.down => Carrier::Down,
            _ => Carrier::Up,
        };
        Ok(LinkFaults { frames, carrier })
    }
}

pub(super) fn run(arguments: &Arguments) -> Result<String, ControlError> {
    let (control, request) = match &arguments.fault {
        Fault::Rules { faults, control } => (control, Request::Rules(faults.faults())),
        Fault::Link { port, faults, control } => {
            (control, Request::Link { port: port.clone(), faults: faults.faults()? })
        }
        Fault::Reset { outage_ms, control } => (control, Request::Reset { outage_ms: *outage_ms }),
        Fault::Clear { control } => (control, Request::Clear),
    };
    control.request(&request).map(|status| show(&status))
}
