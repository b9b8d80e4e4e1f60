//! One simulated card: its ports, their wires, and the way of a frame between them.
//!
//! All of it is shared by the ports of the device, which DPDK programs use from several threads at once. The eswitch is
//! behind one lock, taken once for each burst and never across a system call: a burst is read before and written after.

use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use arrayvec::ArrayVec;
use dpdk_sys::RTE_MAX_ETHPORTS;
use packet::Frame;
use rte_flow::{ErrorKind, FlowError};
use sim::control::{PortStatus, RuleFaults, Status};
use sim::eswitch::{
    Attached, DropCause, Eswitch, Ingress, PortConfig, PortError, PortRole, RxQueue, Time, Trace,
    Verdict,
};
use sim::link_faults::LinkFaults;
use thiserror::Error;

use crate::batch::{BURST, Batch, Slot};
use crate::counters::PortCounters;
use crate::devargs::DeviceArgs;
use crate::flow_state::FlowState;
use crate::kernel::Kernel;
use crate::link::{self, FaultyLink, LinkError};
use crate::lock;
use crate::mbuf::{Mark, Metadata};
use crate::software::{QueueIndex, SoftwareSide};
use crate::tally::Tally;
use crate::tracer::Tracer;
use crate::wire::Wire;

/// The number by which the eswitch knows the first VF without ethdev; the next ones follow. Ethdevs have numbers below
/// `RTE_MAX_ETHPORTS`, far smaller.
const UNREPRESENTED: u16 = 0x8000;

/// No port has this index.
const NO_PORT: u16 = u16::MAX;

/// The most hairpin queues that a frame passes; rules may lead it in circles, and then it is missed in the last one.
const HAIRPINS: usize = 4;

/// The card's time: what has passed since it was made.
#[derive(Clone, Copy)]
pub struct Clock(Instant);

impl Clock {
    /// Begins at 0 now.
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// The time.
    pub fn now(self) -> Time {
        Time::ZERO + self.0.elapsed()
    }
}

/// A port of the card: 0 is the uplink, VF `n` is `n + 1`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PortIndex(u16);

impl PortIndex {
    /// The port towards the underlay.
    pub const UPLINK: Self = Self(0);

    /// The port of a VF.
    pub const fn vf(vf: u16) -> Self {
        Self(vf + 1)
    }

    /// The number: 0 for the uplink, `n + 1` for VF `n`.
    pub const fn number(self) -> u16 {
        self.0
    }
}

/// One port of the card.
pub struct SwitchPort {
    wire: Option<Wire>,
    /// Whether the application set the link down.
    disconnected: AtomicBool,
    /// The wire's link.
    link: Option<Arc<FaultyLink>>,
    /// The number by which the eswitch knows it: the ethdev's, where there is one.
    id: OnceLock<u16>,
    /// What the port counts.
    pub counters: PortCounters,
    /// The ethdev's side.
    pub software: SoftwareSide,
}

impl SwitchPort {
    /// The number of its ethdev, where it has one.
    pub fn ethdev(&self) -> Option<u16> {
        self.id.get().copied().filter(|id| *id < UNREPRESENTED)
    }

    /// Whether the port has a wire that is up.
    pub fn link_is_up(&self) -> bool {
        self.connected().is_some_and(Wire::is_up)
    }

    /// Sets the link up or down, as an administrator does.
    pub fn connect(&self, up: bool) {
        self.disconnected.store(!up, Ordering::Release);
    }

    /// The wire, unless the link was set down.
    fn connected(&self) -> Option<&Wire> {
        self.wire.as_ref().filter(|_| !self.disconnected.load(Ordering::Acquire))
    }

    fn read(&self, batch: &mut Batch) {
        if let Some(wire) = self.connected() {
            wire.read(batch, &self.counters);
        }
    }

    fn write(&self, frames: &[&[u8]]) {
        match self.connected() {
            Some(wire) => wire.write(frames, &self.counters),
            // Lost, as on a card without a cable.
            None => self.counters.link_tx_errors.add(frames.len() as u64),
        }
    }
}

