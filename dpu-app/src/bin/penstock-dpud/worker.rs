//! The datapath's loop: one lcore that runs to completion, with all ports and all connections.
//!
//! A round: read the clock and the snapshot once, see to what time has ended, then for each port receive a burst, process
//! each packet, and send what came of it. Between bursts it answers questions about its connections, in portions. It
//! never waits: not for a lock, not for another thread.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use arrayvec::ArrayVec;
use dpu_app::datapath::conntrack::{Offload, WhySoftware};
use dpu_app::datapath::effects::{Effect, Effects};
use dpu_app::datapath::responder::advertise;
use dpu_app::datapath::settings::Settings;
use dpu_app::datapath::{Incoming, Outcome, Port, Progress, Shard, Time, probe};
use model::snapshot::{Snapshot, VfIndex};
use packet::Frame;
use rtrb::Consumer;

use crate::dpdk::{BURST, Burst, Packet, PacketPool, Queues};
use crate::offload_link::OffloadLink;
use crate::question::{FlowPage, Question, Report, Tally};
use crate::shared::Shared;

/// Connections whose time is over that are removed in one round.
const EXPIRIES: usize = 256;
/// After a change of intent, a place of the connection table is visited each time so long has passed: a million in 0.8 s, and
/// as long as a visit takes a fifth of it, packets keep four fifths of the core.
const SWEEP_INTERVAL: Duration = Duration::from_nanos(800);
/// Places that are visited in one round at most, however long the one before took.
const SWEEP: u32 = 1024;
/// Places of the connection table that are visited in one round to list flows.
const LISTING: u32 = 1024;
/// Room for effects of one round before the first allocation.
const EFFECTS: usize = 4096;
/// How often neighbours are looked after.
const NEIGHBOR_INTERVAL: Duration = Duration::from_secs(1);
/// How often VMs are told of their gateway unasked. Three of them fit into the lifetime that they announce.
const ADVERTISEMENT_INTERVAL: Duration = Duration::from_secs(200);

/// A port as the loop sees it.
struct WorkerPort<'p> {
    queues: Queues<'p>,
    /// What is to be sent at the end of the round, or when it is full.
    outgoing: Burst<'p>,
    unsent: u64,
}

/// What outlives the ports: connections, and who asks about them.
pub struct Datapath {
    shard: Shard,
    effects: Effects,
    questions: Consumer<Question>,
    listing: Option<Box<FlowPage>>,
    tally: Tally,
    /// Packets that ports did not take.
    unsent: BTreeMap<Port, u64>,
    pace: SweepPace,
    next_neighbors: Time,
    next_advertisement: Time,
    advertised_epoch: u64,
}

impl Datapath {
    /// One without connections.
    pub fn new(now: Time, settings: Settings, questions: Consumer<Question>) -> Self {
        let shard = Shard::new(settings, seed(), now);
        shard.use_huge_pages();
        Self {
            shard,
            effects: Effects::with_capacity(EFFECTS),
            questions,
            listing: None,
            tally: Tally::default(),
            unsent: BTreeMap::new(),
            pace: SweepPace { visited_until: now },
            next_neighbors: now,
            next_advertisement: now,
            advertised_epoch: 0,
        }
    }

    /// The NIC is gone, and all rules with it.
    pub fn lose_nic(&mut self, now: Time) {
        self.shard.lose_nic(now);
    }

    /// The NIC is back, without rules.
    pub fn regain_nic(&mut self) {
        self.shard.regain_nic(&mut self.effects);
    }
}

/// See the module.
pub struct Worker<'p> {
    shared: &'p Shared,
    pool: &'p PacketPool<'p>,
    ports: Vec<WorkerPort<'p>>,
    /// By DPDK's port number: which port packets came in on.
    names: Vec<Option<Port>>,
    uplink: Option<usize>,
    /// By VF: the place in `ports`.
    vfs: Vec<Option<usize>>,
    kernel: Option<usize>,
    datapath: Datapath,
    offload: Option<OffloadLink>,
    idle: Idle,
}

