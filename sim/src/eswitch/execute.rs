//! Runs the steps of a program on a packet.

use std::sync::Arc;

use packet::Frame;
use rte_flow::{ConntrackRules, Depth, IntegrityBits};

use super::arena::Arena;
use super::conntrack::{Segment, Tracker};
use super::counter::{Ageing, Counter};
use super::headers::Transport;
use super::meter::Meters;
use super::process::DropCause;
use super::program::{Fate, Program, Step};
use super::rule::{GroupKey, RuleId};
use super::sample::{Copies, Sampler};
use super::subject::Subject;
use super::time::Time;
use super::{tunnel, vlan};

/// What steps work on besides the packet.
pub struct Engine<'a> {
    pub counters: &'a mut Arena<Counter>,
    pub ageings: &'a mut Arena<Ageing>,
    pub trackers: &'a mut Arena<Tracker>,
    pub meters: &'a mut Meters,
    pub samplers: &'a mut Arena<Sampler>,
    pub copies: &'a mut Copies,
    pub conntrack: ConntrackRules,
    pub now: Time,
}

/// The rule that runs, and where it is.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// The group of rules.
    pub group: GroupKey,
    /// The rule.
    pub rule: RuleId,
}

/// The most meters one behind the other; policies may lead in circles.
const METERS: usize = 8;

impl Engine<'_> {
    /// Runs steps in order. Where a meter's policy decides what happens to the packet, that policy's program is the answer, and
    /// no further step runs.
    ///
    /// # Errors
    /// Why the packet is dropped.
    pub fn run(
        &mut self,
        steps: &[Step],
        place: Place,
        subject: &mut Subject,
        frame: &mut Frame<'_>,
    ) -> Result<Option<Arc<Program>>, DropCause> {
        self.run_metered(steps, place, subject, frame, METERS)
    }

    fn run_metered(
        &mut self,
        steps: &[Step],
        place: Place,
        subject: &mut Subject,
        frame: &mut Frame<'_>,
        meters: usize,
    ) -> Result<Option<Arc<Program>>, DropCause> {
        for step in steps {
            match step {
                Step::Count(counter) => {
                    if let Some(counter) = self.counters.get_mut(*counter) {
                        counter.hit(frame.bytes().len(), self.now);
                    }
                }
                Step::Age(ageing) => {
                    if let Some(ageing) = self.ageings.get_mut(*ageing) {
                        ageing.hit(self.now);
                    }
                }
                step => {
                    let policy = self.step(step, place, subject, frame, meters)?;
                    if policy.is_some() {
                        return Ok(policy);
                    }
                }
            }
        }
        Ok(None)
    }

    /// Runs a step that not nearly every rule has: apart from those, because the compiler prepares for all of them at once.
    #[inline(never)]
    fn step(
        &mut self,
        step: &Step,
        place: Place,
        subject: &mut Subject,
        frame: &mut Frame<'_>,
        meters: usize,
    ) -> Result<Option<Arc<Program>>, DropCause> {
        match step {
            Step::Rewrite(rewrite) => {
                subject.find_again(frame.bytes());
                rewrite.run(subject, frame);
            }
            Step::Mark(mark) => subject.registers.mark = Some(*mark),
            Step::Flag => subject.registers.flag = true,
            Step::Color(color) => {
                subject.registers.color = Some(*color);
                subject.registers.shown_color = Some(*color);
            }
            Step::Track(tracker, direction) => {
                let segment = segment(subject, frame);
                if let Some(tracker) = self.trackers.get_mut(*tracker) {
                    subject.registers.conntrack =
                        tracker.track(*direction, segment.as_ref(), self.conntrack);
                }
            }
            Step::Sample(sampler) => {
                if let Some(program) = self.samplers.get_mut(*sampler).and_then(Sampler::hit) {
                    self.copies.take(frame, subject, place, program);
                }
            }
            Step::Meter(meter) => {
                let domain = place.group.domain;
                let met = self.meters.hit(*meter, domain, self.now, subject, frame);
                let Some(program) = met else { return Ok(None) };
                let meters = meters.checked_sub(1).ok_or(DropCause::Loop)?;
                let inner = self.run_metered(&program.steps, place, subject, frame, meters)?;
                return Ok(inner.or_else(|| (program.fate != Fate::Default).then_some(program)));
            }
            shape => reshape(shape, place.rule, subject, frame)?,
        }
        Ok(None)
    }
}

/// The steps that make the packet longer or shorter.
fn reshape(
    step: &Step,
    rule: RuleId,
    subject: &mut Subject,
    frame: &mut Frame<'_>,
) -> Result<(), DropCause> {
    let no_room = |_| DropCause::NoRoom(rule);
    match step {
        Step::Encapsulate(header) => header.push(frame).map_err(no_room)?,
        Step::PushVlan(tpid) => vlan::push(frame, *tpid).map_err(no_room)?,
        Step::PopVlan => vlan::pop(frame),
        Step::SetVlan { value, mask } => vlan::set(frame, *value, *mask),
        Step::StripLink => {
            subject.refresh(frame.bytes());
            tunnel::strip_link(subject, frame);
        }
        Step::Decapsulate => {
            subject.refresh(frame.bytes());
            if !tunnel::decapsulate(subject, frame) {
                return Err(DropCause::NotATunnel(rule));
            }
        }
        Step::DecapsulateNetwork(link) => {
            subject.refresh(frame.bytes());
            if !tunnel::decapsulate_network(subject, frame, link) {
                return Err(DropCause::NotATunnel(rule));
            }
        }
        _ => return Ok(()),
    }
    subject.reshaped();
    Ok(())
}

/// The packet's TCP segment; `None` when it has none that is whole and intact.
fn segment(subject: &mut Subject, frame: &Frame<'_>) -> Option<Segment> {
    subject.refresh(frame.bytes());
    let layer = subject.headers.outer?;
    let (Transport::Tcp, at) = layer.transport? else { return None };
    if !subject.headers.integrity(Depth::Outer, frame.bytes()).contains(IntegrityBits::L4_OK) {
        return None;
    }
    Segment::read(frame.bytes().get(at.into()..layer.payload_end(frame.bytes()))?)
}
