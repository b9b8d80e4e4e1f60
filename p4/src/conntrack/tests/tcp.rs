//! Each sentence of DESIGN section 5 on TCP, in its order there.

use super::{A, FA, R, S, SA, Talk};
use crate::conntrack::{Change, Conntrack, Key, Removal, SECOND, TCP, TcpFlags};
use crate::interpreter::Time;

const F: TcpFlags = TcpFlags(0x01);
const SF: TcpFlags = TcpFlags(0x03);
const SR: TcpFlags = TcpFlags(0x06);
const FSA: TcpFlags = TcpFlags(0x13);
const RA: TcpFlags = TcpFlags(0x14);

impl Talk {
    /// It lives for so long from a second ago, although a packet has passed now.
    fn lives_from_a_second_ago(mut self, seconds: Time) {
        self.now -= SECOND;
        self.lives(seconds);
    }

    /// When its time is over, it leaves for this.
    fn end_reason(mut self, reason: Removal) {
        let events = self.tracker.take_events(self.now + 7440 * SECOND);
        assert_eq!(events.last().map(|event| event.change), Some(Change::Removed(reason)));
    }

    /// Whether a packet with these flags finds it.
    fn finds(mut self, key: impl Fn(&Self) -> Key, flags: TcpFlags) -> bool {
        let key = key(&self);
        self.tracker.lookup(key, flags, self.now).is_some()
    }
}

/// Connections in each of the states in which a SYN starts anew.
fn closing() -> [Talk; 3] {
    [
        Talk::established().forward(FA),
        Talk::established().reply(FA).forward(FA),
        Talk::established().reply(R),
    ]
}

// "Mid-stream TCP without a connection: `tcp_not_syn`" is the program's. "A knob allows pick-up":

#[test]
fn what_is_picked_up_is_established() {
    Talk::new(TCP).open(A).lives(7440);
    Talk::new(TCP).open(A).wait(SECOND).forward(S).lives_from_a_second_ago(7440);
}

#[test]
fn what_is_picked_up_by_a_fin_is_closing() {
    Talk::new(TCP).open(FA).lives(60);
}

// "A packet with SYN and ACK or RST and no connection is the same."

#[test]
fn only_a_bare_syn_opens() {
    assert!(S.opens());
    // Other flags mean nothing here: PSH, URG, ECE, CWR.
    assert!(TcpFlags(0xea).opens());
    for flags in [SA, SR, SF, FSA, A, F, R, TcpFlags(0)] {
        assert!(!flags.opens(), "{flags:?}");
    }
}

// "SYN on a closing or timed-out connection starts anew; ..."

#[test]
fn a_syn_on_a_closing_connection_starts_anew() {
    for mut talk in closing() {
        assert_eq!(talk.tracker.lookup(talk.new.first, S, talk.now), None);
        talk.open(S).lives(30);
    }
}

#[test]
fn a_syn_of_the_other_side_starts_anew_as_well() {
    for talk in closing() {
        assert!(!talk.finds(|talk| talk.new.answers, S));
    }
}

#[test]
fn a_syn_on_a_timed_out_connection_starts_anew() {
    assert!(!Talk::established().wait(7440 * SECOND).finds(|talk| talk.new.first, S));
}

#[test]
fn a_syn_with_ack_or_rst_does_not_start_anew() {
    for flags in [SA, SR, FSA] {
        for talk in closing() {
            assert!(talk.finds(|talk| talk.new.first, flags), "{flags:?}");
        }
    }
}

#[test]
fn a_syn_with_ack_on_a_closing_connection_is_a_packet_of_it() {
    Talk::established().forward(FA).wait(SECOND).reply(SA).lives(60);
}

// "... on an established one it is forwarded and changes nothing (RFC 5961)."

#[test]
fn a_syn_on_an_established_connection_changes_nothing() {
    for flags in [S, SA, SF, FSA] {
        Talk::established().wait(SECOND).forward(flags).lives_from_a_second_ago(7440);
        Talk::established().wait(SECOND).reply(flags).lives_from_a_second_ago(7440);
    }
}

// "FIN closes one direction; both -> time-wait, in which packets still pass."

#[test]
fn a_fin_closes_one_direction() {
    Talk::established().forward(FA).lives(60);
    Talk::established().reply(F).forward(A).reply(A).lives(60);
    Talk::established().forward(FA).forward(FA).end_reason(Removal::Expired);
}

