//! One packet through the switch.

use packet::{Frame, Network, vxlan_source_port};
use rte_flow::{Domain, Steering};

use super::port::Ports;
use super::rule::{Fate, GroupKey, RuleId, Step};
use super::subject::{Ingress, Registers, Subject};
use super::switch::Eswitch;
use super::table::Rank;
use super::time::Time;
use super::trace::{Trace, Visit};
use super::tunnel;

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
        /// The value for the mbuf's `hash.fdir.hi`.
        mark: Option<u32>,
        /// Whether a rule flagged the packet: `RTE_MBUF_F_RX_FDIR` without an identifier.
        flag: bool,
        /// The value for the mbuf's metadata.
        meta: Option<u32>,
    },
    /// Nowhere.
    Dropped(DropCause),
}

/// What the rules of one domain decided.
enum Outcome {
    /// Nothing: no rule, or one without a say.
    Miss,
    /// A rule's fate, which is no jump.
    Fate(RuleId),
    /// The end.
    Dropped(DropCause),
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
                Outcome::Miss => {}
                Outcome::Fate(rule) => return Verdict::Dropped(DropCause::Rule(rule)),
                Outcome::Dropped(cause) => return Verdict::Dropped(cause),
            }
            if self.profile.steering != Steering::None {
                subject.registers.meta = None;
            }
        }
        let root = Self::group_key(from.port(), Domain::Transfer, 0);
        let fate = match self.run(root, now, &mut subject, frame, trace) {
            Outcome::Miss => None,
            Outcome::Fate(rule) => self.rules.get(rule).map(|found| (rule, &found.program.fate)),
            Outcome::Dropped(cause) => return Verdict::Dropped(cause),
        };
        let to = match (fate, from) {
            (None, Ingress::Represented(port)) => Ingress::Representor(port),
            (None, Ingress::Representor(port)) => Ingress::Represented(port),
            (Some((_, Fate::Represented(port))), _) => Ingress::Represented(*port),
            (Some((_, Fate::Representor(port))), _) => Ingress::Representor(*port),
            (Some((rule, _)), _) => return Verdict::Dropped(DropCause::Rule(rule)),
        };
        match to {
            Ingress::Represented(port) => egress(&mut self.ports, port, &mut subject, frame),
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
        let queue = match self.run(root, now, &mut subject, frame, trace) {
            Outcome::Miss => RxQueue::Default,
            Outcome::Fate(rule) => match self.rules.get(rule).map(|found| &found.program.fate) {
                Some(Fate::Queues(queues)) => RxQueue::Rule(spread(queues, frame.bytes())),
                _ => return Verdict::Dropped(DropCause::Rule(rule)),
            },
            Outcome::Dropped(cause) => return Verdict::Dropped(cause),
        };
        let Registers { mark, flag, meta, .. } = subject.registers;
        Verdict::Representor { port, queue, mark, flag, meta }
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
        let mut after: Option<Rank> = None;
        for _ in 0..JUMPS {
            let Some(table) = self.groups.get(&group) else {
                if group.domain == Domain::Transfer {
                    trace.push(Visit { domain: group.domain, group: group.group, rule: None });
                }
                return Outcome::Miss;
            };
            subject.refresh(frame.bytes());
            let in_force = |rule| self.rules.get(rule).is_some_and(|rule| rule.in_force(now));
            let hit = table.lookup(subject, frame.bytes(), after, in_force);
            trace.push(Visit { domain: group.domain, group: group.group, rule: hit });
            let Some(id) = hit else { return Outcome::Miss };
            if let Some(cause) = self.execute(id, now, subject, frame) {
                return Outcome::Dropped(cause);
            }
            let Some(rule) = self.rules.get(id) else { return Outcome::Miss };
            match rule.program.fate {
                Fate::Jump(next) => (group.group, after) = (next, None),
                Fate::Passthru => after = Some(rule.rank),
                Fate::Default => return Outcome::Miss,
                Fate::Drop => return Outcome::Dropped(DropCause::Rule(id)),
                Fate::Represented(_) | Fate::Representor(_) | Fate::Queues(_) => {
                    return Outcome::Fate(id);
                }
            }
        }
        Outcome::Dropped(DropCause::Loop)
    }

    /// Runs a rule's steps.
    fn execute(
        &mut self,
        id: RuleId,
        now: Time,
        subject: &mut Subject,
        frame: &mut Frame<'_>,
    ) -> Option<DropCause> {
        let steps = self.rules.get(id).map_or(&[][..], |rule| &rule.program.steps);
        let length = frame.bytes().len();
        for step in steps {
            match step {
                Step::Count(counter) => {
                    if let Some(counter) = self.counters.get_mut(*counter) {
                        counter.hit(length, now);
                    }
                }
                Step::Age(ageing) => {
                    if let Some(ageing) = self.ageings.get_mut(*ageing) {
                        ageing.hit(now);
                    }
                }
                Step::Rewrite(rewrite) => rewrite.run(subject, frame),
                Step::Mark(mark) => subject.registers.mark = Some(*mark),
                Step::Flag => subject.registers.flag = true,
                Step::Encapsulate(header) => {
                    if header.push(frame).is_err() {
                        return Some(DropCause::NoRoom(id));
                    }
                    subject.parse_again(frame.bytes());
                }
                Step::Decapsulate => {
                    subject.refresh(frame.bytes());
                    if !tunnel::decapsulate(subject, frame) {
                        return Some(DropCause::NotATunnel(id));
                    }
                }
            }
        }
        None
    }
}

/// Sends a packet out of a port, if it is not too long.
fn egress(ports: &mut Ports, port: u16, subject: &mut Subject, frame: &Frame<'_>) -> Verdict {
    subject.refresh(frame.bytes());
    let link = subject.headers.outer.map_or(0, |layer| layer.link_length());
    let Some(found) = ports.get_mut(port) else {
        return Verdict::Dropped(DropCause::UnknownPort(port));
    };
    if frame.bytes().len().saturating_sub(link) > usize::from(found.config.mtu) {
        found.counters.oversize = found.counters.oversize.wrapping_add(1);
        return Verdict::Dropped(DropCause::Oversize(port));
    }
    Verdict::Represented(port)
}

/// The queue of a flow: all its packets get the same.
fn spread(queues: &[u16], frame: &[u8]) -> u16 {
    let hash = match packet::parse(frame).map(|parsed| parsed.network) {
        Ok(Network::Ip(ip)) if queues.len() > 1 => usize::from(vxlan_source_port(&ip)),
        _ => 0,
    };
    hash.checked_rem(queues.len()).and_then(|at| queues.get(at)).copied().unwrap_or(0)
}