impl<'p> Worker<'p> {
    /// A loop over `ports`, by name with DPDK's number.
    pub fn new(
        shared: &'p Shared,
        pool: &'p PacketPool<'p>,
        ports: BTreeMap<Port, (u16, Queues<'p>)>,
        datapath: Datapath,
        offload: Option<OffloadLink>,
    ) -> Self {
        let (mut names, mut uplink, mut vfs, mut kernel) = (Vec::new(), None, Vec::new(), None);
        let mut workers = Vec::new();
        for (port, (id, queues)) in ports {
            put(&mut names, id.into(), port);
            match port {
                Port::Uplink => uplink = Some(workers.len()),
                Port::Vf(VfIndex(vf)) => put(&mut vfs, vf.into(), workers.len()),
                Port::Kernel => kernel = Some(workers.len()),
            }
            let unsent = datapath.unsent.get(&port).copied().unwrap_or_default();
            workers.push(WorkerPort { queues, outgoing: Burst::new(), unsent });
        }
        Self {
            shared,
            pool,
            ports: workers,
            names,
            uplink,
            vfs,
            kernel,
            datapath,
            offload,
            idle: Idle::default(),
        }
    }

    /// Runs until `is_over`; what was to be sent is sent then.
    pub fn run(mut self, is_over: impl Fn() -> bool) -> Datapath {
        while !is_over() {
            let now = self.shared.clock.now();
            self.shared.beat(now);
            let worked = self.round(now);
            self.idle.after(worked);
        }
        self.send();
        for (name, place) in self.ports_by_name().collect::<Vec<_>>() {
            if let Some(port) = self.ports.get(place) {
                self.datapath.unsent.insert(name, port.unsent);
            }
        }
        self.datapath
    }

    /// One round; whether there was anything to do.
    fn round(&mut self, now: Time) -> bool {
        let snapshot = self.shared.snapshot.load();
        let mut worked = self
            .offload
            .as_mut()
            .is_some_and(|link| link.take_notice(now, &mut self.datapath.shard));
        if let Some(snapshot) = snapshot.as_deref() {
            worked |= self.datapath.shard.advance(now, EXPIRIES, &mut self.datapath.effects)
                == Progress::More;
            let places = self.datapath.pace.places(now);
            worked |= self.datapath.shard.sweep(now, snapshot, places, &mut self.datapath.effects)
                == Progress::More;
            self.look_after_links(now, snapshot);
        }
        for place in 0..self.ports.len() {
            worked |= self.receive(now, snapshot.as_deref(), place);
        }
        self.see_to_effects(now);
        self.send();
        worked | self.answer(snapshot.as_deref())
    }

    /// Receives a burst from a port and processes it; whether there was one.
    fn receive(&mut self, now: Time, snapshot: Option<&Snapshot>, place: usize) -> bool {
        let mut burst = Burst::new();
        let Some(port) = self.ports.get_mut(place) else {
            return false;
        };
        port.queues.receive(&mut burst);
        let worked = !burst.is_empty();
        if let Some(snapshot) = snapshot {
            self.process(now, snapshot, burst);
        } else {
            let lost = &mut self.datapath.tally.without_intent;
            *lost = lost.wrapping_add(burst.len() as u64);
        }
        worked
    }

    fn process(&mut self, now: Time, snapshot: &Snapshot, mut burst: Burst<'p>) {
        self.make_single(&mut burst);
        let mut incoming = ArrayVec::<_, BURST>::new();
        for packet in &mut burst {
            // With a shared receive queue, a port's packets come from other ports' queues as well.
            let from = self.names.get(usize::from(packet.port())).copied().flatten();
            if let Some((from, frame)) = from.zip(packet.frame()) {
                incoming.push(Incoming::new(from, frame));
            }
        }
        let Datapath { shard, effects, .. } = &mut self.datapath;
        shard.process(now, snapshot, &mut incoming, effects);
        let done: ArrayVec<_, BURST> = incoming
            .iter()
            .map(|packet| (packet.outcome, packet.frame.start(), packet.frame.end()))
            .collect();
        drop(incoming);
        for (mut packet, (outcome, start, end)) in burst.into_iter().zip(done) {
            match outcome {
                Outcome::Forward { port }
                | Outcome::Reply { port }
                | Outcome::DropAndReply { port, .. } => {
                    packet.place(start, end);
                    self.queue(port, packet);
                }
                Outcome::Consumed | Outcome::Drop(_) => {}
            }
        }
    }

    /// Leaves packets that are in one piece, or can be brought into one, and come from a port that is known.
    fn make_single(&mut self, burst: &mut Burst<'p>) {
        let is_usable = |packet: &mut Packet<'_>| {
            packet.frame().is_some()
                && self.names.get(usize::from(packet.port())).is_some_and(Option::is_some)
        };
        if burst.iter_mut().all(is_usable) {
            return;
        }
        for mut packet in std::mem::take(burst) {
            let from = packet.port();
            let is_known = self.names.get(usize::from(from)).is_some_and(Option::is_some);
            let single =
                if packet.frame().is_some() { Some(packet) } else { packet.copied(self.pool) };
            match single.filter(|_| is_known) {
                Some(packet) => burst.push(packet),
                None => {
                    self.datapath.tally.unusable = self.datapath.tally.unusable.wrapping_add(1);
                }
            }
        }
    }

