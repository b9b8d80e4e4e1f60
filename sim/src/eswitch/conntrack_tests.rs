//! One connection after another, segment by segment.

use packet::TcpFlags;
use rte_flow::{
    Connection, ConnectionState, ConnectionUpdate, ConntrackRules, Direction, LastSegment,
    PacketState, TcpDirection, WindowScale,
};

use super::{Segment, Tracker};
use Direction::{Original, Reply};

const VALID: PacketState = PacketState::VALID;
const MOVED: PacketState = PacketState::VALID.union(PacketState::CHANGED);
const INVALID: PacketState = PacketState::INVALID;

/// The sequence numbers that follow the SYNs.
const A: u32 = 1001;
const B: u32 = 5001;
/// The windows of both SYNs, in bytes.
const WINDOW: u32 = 60_000;

/// A connection whose SYN and SYN-ACK were seen, without window scaling.
fn opened() -> Connection {
    let end = |sent_end: u32, last_ack_seen, max_ack| TcpDirection {
        scale: WindowScale::DISABLED,
        close_initiated: false,
        last_ack_seen,
        data_unacked: true,
        sent_end,
        reply_end: sent_end.wrapping_add(WINDOW),
        max_win: WINDOW,
        max_ack,
    };
    Connection {
        peer_port: 1,
        direction: Original,
        enable: true,
        live_connection: false,
        selective_ack: true,
        challenge_ack_passed: false,
        last_direction: Reply,
        liberal_mode: false,
        state: ConnectionState::SynReceived,
        max_ack_window: 0,
        retransmission_limit: 0,
        original: end(A, false, 0),
        reply: end(B, true, A),
        last_window: WINDOW as u16,
        last_segment: LastSegment::SynAck,
        last_seq: B.wrapping_sub(1),
        last_ack: A,
        last_end: B,
    }
}

fn segment(flags: TcpFlags, sequence: u32, acknowledgment: u32, length: u32) -> Segment {
    Segment { flags, sequence, acknowledgment, window: WINDOW as u16, length, selective: None }
}

fn ack(sequence: u32, acknowledgment: u32, length: u32) -> Segment {
    segment(TcpFlags::ACK, sequence, acknowledgment, length)
}

fn fin(sequence: u32, acknowledgment: u32) -> Segment {
    segment(TcpFlags::FIN | TcpFlags::ACK, sequence, acknowledgment, 0)
}

fn rst(sequence: u32) -> Segment {
    segment(TcpFlags::RST, sequence, 0, 0)
}

struct Trial {
    tracker: Tracker,
    rules: ConntrackRules,
}

impl Trial {
    fn of(connection: Connection) -> Self {
        Self { tracker: Tracker::new(connection), rules: ConntrackRules::default() }
    }

    /// A connection whose handshake is complete.
    fn established(change: impl FnOnce(&mut Connection)) -> Self {
        let mut connection = opened();
        change(&mut connection);
        let mut trial = Self::of(connection);
        trial.expect(Original, ack(A, B, 0), MOVED, ConnectionState::Established);
        trial
    }

    #[track_caller]
    fn expect(
        &mut self,
        direction: Direction,
        segment: Segment,
        found: PacketState,
        then: ConnectionState,
    ) {
        let result = self.tracker.track(direction, Some(&segment), self.rules);
        assert_eq!((result, self.tracker.connection().state), (found, then), "{segment:?}");
    }
}

#[test]
fn the_handshake_ends_with_the_first_acknowledgment() {
    let mut trial = Trial::of(opened());
    // SYN-ACK again: the ACK was lost.
    let again = segment(TcpFlags::SYN | TcpFlags::ACK, B - 1, A, 0);
    trial.expect(Reply, again, VALID, ConnectionState::SynReceived);
    trial.expect(Original, ack(A, B, 0), MOVED, ConnectionState::Established);
    assert!(!trial.tracker.connection().live_connection);
    trial.expect(Original, ack(A, B, 100), VALID, ConnectionState::Established);
    assert!(
        trial.tracker.connection().live_connection
            && trial.tracker.connection().original.data_unacked
    );
    trial.expect(Reply, ack(B, A + 100, 0), VALID, ConnectionState::Established);
    let connection = trial.tracker.connection();
    assert_eq!((connection.original.sent_end, connection.reply.max_ack), (A + 100, A + 100));
    assert_eq!(connection.original.reply_end, A + 100 + WINDOW);
    assert!(!connection.original.data_unacked);
    assert_eq!((connection.last_segment, connection.last_direction), (LastSegment::Ack, Reply));
    assert_eq!((connection.last_seq, connection.last_ack, connection.last_end), (B, A + 100, B));
}

