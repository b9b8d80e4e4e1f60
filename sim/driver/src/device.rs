//! One simulated card: its ports, their wires, and the way of a frame between them.
//!
//! All of it is shared by the ports of the device, which DPDK programs use from several threads at once. The eswitch is
//! behind one lock, taken once for each burst and never while waiting for a system call: a burst is read before and
//! written after.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use arrayvec::ArrayVec;
use packet::Mac;

use crate::batch::{BURST, Batch, Slot};
use crate::counters::PortCounters;
use crate::devargs::DeviceArgs;
use crate::link::{self, Link, LinkError};
use crate::mbuf::Metadata;

/// Most receive queues of a port, and most transmit queues.
pub const MAX_QUEUES: u16 = 16;

/// How long a link that had no frame is left alone: busy polling would otherwise be system calls only.
const LINK_REST: Duration = Duration::from_micros(5);

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

/// Where a frame enters the eswitch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Entry {
    /// From the wire or the VM.
    Link(PortIndex),
    /// From the application, through the port's ethdev.
    Software(PortIndex),
}

/// Where a frame leaves the eswitch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Exit {
    /// To the wire or the VM.
    Link(PortIndex),
    /// To the application, by its receive queue.
    Software(PortIndex, QueueIndex, Metadata),
}

/// A receive queue of a port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct QueueIndex(pub u16);

/// The wire of a port.
struct Wire {
    link: Box<dyn Link>,
    /// Held by the thread that reads; until when the link is left alone.
    reading: Mutex<Option<Instant>>,
}

/// Frames that wait for the application to poll their queue.
#[derive(Default)]
struct ReceiveRing {
    frames: VecDeque<(Box<[u8]>, Metadata)>,
    capacity: usize,
}

/// The ethdev's side of a port.
pub struct SoftwareSide {
    /// Whether the application started the ethdev.
    pub started: AtomicBool,
    /// Whether it takes frames for any destination.
    pub promiscuous: AtomicBool,
    /// Whether it takes frames for any multicast destination.
    pub allmulticast: AtomicBool,
    mac: AtomicU64,
    rings: Vec<Mutex<ReceiveRing>>,
}

impl SoftwareSide {
    /// The ethdev's own address.
    pub fn mac(&self) -> Mac {
        let [_, _, octets @ ..] = self.mac.load(Ordering::Relaxed).to_be_bytes();
        Mac(octets)
    }

    /// Changes the ethdev's own address.
    pub fn set_mac(&self, mac: Mac) {
        let number = mac.0.iter().fold(0, |number, octet| number << 8 | u64::from(*octet));
        self.mac.store(number, Ordering::Relaxed);
    }

    fn ring(&self, queue: QueueIndex) -> Option<MutexGuard<'_, ReceiveRing>> {
        self.rings.get(usize::from(queue.0)).map(lock)
    }

    /// Gives a receive queue room for `capacity` frames.
    pub fn set_capacity(&self, queue: QueueIndex, capacity: u16) {
        if let Some(mut ring) = self.ring(queue) {
            ring.capacity = capacity.into();
        }
    }

    /// Forgets what waits in the receive queues.
    pub fn clear(&self) {
        for ring in &self.rings {
            lock(ring).frames.clear();
        }
    }

    /// Takes the oldest waiting frame of a queue.
    pub fn take(&self, queue: QueueIndex) -> Option<(Box<[u8]>, Metadata)> {
        self.ring(queue)?.frames.pop_front()
    }

    /// Whether a frame that no rule put here passes the port's address filter.
    fn wants(&self, frame: &[u8]) -> bool {
        if self.promiscuous.load(Ordering::Relaxed) {
            return true;
        }
        let Some(&destination) = frame.first_chunk::<6>() else { return false };
        destination == self.mac().0
            || destination == [0xff; 6]
            || (destination[0] & 1 == 1 && self.allmulticast.load(Ordering::Relaxed))
    }
}

/// One port of the card.
pub struct SwitchPort {
    wire: Option<Wire>,
    /// Largest payload of an Ethernet frame that leaves through the link, in bytes.
    pub mtu: AtomicU16,
    /// What the port counts.
    pub counters: PortCounters,
    /// The ethdev's side; unused by a VF without representor.
    pub software: SoftwareSide,
}

impl SwitchPort {
    fn new(wire: Option<Wire>, mtu: u16) -> Self {
        let rings = (0..MAX_QUEUES).map(|_| Mutex::default()).collect();
        Self {
            wire,
            mtu: AtomicU16::new(mtu),
            counters: PortCounters::default(),
            software: SoftwareSide {
                started: AtomicBool::new(false),
                promiscuous: AtomicBool::new(false),
                allmulticast: AtomicBool::new(false),
                mac: AtomicU64::new(0),
                rings,
            },
        }
    }

    /// Whether the port has a wire that is up.
    pub fn link_is_up(&self) -> bool {
        self.wire.as_ref().is_some_and(|wire| wire.link.is_up())
    }