/// What is behind the device's lock.
pub struct Switch {
    /// The rules, and what they do to a frame.
    pub eswitch: Eswitch,
    /// Results that wait for the application.
    pub flow_state: FlowState,
    trace: Trace,
    rule_faults: RuleFaults,
}

/// One simulated card.
pub struct Device {
    ports: Vec<SwitchPort>,
    /// Who takes what the uplink's application does not.
    kernel: Option<Kernel>,
    /// The ports by their ethdevs; [`NO_PORT`] for those of others.
    by_ethdev: [AtomicU16; RTE_MAX_ETHPORTS as usize],
    /// VFs that have no ethdev: the uplink's polls move their frames.
    unrepresented: Vec<PortIndex>,
    uplink: u16,
    mtu: u16,
    switch: Mutex<Switch>,
    clock: Clock,
    /// Until when a reset keeps the card away: a [`Time`].
    away_until: AtomicU64,
    resets: AtomicU64,
    /// The last frames' ways through the rules, when somebody wants to see them.
    pub tracer: Tracer,
}

/// Why a device cannot be put together.
#[derive(Debug, Error)]
pub enum DeviceError {
    /// A port's link cannot be opened.
    #[error("{port}: {problem}")]
    Link {
        /// The port: `uplink`, `vf0`, ...
        port: String,
        /// Why.
        problem: LinkError,
    },
    /// The eswitch refuses a port.
    #[error(transparent)]
    Port(#[from] PortError),
}

/// Where the frames that belong to the polling queue itself go.
pub trait Receiver {
    /// The queue's place.
    fn place(&self) -> (PortIndex, QueueIndex);
    /// Takes a frame; it does not wait.
    fn deliver(&mut self, frame: &[u8], metadata: Metadata);
}

/// Where a frame leaves the eswitch.
#[derive(Clone, Copy)]
enum Exit {
    /// Nowhere.
    Nowhere,
    /// To the wire or the VM.
    Link(PortIndex),
    /// To a receive queue that a rule chose.
    Queue(PortIndex, QueueIndex, Metadata),
    /// To the ethdev, past its own filter.
    Default(PortIndex, Metadata),
}

/// The name of a port, as device arguments have it.
fn port_name(index: usize) -> String {
    match index.checked_sub(1) {
        None => "uplink".to_owned(),
        Some(vf) => format!("vf{vf}"),
    }
}

impl Device {
    /// Opens the links and puts the card together. `uplink` is the uplink's ethdev.
    ///
    /// # Errors
    /// [`DeviceError`] of the first link that cannot be opened.
    pub fn open(args: &DeviceArgs, uplink: u16) -> Result<Self, DeviceError> {
        let clock = Clock::start();
        let mut ports = Vec::new();
        for (number, spec) in std::iter::once(&args.uplink).chain(&args.vf_links).enumerate() {
            let wire = spec.as_ref().map(|spec| link::open(spec, args.mtu)).transpose();
            let wire =
                wire.map_err(|problem| DeviceError::Link { port: port_name(number), problem })?;
            let faults = args.link_faults.get(number).copied().unwrap_or_default();
            // Each link has frames of its own, and so a sequence of its own.
            let seed = args.fault_seed.wrapping_add(number as u64);
            let link = wire.map(|link| Arc::new(FaultyLink::new(link, faults, seed, clock)));
            ports.push(SwitchPort {
                wire: link.clone().map(|link| Wire::new(Box::new(link))),
                link,
                disconnected: AtomicBool::new(false),
                id: OnceLock::new(),
                counters: PortCounters::default(),
                software: SoftwareSide::new(),
            });
        }
        let kernel = args.kernel.as_ref().map(|name| Kernel::open(name, args.mtu)).transpose();
        let kernel =
            kernel.map_err(|problem| DeviceError::Link { port: "kernel".to_owned(), problem })?;
        let role = PortRole::Uplink;
        let eswitch =
            Eswitch::new(args.profile.clone(), &[PortConfig { id: uplink, role, mtu: args.mtu }])?;
        let unrepresented: Vec<u16> =
            (0..args.vf_links.len() as u16).filter(|vf| !args.representors.contains(vf)).collect();
        let device = Self {
            ports,
            kernel,
            by_ethdev: [const { AtomicU16::new(NO_PORT) }; RTE_MAX_ETHPORTS as usize],
            unrepresented: unrepresented.iter().copied().map(PortIndex::vf).collect(),
            uplink,
            mtu: args.mtu,
            switch: Mutex::new(Switch {
                eswitch,
                flow_state: FlowState::default(),
                trace: Trace::default(),
                rule_faults: RuleFaults::default(),
            }),
            clock,
            away_until: AtomicU64::new(0),
            resets: AtomicU64::new(0),
            tracer: Tracer::default(),
        };
        device.set_rule_faults(args.rule_faults);
        device.name_port(PortIndex::UPLINK, uplink);
        for vf in unrepresented {
            device.add_vf(vf, UNREPRESENTED + vf)?;
        }
        Ok(device)
    }

