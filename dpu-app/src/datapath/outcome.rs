//! What became of a packet.

use std::fmt;
use std::str::FromStr;

use model::decision::DropReason;
use model::snapshot::VfIndex;

/// A port of the datapath.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Port {
    /// The wire.
    Uplink,
    /// A VF's representor: frames its VM sends come from here, frames for it go there.
    Vf(VfIndex),
    /// The kernel beside us, which shares the uplink: what is not the datapath's goes there, where
    /// [`Settings::kernel_port`](super::settings::Settings::kernel_port) says so; what it sends goes to the wire.
    Kernel,
}

/// A text that names no port.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("`{0}` names no port; ports are vf0, vf1, ..., uplink and kernel")]
pub struct PortSyntax(String);

/// `uplink`, `vf0`, `vf1`, ..., `kernel`
impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uplink => f.write_str("uplink"),
            Self::Vf(VfIndex(number)) => write!(f, "vf{number}"),
            Self::Kernel => f.write_str("kernel"),
        }
    }
}

impl FromStr for Port {
    type Err = PortSyntax;

    /// Reads exactly what `Display` writes, so that a port has one name.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let port = match text {
            "uplink" => Some(Self::Uplink),
            "kernel" => Some(Self::Kernel),
            _ => text
                .strip_prefix("vf")
                .and_then(|number| number.parse().ok())
                .map(|number| Self::Vf(VfIndex(number))),
        };
        port.filter(|port| port.to_string() == text).ok_or_else(|| PortSyntax(text.to_owned()))
    }
}

/// What the caller does with the frame, which was changed in place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The packet goes on, out of `port`.
    Forward {
        /// Where to.
        port: Port,
    },
    /// The frame now holds an answer to the packet; it goes back out of `port`.
    Reply {
        /// Where to (the port the packet came from).
        port: Port,
    },
    /// The packet was meant for the datapath itself, and needs no answer.
    Consumed,
    /// The packet is dropped, and the frame now holds the message that tells its sender so (ICMP too-big).
    DropAndReply {
        /// Why.
        reason: DropReason,
        /// Where the message goes.
        port: Port,
    },
    /// The packet is dropped.
    Drop(DropReason),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_has_one_name() {
        for port in [Port::Uplink, Port::Vf(VfIndex(0)), Port::Vf(VfIndex(u16::MAX)), Port::Kernel]
        {
            assert_eq!(port.to_string().parse(), Ok(port));
        }
        for wrong in
            ["", "vf", "vf00", "vf+1", "vf-1", "vf65536", "VF0", "uplink0", "Kernel", "eth0"]
        {
            assert_eq!(wrong.parse::<Port>(), Err(PortSyntax(wrong.to_owned())));
        }
    }
}
