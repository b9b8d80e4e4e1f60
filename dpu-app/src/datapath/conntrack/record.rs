//! A connection in the table's memory: three cache lines, one for each direction and one for both.
//!
//! A packet reads its direction's line (the key, and where to) and writes the common one (the state, when, how much). Plain
//! bytes without pointers: the memory may be shared.

use arrayvec::ArrayVec;
use model::decision::{Decision, DropReason, Key, Output, Path, Side, Step, Verdict};
use model::snapshot::{InterfaceId, TunnelId, VfIndex};
use packet::{Mac, outer_source_port};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::connection::{Event, Lifetimes, Offload, State, WhySoftware};
use super::key::CompactKey;
use super::settled::Settled;
use super::tcp::{Transition, transition};
use super::vteps::VtepNumber;
use super::{FlowDirection, PerDirection, TcpState};
use crate::datapath::Time;
use crate::datapath::counters::Traffic;
use crate::datapath::effects::RemovalReason;

/// Both Ethernet addresses as a header has them: destination, then source.
pub(crate) type Macs = [u8; 12];

/// What packets of a direction take, as the hot path wants it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Action {
    /// New Ethernet addresses.
    pub(crate) macs: Option<Macs>,
    /// Where to.
    pub(crate) output: Output,
    /// The longest IP packet, in bytes.
    pub(crate) mtu: u16,
    /// The source port of the outer UDP header for whole packets, where there is one.
    pub(crate) source_port: u16,
}

impl Action {
    /// Of a path and the key of what takes it.
    pub(crate) fn new(path: &Path, key: &Key) -> Self {
        // Of several the last one counts, as when they are done one after the other.
        let mut macs = path.steps.iter().map(|Step::SetMacs { source, destination }| {
            let mut macs = [0; 12];
            macs[..6].copy_from_slice(&destination.0);
            macs[6..].copy_from_slice(&source.0);
            macs
        });
        let source_port = match path.output {
            Output::Local(_) => 0,
            Output::Tunnel(_) => outer_source_port(&key.tuple),
        };
        Self { macs: macs.next_back(), output: path.output, mtu: path.mtu, source_port }
    }

    fn path(&self) -> Path {
        let steps = self.macs.map(|[d0, d1, d2, d3, d4, d5, source @ ..]| Step::SetMacs {
            source: Mac(source),
            destination: Mac([d0, d1, d2, d3, d4, d5]),
        });
        Path { steps: ArrayVec::from_iter(steps), output: self.output, mtu: self.mtu }
    }
}

/// One direction.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C, align(64))]
pub(crate) struct Entry {
    words: [u64; 5],
    protocol: u16,
    /// Of a tunnel, the outer source port for whole packets; of an interface, its VF, where the direction is settled.
    pub(super) exit: u16,
    pub(super) mtu: u16,
    /// What happens: [`DROP`], or an output and whether there are MACs.
    pub(super) way: u8,
    /// The reason of a drop.
    reason: u8,
    pub(super) handle: u32,
    pub(super) macs: Macs,
}

const DROP: u8 = 0;
pub(super) const LOCAL: u8 = 1;
pub(super) const TUNNEL: u8 = 2;
pub(super) const WITH_MACS: u8 = 0x80;

impl Entry {
    fn new(key: &Key, verdict: Result<&Path, DropReason>) -> Self {
        let CompactKey { words, protocol } = key.into();
        let mut entry = Self {
            words,
            protocol,
            exit: 0,
            mtu: 0,
            way: DROP,
            reason: 0,
            handle: 0,
            macs: [0; 12],
        };
        match verdict {
            Err(reason) => entry.reason = reason as u8,
            Ok(path) => {
                let action = Action::new(path, key);
                let (way, handle) = match action.output {
                    Output::Local(id) => (LOCAL, id.0),
                    Output::Tunnel(id) => (TUNNEL, id.0),
                };
                entry.way = way | if action.macs.is_some() { WITH_MACS } else { 0 };
                entry.handle = handle;
                entry.macs = action.macs.unwrap_or_default();
                (entry.mtu, entry.exit) = (action.mtu, action.source_port);
            }
        }
        entry
    }

    #[inline]
    pub(super) fn compact_key(&self) -> CompactKey {
        CompactKey { words: self.words, protocol: self.protocol }
    }

