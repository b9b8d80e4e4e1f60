//! Each sentence of DESIGN section 5 on connections.

use super::*;

const S: TcpFlags = TcpFlags(0x02);
const SA: TcpFlags = TcpFlags(0x12);
const A: TcpFlags = TcpFlags(0x10);
const FA: TcpFlags = TcpFlags(0x11);
const R: TcpFlags = TcpFlags(0x04);

/// A VM of interface 1 talks with something beyond the wire.
fn connection(protocol: u8, source_port: u16) -> NewConnection {
    let tuple = Tuple { source: 1, destination: 2, protocol, source_port, destination_port: 80 };
    let reverse = Tuple {
        source: 2,
        destination: 1,
        protocol,
        source_port: 80,
        destination_port: source_port,
    };
    NewConnection {
        key: Key { zone: Zone { interface: 1, from_network: false }, tuple },
        reverse: Key { zone: Zone { interface: 1, from_network: true }, tuple: reverse },
        initiator: 1,
        responder: 0,
        icmp: (0, 0),
    }
}

/// A connection, its two directions, and a clock.
struct Talk {
    tracker: Conntrack,
    new: NewConnection,
    now: Time,
}

impl Talk {
    fn new(protocol: u8) -> Self {
        Self { tracker: Conntrack::new(16, 8), new: connection(protocol, 1000), now: 5 * SECOND }
    }

    fn open(mut self, flags: TcpFlags) -> Self {
        assert_eq!(self.tracker.create(self.new, flags, false, self.now), Created::Created);
        self
    }

    fn established() -> Self {
        Self::new(TCP).open(S).reply(SA).forward(A)
    }

    fn forward(mut self, flags: TcpFlags) -> Self {
        assert_eq!(self.tracker.lookup(self.new.key, flags, self.now), Some((self.new, false)));
        self.tracker.update(self.new.key, flags, self.now);
        self
    }

    fn reply(mut self, flags: TcpFlags) -> Self {
        assert_eq!(self.tracker.lookup(self.new.reverse, flags, self.now), Some((self.new, true)));
        self.tracker.update(self.new.reverse, flags, self.now);
        self
    }

    fn wait(mut self, time: Time) -> Self {
        self.now += time;
        self
    }

    /// It lives for this long and no longer.
    fn lives(mut self, seconds: Time) {
        let end = self.now + seconds * SECOND;
        assert!(self.tracker.lookup(self.new.key, A, end - 1).is_some(), "gone before {seconds} s");
        assert!(self.tracker.lookup(self.new.key, A, end).is_none(), "still there at {seconds} s");
        assert!(self.tracker.directions.is_empty(), "a direction is left over");
    }
}

#[test]
fn timeouts_by_state() {
    Talk::new(TCP).open(S).lives(30);
    Talk::new(TCP).open(S).reply(SA).lives(30);
    Talk::established().lives(7440);
    Talk::established().forward(FA).lives(60);
    Talk::established().forward(FA).reply(FA).lives(60);
    Talk::established().reply(R).lives(10);
    Talk::new(UDP).open(A).forward(A).lives(30);
    Talk::new(UDP).open(A).reply(A).lives(180);
    Talk::new(47).open(A).reply(A).lives(120);
}

#[test]
fn icmp_echo_lives_shorter_than_other_icmp() {
    for (protocol, port, seconds) in
        [(1, 1, 30), (58, 1, 30), (1, 0, 120), (58, 0, 120), (47, 1, 120)]
    {
        let mut talk = Talk::new(protocol);
        talk.new.key.tuple.destination_port = port;
        talk.open(A).lives(seconds);
    }
}

#[test]
fn every_forwarded_packet_begins_the_silence_anew() {
    Talk::new(UDP).open(A).wait(29 * SECOND).forward(A).wait(29 * SECOND).forward(A).lives(30);
}

#[test]
fn tcp_begins_with_a_syn() {
    for flags in [A, SA, R, TcpFlags(0x06), TcpFlags(0)] {
        let mut talk = Talk::new(TCP);
        assert_eq!(talk.tracker.create(talk.new, flags, false, 0), Created::NotSyn, "{flags:?}");
        assert_eq!(talk.tracker.lookup(talk.new.key, A, 0), None);
    }
}

#[test]
fn a_knob_allows_to_pick_up_in_mid_stream() {
    let mut talk = Talk::new(TCP);
    for flags in [SA, R, TcpFlags(0x14), TcpFlags(0)] {
        assert_eq!(talk.tracker.create(talk.new, flags, true, 0), Created::NotSyn, "{flags:?}");
    }
    assert_eq!(talk.tracker.create(talk.new, A, true, talk.now), Created::Created);
    talk.forward(A).lives(7440);
}