#[test]
fn segments_outside_the_windows_are_invalid_and_change_nothing() {
    let mut trial = Trial::established(|_| ());
    let before = *trial.tracker.connection();
    let outside = [
        // Beyond what the other end has room for.
        (Original, ack(A + WINDOW + 1, B, 10)),
        // Further back than the other end's largest window.
        (Original, ack(A.wrapping_sub(WINDOW + 100), B, 10)),
        // Acknowledges what was never sent.
        (Original, ack(A, B + 1, 0)),
        // Acknowledges what lies too far back.
        (Original, ack(A, B.wrapping_sub(70_000), 0)),
        (Reply, ack(B, A + 5, 0)),
    ];
    for (direction, segment) in outside {
        trial.expect(direction, segment, INVALID, ConnectionState::Established);
        assert_eq!(*trial.tracker.connection(), before, "{segment:?}");
    }
    // The edges are inside.
    trial.expect(Original, ack(A + WINDOW, B, 0), VALID, ConnectionState::Established);
}

#[test]
fn a_probe_of_a_closed_window_is_one_byte_long() {
    let mut trial = Trial::established(|_| ());
    let closed = Segment { window: 0, ..ack(B, A + WINDOW, 0) };
    trial.expect(Original, ack(A, B, WINDOW), VALID, ConnectionState::Established);
    trial.expect(Reply, closed, VALID, ConnectionState::Established);
    trial.expect(Original, ack(A + WINDOW, B, 1), VALID, ConnectionState::Established);
    trial.expect(Original, ack(A + WINDOW + 2, B, 1), INVALID, ConnectionState::Established);
}

#[test]
fn windows_are_scaled_by_the_sender() {
    let scale = WindowScale::new(3).expect("a scale");
    let mut trial = Trial::established(|connection| connection.reply.scale = scale);
    let offer = Segment { window: 10_000, ..ack(B, A, 0) };
    trial.expect(Reply, offer, VALID, ConnectionState::Established);
    assert_eq!(trial.tracker.connection().original.reply_end, A + 80_000);
    trial.expect(Original, ack(A + 70_000, B, 10), VALID, ConnectionState::Established);
}

#[test]
fn liberal_mode_follows_the_state_and_nothing_else() {
    let mut trial = Trial::established(|connection| connection.liberal_mode = true);
    trial.expect(Original, ack(A + 900_000, B + 77, 10), VALID, ConnectionState::Established);
    trial.expect(Original, fin(A + 900_000, B + 77), MOVED, ConnectionState::FinWait);
}

#[test]
fn both_ends_close_one_after_the_other() {
    let mut trial = Trial::established(|_| ());
    trial.expect(Original, fin(A, B), MOVED, ConnectionState::FinWait);
    trial.expect(Reply, ack(B, A + 1, 0), MOVED, ConnectionState::CloseWait);
    trial.expect(Reply, fin(B, A + 1), MOVED, ConnectionState::LastAck);
    trial.expect(Original, ack(A + 1, B + 1, 0), MOVED, ConnectionState::TimeWait);
    let connection = trial.tracker.connection();
    assert!(connection.original.close_initiated && connection.reply.close_initiated);
    // Nothing comes after the FIN but its repetition.
    trial.expect(Original, fin(A, B), VALID, ConnectionState::TimeWait);
}

#[test]
fn a_repeated_fin_closes_only_where_directions_are_not_checked() {
    let mut trial = Trial::established(|_| ());
    trial.expect(Original, fin(A, B), MOVED, ConnectionState::FinWait);
    trial.expect(Original, fin(A, B), VALID, ConnectionState::FinWait);
    let mut trial = Trial::established(|_| ());
    trial.rules.checks_fin_direction = false;
    trial.expect(Original, fin(A, B), MOVED, ConnectionState::FinWait);
    trial.expect(Original, fin(A, B), MOVED, ConnectionState::LastAck);
}

#[test]
fn a_reset_counts_when_it_has_the_expected_number() {
    let mut trial = Trial::established(|_| ());
    trial.expect(Reply, ack(B, A, 0), VALID, ConnectionState::Established);
    // In the window, but not what comes next: the receiver answers with a challenge (RFC 5961).
    trial.expect(Original, rst(A + 9), VALID, ConnectionState::Established);
    trial.expect(Original, rst(A + WINDOW + 9), INVALID, ConnectionState::Established);
    trial.expect(Original, rst(A), MOVED, ConnectionState::TimeWait);
    // What is over stays over: the next connection of these ends needs an object of its own.
    let next = segment(TcpFlags::SYN, A + 9, 0, 0);
    trial.expect(Original, next, INVALID, ConnectionState::TimeWait);
}