    #[inline]
    fn action(&self) -> Result<Action, DropReason> {
        let (output, source_port) = match self.way & !WITH_MACS {
            LOCAL => (Output::Local(InterfaceId(self.handle)), 0),
            TUNNEL => (Output::Tunnel(TunnelId(self.handle)), self.exit),
            _ => {
                let reason = DropReason::ALL.get(usize::from(self.reason)).copied();
                return Err(reason.unwrap_or(DropReason::NoMapping));
            }
        };
        let macs = (self.way & WITH_MACS != 0).then_some(self.macs);
        Ok(Action { macs, output, mtu: self.mtu, source_port })
    }
}

/// Packets and bytes.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(crate) struct Count {
    packets: u64,
    bytes: u64,
}

impl Count {
    #[inline]
    pub(super) fn add(&mut self, packets: u64, bytes: u64) {
        self.packets = self.packets.wrapping_add(packets);
        self.bytes = self.bytes.wrapping_add(bytes);
    }
}

impl From<Count> for Traffic {
    fn from(count: Count) -> Self {
        Self { packets: count.packets, bytes: count.bytes }
    }
}

/// A count for each direction.
pub(super) fn traffic([forward, reverse]: [Count; 2]) -> PerDirection<Traffic> {
    PerDirection { forward: forward.into(), reverse: reverse.into() }
}

/// What both directions share.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C, align(64))]
pub(crate) struct Common {
    pub(super) software: [Count; 2],
    pub(super) last_seen: u64,
    /// Of the snapshot under which it was last found allowed.
    pub(super) epoch: u64,
    /// Moves when a connection comes, and when it goes: odd while there is one.
    generation: u32,
    pub(super) vtep: VtepNumber,
    pub(super) state: u8,
    offload: [u8; 2],
    /// Whether the offload manager was told that software got a packet of a direction that hardware carries (bits 0 and
    /// 1), and whether hardware ever carried any (bit 2).
    noted: u8,
    /// Type and code of the ICMP message policy was asked about, and whether there was one.
    icmp: [u8; 3],
    /// Which directions are settled, by bits. All that may unsettle one clears it for both.
    settled: u8,
}

const HARDWARE_COUNTED: u8 = 4;

/// See the module.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C, align(64))]
pub(crate) struct Record {
    forward: Entry,
    common: Common,
    reverse: Entry,
}

/// What a connection begins with.
pub(super) struct Start {
    pub(super) state: State,
    pub(super) why: WhySoftware,
    pub(super) icmp: Option<(u8, u8)>,
    pub(super) epoch: u64,
}

impl Record {
    /// Begins a connection here, which [`Self::observe`] has yet to see.
    pub(super) fn begin(&mut self, key: &Key, decision: &Decision, start: &Start, now: Time) {
        let (kind, code, is_icmp) = match start.icmp {
            Some((kind, code)) => (kind, code, 1),
            None => (0, 0, 0),
        };
        let why = Offload::Software(start.why).code();
        self.common = Common {
            software: [Count::default(); 2],
            last_seen: now.0,
            epoch: start.epoch,
            generation: self.common.generation.wrapping_add(1),
            vtep: 0,
            state: start.state.code(),
            offload: [why; 2],
            noted: 0,
            icmp: [kind, code, is_icmp],
            settled: 0,
        };
        self.decide(key, decision);
    }

    /// The connection here is over.
    pub(super) fn end(&mut self) {
        self.common.generation = self.common.generation.wrapping_add(1);
    }

    /// Notes what is decided for packets with a key.
    pub(super) fn decide(&mut self, key: &Key, decision: &Decision) {
        self.common.settled = 0;
        self.forward = Entry::new(key, Ok(&decision.forward));
        let reverse = match &decision.reverse {
            Verdict::Forward(path) => Ok(path),
            Verdict::Drop(reason) => Err(*reason),
        };
        self.reverse = Entry::new(&decision.reverse_key, reverse);
    }

    /// What is decided.
    pub(crate) fn decision(&self) -> Decision {
        let path = |action: Action| action.path();
        // A connection's own direction is never dropped.
        let nowhere =
            Path { steps: ArrayVec::new(), output: Output::Local(InterfaceId(0)), mtu: 0 };
        Decision {
            forward: self.forward.action().map_or(nowhere, path),
            reverse_key: (&self.reverse.compact_key()).into(),
            reverse: self.reverse.action().map(path).map_or_else(Verdict::Drop, Verdict::Forward),
        }
    }