#[test]
fn a_syn_starts_anew_what_is_closing_and_nothing_else() {
    for mut closing in [
        Talk::established().forward(FA),
        Talk::established().forward(FA).reply(FA),
        Talk::established().forward(R),
    ] {
        assert_eq!(closing.tracker.lookup(closing.new.key, S, closing.now), None);
        closing.open(S).lives(30);
    }
    Talk::established().forward(S).lives(7440);
    Talk::new(TCP).open(S).forward(S).lives(30);
}

#[test]
fn packets_still_pass_in_time_wait() {
    Talk::established().forward(FA).reply(FA).forward(A).reply(A).lives(60);
}

#[test]
fn traffic_in_both_directions_after_a_reset_restores() {
    Talk::established().reply(R).forward(A).lives(10);
    Talk::established().reply(R).reply(A).lives(10);
    Talk::established().reply(R).forward(A).reply(A).lives(7440);
    Talk::established().reply(R).forward(A).reply(R).reply(A).lives(10);
}

#[test]
fn the_same_tuple_may_be_in_several_zones() {
    let mut talk = Talk::new(UDP).open(A);
    let mut other = talk.new;
    other.key.zone.interface = 2;
    other.reverse.zone.interface = 2;
    other.initiator = 2;
    assert_eq!(talk.tracker.lookup(other.key, A, talk.now), None);
    assert_eq!(talk.tracker.create(other, A, false, talk.now), Created::Created);
    assert_eq!(talk.tracker.lookup(other.reverse, A, talk.now), Some((other, true)));
    talk.forward(A);
}

#[test]
fn a_full_quota_takes_from_the_own_half_open_ones_only() {
    let mut tracker = Conntrack::new(16, 2);
    let mut neighbour = connection(TCP, 7);
    neighbour.key.zone.interface = 2;
    neighbour.reverse.zone.interface = 2;
    neighbour.initiator = 2;
    assert_eq!(tracker.create(neighbour, S, false, 0), Created::Created);
    let (udp, half_open, next) = (connection(UDP, 1), connection(TCP, 2), connection(UDP, 3));
    assert_eq!(tracker.create(udp, A, false, 0), Created::Created);
    assert_eq!(tracker.create(half_open, S, false, 0), Created::Created);
    assert_eq!(tracker.create(next, A, false, 0), Created::Created);
    assert_eq!(tracker.lookup(half_open.key, A, 0), None);
    assert_eq!(tracker.create(connection(UDP, 4), A, false, 0), Created::Quota);
    assert!(tracker.lookup(udp.key, A, 0).is_some());
    assert!(tracker.lookup(neighbour.key, A, 0).is_some());
}

#[test]
fn a_full_table_takes_nothing_from_others() {
    let mut tracker = Conntrack::new(1, 8);
    assert_eq!(tracker.create(connection(TCP, 1), S, false, 0), Created::Created);
    let mut neighbour = connection(UDP, 2);
    neighbour.initiator = 2;
    assert_eq!(tracker.create(neighbour, A, false, 0), Created::Quota);
    assert!(tracker.lookup(connection(TCP, 1).key, A, 0).is_some());
}

#[test]
fn an_error_finds_the_connection_and_does_not_keep_it_alive() {
    let mut talk = Talk::new(UDP).open(A);
    let later = talk.now + 29 * SECOND;
    assert_eq!(talk.tracker.related(talk.new.reverse, later), Some((talk.new, true)));
    talk.lives(30);
}

#[test]
fn what_is_no_longer_allowed_leaves_in_both_directions() {
    let mut talk = Talk::new(UDP).open(A);
    talk.tracker.remove(talk.new.reverse);
    assert_eq!(talk.tracker.lookup(talk.new.key, A, talk.now), None);
    assert_eq!(talk.tracker.lookup(talk.new.reverse, A, talk.now), None);
}

#[test]
fn fragments_follow_the_first_one_for_thirty_seconds() {
    let mut tracker = Conntrack::new(1, 1);
    let zone = Zone { interface: 1, from_network: false };
    let fragment =
        Fragment { zone, source: 1, destination: 2, identification: 3, family: Family::V6 };
    let ports = Ports { source: 4, destination: 5, protocol: UDP };
    assert_eq!(tracker.find_fragment(fragment, 0), None);
    tracker.remember_fragment(fragment, ports, 0);
    let other = Fragment { family: Family::V4 { protocol: UDP }, ..fragment };
    assert_eq!(tracker.find_fragment(other, 0), None);
    assert_eq!(tracker.find_fragment(fragment, 30 * SECOND - 1), Some(ports));
    assert_eq!(tracker.find_fragment(fragment, 30 * SECOND), None);
}