#[test]
fn a_syn_on_a_live_connection_is_answered_by_a_challenge() {
    let mut trial = Trial::established(|_| ());
    trial.expect(Original, segment(TcpFlags::SYN, 77, 0, 0), VALID, ConnectionState::Established);
    assert!(!trial.tracker.connection().challenge_ack_passed);
    trial.expect(Reply, ack(B, A, 0), VALID, ConnectionState::Established);
    assert!(trial.tracker.connection().challenge_ack_passed);
    trial.expect(Original, rst(A + 9), MOVED, ConnectionState::TimeWait);
}

#[test]
fn repetitions_are_limited() {
    let mut trial = Trial::established(|connection| connection.retransmission_limit = 2);
    for found in [VALID, VALID, VALID, INVALID] {
        trial.expect(Original, ack(A, B, 100), found, ConnectionState::Established);
    }
    trial.expect(Original, ack(A + 100, B, 100), VALID, ConnectionState::Established);
    let mut trial = Trial::established(|connection| connection.retransmission_limit = 2);
    trial.rules.limits_retransmissions = false;
    for _ in 0..9 {
        trial.expect(Original, ack(A, B, 100), VALID, ConnectionState::Established);
    }
}

#[test]
fn selective_acknowledgments_reach_further() {
    let hole = Segment { selective: Some(A + 300), ..ack(B, A, 0) };
    let mut trial = Trial::established(|_| ());
    trial.expect(Reply, hole, INVALID, ConnectionState::Established);
    trial.expect(Original, ack(A + 200, B, 100), VALID, ConnectionState::Established);
    trial.expect(Reply, hole, VALID, ConnectionState::Established);
    // Without agreement the option says nothing.
    let mut trial = Trial::established(|connection| connection.selective_ack = false);
    trial.expect(Reply, hole, VALID, ConnectionState::Established);
}

#[test]
fn sequence_numbers_wrap() {
    let start = u32::MAX - 50;
    let mut connection = opened();
    connection.original.sent_end = start;
    connection.original.reply_end = start.wrapping_add(WINDOW);
    connection.reply.max_ack = start;
    let mut trial = Trial::of(connection);
    trial.expect(Original, ack(start, B, 100), MOVED, ConnectionState::Established);
    trial.expect(Reply, ack(B, 49, 0), VALID, ConnectionState::Established);
    assert_eq!(trial.tracker.connection().original.sent_end, 49);
}

#[test]
fn what_is_disabled_or_no_segment_is_not_followed() {
    let mut tracker = Tracker::new(Connection { enable: false, ..opened() });
    let rules = ConntrackRules::default();
    let any = ack(A, B, 0);
    assert_eq!(tracker.track(Original, Some(&any), rules), PacketState::DISABLED);
    let mut tracker = Tracker::new(opened());
    assert_eq!(tracker.track(Original, None, rules), PacketState::BAD);
    let nonsense = segment(TcpFlags::SYN | TcpFlags::FIN, A, B, 0);
    assert_eq!(tracker.track(Original, Some(&nonsense), rules), PacketState::BAD);
    assert_eq!(*tracker.connection(), opened());
}

#[test]
fn an_update_turns_the_direction_or_replaces_everything() {
    let mut trial = Trial::established(|_| ());
    trial.tracker.update(&ConnectionUpdate { direction: Some(Reply), connection: None });
    assert_eq!(trial.tracker.connection().direction, Reply);
    assert_eq!(trial.tracker.connection().state, ConnectionState::Established);
    let fresh = Connection { enable: false, ..opened() };
    trial.tracker.update(&ConnectionUpdate { direction: None, connection: Some(fresh) });
    assert_eq!(*trial.tracker.connection(), Connection { direction: Reply, ..fresh });
}

#[test]
fn a_segment_is_read_with_its_options() {
    let mut bytes = vec![0; 20];
    bytes[4..8].copy_from_slice(&7_u32.to_be_bytes());
    bytes[8..12].copy_from_slice(&9_u32.to_be_bytes());
    bytes[13] = TcpFlags::ACK.bits();
    bytes[14..16].copy_from_slice(&500_u16.to_be_bytes());
    // NOP, NOP, SACK with two blocks.
    bytes.extend([1, 1, 5, 18]);
    for number in [10_u32, 20, 30, 40] {
        bytes.extend(number.to_be_bytes());
    }
    bytes[12] = 10 << 4;
    bytes.extend(*b"hello");
    let segment = Segment::read(&bytes).expect("a segment");
    let expected = Segment { window: 500, selective: Some(40), ..ack(7, 9, 5) };
    assert_eq!(segment, expected);
    // A header that is longer than the packet, or shorter than a header is.
    bytes[12] = 12 << 4;
    assert_eq!(Segment::read(&bytes), None);
    bytes[12] = 4 << 4;
    assert_eq!(Segment::read(&bytes), None);
    assert_eq!(Segment::read(&bytes[..19]), None);
}