    /// Has what a packet of a direction needs fetched into the cache.
    #[inline]
    pub(super) fn prefetch(&self, direction: FlowDirection) {
        crate::datapath::memory::prefetch(self.entry(direction));
        crate::datapath::memory::prefetch(&self.common);
    }

    #[inline]
    const fn entry(&self, direction: FlowDirection) -> &Entry {
        match direction {
            FlowDirection::Forward => &self.forward,
            FlowDirection::Reverse => &self.reverse,
        }
    }

    #[inline]
    pub(super) fn is(&self, direction: FlowDirection, key: &CompactKey) -> bool {
        self.entry(direction).compact_key() == *key
    }

    pub(crate) fn compact_key(&self, direction: FlowDirection) -> CompactKey {
        self.entry(direction).compact_key()
    }

    pub(crate) fn key(&self, direction: FlowDirection) -> Key {
        (&self.compact_key(direction)).into()
    }

    /// The interface that is charged for it.
    #[inline]
    pub(super) const fn owner(&self) -> InterfaceId {
        let [.., last] = self.forward.words;
        InterfaceId((last >> 33) as u32)
    }

    /// What packets of a direction take.
    ///
    /// # Errors
    /// The reason for which they are dropped.
    #[inline]
    pub(crate) fn action(&self, direction: FlowDirection) -> Result<Action, DropReason> {
        self.entry(direction).action()
    }

    #[inline]
    pub(super) const fn generation(&self) -> u32 {
        self.common.generation
    }

    /// Whether there is a connection here.
    #[inline]
    pub(super) const fn is_live(&self) -> bool {
        self.common.generation & 1 == 1
    }

    #[inline]
    pub(crate) fn state(&self) -> State {
        State::of_code(self.common.state)
    }

    #[inline]
    pub(super) const fn last_seen(&self) -> Time {
        Time(self.common.last_seen)
    }

    /// When it is over, unless there is traffic before.
    #[inline]
    pub(super) fn deadline(&self, lifetimes: &Lifetimes) -> Time {
        Time(self.common.last_seen.saturating_add(lifetimes.of_code(self.common.state)))
    }

    /// When its time is over: at its deadline, or later where the NIC may still report traffic from before it. A rule may
    /// be in the NIC before that is known here.
    #[inline]
    pub(super) fn ends_at(&self, lifetimes: &Lifetimes) -> Time {
        let deadline = self.deadline(lifetimes);
        let in_hardware = FlowDirection::ALL.iter().any(|d| self.may_be_in_hardware(*d));
        if in_hardware { deadline + lifetimes.counter_delay } else { deadline }
    }

    #[inline]
    pub(crate) const fn epoch(&self) -> u64 {
        self.common.epoch
    }

    pub(super) const fn set_epoch(&mut self, epoch: u64) {
        self.common.settled = 0;
        self.common.epoch = epoch;
    }

    #[inline]
    pub(super) const fn vtep(&self) -> VtepNumber {
        self.common.vtep
    }

    pub(super) const fn set_vtep(&mut self, vtep: VtepNumber) {
        self.common.settled = 0;
        self.common.vtep = vtep;
    }

    #[inline]
    pub(crate) const fn icmp(&self) -> Option<(u8, u8)> {
        match self.common.icmp {
            [kind, code, 1] => Some((kind, code)),
            _ => None,
        }
    }

    pub(super) fn software(&self) -> PerDirection<Traffic> {
        traffic(self.common.software)
    }

    /// Counts a packet that software carried.
    #[inline]
    pub(crate) fn count_software(&mut self, direction: FlowDirection, bytes: usize) {
        if let Some(count) = self.common.software.get_mut(direction as usize) {
            count.add(1, bytes as u64);
        }
    }

    /// Whether hardware ever carried any of it.
    pub(super) const fn is_counted_by_hardware(&self) -> bool {
        self.common.noted & HARDWARE_COUNTED != 0
    }

    pub(super) const fn note_hardware(&mut self) {
        self.common.noted |= HARDWARE_COUNTED;
    }

    #[inline]
    pub(crate) fn offload(&self, direction: FlowDirection) -> Offload {
        let [forward, reverse] = self.common.offload;
        Offload::of_code(match direction {
            FlowDirection::Forward => forward,
            FlowDirection::Reverse => reverse,
        })
    }