    /// Reads a burst from the link, unless another thread does or there was nothing a moment ago.
    fn read(&self, batch: &mut Batch) {
        let Some(wire) = &self.wire else { return };
        let mut rest_until = match wire.reading.try_lock() {
            Ok(guard) => guard,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        let now = Instant::now();
        if rest_until.is_some_and(|until| now < until) {
            return;
        }
        let received = wire.link.receive(batch);
        *rest_until = received.idle.then(|| now + LINK_REST);
        self.counters.link_rx_errors.add(received.errors);
        for slot in batch.frames() {
            self.counters.link_rx.count(slot.bytes().len());
        }
    }

    /// Sends a run of frames through the link.
    fn write(&self, frames: &[&[u8]]) {
        // Without a wire they are lost as on a card without a cable.
        let sent = self.wire.as_ref().map_or(0, |wire| wire.link.send(frames));
        self.counters.link_tx_errors.add(frames.len().saturating_sub(sent) as u64);
        self.counters.link_tx.packets.add(sent as u64);
        if sent == frames.len() {
            self.counters.link_tx.bytes.add(frames.iter().map(|frame| frame.len() as u64).sum());
        }
    }
}

/// A lock that stays usable: a panic under it ends the process anyway.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One simulated card.
pub struct Device {
    ports: Vec<SwitchPort>,
    /// VFs that have no ethdev: the uplink's polls move their frames.
    unrepresented: Vec<PortIndex>,
}

/// Where the frames that belong to the polling queue itself go.
pub trait Receiver {
    /// The queue's place.
    fn place(&self) -> (PortIndex, QueueIndex);
    /// Takes a frame; it does not wait.
    fn deliver(&mut self, frame: &[u8], metadata: Metadata);
}

impl Device {
    /// Opens the links and puts the card together.
    ///
    /// # Errors
    /// [`LinkError`] of the first link that cannot be opened, with the port's name.
    pub fn open(args: &DeviceArgs) -> Result<Self, (String, LinkError)> {
        let mut ports = Vec::new();
        let specs = std::iter::once(&args.uplink).chain(&args.vf_links);
        for (number, spec) in specs.enumerate() {
            let wire = match spec {
                None => None,
                Some(spec) => {
                    let link = link::open(spec, args.mtu).map_err(|e| {
                        let name = match number.checked_sub(1) {
                            None => "uplink".to_owned(),
                            Some(vf) => format!("vf{vf}"),
                        };
                        (name, e)
                    })?;
                    Some(Wire { link, reading: Mutex::new(None) })
                }
            };
            ports.push(SwitchPort::new(wire, args.mtu));
        }
        let vfs = args.vf_links.len() as u16;
        let unrepresented =
            (0..vfs).filter(|vf| !args.representors.contains(vf)).map(PortIndex::vf).collect();
        Ok(Self { ports, unrepresented })
    }

    /// A port; `None` for one that the card does not have.
    pub fn port(&self, index: PortIndex) -> Option<&SwitchPort> {
        self.ports.get(usize::from(index.0))
    }

    /// Number of VFs.
    pub fn vfs(&self) -> u16 {
        (self.ports.len() - 1) as u16
    }

    /// Moves a burst from a port's link; the uplink also moves the VFs' that nobody else polls.
    ///
    /// At most `limit` frames are read from a link, so that what belongs to the receiver fits it.
    pub fn poll(&self, index: PortIndex, batch: &mut Batch, limit: usize, to: &mut impl Receiver) {
        let unrepresented =
            if index == PortIndex::UPLINK { self.unrepresented.as_slice() } else { &[] };
        let mut left = limit;
        for &index in std::iter::once(&index).chain(unrepresented) {
            let Some(port) = self.port(index) else { continue };
            batch.clear(left);
            port.read(batch);
            left = left.saturating_sub(batch.frames().len());
            if !batch.is_empty() {
                self.switch(Entry::Link(index), batch, Some(to));
            }
        }
    }

    /// Takes a burst that the application sends through a port.
    pub fn send(&self, index: PortIndex, batch: &mut Batch) {
        self.switch::<NoReceiver>(Entry::Software(index), batch, None);
    }

    /// Runs a burst through the eswitch and lets the frames out.
    fn switch<R: Receiver>(&self, entry: Entry, batch: &mut Batch, mut to: Option<&mut R>) {
        let frames = batch.frames();
        let exits: ArrayVec<Exit, BURST> = frames
            .iter_mut()
            .map(|_| match entry {
                Entry::Link(port) => Exit::Software(port, QueueIndex(0), Metadata::default()),
                Entry::Software(port) => Exit::Link(port),
            })
            .collect();
        let mut run: Run = Run::default();
        for (slot, exit) in frames.iter().zip(exits) {
            match exit {
                Exit::Link(port) => run.push(self, port, slot),
                Exit::Software(port, queue, metadata) => {
                    self.deliver(port, queue, metadata, slot.bytes(), to.as_deref_mut());
                }
            }
        }
        run.flush(self);
    }

    fn deliver<R: Receiver>(
        &self,
        index: PortIndex,
        queue: QueueIndex,
        metadata: Metadata,
        frame: &[u8],
        to: Option<&mut R>,
    ) {
        let Some(port) = self.port(index) else { return };
        if !port.software.wants(frame) {
            port.counters.filtered.add(1);
            return;
        }
        if let Some(receiver) = to
            && receiver.place() == (index, queue)
        {
            receiver.deliver(frame, metadata);
            return;
        }
        let room = port.software.started.load(Ordering::Acquire)
            && port.software.ring(queue).is_some_and(|mut ring| {
                let room = ring.frames.len() < ring.capacity;
                if room {
                    ring.frames.push_back((frame.into(), metadata));
                }
                room
            });
        if !room {
            port.counters.software_rx_missed.add(1);
        }
    }
}

/// The receiver of bursts that come from the application: what returns to it waits in a ring.
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
