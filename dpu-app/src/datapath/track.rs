//! From the connection table to the way out: what a packet belongs to, what is decided for that, and what it means for
//! it.

use model::decision::{DropReason, Key, Side};
use model::snapshot::Snapshot;
use packet::{Fragment, Frame, IpPacket, TcpFlags, Transport, vxlan_source_port};

use super::arrival::Arrival;
use super::conntrack::{
    Beginning, Candidate, CompactKey, ConnectionHandle, Event, FlowDirection, Macs, Offload,
    Record, may_pick_up, opens,
};
use super::decide::decide;
use super::effects::{Effect, Effects, RemovalReason};
use super::execute::Exit;
use super::fragments::{First, PacketId};
use super::recheck::{Checked, latest_generation};
use super::settings::PickUp;
use super::shard::Shard;
use super::{Outcome, Port, Time, related};

/// What a packet belongs to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Subject {
    /// The key of the connection's direction in which it travels.
    pub(super) key: CompactKey,
    /// The hash of that.
    pub(super) hash: u64,
    /// What was found under it ahead.
    pub(super) candidate: Option<Candidate>,
    /// What it means for the connection.
    pub(super) event: Event,
}

impl Shard {
    /// What a packet belongs to, where no other packet has a say in that.
    pub(super) fn subject(&self, arrival: &Arrival) -> Option<Subject> {
        let Arrival { zone, packet, .. } = arrival;
        if let Transport::IcmpError { .. } | Transport::LaterFragment = packet.transport {
            return None;
        }
        let key = Key { zone: *zone, tuple: packet.tuple };
        Some(self.subject_of(&key, Event::of(packet.transport)))
    }

    fn subject_of(&self, key: &Key, event: Event) -> Subject {
        let key = key.into();
        Subject { key, hash: self.table.hash(&key), candidate: None, event }
    }

    /// What a packet belongs to that belongs to another one.
    fn subject_by_another(
        &mut self,
        now: Time,
        arrival: &Arrival,
        frame: &Frame,
    ) -> Result<Subject, DropReason> {
        let (zone, packet) = (arrival.zone, &arrival.packet);
        if let Fragment::Later(identification) = packet.fragment {
            let First { key, related } = self
                .fragments
                .find(now, &PacketId::new(zone, packet, identification))
                .ok_or(DropReason::FragmentWithoutFirst)?;
            let event = if related { Event::Related } else { Event::Packet };
            return Ok(self.subject_of(&key, event));
        }
        let key = related::key(zone, packet, frame.bytes());
        Ok(self.subject_of(&key.ok_or(DropReason::RelatedUnknown)?, Event::Related))
    }

    /// Sees a packet to its end.
    pub(super) fn track(
        &mut self,
        now: Time,
        snapshot: &Snapshot,
        arrival: &Arrival,
        subject: Option<Subject>,
        frame: &mut Frame,
        effects: &mut Effects,
    ) -> Outcome {
        let subject = match subject {
            Some(subject) => subject,
            None => match self.subject_by_another(now, arrival, frame) {
                Ok(subject) => subject,
                Err(reason) => return Outcome::Drop(reason),
            },
        };
        let way = match self.live(now, snapshot, &subject, effects) {
            Ok(Some((id, direction))) => {
                self.go_on(now, snapshot, arrival, &subject, (id, direction), frame, effects)
            }
            Ok(None) => self.begin(now, snapshot, arrival, &subject, frame, effects),
            Err(reason) => Err(Outcome::Drop(reason)),
        };
        match way {
            Ok(way) => self.leave(now, arrival, &subject, &way, frame, effects),
            Err(outcome) => outcome,
        }
    }

    /// The connection of the subject, if there is one on which it can travel: not over, not about to be replaced, and
    /// allowed by the current snapshot. One that is found to be none of these is removed.
    #[inline]
    fn live(
        &mut self,
        now: Time,
        snapshot: &Snapshot,
        subject: &Subject,
        effects: &mut Effects,
    ) -> Result<Option<(ConnectionHandle, FlowDirection)>, DropReason> {
        let Subject { key, hash, candidate, .. } = subject;
        let Some((id, direction)) = self.table.find_ahead(*hash, key, *candidate) else {
            return Ok(None);
        };
        let Some(record) = self.table.get(id) else {
            return Ok(None);
        };
        if now >= self.table.end_of(record) {
            self.remove_ended(id, effects);
            return Ok(None);
        }
        if let Some(reason) = record.starts_anew(direction, subject.event) {
            self.remove(id, reason, now, effects);
            return Ok(None);
        }
        if record.epoch() == snapshot.epoch {
            return Ok(Some((id, direction)));
        }
        self.recheck(now, snapshot, id, effects)?;
        // Another decision may mean another key for answers, and this packet is then none of them.
        let found = self.table.find(subject.hash, &subject.key);
        Ok(found.filter(|found| *found == (id, direction)))
    }

