//! From the connection table to the way out: what a packet belongs to, what is decided for that, and what it means for
//! it.

use model::decision::{DropReason, Key, Path, Side};
use model::snapshot::Snapshot;
use packet::{Fragment, Frame, IpPacket, TcpFlags, Transport};

use super::arrival::Arrival;
use super::conntrack::{
    Beginning, Connection, ConnectionHandle, Event, FlowDirection, Offload, may_pick_up, opens,
};
use super::decide::decide;
use super::effects::{Effect, Effects, RemovalReason};
use super::execute::{Exit, send};
use super::fragments::{First, PacketId};
use super::recheck::{Checked, Scope};
use super::settings::PickUp;
use super::shard::Shard;
use super::{Outcome, Time, related};

/// What a packet belongs to.
#[derive(Clone, Copy, Debug)]
struct Subject {
    /// The key of the connection's direction in which it travels.
    key: Key,
    /// What it means for the connection.
    event: Event,
}

impl Shard {
    /// Sees a packet to its end.
    pub(super) fn track(
        &mut self,
        now: Time,
        snapshot: &Snapshot,
        arrival: &Arrival,
        frame: &mut Frame,
        effects: &mut Effects,
    ) -> Outcome {
        let subject = match self.subject(now, arrival, frame) {
            Ok(subject) => subject,
            Err(reason) => return Outcome::Drop(reason),
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

    fn subject(
        &mut self,
        now: Time,
        arrival: &Arrival,
        frame: &Frame,
    ) -> Result<Subject, DropReason> {
        let (zone, packet) = (arrival.zone, &arrival.packet);
        match (packet.transport, packet.fragment) {
            (_, Fragment::Later(identification)) => {
                let First { key, related } = self
                    .fragments
                    .find(now, &PacketId::new(zone, packet, identification))
                    .ok_or(DropReason::FragmentWithoutFirst)?;
                Ok(Subject { key, event: if related { Event::Related } else { Event::Packet } })
            }
            (Transport::IcmpError { .. }, _) => {
                let key = related::key(zone, packet, frame.bytes());
                let key = key.ok_or(DropReason::RelatedUnknown)?;
                Ok(Subject { key, event: Event::Related })
            }
            (transport, _) => {
                Ok(Subject { key: Key { zone, tuple: packet.tuple }, event: Event::of(transport) })
            }
        }
    }

    /// The connection of the subject, if there is one on which it can travel: not over, not about to be replaced, and
    /// allowed by the current snapshot. One that is found to be none of these is removed.
    fn live(
        &mut self,
        now: Time,
        snapshot: &Snapshot,
        subject: &Subject,
        effects: &mut Effects,
    ) -> Result<Option<(ConnectionHandle, FlowDirection)>, DropReason> {
        let Some((id, direction)) = self.table.find(&subject.key) else {
            return Ok(None);
        };
        let Some(connection) = self.table.get(id) else {
            return Ok(None);
        };
        if now >= self.table.end_of(connection) {
            self.remove_ended(id, effects);
            return Ok(None);
        }
        if let Some(reason) = connection.starts_anew(direction, subject.event) {
            self.remove(id, reason, now, effects);
            return Ok(None);
        }
        self.recheck(now, snapshot, id, effects)?;
        // Another decision may mean another key for answers, and this packet is then none of them.
        Ok(self.table.find(&subject.key).filter(|found| *found == (id, direction)))
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
        let Some(connection) = self.table.get_mut(id) else {
            return Ok(());
        };
        let Checked { epoch, scope } = *connection.checked();
        if epoch == snapshot.epoch {
            return Ok(());
        }
        let (key, before) = (connection.key(FlowDirection::Forward), connection.decision());
        let scope_now = Scope::of(snapshot, &key, before);
        if scope_now == Some(scope) {
            connection.set_checked(Checked { epoch: snapshot.epoch, scope });
            return Ok(());
        }
        let decision = match decide(snapshot, &key, connection.icmp(), Some(before)) {
            Ok(decision) => decision,
            Err(reason) => {
                let why = match scope_now {
                    Some(_) => RemovalReason::Policy,
                    None => RemovalReason::InterfaceRemoved,
                };
                self.remove(id, why, now, effects);
                return Err(reason);
            }
        };
        let changed = decision != *before;
        if let Some(scope) = Scope::of(snapshot, &key, &decision) {
            connection.set_checked(Checked { epoch: snapshot.epoch, scope });
        }
        if !may_come_from(snapshot, connection) {
            self.table.presume_alive(id, now);
            if let Some(direction) = self.table.get_mut(id).and_then(Connection::forget_vtep) {
                effects.push(Effect::WithdrawDirection { connection: id, direction });
            }
        }
        if changed {
            self.table.set_decision(id, decision);
            effects.push(Effect::DecisionChanged { connection: id });
        }
        Ok(())
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
        let Some(connection) = self.table.get(id) else {
            return Err(Outcome::Drop(DropReason::NoMapping));
        };
        check_message(snapshot, arrival, connection, direction).map_err(Outcome::Drop)?;
        let path = connection.path(direction).map_err(Outcome::Drop)?.clone();
        let exit = self.find_exit(now, snapshot, arrival, &path, frame, effects)?;
        self.table.observe(id, direction, subject.event, now);
        Ok(Way { id, direction, path, exit })
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
        let decision = decide(snapshot, &subject.key, icmp, None).map_err(Outcome::Drop)?;
        let picked_up = match transport {
            Transport::Tcp(flags) if !opens(flags) => {
                if !self.picks_up(now, flags) {
                    return drop(DropReason::TcpNotSyn);
                }
                true
            }
            _ => false,
        };
        let path = decision.forward.clone();
        let exit = self.find_exit(now, snapshot, arrival, &path, frame, effects)?;
        let Some(scope) = Scope::of(snapshot, &subject.key, &decision) else {
            return drop(DropReason::InterfaceDown);
        };
        match self.table.room_for(arrival.interface.id) {
            Ok(None) => {}
            Ok(Some(oldest)) => self.remove(oldest, RemovalReason::Evicted, now, effects),
            Err(_) => return drop(DropReason::InterfaceQuota),
        }
        let beginning = Beginning {
            key: subject.key,
            transport,
            decision,
            checked: Checked { epoch: snapshot.epoch, scope },
            picked_up,
        };
        let Some(id) = self.table.insert(Connection::new(beginning, now), subject.event) else {
            return drop(DropReason::InterfaceQuota);
        };
        effects.push(Effect::FlowCreated { connection: id, key: subject.key });
        Ok(Way { id, direction: FlowDirection::Forward, path, exit })
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
        let Way { id, direction, path, exit } = way;
        let (length, related) = (frame.bytes().len(), subject.event == Event::Related);
        if let Fragment::First(identification) = arrival.packet.fragment {
            let packet = PacketId::new(arrival.zone, &arrival.packet, identification);
            self.fragments.record(now, packet, First { key: subject.key, related });
        }
        if !related {
            self.note(*id, *direction, arrival, length, effects);
        }
        let outcome = send(path, exit, frame);
        match exit {
            Exit::Vm { interface, .. } => self.counters.delivered(*interface, length),
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
        let Some(connection) = self.table.get_mut(id) else {
            return;
        };
        connection.count_software(direction, length);
        let moved = arrival.vtep.is_some_and(|vtep| connection.came_from(vtep));
        if connection.withdraw() {
            effects.push(Effect::Withdraw { connection: id });
        } else if moved && !matches!(connection.offload().get(direction), Offload::Software(_)) {
            effects.push(Effect::DecisionChanged { connection: id });
        } else if is_for_hardware(&arrival.packet) && connection.bypasses(direction) {
            effects.push(Effect::Bypassed { connection: id, direction });
        }
        for direction in FlowDirection::ALL {
            if connection.becomes_eligible(direction, after_packets) {
                effects.push(Effect::EligibleForOffload { connection: id, direction });
            }
        }
    }
}

/// Whether packets of the connection may still come from the VTEP they came from. Software asks for each packet;
/// hardware matches the one VTEP that was right when the rule was made.
fn may_come_from(snapshot: &Snapshot, connection: &Connection) -> bool {
    let Some(vtep) = connection.vtep() else {
        return true;
    };
    FlowDirection::ALL.iter().map(|direction| connection.key(*direction)).all(|key| {
        key.zone.side() == Side::FromVm
            || snapshot
                .interface(key.zone.interface())
                .and_then(|interface| snapshot.vpc(interface.vpc))
                .is_some_and(|vpc| vpc.mappings.admits(key.tuple.source(), vtep))
    })
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
    path: Path,
    exit: Exit,
}

/// Policy speaks about ICMP types and codes, which the key does not hold (other than the type of an echo): an
/// initiator's message of another kind than the one that was allowed is asked for again.
fn check_message(
    snapshot: &Snapshot,
    arrival: &Arrival,
    connection: &Connection,
    direction: FlowDirection,
) -> Result<(), DropReason> {
    match (arrival.packet.transport, direction) {
        (Transport::Icmp { kind, code }, FlowDirection::Forward)
            if connection.icmp() != Some((kind, code)) =>
        {
            let key = connection.key(FlowDirection::Forward);
            decide(snapshot, &key, Some((kind, code)), Some(connection.decision())).map(|_| ())
        }
        _ => Ok(()),
    }
}
