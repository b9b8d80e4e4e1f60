//! `penstock nic status`: how is a simulated NIC?

use clap::Args;
use sim::control::{LinkStatus, PortStatus, Request, RuleFaults, Status};
use sim::link_faults::{Carrier, LinkFaults, Rates};

use super::ControlError;
use super::control::Control;
use crate::table;

/// Arguments of `penstock nic status`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    control: Control,
}

pub(super) fn run(arguments: &Arguments) -> Result<String, ControlError> {
    arguments.control.request(&Request::Status).map(|status| show(&status))
}

/// A status for people.
pub(super) fn show(status: &Status) -> String {
    let mut ports = table::table(&[
        "port",
        "ethdev",
        "link",
        "faults",
        "dropped",
        "duplicated",
        "reordered",
        "corrupted",
    ]);
    for port in &status.ports {
        ports.add_row(row(port));
    }
    let resets = match (status.resets, status.is_away) {
        (0, _) => String::new(),
        (resets, true) => format!(", away (reset {resets} times)"),
        (resets, false) => format!(", reset {resets} times"),
    };
    format!(
        "{}: {}, {} rules{resets}\nrule faults: {}\n{}",
        status.device,
        status.profile,
        status.rules,
        rule_faults(&status.rule_faults),
        table::text(&ports)
    )
}

fn row(port: &PortStatus) -> Vec<String> {
    let ethdev = port.ethdev.map_or_else(|| "-".to_owned(), |id| id.to_string());
    let link = port.link.map_or("none", |link| if link.is_up { "up" } else { "down" });
    let mut row = vec![port.name.clone(), ethdev, link.to_owned()];
    match port.link {
        None => row.extend(std::iter::repeat_n("-".to_owned(), 5)),
        Some(LinkStatus { faults, counters, .. }) => {
            row.push(link_faults(&faults));
            let numbers =
                [counters.dropped, counters.duplicated, counters.reordered, counters.corrupted];
            row.extend(numbers.map(|number| number.to_string()));
        }
    }
    row
}

/// The parts that are there, or that there is none.
fn list(parts: impl IntoIterator<Item = Option<String>>) -> String {
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    if parts.is_empty() { "none".to_owned() } else { parts.join(", ") }
}

fn rule_faults(faults: &RuleFaults) -> String {
    let RuleFaults {
        refuse,
        refuse_every,
        refuse_removal,
        errno,
        lose_every,
        enospc_after,
        late_ms,
        freeze_queue,
    } = *faults;
    let errno = errno.map_or_else(String::new, |errno| format!(" with errno {errno}"));
    list([
        refuse.map(|number| format!("refuse insertion {number}{errno}")),
        refuse_every.map(|every| format!("refuse every {every}. insertion{errno}")),
        refuse_removal.map(|number| format!("refuse removal {number}{errno}")),
        lose_every.map(|every| format!("lose every {every}. insertion")),
        enospc_after.map(|rules| format!("full with {rules} rules")),
        (late_ms > 0).then(|| format!("completions {late_ms} ms late")),
        freeze_queue.map(|queue| format!("queue {queue} frozen")),
    ])
}

fn link_faults(faults: &LinkFaults) -> String {
    let Rates { drop, duplicate, reorder, corrupt } = faults.frames.into();
    let rate = |rate: u16, what: &str| (rate > 0).then(|| format!("{what} {rate}/1000"));
    list([
        rate(drop, "drop"),
        rate(duplicate, "duplicate"),
        rate(reorder, "reorder"),
        rate(corrupt, "corrupt"),
        match faults.carrier {
            Carrier::Up => None,
            Carrier::Down => Some("held down".to_owned()),
            Carrier::Flapping { up_ms, down_ms } => {
                Some(format!("flapping ({up_ms} ms up, {down_ms} ms down)"))
            }
        },
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use sim::link_faults::{FaultCounters, FrameFaults};

    #[test]
    fn a_status_is_a_table_that_people_can_read() {
        let frames = FrameFaults::try_from(Rates { drop: 5, ..Rates::default() }).expect("few");
        let faults = LinkFaults { frames, carrier: Carrier::Flapping { up_ms: 900, down_ms: 100 } };
        let counters = FaultCounters { dropped: 17, ..FaultCounters::default() };
        let link = Some(LinkStatus { is_up: true, faults, counters });
        let rule_faults = RuleFaults {
            refuse_every: std::num::NonZeroU64::new(3),
            errno: Some(12),
            late_ms: 5,
            ..RuleFaults::default()
        };
        let status = Status {
            device: "net_eswitch0".into(),
            profile: "unlimited".into(),
            rules: 2,
            is_away: false,
            resets: 1,
            rule_faults,
            ports: vec![
                PortStatus { name: "uplink".into(), ethdev: Some(0), link },
                PortStatus { name: "vf0".into(), ethdev: None, link: None },
            ],
        };
        let text = show(&status);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "net_eswitch0: unlimited, 2 rules, reset 1 times");
        assert_eq!(
            lines[1],
            "rule faults: refuse every 3. insertion with errno 12, completions 5 ms late"
        );
        assert!(lines[3].contains("drop 5/1000, flapping (900 ms up, 100 ms down)"), "{text}");
        assert!(lines[3].contains(" 17 "), "{text}");
        assert!(lines[4].contains("vf0") && lines[4].contains("none"), "{text}");
    }
}