    /// Makes sure that a connection is allowed by the current snapshot; removes it otherwise.
    ///
    /// # Errors
    /// The reason why it is not allowed.
    pub(super) fn recheck(
        &mut self,
        now: Time,
        snapshot: &Snapshot,
        id: ConnectionHandle,
        effects: &mut Effects,
    ) -> Result<(), DropReason> {
        let Some(checked) = self.table.checked(id).filter(|c| c.epoch != snapshot.epoch) else {
            return Ok(());
        };
        let Some(record) = self.table.get(id) else {
            return Ok(());
        };
        let (key, icmp) = (record.key(FlowDirection::Forward), record.icmp());
        let before = record.decision();
        let latest = latest_generation(snapshot, &key, &before);
        if latest.is_some_and(|latest| latest <= checked.generation) {
            self.table.set_checked(id, Checked::under(snapshot));
            return Ok(());
        }
        let decision = match decide(snapshot, &key, icmp, Some(&before)) {
            Ok(decision) => decision,
            Err(reason) => {
                let why = match latest {
                    Some(_) => RemovalReason::Policy,
                    None => RemovalReason::InterfaceRemoved,
                };
                self.remove(id, why, now, effects);
                return Err(reason);
            }
        };
        self.table.set_checked(id, Checked::under(snapshot));
        if !self.may_come_from(snapshot, id) {
            self.table.presume_alive(id, now);
            if let Some(direction) = self.table.forget_vtep(id) {
                effects.push(Effect::WithdrawDirection { connection: id, direction });
            }
        }
        if decision != before {
            self.table.set_decision(id, &decision);
            effects.push(Effect::DecisionChanged { connection: id });
        }
        Ok(())
    }

    /// Whether packets of the connection may still come from the VTEP they came from. Software asks for each packet;
    /// hardware matches the one VTEP that was right when the rule was made.
    fn may_come_from(&self, snapshot: &Snapshot, id: ConnectionHandle) -> bool {
        let Some(record) = self.table.get(id) else {
            return true;
        };
        let Some(vtep) = self.table.vtep_of(record) else {
            return true;
        };
        FlowDirection::ALL.iter().map(|direction| record.key(*direction)).all(|key| {
            key.zone.side() == Side::FromVm
                || snapshot
                    .interface(key.zone.interface())
                    .and_then(|interface| snapshot.vpc(interface.vpc))
                    .is_some_and(|vpc| vpc.mappings.admits(key.tuple.source(), vtep))
        })
    }

    /// A packet of a connection that is there.
    #[expect(clippy::too_many_arguments, reason = "all of it is the packet's situation")]
    fn go_on(
        &mut self,
        now: Time,
        snapshot: &Snapshot,
        arrival: &Arrival,
        subject: &Subject,
        (id, direction): (ConnectionHandle, FlowDirection),
        frame: &mut Frame,
        effects: &mut Effects,
    ) -> Result<Way, Outcome> {
        let Some(record) = self.table.get(id) else {
            return Err(Outcome::Drop(DropReason::NoMapping));
        };
        if let (Transport::Icmp { kind, code }, FlowDirection::Forward) =
            (arrival.packet.transport, direction)
        {
            check_message(snapshot, record, (kind, code)).map_err(Outcome::Drop)?;
        }
        let action = record.action(direction).map_err(Outcome::Drop)?;
        let to = (action.output, action.mtu);
        let exit = self.find_exit(now, snapshot, arrival, to, frame, effects)?;
        self.table.observe(id, direction, subject.event, now);
        let is_its_own =
            arrival.packet.fragment == Fragment::None && subject.event != Event::Related;
        let source_port = if is_its_own || matches!(exit, Exit::Vm { .. }) {
            action.source_port
        } else {
            vxlan_source_port(&arrival.packet)
        };
        Ok(Way { id, direction, macs: action.macs, source_port, exit })
    }

    /// A packet that may begin a connection.
    fn begin(
        &mut self,
        now: Time,
        snapshot: &Snapshot,
        arrival: &Arrival,
        subject: &Subject,
        frame: &mut Frame,
        effects: &mut Effects,
    ) -> Result<Way, Outcome> {
        let transport = arrival.packet.transport;
        let drop = |reason| Err(Outcome::Drop(reason));
        let icmp = match transport {
            // The first fragment was forwarded, but its connection is gone by now.
            Transport::LaterFragment => return drop(DropReason::FragmentWithoutFirst),
            Transport::IcmpError { .. } => return drop(DropReason::RelatedUnknown),
            Transport::Icmp { kind, code } => Some((kind, code)),
            Transport::Tcp(_) | Transport::Udp | Transport::Other => None,
        };
        let key = Key::from(&subject.key);
        let decision = decide(snapshot, &key, icmp, None).map_err(Outcome::Drop)?;
        let picked_up = match transport {
            Transport::Tcp(flags) if !opens(flags) => {
                if !self.picks_up(now, flags) {
                    return drop(DropReason::TcpNotSyn);
                }
                true
            }
            _ => false,
        };
        let to = (decision.forward.output, decision.forward.mtu);
        let exit = self.find_exit(now, snapshot, arrival, to, frame, effects)?;
        if latest_generation(snapshot, &key, &decision).is_none() {
            return drop(DropReason::InterfaceDown);
        }
        match self.table.room_for(arrival.interface.id) {
            Ok(None) => {}
            Ok(Some(oldest)) => self.remove(oldest, RemovalReason::Evicted, now, effects),
            Err(_) => return drop(DropReason::InterfaceQuota),
        }
        let checked = Checked::under(snapshot);
        let beginning = Beginning { key, transport, decision, checked, picked_up };
        let Ok(id) = self.table.insert(&beginning, subject.event, now) else {
            return drop(DropReason::InterfaceQuota);
        };
        effects.push(Effect::FlowCreated { connection: id, key });
        let action = self.table.get(id).map(|record| record.action(FlowDirection::Forward));
        let action = action.unwrap_or(Err(DropReason::InterfaceQuota)).map_err(Outcome::Drop)?;
        let source_port = if arrival.packet.fragment == Fragment::None {
            action.source_port
        } else {
            vxlan_source_port(&arrival.packet)
        };
        let direction = FlowDirection::Forward;
        Ok(Way { id, direction, macs: action.macs, source_port, exit })
    }

