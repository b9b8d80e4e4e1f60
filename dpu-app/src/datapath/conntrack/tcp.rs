//! The TCP state machine: what a segment's control bits do to a connection. Sequence numbers are not looked at.

use packet::TcpFlags;

use super::FlowDirection;

/// How far a TCP connection has come.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum TcpState {
    /// The initiator sent a SYN.
    SynSent,
    /// The responder answered with SYN and ACK, or with a SYN of its own (simultaneous open).
    SynReceived,
    /// The initiator acknowledged; data flows.
    Established,
    /// One side (the direction in which it sends) sent a FIN.
    Closing(FlowDirection),
    /// Both sides sent a FIN.
    TimeWait,
    /// A RST was seen. Traffic in both directions after it shows that it was not genuine.
    Reset {
        /// Whether the initiator sent something since.
        forward: bool,
        /// Whether the responder sent something since.
        reverse: bool,
    },
}

impl TcpState {
    /// A reset, just seen.
    pub const RESET: Self = Self::Reset { forward: false, reverse: false };

    /// Whether the handshake is not over.
    #[must_use]
    pub const fn is_half_open(self) -> bool {
        matches!(self, Self::SynSent | Self::SynReceived)
    }
}

/// What a segment does to the connection it belongs to. In each case it is forwarded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Transition {
    /// Nothing: state and timer stay.
    Ignore,
    /// The connection is in this state now (possibly the same), and its timer starts anew.
    Enter(TcpState),
    /// It opens a new connection in place of this one, which is over.
    StartAnew,
}

/// Whether the bits are those of a connection's first segment.
#[must_use]
pub(crate) const fn opens(flags: TcpFlags) -> bool {
    let relevant = TcpFlags::SYN.union(TcpFlags::ACK).union(TcpFlags::RST).union(TcpFlags::FIN);
    flags.intersection(relevant).bits() == TcpFlags::SYN.bits()
}

/// Whether a connection may be picked up in mid-stream with this segment (where the setting allows it). Neither a RST
/// nor an answer to a SYN says who the initiator is, or that there is a connection at all.
#[must_use]
pub(crate) const fn may_pick_up(flags: TcpFlags) -> bool {
    flags.contains(TcpFlags::ACK) && !flags.intersects(TcpFlags::SYN.union(TcpFlags::RST))
}

/// What a segment with `flags`, sent in `direction`, does to a connection in `state`. A later fragment, whose bits are
/// not known, counts as a segment without any.
#[must_use]
pub(crate) fn transition(state: TcpState, direction: FlowDirection, flags: TcpFlags) -> Transition {
    use FlowDirection::{Forward, Reverse};
    use TcpState::{Closing, Established, Reset, SynReceived, SynSent, TimeWait};

    // Endpoints look at RST before SYN (RFC 9293, section 3.10.7).
    if flags.contains(TcpFlags::RST) {
        return Transition::Enter(TcpState::RESET);
    }
    let (syn, ack) = (flags.contains(TcpFlags::SYN), flags.contains(TcpFlags::ACK));
    let fin = flags.contains(TcpFlags::FIN);
    let next = match state {
        SynSent | SynReceived if fin => Closing(direction),
        SynSent if direction == Reverse && syn => SynReceived,
        SynSent => SynSent,
        SynReceived if direction == Forward && ack => Established,
        SynReceived => SynReceived,
        Closing(_) | TimeWait | Reset { .. } if opens(flags) => return Transition::StartAnew,
        // RFC 5961: endpoints answer it with a challenge and carry on.
        Established if syn => return Transition::Ignore,
        Established if fin => Closing(direction),
        Established => Established,
        Closing(first) if fin && first != direction => TimeWait,
        Closing(first) => Closing(first),
        TimeWait => TimeWait,
        Reset { forward, reverse } => {
            let (forward, reverse) =
                (forward || direction == Forward, reverse || direction == Reverse);
            match (forward && reverse, fin) {
                (true, true) => Closing(direction),
                (true, false) => Established,
                (false, _) => Reset { forward, reverse },
            }
        }
    };
    Transition::Enter(next)
}

#[cfg(test)]
mod tests {
    use super::*;
    use FlowDirection::{Forward as F, Reverse as R};
    use TcpState::{Closing, Established, SynReceived, SynSent, TimeWait};
    use Transition::{Enter, Ignore, StartAnew};

