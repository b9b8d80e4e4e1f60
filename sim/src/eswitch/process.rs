//! One packet through the switch.

use packet::Frame;
use rte_flow::{Color, Domain, Steering};

use super::execute::{Engine, Place};
use super::headers;
use super::matcher::Key;
use super::port::{PortRole, Ports};
use super::program::{Fate, Spread};
use super::rule::{GroupKey, RuleId};
use super::sample::PacketCopy;
use super::subject::{Ingress, Registers, Subject};
use super::switch::Eswitch;
use super::table::{Hit, Rank};
use super::time::Time;
use super::trace::{Trace, Visit};

/// The most groups a packet passes; rules may jump in circles, and the card gives up on such packets.
const JUMPS: usize = 64;

/// Which receive queue of an ethdev a packet goes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RxQueue {
    /// As the ethdev's own RSS says.
    Default,
    /// This one, because a rule says so.
    Rule(u16),
}

/// Why a packet ends in the switch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DropCause {
    /// A rule drops it.
    Rule(RuleId),
    /// It is longer than the MTU of the port it would leave through, and was counted there.
    Oversize(u16),
    /// The ethdev it would go to, or comes from, is not started.
    Stopped(u16),
    /// It entered at a port that does not belong to the switch.
    UnknownPort(u16),
    /// It jumped in circles.
    Loop,
    /// A rule decapsulates it and it is no tunnel's.
    NotATunnel(RuleId),
    /// A rule encapsulates it and the caller's buffer has no room for the headers.
    NoRoom(RuleId),
}

/// What goes with a packet into its mbuf.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Attached {
    /// The value for `hash.fdir.hi`.
    pub mark: Option<u32>,
    /// Whether a rule flagged the packet: `RTE_MBUF_F_RX_FDIR` without an identifier.
    pub flag: bool,
    /// The metadata.
    pub meta: Option<u32>,
    /// The hash by which a rule spread the packet.
    pub hash: Option<u32>,
    /// The colour that a `METER_COLOR` gave the packet, for `sched.color`.
    pub color: Option<Color>,
}

/// Where a packet ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// At the entity behind a port: on the wire, or in a VF's receive queue.
    Represented(u16),
    /// At software, through a port's ethdev.
    Representor {
        /// The port.
        port: u16,
        /// The receive queue.
        queue: RxQueue,
        /// What goes with it into the mbuf.
        attached: Attached,
    },
    /// Nowhere.
    Dropped(DropCause),
}

/// What the rules of one domain decided.
enum Outcome {
    /// Nothing: no rule, or one without a say.
    Miss,
    /// Where a rule sends the packet.
    To(Destination),
    /// The end.
    Dropped(DropCause),
}

/// Where a rule sends a packet.
#[derive(Clone, Copy)]
enum Destination {
    Represented(u16),
    Representor(u16),
    Queue { queue: u16, hash: Option<u32> },
}

impl Eswitch {
    /// Takes a packet at `from` to where it ends, rewriting the frame on the way. Nothing is allocated.
    ///
    /// A packet from an entity passes the switch's rules, and on a miss goes to the port's ethdev, with all changes made so far.
    /// One from software passes the ethdev's egress rules, then the switch's, and on a miss goes to the entity. What ends at an
    /// ethdev passes its ingress rules. `trace` then holds the rules on the way.
    pub fn process(
        &mut self,
        now: Time,
        from: Ingress,
        frame: &mut Frame<'_>,
        trace: &mut Trace,
    ) -> Verdict {
        self.enter(now, from, Registers::default(), frame, trace)
    }

    /// [`Self::process`] for a packet that software sends through a port's ethdev with metadata. Egress rules match it; the
    /// switch of a card never sees it (guide of mlx5, limitations: "No Tx metadata go to the E-Switch").
    pub fn send(
        &mut self,
        now: Time,
        port: u16,
        meta: u32,
        frame: &mut Frame<'_>,
        trace: &mut Trace,
    ) -> Verdict {
        let registers = Registers { meta: Some(meta), ..Registers::default() };
        self.enter(now, Ingress::Representor(port), registers, frame, trace)
    }

    fn enter(
        &mut self,
        now: Time,
        from: Ingress,
        registers: Registers,
        frame: &mut Frame<'_>,
        trace: &mut Trace,
    ) -> Verdict {
        trace.clear();
        self.copies.clear();
        let verdict = self.walk(now, from, registers, frame, trace);
        if !self.copies.all().is_empty() {
            self.finish_copies(now);
        }
        verdict
    }