    fn put_offload(&mut self, direction: FlowDirection, offload: Offload) {
        self.common.settled = 0;
        if let Some(place) = self.common.offload.get_mut(direction as usize) {
            *place = offload.code();
        }
    }

    /// Notes what the offload manager says of a direction, unless it speaks of a time before the datapath took the
    /// direction back.
    pub(super) fn set_offload(&mut self, direction: FlowDirection, offload: Offload) {
        if !matches!(self.offload(direction), Offload::Software(why) if why.is_waiting()) {
            self.put_offload(direction, offload);
            self.watch(direction);
        }
    }

    /// Whether a packet of the direction came to software although hardware carries it, and nobody was told of one since
    /// [`Self::watch`]; notes that it is told now.
    #[inline]
    pub(crate) fn bypasses(&mut self, direction: FlowDirection) -> bool {
        if self.offload(direction) != Offload::Hardware || self.common.noted & bit(direction) != 0 {
            return false;
        }
        self.common.noted |= bit(direction);
        true
    }

    /// The next packet that bypasses hardware is to be told of again.
    pub(crate) fn watch(&mut self, direction: FlowDirection) {
        self.common.settled = 0;
        self.common.noted &= !bit(direction);
    }

    /// Whether the offload manager was told of the direction.
    pub(crate) fn is_managed(&self, direction: FlowDirection) -> bool {
        self.offload(direction).is_managers()
    }

    /// Whether a rule carries the direction, or may do so before that is known here.
    #[inline]
    pub(super) fn may_be_in_hardware(&self, direction: FlowDirection) -> bool {
        matches!(self.offload(direction), Offload::Pending | Offload::Hardware)
    }

    /// Forgets where packets from the wire came from, as nothing may come from there any more: until the first one from
    /// elsewhere, hardware must not carry their direction. That direction, if hardware did, or was about to.
    pub(super) fn forget_vtep(&mut self) -> Option<FlowDirection> {
        self.set_vtep(0);
        let from_network =
            |direction: &FlowDirection| self.key(*direction).zone.side() == Side::FromNetwork;
        let direction = FlowDirection::ALL.into_iter().find(from_network)?;
        let was = self.offload(direction);
        self.put_offload(direction, Offload::Software(WhySoftware::NoOuterSource));
        was.is_managers().then_some(direction)
    }

    /// Whether the packet opens a new connection in place of this one; if so, how this one ended.
    #[inline]
    pub(crate) fn starts_anew(
        &self,
        direction: FlowDirection,
        event: Event,
    ) -> Option<RemovalReason> {
        let (State::Tcp(state), Event::Segment(flags)) = (self.state(), event) else {
            return None;
        };
        (transition(state, direction, flags) == Transition::StartAnew).then_some(match state {
            TcpState::Reset { .. } => RemovalReason::Reset,
            _ => RemovalReason::Closed,
        })
    }

    /// Takes notice of a packet, or of several that hardware carried, the last one at `at`.
    #[inline]
    pub(super) fn observe(&mut self, direction: FlowDirection, event: Event, at: Time) {
        if event == Event::Related {
            return;
        }
        let answer = direction == FlowDirection::Reverse;
        let state = match self.state() {
            State::Tcp(state) => match transition(state, direction, event.flags()) {
                Transition::Enter(state) => State::Tcp(state),
                Transition::Ignore | Transition::StartAnew => return,
            },
            State::Udp { answered } => State::Udp { answered: answered || answer },
            State::Echo { answered } => State::Echo { answered: answered || answer },
            State::Other { answered } => State::Other { answered: answered || answer },
        };
        let code = state.code();
        if code != self.common.state {
            self.common.settled = 0;
        }
        self.common.state = code;
        self.common.last_seen = self.common.last_seen.max(at.0);
    }

    /// Whether it may be in hardware no longer though it was, or was about to be; notes that. To be called after
    /// [`Self::observe`].
    #[inline]
    pub(crate) fn withdraw(&mut self) -> bool {
        let State::Tcp(state) = self.state() else {
            return false;
        };
        if matches!(state, TcpState::Established) || state.is_half_open() {
            return false;
        }
        self.take_back(WhySoftware::Ending)
    }