#[test]
fn a_fin_closes_before_the_handshake_is_whole() {
    Talk::new(TCP).open(S).forward(FA).lives(60);
    Talk::new(TCP).open(S).reply(FSA).lives(60);
    Talk::new(TCP).open(S).reply(SA).forward(FA).lives(60);
}

#[test]
fn both_fins_make_time_wait() {
    Talk::established().forward(FA).reply(FA).end_reason(Removal::Closed);
}

#[test]
fn packets_still_pass_in_time_wait() {
    Talk::established().forward(FA).reply(FA).wait(59 * SECOND).forward(A).reply(A).lives(60);
}

// "RST is forwarded, the connection leaves after 10 s of silence; ..."

#[test]
fn a_rst_leaves_ten_seconds_of_silence() {
    Talk::established().forward(R).lives(10);
    Talk::established().reply(SR).lives(10);
    Talk::new(TCP).open(S).reply(RA).lives(10);
    Talk::established().forward(FA).reply(FA).forward(R).lives(10);
    Talk::established().reply(R).wait(9 * SECOND).forward(A).wait(9 * SECOND).forward(A).lives(10);
    Talk::established().reply(R).end_reason(Removal::Reset);
}

// "... traffic in both directions after it restores established."

#[test]
fn traffic_in_both_directions_after_a_rst_restores() {
    Talk::established().reply(R).reply(A).lives(10);
    Talk::established().reply(R).forward(A).reply(A).lives(7440);
    Talk::established().reply(R).reply(A).forward(SA).lives(7440);
    // After it: after the last one.
    Talk::established().reply(R).forward(A).reply(R).reply(A).lives(10);
}

#[test]
fn what_is_restored_is_established_whatever_it_was() {
    Talk::new(TCP).open(S).forward(R).forward(A).reply(A).lives(7440);
    Talk::established().forward(FA).reply(FA).reply(R).forward(A).reply(A).lives(7440);
}

#[test]
fn a_fin_that_restores_closes_then() {
    Talk::established().reply(R).forward(A).reply(FA).lives(60);
    Talk::established().reply(R).forward(FA).reply(A).lives(7440);
}

// "TCP half-open 30 s, established 7440 s (RFC 5382), closing and time-wait 60 s."

#[test]
fn half_open_until_the_responders_syn_is_acknowledged() {
    Talk::new(TCP).open(S).lives(30);
    Talk::new(TCP).open(S).forward(S).lives(30);
    Talk::new(TCP).open(S).reply(SA).lives(30);
    Talk::new(TCP).open(S).reply(SA).forward(S).reply(SA).lives(30);
    Talk::new(TCP).open(S).forward(A).lives(30);
    // What is acknowledged must have been sent.
    Talk::new(TCP).open(S).forward(A).reply(SA).lives(30);
    Talk::new(TCP).open(S).reply(A).lives(30);
    Talk::established().lives(7440);
}

#[test]
fn half_open_when_both_open_at_once() {
    Talk::new(TCP).open(S).reply(S).lives(30);
    Talk::new(TCP).open(S).reply(S).reply(SA).lives(30);
    Talk::new(TCP).open(S).reply(S).forward(SA).lives(7440);
    Talk::new(TCP).open(S).reply(S).reply(SA).forward(A).lives(7440);
}

#[test]
fn every_packet_breaks_the_silence() {
    let late = || Talk::new(TCP).open(S).wait(29 * SECOND);
    late().forward(S).lives(30);
    late().forward(A).lives(30);
    late().reply(A).lives(30);
    late().reply(SA).wait(29 * SECOND).forward(TcpFlags(0)).lives(30);
    Talk::established().wait(7439 * SECOND).reply(A).lives(7440);
    Talk::established().forward(FA).wait(59 * SECOND).forward(A).lives(60);
}

// "Half-open connections of the same interface go first."

#[test]
fn one_that_is_closing_does_not_make_room() {
    let mut talk = Talk::new(TCP).open(S).forward(FA);
    talk.tracker.settings().1.connections_of_an_interface = 1;
    let other = super::connection(TCP, 2000);
    assert!(!talk.tracker.create(other, S, talk.now));
    assert!(talk.finds(|talk| talk.new.first, A));

    let mut tracker = Conntrack::new(16, 1);
    assert!(tracker.create(super::connection(TCP, 1), S, 0));
    assert!(tracker.create(other, S, 0));
}
