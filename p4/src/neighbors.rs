//! The reference of the underlay's neighbours: naive, in virtual time, on an ordinary map.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::conntrack::SECOND;
use crate::interpreter::Time;

/// What is known of a neighbour.
#[derive(Clone, Copy, Default)]
struct Neighbor {
    mac: Option<u64>,
    asked: Option<Time>,
}

/// What a neighbour tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Told {
    /// Its MAC; without one, that what is known still holds.
    pub mac: Option<u64>,
    /// Whether the MAC takes the place of another one.
    pub replaces: bool,
    /// Whether it asks for us.
    pub asks_for_us: bool,
}

/// A question that went out for a neighbour's MAC.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Question {
    /// When.
    pub time: Time,
    /// For whose.
    pub address: IpAddr,
}

/// The neighbours that a packet was for, and those that asked for us.
#[derive(Default)]
pub struct Neighbors {
    known: BTreeMap<IpAddr, Neighbor>,
    questions: Vec<Question>,
}

impl Neighbors {
    /// The MAC of a neighbour. One that is not known is asked for, once a second at most.
    pub fn resolve(&mut self, address: IpAddr, now: Time) -> Option<u64> {
        let neighbor = self.known.entry(address).or_default();
        if neighbor.mac.is_none() && neighbor.asked.is_none_or(|asked| now >= asked + SECOND) {
            neighbor.asked = Some(now);
            self.questions.push(Question { time: now, address });
        }
        neighbor.mac
    }

    /// A neighbour tells something; whether that is taken notice of.
    pub fn hear(&mut self, address: IpAddr, told: Told) -> bool {
        if told.asks_for_us {
            self.known.entry(address).or_default();
        }
        let Some(neighbor) = self.known.get_mut(&address) else { return false };
        match (told.mac, neighbor.mac) {
            (None, known) => known.is_some(),
            (Some(mac), Some(known)) if mac != known && !told.replaces => false,
            (Some(mac), _) => {
                neighbor.mac = Some(mac);
                true
            }
        }
    }

    /// The questions that went out since this was last asked.
    pub fn take_questions(&mut self) -> Vec<Question> {
        std::mem::take(&mut self.questions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
    const TOLD: Told = Told { mac: Some(7), replaces: true, asks_for_us: false };

    #[test]
    fn who_is_wanted_is_asked_for_once_a_second_and_heard() {
        let mut neighbors = Neighbors::default();
        assert!(!neighbors.hear(ONE, TOLD));
        for time in [0, SECOND - 1, SECOND, SECOND + 1] {
            assert_eq!(neighbors.resolve(ONE, time), None);
        }
        let times = |found: Vec<Question>| found.iter().map(|q| q.time).collect::<Vec<_>>();
        assert_eq!(times(neighbors.take_questions()), [0, SECOND]);
        assert!(!neighbors.hear(ONE, Told { mac: None, ..TOLD }));
        assert!(neighbors.hear(ONE, TOLD));
        assert!(neighbors.hear(ONE, Told { mac: None, ..TOLD }));
        assert_eq!(neighbors.resolve(ONE, 9 * SECOND), Some(7));
        assert_eq!(neighbors.take_questions(), []);
    }

    #[test]
    fn who_asks_for_us_is_heard() {
        let mut neighbors = Neighbors::default();
        assert!(neighbors.hear(ONE, Told { asks_for_us: true, ..TOLD }));
        assert!(!neighbors.hear(ONE, Told { mac: Some(8), replaces: false, asks_for_us: true }));
        assert_eq!(neighbors.resolve(ONE, 0), Some(7));
        assert!(neighbors.hear(ONE, Told { mac: Some(8), ..TOLD }));
        assert_eq!(neighbors.resolve(ONE, 0), Some(8));
    }
}