    /// Makes VF `vf` a port of the eswitch; `id` is its representor's ethdev.
    ///
    /// # Errors
    /// [`DeviceError`] for a number or VF that the eswitch has already.
    pub fn add_vf(&self, vf: u16, id: u16) -> Result<(), DeviceError> {
        let config = PortConfig { id, role: PortRole::Vf(vf), mtu: self.mtu };
        lock(&self.switch).eswitch.add_port(config)?;
        self.name_port(PortIndex::vf(vf), id);
        Ok(())
    }

    fn name_port(&self, index: PortIndex, id: u16) {
        if let Some(port) = self.port(index) {
            // The eswitch refused a second name.
            let _ = port.id.set(id);
        }
        if let Some(named) = self.by_ethdev.get(usize::from(id)) {
            named.store(index.0, Ordering::Release);
        }
    }

    /// A port; `None` for one that the card does not have.
    pub fn port(&self, index: PortIndex) -> Option<&SwitchPort> {
        self.ports.get(usize::from(index.0))
    }

    /// The ethdev of the uplink, through which transfer rules are managed.
    pub const fn uplink(&self) -> u16 {
        self.uplink
    }

    /// The port that the eswitch knows by this number.
    fn named(&self, id: u16) -> Option<PortIndex> {
        if let Some(vf) = id.checked_sub(UNREPRESENTED) {
            return Some(PortIndex::vf(vf)).filter(|index| self.unrepresented.contains(index));
        }
        let index = self.by_ethdev.get(usize::from(id))?.load(Ordering::Acquire);
        Some(PortIndex(index)).filter(|_| index != NO_PORT)
    }

    /// Number of VFs.
    pub fn vfs(&self) -> u16 {
        self.ports.len().saturating_sub(1) as u16
    }

    /// Works with the eswitch, at the present time.
    pub fn with_switch<T>(&self, work: impl FnOnce(&mut Switch, Time) -> T) -> T {
        let mut switch = lock(&self.switch);
        // Under the lock, so that the eswitch's time never runs backwards.
        let now = self.clock.now();
        work(&mut switch, now)
    }

    /// Changes the faults of rule updates.
    pub fn set_rule_faults(&self, faults: RuleFaults) {
        self.with_switch(|switch, now| {
            switch.rule_faults = faults;
            switch.eswitch.set_faults(faults.into());
            switch.eswitch.freeze_queue(faults.freeze_queue, now);
        });
    }

    /// Changes the faults of a port's link; false where there is none of this name.
    pub fn set_link_faults(&self, port: &str, faults: LinkFaults) -> bool {
        let named = |(index, _): &(usize, &SwitchPort)| port_name(*index) == port;
        let link =
            self.ports.iter().enumerate().find(named).and_then(|(_, port)| port.link.as_ref());
        link.map(|link| link.set(faults)).is_some()
    }

    /// Ends all faults.
    pub fn clear_faults(&self) {
        self.set_rule_faults(RuleFaults::default());
        for link in self.ports.iter().filter_map(|port| port.link.as_ref()) {
            link.set(LinkFaults::default());
        }
    }