    fn walk(
        &mut self,
        now: Time,
        from: Ingress,
        registers: Registers,
        frame: &mut Frame<'_>,
        trace: &mut Trace,
    ) -> Verdict {
        self.settle(now);
        let Some(port) = self.ports.get(from.port()) else {
            return Verdict::Dropped(DropCause::UnknownPort(from.port()));
        };
        let mut subject = Subject::new(frame.bytes(), from, registers);
        if let Ingress::Representor(port_id) = from {
            if !port.started {
                return Verdict::Dropped(DropCause::Stopped(port_id));
            }
            let root = Self::group_key(port_id, Domain::Egress, 0);
            match self.run(root, now, &mut subject, frame, trace) {
                // Nothing else is there for egress rules to send it to.
                Outcome::Miss | Outcome::To(_) => {}
                Outcome::Dropped(cause) => return Verdict::Dropped(cause),
            }
            if self.profile.steering != Steering::None {
                subject.registers.meta = None;
            }
        }
        let root = Self::group_key(from.port(), Domain::Transfer, 0);
        let to = match (self.run(root, now, &mut subject, frame, trace), from) {
            (Outcome::To(Destination::Represented(port)), _)
            | (Outcome::Miss, Ingress::Representor(port)) => Ingress::Represented(port),
            (Outcome::To(Destination::Representor(port)), _)
            | (Outcome::Miss, Ingress::Represented(port)) => Ingress::Representor(port),
            // The switch has no queues of its own.
            (Outcome::To(Destination::Queue { .. }), _) => Ingress::Representor(from.port()),
            (Outcome::Dropped(cause), _) => return Verdict::Dropped(cause),
        };
        match to {
            Ingress::Represented(port) => egress(&mut self.ports, port, frame),
            Ingress::Representor(port) => self.receive(port, now, subject, frame, trace),
        }
    }

    /// Delivers to an ethdev, through its ingress rules.
    fn receive(
        &mut self,
        port: u16,
        now: Time,
        mut subject: Subject,
        frame: &mut Frame<'_>,
        trace: &mut Trace,
    ) -> Verdict {
        if !self.ports.get(port).is_some_and(|port| port.started) {
            return Verdict::Dropped(DropCause::Stopped(port));
        }
        // The switch's TAG registers do not reach the ethdev's domain.
        subject.registers.tags = Registers::default().tags;
        let root = Self::group_key(port, Domain::Ingress, 0);
        let (queue, hash) = match self.run(root, now, &mut subject, frame, trace) {
            Outcome::To(Destination::Queue { queue, hash }) => (RxQueue::Rule(queue), hash),
            Outcome::Miss | Outcome::To(_) => (RxQueue::Default, None),
            Outcome::Dropped(cause) => return Verdict::Dropped(cause),
        };
        delivered(port, queue, hash, &subject.registers)
    }

    /// Runs the rules of one domain from its group 0 on.
    fn run(
        &mut self,
        root: GroupKey,
        now: Time,
        subject: &mut Subject,
        frame: &mut Frame<'_>,
        trace: &mut Trace,
    ) -> Outcome {
        let mut group = root;
        let mut number = self.groups.find(root);
        let mut after: Option<Rank> = None;
        let mut key = Key::new();
        let mut engine = Engine {
            counters: &mut self.counters,
            ageings: &mut self.ageings,
            trackers: &mut self.trackers,
            meters: &mut self.meters,
            samplers: &mut self.samplers,
            copies: &mut self.copies,
            conntrack: self.profile.conntrack,
            now,
        };
        for _ in 0..JUMPS {
            let Some(table) = number.and_then(|number| self.groups.table(number)) else {
                if group.domain == Domain::Transfer {
                    trace.push(Visit { domain: group.domain, group: group.group, rule: None });
                }
                return Outcome::Miss;
            };
            subject.refresh(frame.bytes());
            let rules = (&self.rules, now);
            let hit = table.lookup(subject, frame.bytes(), after, &mut key, rules);
            let rule = hit.map(|hit| hit.id);
            trace.push(Visit { domain: group.domain, group: group.group, rule });
            let Some(Hit { id, rule, .. }) = hit else { return Outcome::Miss };
            let place = Place { group, rule: id };
            let policy = match engine.run(&rule.program.steps, place, subject, frame) {
                Ok(policy) => policy,
                Err(cause) => return Outcome::Dropped(cause),
            };
            let fate = policy.as_deref().map_or(&rule.program.fate, |policy| &policy.fate);
            match fate {
                Fate::Jump(next) => {
                    (group.group, after) = (*next, None);
                    number = if policy.is_none() { rule.next } else { self.groups.find(group) };
                }
                Fate::Passthru => after = Some(rule.rank),
                Fate::Default => return Outcome::Miss,
                Fate::Drop => return Outcome::Dropped(DropCause::Rule(id)),
                fate => {
                    let shared = |spread| self.spreads.get(spread);
                    return destination(fate, shared, subject, frame)
                        .map_or(Outcome::Miss, Outcome::To);
                }
            }
        }
        Outcome::Dropped(DropCause::Loop)
    }