    /// Puts a packet among those that a port sends next.
    fn queue(&mut self, port: Port, packet: Packet<'p>) {
        let place = match port {
            Port::Uplink => self.uplink,
            Port::Vf(VfIndex(vf)) => self.vfs.get(usize::from(vf)).copied().flatten(),
            Port::Kernel => self.kernel,
        };
        let Some(port) = place.and_then(|place| self.ports.get_mut(place)) else {
            self.datapath.tally.no_port = self.datapath.tally.no_port.wrapping_add(1);
            return;
        };
        if port.outgoing.is_full() {
            port.send();
        }
        port.outgoing.push(packet);
    }

    fn send(&mut self) {
        for port in &mut self.ports {
            if !port.outgoing.is_empty() {
                port.send();
            }
        }
    }

    /// Sends a frame of our own, unless there is no buffer left: it will be sent again in any case.
    fn send_own(&mut self, port: Port, frame: &[u8]) {
        if let Some(packet) = self.pool.packet(frame) {
            self.queue(port, packet);
        }
    }

    /// Looks after neighbours on the underlay, and tells VMs of their gateways, when it is time.
    fn look_after_links(&mut self, now: Time, snapshot: &Snapshot) {
        if now >= self.datapath.next_neighbors {
            self.datapath.next_neighbors = now + NEIGHBOR_INTERVAL;
            self.datapath.shard.maintain_neighbors(now, snapshot, &mut self.datapath.effects);
        }
        if now >= self.datapath.next_advertisement
            || snapshot.epoch != self.datapath.advertised_epoch
        {
            self.datapath.next_advertisement = now + ADVERTISEMENT_INTERVAL;
            self.datapath.advertised_epoch = snapshot.epoch;
            for interface in snapshot.interfaces.values().filter(|interface| interface.enabled) {
                let mut bytes = [0; 512];
                let Some(mut frame) = Frame::new(&mut bytes, 0, 0) else { continue };
                if advertise(snapshot, interface, &mut frame) {
                    self.send_own(Port::Vf(interface.vf), frame.bytes());
                }
            }
        }
    }

    fn see_to_effects(&mut self, now: Time) {
        let mut effects = std::mem::take(&mut self.datapath.effects);
        for effect in effects.drain() {
            match effect {
                Effect::FlowCreated { .. } => {
                    self.datapath.tally.created = self.datapath.tally.created.wrapping_add(1);
                }
                Effect::FlowRemoved { reason, .. } => self.datapath.tally.removed(reason),
                _ => {}
            }
            match &mut self.offload {
                Some(link) => link.wish(now, &effect, &mut self.datapath.shard),
                None => {
                    if let Effect::EligibleForOffload { connection, direction } = effect {
                        let disabled = Offload::Software(WhySoftware::Disabled);
                        self.datapath.shard.set_offload(connection, direction, disabled, now);
                    }
                }
            }
        }
        if let Some(link) = &mut self.offload {
            link.flush(self.datapath.shard.underlay());
        }
        for solicitation in effects.drain_solicitations() {
            self.send_own(Port::Uplink, solicitation.frame());
        }
        self.datapath.effects = effects;
    }

    /// Answers questions, a portion in each round; whether there is more to answer.
    fn answer(&mut self, snapshot: Option<&Snapshot>) -> bool {
        if let Some(mut page) = self.datapath.listing.take() {
            if page.fill(&self.datapath.shard, LISTING) {
                page.reply();
            } else {
                self.datapath.listing = Some(page);
            }
            return true;
        }
        match self.datapath.questions.pop() {
            Ok(Question::Report(mut report)) => {
                self.report(snapshot, &mut report);
                report.reply();
                true
            }
            Ok(Question::Flows(page)) => {
                self.datapath.listing = Some(page);
                true
            }
            Ok(Question::Connections(lookup)) => {
                lookup.reply(&self.datapath.shard);
                true
            }
            Ok(Question::Probe(mut question)) => {
                let now = self.shared.clock.now();
                let Datapath { shard, effects, .. } = &mut self.datapath;
                question.result = snapshot.map(|snapshot| probe(now, snapshot, shard, effects));
                question.reply();
                true
            }
            Err(_) => false,
        }
    }