    /// Resets the card: rules, templates, queues and shared actions are gone, ethdevs are stopped, and it is away, which
    /// loses all frames and lets no ethdev start.
    pub fn reset(&self, outage: Duration) {
        self.with_switch(|switch, now| {
            self.away_until.store((now + outage).0, Ordering::Release);
            self.resets.fetch_add(1, Ordering::Relaxed);
            for port in &self.ports {
                port.software.started.store(false, Ordering::Release);
                port.software.clear();
            }
            switch.flow_state = FlowState::default();
            switch.eswitch.reset();
        });
    }

    /// Whether the card is away because of a reset.
    pub fn is_away(&self) -> bool {
        // The clock is read only after a reset.
        match self.away_until.load(Ordering::Acquire) {
            0 => false,
            until => self.clock.now() < Time(until),
        }
    }

    /// How the card called `name` is.
    pub fn status(&self, name: String) -> Status {
        let ports = self.ports.iter().enumerate().map(|(index, port)| PortStatus {
            name: port_name(index),
            ethdev: port.id.get().copied().filter(|id| *id < UNREPRESENTED),
            link: port.link.as_ref().map(|link| link.status()),
        });
        let ports = ports.collect();
        self.with_switch(|switch, _| Status {
            device: name,
            profile: switch.eswitch.profile().name.clone(),
            rules: switch.eswitch.rule_count() as u64,
            is_away: self.is_away(),
            resets: self.resets.load(Ordering::Relaxed),
            rule_faults: switch.rule_faults,
            ports,
        })
    }

    /// Returns when the card's time is `until`: a synchronous call takes as long as the card does.
    pub fn wait(&self, until: Time) {
        /// Sleeping takes at least about this long.
        const SHORT: Duration = Duration::from_micros(60);
        loop {
            let left = until - self.clock.now();
            if left.is_zero() {
                return;
            }
            if left > SHORT {
                std::thread::sleep(left.saturating_sub(SHORT));
            } else {
                std::hint::spin_loop();
            }
        }
    }

    /// Starts a port's ethdev.
    ///
    /// # Errors
    /// What the eswitch says.
    pub fn start(&self, index: PortIndex, id: u16) -> Result<(), FlowError> {
        if self.is_away() {
            let message = "the card is away after a reset; start the port again later";
            return Err(FlowError::other(ErrorKind::Unspecified, libc::EIO, message));
        }
        self.with_switch(|switch, _| switch.eswitch.start(id))?;
        if let Some(port) = self.port(index) {
            port.software.clear();
            port.software.started.store(true, Ordering::Release);
        }
        Ok(())
    }

    /// Stops a port's ethdev: its rules are gone, and what waits for the application.
    ///
    /// # Errors
    /// What the eswitch says.
    pub fn stop(&self, index: PortIndex, id: u16) -> Result<(), FlowError> {
        self.with_switch(|switch, _| {
            switch.eswitch.stop(id)?;
            switch.flow_state.clear(id);
            Ok::<_, FlowError>(())
        })?;
        if let Some(port) = self.port(index) {
            port.software.started.store(false, Ordering::Release);
            port.software.clear();
        }
        Ok(())
    }

    /// Moves a burst from a port's link; the uplink also moves the VFs' that nobody else polls.
    ///
    /// At most `limit` frames are read, so that what belongs to the receiver fits it.
    pub fn poll(&self, index: PortIndex, batch: &mut Batch, limit: usize, to: &mut impl Receiver) {
        if self.is_away() {
            return;
        }
        let unrepresented =
            if index == PortIndex::UPLINK { self.unrepresented.as_slice() } else { &[] };
        let mut left = limit;
        for &index in std::iter::once(&index).chain(unrepresented) {
            let Some(port) = self.port(index) else { continue };
            let Some(&id) = port.id.get() else { continue };
            batch.clear(left);
            port.read(batch);
            left = left.saturating_sub(batch.frames().len());
            if !batch.is_empty() {
                self.switch(port, Ingress::Represented(id), batch, Some(to));
            }
        }
        if index == PortIndex::UPLINK
            && let Some(kernel) = &self.kernel
        {
            batch.clear(BURST);
            kernel.read(batch);
            if !batch.is_empty() {
                self.send(index, batch);
            }
        }
    }