    fn picks_up(&self, now: Time, flags: TcpFlags) -> bool {
        let allowed = match self.settings.tcp.pick_up {
            PickUp::Never => false,
            PickUp::Always => true,
            PickUp::For(seconds) => now < self.started + seconds.duration(),
        };
        allowed && may_pick_up(flags)
    }

    /// Nothing stands in the packet's way any more: counts it, tells what follows from it, and sends it.
    fn leave(
        &mut self,
        now: Time,
        arrival: &Arrival,
        subject: &Subject,
        way: &Way,
        frame: &mut Frame,
        effects: &mut Effects,
    ) -> Outcome {
        let Way { id, direction, macs, source_port, exit } = *way;
        let (length, related) = (frame.bytes().len(), subject.event == Event::Related);
        if let Fragment::First(identification) = arrival.packet.fragment {
            let packet = PacketId::new(arrival.zone, &arrival.packet, identification);
            let key = (&subject.key).into();
            self.fragments.record(now, packet, First { key, related });
        }
        if !related {
            self.note(id, direction, arrival, length, effects);
        }
        if let (Transport::Tcp(_) | Transport::Udp, Fragment::None) =
            (arrival.packet.transport, arrival.packet.fragment)
        {
            let vf = match exit {
                Exit::Vm { port: Port::Vf(vf), .. } => Some(vf),
                _ => None,
            };
            self.table.settle(id, direction, vf, self.settings.offload.after_packets);
        }
        let outcome = self.send(macs, exit, source_port, frame);
        match exit {
            Exit::Vm { interface, .. } => self.counters.delivered(interface, length),
            Exit::Wire { .. } => self.counters.sent(frame.bytes().len()),
        }
        outcome
    }

    /// Counts a packet of a connection, and tells the offload manager what changes by it.
    fn note(
        &mut self,
        id: ConnectionHandle,
        direction: FlowDirection,
        arrival: &Arrival,
        length: usize,
        effects: &mut Effects,
    ) {
        let after_packets = self.settings.offload.after_packets;
        let moved = arrival.vtep.is_some_and(|vtep| self.table.came_from(id, vtep));
        let Some(record) = self.table.get_mut(id) else {
            return;
        };
        record.count_software(direction, length);
        if record.withdraw() {
            effects.push(Effect::Withdraw { connection: id });
        } else if moved && !matches!(record.offload(direction), Offload::Software(_)) {
            effects.push(Effect::DecisionChanged { connection: id });
        } else if is_for_hardware(&arrival.packet) && record.bypasses(direction) {
            effects.push(Effect::Bypassed { connection: id, direction });
        }
        for direction in FlowDirection::ALL {
            if record.becomes_eligible(direction, after_packets) {
                effects.push(Effect::EligibleForOffload { connection: id, direction });
            }
        }
    }
}

/// Whether a rule takes such packets, where it takes any of their connection: others are software's in any case.
fn is_for_hardware(packet: &IpPacket) -> bool {
    const TRANSITIONS: TcpFlags = TcpFlags::SYN.union(TcpFlags::FIN).union(TcpFlags::RST);
    let is_transition =
        matches!(packet.transport, Transport::Tcp(flags) if flags.intersects(TRANSITIONS));
    packet.plain && packet.fragment == Fragment::None && !is_transition
}

/// A packet's way, from connection to exit.
struct Way {
    id: ConnectionHandle,
    direction: FlowDirection,
    macs: Option<Macs>,
    source_port: u16,
    exit: Exit,
}

/// Policy speaks about ICMP types and codes, which the key does not hold (other than the type of an echo): an
/// initiator's message of another kind than the one that was allowed is asked for again.
fn check_message(
    snapshot: &Snapshot,
    record: &Record,
    message: (u8, u8),
) -> Result<(), DropReason> {
    if record.icmp() == Some(message) {
        return Ok(());
    }
    let key = record.key(FlowDirection::Forward);
    decide(snapshot, &key, Some(message), Some(&record.decision())).map(|_| ())
}