    fn report(&self, snapshot: Option<&Snapshot>, report: &mut Report) {
        let counters = self.datapath.shard.counters();
        report.tally = self.datapath.tally;
        report.connections = self.datapath.shard.connection_count();
        report.wire = counters.wire().clone();
        report.unassigned = counters.unassigned().clone();
        report.kernel = counters.kernel().clone();
        report.sent_to_wire = counters.sent_to_wire();
        for (name, place) in self.ports_by_name() {
            if let Some(port) = self.ports.get(place) {
                report.unsent.push((name, port.unsent));
            }
        }
        let interfaces = snapshot.into_iter().flat_map(|snapshot| snapshot.interfaces.keys());
        for id in interfaces {
            if let Some(counters) = counters.interface(*id) {
                report.interfaces.push((*id, counters.clone()));
            }
        }
    }

    fn ports_by_name(&self) -> impl Iterator<Item = (Port, usize)> {
        let uplink = self.uplink.map(|place| (Port::Uplink, place));
        let kernel = self.kernel.map(|place| (Port::Kernel, place));
        let vfs = (0..).zip(&self.vfs);
        uplink
            .into_iter()
            .chain(kernel)
            .chain(vfs.filter_map(|(vf, place)| Some((Port::Vf(VfIndex(vf)), (*place)?))))
    }
}

impl WorkerPort<'_> {
    fn send(&mut self) {
        let unsent = self.queues.send(&mut self.outgoing);
        self.unsent = self.unsent.wrapping_add(unsent as u64);
    }
}

/// How fast the connection table is swept.
struct SweepPace {
    /// For the time up to here, places were visited.
    visited_until: Time,
}

impl SweepPace {
    /// How many places may be visited in the round that begins now.
    fn places(&mut self, now: Time) -> u32 {
        let places = (now - self.visited_until).as_nanos() / SWEEP_INTERVAL.as_nanos();
        match u32::try_from(places) {
            Ok(places) if places < SWEEP => {
                self.visited_until = self.visited_until + SWEEP_INTERVAL * places;
                places
            }
            // What was not done meanwhile is not made up for.
            _ => {
                self.visited_until = now;
                SWEEP
            }
        }
    }
}

/// A number that strangers cannot guess.
fn seed() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// Puts something at a place of a list with holes.
fn put<T: Clone>(list: &mut Vec<Option<T>>, place: usize, value: T) {
    if list.len() <= place {
        list.resize(place + 1, None);
    }
    if let Some(slot) = list.get_mut(place) {
        *slot = Some(value);
    }
}

/// Gives the CPU to others when there is nothing to do, longer the longer that lasts.
#[derive(Debug, Default)]
struct Idle {
    rounds: u32,
}

impl Idle {
    /// Rounds without work before the first rest: under load, packets come sooner.
    const PATIENCE: u32 = 64;
    /// Rounds without work before the longest rest.
    const DEEP: u32 = 512;
    const SHORT: Duration = Duration::from_micros(30);
    /// Short enough for a receive queue of a thousand to take in five million packets a second meanwhile.
    const LONG: Duration = Duration::from_micros(200);

    fn after(&mut self, worked: bool) {
        if worked {
            self.rounds = 0;
            return;
        }
        self.rounds = self.rounds.saturating_add(1);
        match self.rounds {
            0..Self::PATIENCE => std::hint::spin_loop(),
            Self::PATIENCE..Self::DEEP => std::thread::sleep(Self::SHORT),
            _ => std::thread::sleep(Self::LONG),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Visits in `rounds` rounds, each so long after the one before; and the most of one round.
    fn visits(round: Duration, rounds: u32) -> (u32, u32) {
        let (mut now, mut all, mut most) = (Time(0), 0, 0);
        let mut pace = SweepPace { visited_until: now };
        for _ in 0..rounds {
            now = now + round;
            let places = pace.places(now);
            (all, most) = (all + places, most.max(places));
        }
        (all, most)
    }

    #[test]
    fn a_sweep_keeps_to_its_share_of_the_time_and_is_done_within_a_second() {
        // Idle rounds, full bursts of packets at 50 ns each and at 330 ns, and a loop that was kept from running.
        for (round, most) in [(100, 1), (32 * 50, 2), (32 * 330, 14), (500_000, 625)] {
            let round = Duration::from_nanos(round);
            let rounds = (Duration::from_secs(1).as_nanos() / round.as_nanos()) as u32;
            let (all, most_at_once) = visits(round, rounds);
            assert!((1_240_000..=1_250_000).contains(&all), "{round:?}: {all}");
            assert_eq!(most_at_once, most, "{round:?}");
        }
        // What was missed in a long pause is not made up for at once.
        assert_eq!(visits(Duration::from_secs(1), 2), (2 * SWEEP, SWEEP));
    }
}
