//! Each sentence of DESIGN section 5 on connections.

mod tcp;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::*;

const S: TcpFlags = TcpFlags(0x02);
const SA: TcpFlags = TcpFlags(0x12);
const A: TcpFlags = TcpFlags(0x10);
const FA: TcpFlags = TcpFlags(0x11);
const R: TcpFlags = TcpFlags(0x04);

const HERE: IpAddr = IpAddr::V6(Ipv6Addr::from_bits(1));
const THERE: IpAddr = IpAddr::V6(Ipv6Addr::from_bits(2));

/// A VM of interface 1 talks with something beyond the wire.
fn connection(protocol: u8, source_port: u16) -> Connection {
    let tuple =
        Tuple { source: HERE, destination: THERE, protocol, source_port, destination_port: 80 };
    let reverse = Tuple {
        source: THERE,
        destination: HERE,
        protocol,
        source_port: 80,
        destination_port: source_port,
    };
    Connection {
        first: Key { zone: Zone { interface: 1, from_network: false }, tuple },
        answers: Key { zone: Zone { interface: 1, from_network: true }, tuple: reverse },
        icmp: (0, 0),
    }
}

/// A connection, its two directions, and a clock.
struct Talk {
    tracker: Conntrack,
    new: Connection,
    now: Time,
}

impl Talk {
    fn new(protocol: u8) -> Self {
        Self { tracker: Conntrack::new(16, 8), new: connection(protocol, 1000), now: 5 * SECOND }
    }

    fn open(mut self, flags: TcpFlags) -> Self {
        assert!(self.tracker.create(self.new, flags, self.now));
        self
    }

    fn established() -> Self {
        Self::new(TCP).open(S).reply(SA).forward(A)
    }

    fn forward(mut self, flags: TcpFlags) -> Self {
        assert_eq!(self.tracker.lookup(self.new.first, flags, self.now), Some((self.new, false)));
        self.tracker.update(self.new.first, flags, self.now);
        self
    }

    fn reply(mut self, flags: TcpFlags) -> Self {
        assert_eq!(self.tracker.lookup(self.new.answers, flags, self.now), Some((self.new, true)));
        self.tracker.update(self.new.answers, flags, self.now);
        self
    }

    fn wait(mut self, time: Time) -> Self {
        self.now += time;
        self
    }

    /// It lives for this long and no longer.
    fn lives(mut self, seconds: Time) {
        let end = self.now + seconds * SECOND;
        assert!(
            self.tracker.lookup(self.new.first, A, end - 1).is_some(),
            "gone before {seconds} s"
        );
        assert!(
            self.tracker.lookup(self.new.first, A, end).is_none(),
            "still there at {seconds} s"
        );
        assert!(self.tracker.directions.is_empty(), "a direction is left over");
    }
}

#[test]
fn timeouts_of_all_but_tcp() {
    Talk::new(UDP).open(A).forward(A).lives(30);
    Talk::new(UDP).open(A).reply(A).lives(180);
    Talk::new(47).open(A).reply(A).lives(120);
}

#[test]
fn icmp_echo_lives_shorter_than_other_icmp() {
    for (protocol, port, seconds) in [
        (1, 8, 30),
        (1, 0, 30),
        (58, 128, 30),
        (1, NOT_ECHO, 120),
        (58, NOT_ECHO, 120),
        (47, 0, 120),
    ] {
        let mut talk = Talk::new(protocol);
        talk.new.first.tuple.destination_port = port;
        if protocol == ICMP {
            talk.new.first.tuple.source = Ipv4Addr::LOCALHOST.into();
        }
        talk.open(A).lives(seconds);
    }
}

#[test]
fn the_same_tuple_may_be_in_several_zones() {
    let mut talk = Talk::new(UDP).open(A);
    let mut other = talk.new;
    other.first.zone.interface = 2;
    other.answers.zone.interface = 2;
    assert_eq!(talk.tracker.lookup(other.first, A, talk.now), None);
    assert!(talk.tracker.create(other, A, talk.now));
    assert_eq!(talk.tracker.lookup(other.answers, A, talk.now), Some((other, true)));
    talk.forward(A);
}

#[test]
fn a_key_of_answers_stays_with_who_has_it() {
    let mut talk = Talk::new(UDP).open(A);
    let mut other = talk.new;
    other.first.zone.interface = 2;
    assert!(talk.tracker.create(other, A, talk.now));
    assert_eq!(talk.tracker.lookup(talk.new.answers, A, talk.now), Some((talk.new, true)));
    assert_eq!(talk.tracker.lookup(other.first, A, talk.now), Some((other, false)));
}

/// Room for so many of an interface, and in all.
fn limited(connections: usize, of_an_interface: usize) -> Conntrack {
    Conntrack::new(connections, of_an_interface)
}