    /// Puts both directions into software's care. Whether one of them was in another's.
    fn take_back(&mut self, why: WhySoftware) -> bool {
        let was = FlowDirection::ALL.map(|direction| self.offload(direction));
        for direction in FlowDirection::ALL {
            self.put_offload(direction, Offload::Software(why));
        }
        was.into_iter().any(Offload::is_managers)
    }

    /// Whether `direction` has just become a candidate for hardware; notes that, or why it is none.
    #[inline]
    pub(crate) fn becomes_eligible(
        &mut self,
        direction: FlowDirection,
        after_packets: u32,
    ) -> bool {
        match self.offload(direction) {
            Offload::Software(why) if why.is_waiting() => self.judge(direction, after_packets),
            _ => false,
        }
    }

    fn judge(&mut self, direction: FlowDirection, after_packets: u32) -> bool {
        let enough = |sent: u64| after_packets > 0 && sent >= u64::from(after_packets);
        let why = match self.state() {
            State::Echo { .. } | State::Other { .. } => WhySoftware::Protocol,
            State::Tcp(state) if state.is_half_open() => WhySoftware::NotEstablished,
            State::Tcp(TcpState::Established) | State::Udp { answered: true } => {
                WhySoftware::Eligible
            }
            State::Tcp(_) => WhySoftware::Ending,
            State::Udp { answered: false }
                if direction == FlowDirection::Forward
                    && enough(self.software().forward.packets) =>
            {
                WhySoftware::Eligible
            }
            State::Udp { answered: false } => WhySoftware::OneWay,
        };
        let from_network = self.key(direction).zone.side() == Side::FromNetwork;
        let why = match (why, self.action(direction)) {
            (WhySoftware::Eligible, Err(_)) => WhySoftware::Dropped,
            (WhySoftware::Eligible, Ok(_)) if from_network && self.vtep() == 0 => {
                WhySoftware::NoOuterSource
            }
            _ => why,
        };
        self.put_offload(direction, Offload::Software(why));
        why == WhySoftware::Eligible
    }
}

/// Directions of which packets change nothing any more.
impl Record {
    /// Takes notice that a packet of a direction, TCP or UDP and whole, went its way under the current snapshot, to `vf` if it went
    /// to a VM. If the next one can change nothing but the counters and the time, the direction is settled, until something
    /// else happens to the connection: [`Settled`] is then all that has to be looked at. `counted_late`: whether the NIC tells of
    /// traffic later than it was.
    pub(super) fn settle(
        &mut self,
        direction: FlowDirection,
        vf: Option<VfIndex>,
        after_packets: u32,
        counted_late: bool,
    ) {
        let state_stays = match self.state() {
            State::Tcp(state) => state == TcpState::Established,
            State::Udp { answered } => answered || direction == FlowDirection::Forward,
            State::Echo { .. } | State::Other { .. } => false,
        };
        let is_told =
            self.offload(direction) != Offload::Hardware || self.common.noted & bit(direction) != 0;
        let place_stays = |of: FlowDirection| match self.offload(of) {
            // The packets of the initiator are counted.
            Offload::Software(WhySoftware::OneWay) => {
                of == FlowDirection::Reverse || after_packets == 0
            }
            // What is not decided by now is not decided by a further packet.
            Offload::Software(_) => true,
            // The timer may have to be set for each.
            Offload::Pending | Offload::Hardware => !counted_late,
        };
        if !(state_stays && is_told && FlowDirection::ALL.into_iter().all(place_stays)) {
            return;
        }
        let entry = match direction {
            FlowDirection::Forward => &mut self.forward,
            FlowDirection::Reverse => &mut self.reverse,
        };
        if let Some(VfIndex(vf)) = vf {
            entry.exit = vf;
        }
        self.common.settled |= bit(direction);
    }

    /// A direction, if it is settled.
    #[inline]
    pub(super) fn settled(&mut self, direction: FlowDirection) -> Option<Settled<'_>> {
        let entry = match direction {
            FlowDirection::Forward => &self.forward,
            FlowDirection::Reverse => &self.reverse,
        };
        (self.common.settled & bit(direction) != 0).then_some(Settled::new(
            entry,
            &mut self.common,
            direction,
        ))
    }
}

const fn bit(direction: FlowDirection) -> u8 {
    1 << direction as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_has_three_lines() {
        assert_eq!((size_of::<Record>(), align_of::<Record>()), (192, 64));
    }
}