    /// The kernel that shares the uplink.
    pub const fn kernel(&self) -> Option<&Kernel> {
        self.kernel.as_ref()
    }

    /// Takes a burst that the application sends through a port.
    pub fn send(&self, index: PortIndex, batch: &mut Batch) {
        if let Some(port) = self.port(index)
            && let Some(&id) = port.id.get()
        {
            if self.is_away() {
                port.counters.software_tx_dropped.add(batch.frames().len() as u64);
                return;
            }
            self.switch::<NoReceiver>(port, Ingress::Representor(id), batch, None);
        }
    }

    /// Runs a burst through the eswitch and lets the frames out.
    fn switch<R: Receiver>(
        &self,
        port: &SwitchPort,
        from: Ingress,
        batch: &mut Batch,
        mut to: Option<&mut R>,
    ) {
        let (frames, spare) = batch.parts();
        let mut copy_exits = Vec::new();
        let exits: ArrayVec<Exit, BURST> = self.with_switch(|switch, now| {
            let mut tally = Tally::default();
            let tracing = self.tracer.is_on();
            let mut pass = |from, slot: &mut Slot, tally: &mut Tally| {
                let verdict = switch.process(now, from, slot);
                tally.note(&switch.trace);
                if tracing {
                    self.tracer.note(from, slot.bytes(), &switch.trace, verdict);
                }
                for copy in switch.eswitch.copies() {
                    spare.push(copy.bytes());
                    copy_exits.push(self.exit(copy.verdict()));
                }
                verdict
            };
            let process = |slot: &mut Slot| {
                let length = slot.bytes().len();
                let mut verdict = pass(from, slot, &mut tally);
                for _ in 0..HAIRPINS {
                    let Some(to) = self.hairpin(verdict) else { break };
                    verdict = pass(Ingress::Representor(to), slot, &mut tally);
                }
                self.account(&mut tally, from, length, verdict)
            };
            let exits = frames.iter_mut().map(process).collect();
            tally.count(&port.counters);
            exits
        });
        let mut run = Run::default();
        let copies = spare.frames().iter().zip(copy_exits);
        for (slot, exit) in frames.iter().zip(exits).chain(copies) {
            let (port, queue, metadata) = match exit {
                Exit::Nowhere => continue,
                Exit::Link(port) => {
                    run.push(self, port, slot);
                    continue;
                }
                Exit::Queue(port, queue, metadata) => (port, queue, metadata),
                Exit::Default(index, metadata) => {
                    let Some(port) = self.port(index) else { continue };
                    if !port.software.wants(slot.bytes()) {
                        match &self.kernel {
                            Some(kernel) if index == PortIndex::UPLINK => {
                                kernel.write(slot.bytes());
                            }
                            _ => port.counters.filtered.add(1),
                        }
                        continue;
                    }
                    let (queue, rss) = port.software.spread(slot.bytes());
                    (index, queue, Metadata { rss, ..metadata })
                }
            };
            match &mut to {
                Some(receiver) if receiver.place() == (port, queue) => {
                    receiver.deliver(slot.bytes(), metadata);
                }
                _ => self.put(port, queue, slot.bytes(), metadata),
            }
        }
        run.flush(self);
    }

    /// The ethdev through which a frame leaves that rules sent to a hairpin queue.
    fn hairpin(&self, verdict: Verdict) -> Option<u16> {
        let Verdict::Representor { port, queue: RxQueue::Rule(queue), .. } = verdict else {
            return None;
        };
        self.port(self.named(port)?)?.software.hairpin(QueueIndex(queue))
    }

    /// Whether an ethdev is one of the card's.
    pub fn has_ethdev(&self, id: u16) -> bool {
        self.named(id).is_some()
    }

    /// Lets a frame wait for the application.
    fn put(&self, index: PortIndex, queue: QueueIndex, frame: &[u8], metadata: Metadata) {
        if let Some(port) = self.port(index)
            && port.software.put(queue, frame, metadata).is_err()
        {
            port.counters.software_rx_missed.add(1);
        }
    }