    fn flags(letters: &str) -> TcpFlags {
        letters.chars().fold(TcpFlags::empty(), |flags, letter| {
            flags
                | match letter {
                    'S' => TcpFlags::SYN,
                    'A' => TcpFlags::ACK,
                    'F' => TcpFlags::FIN,
                    'R' => TcpFlags::RST,
                    'P' => TcpFlags::PSH,
                    'E' => TcpFlags::ECE | TcpFlags::CWR,
                    _ => TcpFlags::empty(),
                }
        })
    }

    #[test]
    fn table() {
        const HEARD_F: TcpState = TcpState::Reset { forward: true, reverse: false };
        const HEARD_R: TcpState = TcpState::Reset { forward: false, reverse: true };
        const RESET: TcpState = TcpState::RESET;
        for (state, direction, letters, expected) in [
            (SynSent, F, "S", Enter(SynSent)),
            (SynSent, F, "A", Enter(SynSent)),
            (SynSent, F, "SA", Enter(SynSent)),
            (SynSent, R, "A", Enter(SynSent)),
            (SynSent, F, "FA", Enter(Closing(F))),
            (SynSent, R, "FSA", Enter(Closing(R))),
            (SynSent, R, "SA", Enter(SynReceived)),
            (SynSent, R, "S", Enter(SynReceived)),
            (SynSent, R, "RA", Enter(RESET)),
            (SynReceived, F, "S", Enter(SynReceived)),
            (SynReceived, R, "SA", Enter(SynReceived)),
            (SynReceived, R, "A", Enter(SynReceived)),
            (SynReceived, F, "A", Enter(Established)),
            (SynReceived, F, "SA", Enter(Established)),
            (SynReceived, F, "FA", Enter(Closing(F))),
            (SynReceived, R, "FA", Enter(Closing(R))),
            (SynReceived, F, "", Enter(SynReceived)),
            (Established, F, "PA", Enter(Established)),
            (Established, R, "", Enter(Established)),
            (Established, F, "S", Ignore),
            (Established, R, "SA", Ignore),
            (Established, R, "FA", Enter(Closing(R))),
            (Established, F, "R", Enter(RESET)),
            (Established, F, "SR", Enter(RESET)),
            (Closing(F), F, "FA", Enter(Closing(F))),
            (Closing(F), R, "A", Enter(Closing(F))),
            (Closing(F), R, "FA", Enter(TimeWait)),
            (Closing(R), F, "FA", Enter(TimeWait)),
            (Closing(F), F, "SE", StartAnew),
            (Closing(F), R, "S", StartAnew),
            (Closing(F), R, "SA", Enter(Closing(F))),
            (Closing(F), R, "FSA", Enter(TimeWait)),
            (Established, F, "SF", Ignore),
            (TimeWait, F, "A", Enter(TimeWait)),
            (TimeWait, R, "FA", Enter(TimeWait)),
            (TimeWait, F, "S", StartAnew),
            (TimeWait, F, "R", Enter(RESET)),
            (RESET, F, "A", Enter(HEARD_F)),
            (HEARD_F, F, "A", Enter(HEARD_F)),
            (HEARD_F, R, "A", Enter(Established)),
            (HEARD_R, F, "PA", Enter(Established)),
            (HEARD_R, F, "FA", Enter(Closing(F))),
            (HEARD_F, R, "R", Enter(RESET)),
            (HEARD_F, F, "S", StartAnew),
        ] {
            assert_eq!(
                transition(state, direction, flags(letters)),
                expected,
                "{state:?} {direction:?} {letters}"
            );
        }
    }

    #[test]
    fn only_a_bare_syn_opens() {
        for (letters, opening, pick_up) in [
            ("S", true, false),
            ("SE", true, false),
            ("SP", true, false),
            ("SA", false, false),
            ("SF", false, false),
            ("SR", false, false),
            ("A", false, true),
            ("PA", false, true),
            ("FA", false, true),
            ("R", false, false),
            ("RA", false, false),
            ("", false, false),
        ] {
            assert_eq!(opens(flags(letters)), opening, "{letters}");
            assert_eq!(may_pick_up(flags(letters)), pick_up, "{letters}");
        }
    }
}
