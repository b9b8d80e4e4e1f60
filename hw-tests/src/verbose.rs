//! What testpmd prints of each packet it receives (`set verbose 1`), taken out of its other output.

use crate::step::{Mark, MarkWord, Number, Told};

/// What the application was told about one packet beside its bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Received {
    /// The ethdev's number.
    pub port: usize,
    queue: u16,
    mark: Option<Mark>,
    meta: Option<u32>,
    rss: Option<u32>,
    flags: Vec<String>,
}

/// Splits output into what commands printed and the packets that were received meanwhile.
pub fn split(output: &str) -> (String, Vec<Received>) {
    let mut rest = String::new();
    let mut packets: Vec<Received> = Vec::new();
    let mut at = (0, 0);
    for line in output.split_inclusive('\n') {
        // A prompt may stand before what another thread prints.
        let text = line.trim_start_matches("testpmd> ").trim_end();
        if let Some(place) = heading(text) {
            at = place;
        } else if text.starts_with("  src=") && text.contains(" - pool=") {
            packets.push(packet(at, text));
        } else if let Some(flags) = text.strip_prefix("  ol_flags: ") {
            if let Some(packet) = packets.last_mut() {
                packet.flags =
                    flags.split(' ').map(|flag| flag.replace("RTE_MBUF_F_RX_", "")).collect();
            }
        } else {
            rest.push_str(line);
        }
    }
    (rest, packets)
}

/// Port and queue of `port 1/queue 0: received 2 packets`.
fn heading(line: &str) -> Option<(usize, u16)> {
    let (port, rest) = line.strip_prefix("port ")?.split_once("/queue ")?;
    let (queue, rest) = rest.split_once(": received ")?;
    rest.ends_with(" packets").then_some(())?;
    Some((port.parse().ok()?, queue.parse().ok()?))
}

fn packet((port, queue): (usize, u16), line: &str) -> Received {
    let number = |label: &str| {
        let (_, rest) = line.split_once(label)?;
        let digits = rest.strip_prefix("0x")?.split(' ').next()?;
        u32::from_str_radix(digits, 16).ok()
    };
    let mark = match number(" - FDIR matched ID=") {
        Some(mark) => Some(Mark::Value(mark)),
        None => line.contains(" - FDIR matched ").then_some(Mark::Word(MarkWord::Flag)),
    };
    Received {
        port,
        queue,
        mark,
        meta: number(" - Rx metadata: "),
        rss: number(" - RSS hash="),
        flags: Vec::new(),
    }
}

impl Told {
    /// Whether a case says anything about it.
    #[must_use]
    pub fn is_something(&self) -> bool {
        self.queue.is_some()
            || self.mark.is_some()
            || self.meta.is_some()
            || self.rss.is_some()
            || !self.flags.is_empty()
    }

    /// What the application was told otherwise, in words.
    #[must_use]
    pub fn differs(&self, seen: &Received) -> Option<String> {
        let number = |expected: Option<Number>, seen: Option<u32>| match expected {
            None => true,
            Some(Number::Value(value)) => seen == Some(value),
            Some(Number::Is(there)) => seen.is_some() == there,
        };
        let mark = match self.mark {
            None => true,
            Some(Mark::Word(MarkWord::None)) => seen.mark.is_none(),
            some => seen.mark == some,
        };
        let right = self.queue.is_none_or(|queue| queue == seen.queue)
            && mark
            && number(self.meta, seen.meta)
            && number(self.rss, seen.rss)
            && self.flags.iter().all(|flag| seen.flags.contains(flag));
        (!right).then(|| format!("expected {self:?}, saw {seen:?}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "\
flow list 0\r
testpmd> port 1/queue 3: received 2 packets
  src=02:00:00:00:00:01 - dst=FF:FF:FF:FF:FF:FF - pool=mb_pool_0 - type=0x0800 - length=54 - nb_segs=1 - RSS hash=0x10 - RSS queue=0x3 - FDIR matched ID=0x2a - Rx metadata: 0x7 - sw ptype: L2_ETHER  - l2_len=14 - Receive queue=0x3
  ol_flags: RTE_MBUF_F_RX_FDIR RTE_MBUF_F_RX_L4_CKSUM_GOOD 
  src=02:00:00:00:00:01 - dst=FF:FF:FF:FF:FF:FF - pool=mb_pool_0 - type=0x0800 - length=54 - nb_segs=1 - FDIR matched hash=0x0 ID=0x0  - sw ptype: L2_ETHER  - l2_len=14 - Receive queue=0x3
  ol_flags: RTE_MBUF_F_RX_FDIR 
testpmd> ";

    #[test]
    fn packets_are_taken_out_of_the_output() {
        let (rest, packets) = split(OUTPUT);
        assert_eq!(rest, "flow list 0\r\ntestpmd> ");
        let [first, second] = packets.as_slice() else { panic!("{packets:?}") };
        assert_eq!((first.port, first.queue, first.rss, first.meta), (1, 3, Some(16), Some(7)));
        assert_eq!(first.mark, Some(Mark::Value(42)));
        assert!(first.flags.iter().any(|flag| flag == "L4_CKSUM_GOOD"));
        assert_eq!((second.mark, second.rss), (Some(Mark::Word(MarkWord::Flag)), None));
    }

    #[test]
    fn what_is_not_said_is_not_looked_at() {
        let (_, packets) = split(OUTPUT);
        let told = |queue, mark| Told { queue, mark, ..Told::default() };
        assert_eq!(told(Some(3), Some(Mark::Value(42))).differs(&packets[0]), None);
        assert_eq!(Told::default().differs(&packets[0]), None);
        assert!(told(Some(2), None).differs(&packets[0]).is_some());
        assert!(told(None, Some(Mark::Word(MarkWord::None))).differs(&packets[0]).is_some());
        let meta = Told { meta: Some(Number::Is(false)), ..Told::default() };
        assert!(meta.differs(&packets[0]).is_some() && meta.differs(&packets[1]).is_none());
    }
}