    /// Notes what became of a frame of `length` bytes, and says where it goes.
    fn account(&self, tally: &mut Tally, from: Ingress, length: usize, verdict: Verdict) -> Exit {
        let software = matches!(from, Ingress::Representor(_));
        let exit = self.exit(verdict);
        if software {
            if matches!(exit, Exit::Nowhere) {
                tally.lost += 1;
            }
            return exit;
        }
        match (exit, verdict) {
            (Exit::Link(_), _) => tally.forwarded.count(length),
            // Nobody is there to take it: the frame would have gone to software.
            (Exit::Nowhere, Verdict::Dropped(DropCause::Stopped(_)))
            | (Exit::Queue(..) | Exit::Default(..), _) => tally.missed.count(length),
            (Exit::Nowhere, _) => tally.dropped.count(length),
        }
        exit
    }

    /// Where a frame leaves the eswitch; counts it where it is lost.
    fn exit(&self, verdict: Verdict) -> Exit {
        match verdict {
            Verdict::Represented(id) => self.named(id).map(Exit::Link),
            Verdict::Representor { port: id, queue, attached } => {
                let mark = match (attached.mark, attached.flag) {
                    (Some(mark), _) => Mark::Value(mark),
                    (None, true) => Mark::Flag,
                    (None, false) => Mark::None,
                };
                let Attached { meta, hash: rss, color, .. } = attached;
                let metadata = Metadata { mark, rss, meta, color };
                self.named(id).map(|index| match queue {
                    RxQueue::Default => Exit::Default(index, metadata),
                    RxQueue::Rule(queue) => Exit::Queue(index, QueueIndex(queue), metadata),
                })
            }
            Verdict::Dropped(cause) => {
                match cause {
                    DropCause::Oversize(id) => self.count_at(id, |at| at.oversize.add(1)),
                    DropCause::Stopped(id) => self.count_at(id, |at| at.software_rx_missed.add(1)),
                    _ => {}
                }
                None
            }
        }
        .unwrap_or(Exit::Nowhere)
    }

    fn count_at(&self, id: u16, count: impl FnOnce(&PortCounters)) {
        if let Some(port) = self.named(id).and_then(|index| self.port(index)) {
            count(&port.counters);
        }
    }
}

impl Switch {
    /// Takes a frame through the eswitch; it is rewritten where it lies.
    fn process(&mut self, now: Time, from: Ingress, slot: &mut Slot) -> Verdict {
        let Some(mut frame) = Frame::new(&mut slot.buffer, slot.start, slot.end) else {
            return Verdict::Dropped(DropCause::UnknownPort(from.port()));
        };
        let (eswitch, trace) = (&mut self.eswitch, &mut self.trace);
        let verdict = match (from, slot.meta) {
            (Ingress::Representor(port), Some(meta)) => {
                eswitch.send(now, port, meta, &mut frame, trace)
            }
            _ => eswitch.process(now, from, &mut frame, trace),
        };
        let (start, end) = (frame.start(), frame.end());
        (slot.start, slot.end) = (start, end);
        verdict
    }
}

/// The receiver of bursts that come from the application: what returns to it waits in a queue.
enum NoReceiver {}

impl Receiver for NoReceiver {
    fn place(&self) -> (PortIndex, QueueIndex) {
        match *self {}
    }
    fn deliver(&mut self, _: &[u8], _: Metadata) {
        match *self {}
    }
}

/// Consecutive frames for the same link, sent together.
#[derive(Default)]
struct Run<'a> {
    port: Option<PortIndex>,
    frames: ArrayVec<&'a [u8], BURST>,
}

impl<'a> Run<'a> {
    fn push(&mut self, device: &Device, port: PortIndex, slot: &'a Slot) {
        if self.port != Some(port) || self.frames.is_full() {
            self.flush(device);
            self.port = Some(port);
        }
        self.frames.push(slot.bytes());
    }

    fn flush(&mut self, device: &Device) {
        if let Some(port) = self.port.take().and_then(|index| device.port(index)) {
            port.write(&self.frames);
        }
        self.frames.clear();
    }
}