#[test]
fn a_full_quota_takes_from_the_own_half_open_ones_only() {
    let mut tracker = limited(16, 2);
    let mut neighbour = connection(TCP, 7);
    neighbour.first.zone.interface = 2;
    neighbour.answers.zone.interface = 2;
    assert!(tracker.create(neighbour, S, 0));
    let (udp, half_open, next) = (connection(UDP, 1), connection(TCP, 2), connection(UDP, 3));
    assert!(tracker.create(udp, A, 0));
    tracker.update(udp.answers, A, 0);
    assert!(tracker.create(half_open, S, 0));
    assert!(tracker.create(next, A, 0));
    assert_eq!(tracker.lookup(half_open.first, A, 0), None);
    tracker.update(next.answers, A, 0);
    assert!(!tracker.create(connection(UDP, 4), A, 0));
    assert!(tracker.lookup(udp.first, A, 0).is_some());
    assert!(tracker.lookup(neighbour.first, A, 0).is_some());
}

#[test]
fn a_full_table_takes_nothing_from_others() {
    let mut tracker = limited(1, 8);
    assert!(tracker.create(connection(TCP, 1), S, 0));
    let mut neighbour = connection(UDP, 2);
    neighbour.first.zone.interface = 2;
    assert!(!tracker.create(neighbour, A, 0));
    assert!(tracker.lookup(connection(TCP, 1).first, A, 0).is_some());
}

#[test]
fn what_is_no_longer_allowed_leaves_in_both_directions() {
    let mut talk = Talk::new(UDP).open(A);
    talk.tracker.remove(talk.new.answers, Removal::Policy, talk.now);
    assert_eq!(talk.tracker.lookup(talk.new.first, A, talk.now), None);
    assert_eq!(talk.tracker.lookup(talk.new.answers, A, talk.now), None);
}

#[test]
fn a_receiver_that_moves_answers_from_there() {
    let mut talk = Talk::new(UDP).open(A);
    assert_eq!(talk.tracker.recheck(talk.now), 1);
    assert_eq!(talk.tracker.due(), Some(talk.new));
    assert_eq!(talk.tracker.due(), None);
    let before = talk.new.answers;
    talk.new.answers.zone = Zone { interface: 2, from_network: false };
    talk.tracker.follow(talk.new.first, talk.new.answers);
    assert_eq!(talk.tracker.lookup(before, A, talk.now), None);
    talk.reply(A).lives(180);
}

#[test]
fn what_happens_to_connections_is_told() {
    let mut talk = Talk::new(UDP).open(A).wait(30 * SECOND);
    let event = |time, change| Event { time: time * SECOND, first: talk.new.first, change };
    let expected = [event(5, Change::Created), event(35, Change::Removed(Removal::Expired))];
    assert_eq!(talk.tracker.take_events(talk.now), expected);
    assert_eq!(talk.tracker.take_events(talk.now), []);
    let removed = |mut talk: Talk| {
        let events = talk.tracker.take_events(talk.now);
        events.last().map(|event| (event.time - talk.now, event.change))
    };
    let ended = |talk: Talk, seconds| removed(talk.wait(seconds * SECOND));
    let reason = |reason| Some((0, Change::Removed(reason)));
    assert_eq!(ended(Talk::established().forward(FA), 60), reason(Removal::Expired));
    assert_eq!(ended(Talk::established().forward(FA).reply(FA), 60), reason(Removal::Closed));
    assert_eq!(ended(Talk::established().forward(R), 10), reason(Removal::Reset));
    let anew = |mut talk: Talk| {
        talk.tracker.lookup(talk.new.first, S, talk.now);
        removed(talk)
    };
    assert_eq!(anew(Talk::established().forward(FA)), reason(Removal::Closed));
    assert_eq!(anew(Talk::established().forward(R)), reason(Removal::Reset));
}

#[test]
fn fragments_follow_the_first_one_for_thirty_seconds() {
    let mut tracker = limited(1, 1);
    let key = connection(UDP, 1).first;
    let fragment = |identification| Fragment {
        zone: key.zone,
        source: HERE,
        destination: THERE,
        identification,
        family: Family::V6,
    };
    let first = First { key, related: true };
    assert_eq!(tracker.find_fragment(fragment(3), 0), None);
    tracker.remember_fragment(fragment(3), first, 0);
    let other = Fragment { family: Family::V4 { protocol: UDP }, ..fragment(3) };
    assert_eq!(tracker.find_fragment(other, 0), None);
    assert_eq!(tracker.find_fragment(fragment(3), 30 * SECOND - 1), Some(first));
    assert_eq!(tracker.find_fragment(fragment(3), 30 * SECOND), None);
    // The oldest makes room.
    tracker.settings().1.fragmented_packets_of_an_interface = 2;
    for identification in 4..7 {
        tracker.remember_fragment(fragment(identification), first, 40 * SECOND);
    }
    let found = [4, 5, 6].map(|id| tracker.find_fragment(fragment(id), 40 * SECOND).is_some());
    assert_eq!(found, [false, true, true]);
}