    /// Lets the copies of a packet go their way. A copy may be copied again on it.
    fn finish_copies(&mut self, now: Time) {
        let mut index = 0;
        while let Some(mut copy) = self.copies.take_out(index) {
            copy.verdict = self.finish(now, &mut copy);
            self.copies.put_back(index, copy);
            index += 1;
        }
    }

    fn finish(&mut self, now: Time, copy: &mut PacketCopy) -> Verdict {
        let Some(pending) = copy.pending.take() else { return copy.verdict };
        let (mut subject, place, program) = (pending.subject, pending.place, pending.program);
        let Some(mut frame) = Frame::new(&mut copy.buffer, copy.start, copy.end) else {
            return Verdict::Dropped(DropCause::NoRoom(place.rule));
        };
        let mut engine = Engine {
            counters: &mut self.counters,
            ageings: &mut self.ageings,
            trackers: &mut self.trackers,
            meters: &mut self.meters,
            samplers: &mut self.samplers,
            copies: &mut self.copies,
            conntrack: self.profile.conntrack,
            now,
        };
        let ran = engine.run(&program.steps, place, &mut subject, &mut frame);
        let verdict = match ran {
            Err(cause) => Verdict::Dropped(cause),
            Ok(policy) => {
                let fate = policy.as_deref().map_or(&program.fate, |policy| &policy.fate);
                let shared = |spread| self.spreads.get(spread);
                match (destination(fate, shared, &mut subject, &frame), place.group.port) {
                    (Some(Destination::Represented(port)), _) => {
                        egress(&mut self.ports, port, &frame)
                    }
                    (Some(Destination::Representor(port)), _) => {
                        self.receive(port, now, subject, &mut frame, &mut Trace::default())
                    }
                    (Some(Destination::Queue { queue, hash }), Some(port)) => {
                        delivered(port, RxQueue::Rule(queue), hash, &subject.registers)
                    }
                    (None, Some(port)) if *fate == Fate::Default => {
                        delivered(port, RxQueue::Default, None, &subject.registers)
                    }
                    // What nobody sends anywhere is for the switch's manager.
                    (None, None) if *fate == Fate::Default => {
                        let uplink =
                            self.ports.iter().find(|port| port.config.role == PortRole::Uplink);
                        let uplink = uplink.map_or(0, |port| port.config.id);
                        self.receive(uplink, now, subject, &mut frame, &mut Trace::default())
                    }
                    _ => Verdict::Dropped(DropCause::Rule(place.rule)),
                }
            }
        };
        let (start, end) = (frame.start(), frame.end());
        (copy.start, copy.end) = (start, end);
        verdict
    }

    /// The copies that rules made of the packet that was processed last.
    #[must_use]
    pub fn copies(&self) -> &[PacketCopy] {
        self.copies.all()
    }
}

/// Where a fate sends a packet; `None` for those that send it nowhere in particular.
fn destination<'a>(
    fate: &'a Fate,
    shared: impl FnOnce(super::arena::Id<Spread>) -> Option<&'a Spread>,
    subject: &mut Subject,
    frame: &Frame<'_>,
) -> Option<Destination> {
    let spread = match fate {
        Fate::Represented(port) => return Some(Destination::Represented(*port)),
        Fate::Representor(port) => return Some(Destination::Representor(*port)),
        Fate::Queues(spread) => spread,
        Fate::SharedQueues(spread) => shared(*spread)?,
        Fate::Jump(_) | Fate::Drop | Fate::Passthru | Fate::Default => return None,
    };
    subject.refresh(frame.bytes());
    let (hash, queue) = spread.choose(frame.bytes(), &subject.headers);
    Some(Destination::Queue { queue, hash })
}

fn delivered(port: u16, queue: RxQueue, hash: Option<u32>, registers: &Registers) -> Verdict {
    let Registers { mark, flag, meta, shown_color: color, .. } = *registers;
    Verdict::Representor { port, queue, attached: Attached { mark, flag, meta, hash, color } }
}

/// Sends a packet out of a port, if it is not too long.
fn egress(ports: &mut Ports, port: u16, frame: &Frame<'_>) -> Verdict {
    let link = headers::link_length(frame.bytes());
    let Some(found) = ports.get_mut(port) else {
        return Verdict::Dropped(DropCause::UnknownPort(port));
    };
    if frame.bytes().len().saturating_sub(link) > usize::from(found.config.mtu) {
        found.counters.oversize = found.counters.oversize.wrapping_add(1);
        return Verdict::Dropped(DropCause::Oversize(port));
    }
    Verdict::Represented(port)
}
