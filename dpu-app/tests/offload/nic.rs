//! A NIC that does what it is asked when a test says so and in the order that a test says; or refuses, fails, keeps silent.

use std::num::NonZeroU64;

use dpu_app::offload::{Reply, Request, RuleCounters, Ticket};
use packet::Frame;
use rte_flow::{ErrorKind, FlowError, Profile};
use sim::eswitch::{Eswitch, Faults, Ingress, PortConfig, PortRole, RuleId, Time, Trace, Verdict};

/// The uplink's port, which manages the rules; VF `n` is port `n + 1`.
pub const UPLINK: u16 = 0;
/// Number of VFs.
pub const VFS: u16 = 2;

/// How a request ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The NIC does it, if it can.
    Done,
    /// The NIC refuses it, and nothing changes.
    Refused(i32),
    /// The NIC does it, and does not say so.
    Unanswered,
    /// The NIC does not do it, and does not say so.
    Forgotten,
    /// If it is a removal, the NIC loses the rule's name over it; else it does it.
    Stranded,
    /// If it is an insertion, the NIC has the rule, and no packet meets it; else it does it.
    WithoutEffect,
}

/// What became of a packet.
#[derive(Debug, PartialEq, Eq)]
pub enum Packet {
    /// It left by a port, as this frame.
    Carried(u16, Vec<u8>),
    /// It is software's, as it came.
    Missed,
    /// It ended in the NIC, or is software's and no longer what it was.
    Lost,
}

enum Work {
    Asked(Request<RuleId>),
    Ended(Reply<RuleId>),
}

/// See the module. No time passes in it.
pub struct Nic {
    switch: Eswitch,
    work: Vec<(Ticket, Work)>,
    /// What is not answered.
    silent: Vec<(Ticket, Work)>,
    insertions: usize,
    removals: usize,
}

impl Nic {
    pub fn new(profile: Profile) -> Self {
        let port = |id, role| PortConfig { id, role, mtu: u16::MAX };
        let vfs = (0..VFS).map(|vf| port(vf + 1, PortRole::Vf(vf)));
        let ports: Vec<PortConfig> =
            [port(UPLINK, PortRole::Uplink)].into_iter().chain(vfs).collect();
        let mut switch = Eswitch::new(profile, &ports).expect("good ports");
        for port in ports {
            switch.start(port.id).expect("a port");
        }
        Self { switch, work: Vec::new(), silent: Vec::new(), insertions: 0, removals: 0 }
    }

    /// How many rules there are.
    pub fn rules(&self) -> usize {
        self.switch.rule_count()
    }

    /// Takes a request, to be seen to later.
    pub fn take(&mut self, ticket: Ticket, request: Request<RuleId>) {
        self.insertions += usize::from(matches!(request, Request::Insert(_)));
        self.removals += usize::from(matches!(request, Request::Remove(_)));
        self.work.push((ticket, Work::Asked(request)));
    }

    /// How many insertions it was asked for.
    pub const fn insertions(&self) -> usize {
        self.insertions
    }

    /// How many removals it was asked for.
    pub const fn removals(&self) -> usize {
        self.removals
    }

    /// Whether there is anything to do or to answer.
    pub fn is_busy(&self) -> bool {
        !self.work.is_empty()
    }

    /// Sees to one of the requests.
    pub fn execute(&mut self, which: usize, fate: Fate) {
        let asked: Vec<usize> = self.places(|work| matches!(work, Work::Asked(_)));
        let Some(place) = asked.get(which % asked.len().max(1)) else { return };
        let (_, work) = &mut self.work[*place];
        let Work::Asked(request) = work else { unreachable!("just asked for") };
        let reply = match (fate, &*request) {
            (Fate::Forgotten, _) => {
                let forgotten = self.work.remove(*place);
                self.silent.push(forgotten);
                return;
            }
            (Fate::Stranded, Request::Remove(_)) => Reply::Stranded(None),
            (Fate::WithoutEffect, request @ Request::Insert(_)) => {
                let lost = Faults { lost_insertions: NonZeroU64::new(1), ..Faults::default() };
                self.switch.set_faults(lost);
                let reply = execute(&mut self.switch, request);
                self.switch.set_faults(Faults::default());
                reply
            }
            (Fate::Refused(errno), request) => refuse(request, errno),
            (_, request) => execute(&mut self.switch, request),
        };
        *work = Work::Ended(reply);
        if fate == Fate::Unanswered {
            let unanswered = self.work.remove(*place);
            self.silent.push(unanswered);
        }
    }

    /// Sees to what it forgot, and answers what it did not: everything, from the next [`Self::answer`] on.
    pub fn remember(&mut self) {
        self.work.append(&mut self.silent);
    }

    /// How many rules the manager may think are here that are not.
    pub fn missing(&self) -> usize {
        let is_missing = |work: &Work| match work {
            Work::Asked(Request::Insert(_))
            | Work::Ended(Reply::Inserted(Err(_)) | Reply::Removed(Ok(_))) => true,
            Work::Asked(_) | Work::Ended(_) => false,
        };
        self.silent.iter().filter(|(_, work)| is_missing(work)).count()
    }

    /// Gives one of the answers that are to be given.
    pub fn answer(&mut self, which: usize) -> Option<(Ticket, Reply<RuleId>)> {
        let ended = self.places(|work| matches!(work, Work::Ended(_)));
        let place = *ended.get(which % ended.len().max(1))?;
        match self.work.remove(place) {
            (ticket, Work::Ended(reply)) => Some((ticket, reply)),
            (_, Work::Asked(_)) => unreachable!("just asked for"),
        }
    }

    fn places(&self, wanted: impl Fn(&Work) -> bool) -> Vec<usize> {
        let all = self.work.iter().enumerate();
        all.filter(|(_, (_, work))| wanted(work)).map(|(place, _)| place).collect()
    }

    /// What becomes of a packet that comes in at a port.
    pub fn packet(&mut self, port: u16, bytes: &[u8]) -> Packet {
        let mut buffer = buffer(bytes);
        let mut frame = framed(&mut buffer, bytes.len());
        let from = Ingress::Represented(port);
        match self.switch.process(Time::ZERO, from, &mut frame, &mut Trace::default()) {
            Verdict::Represented(port) => Packet::Carried(port, frame.bytes().to_vec()),
            Verdict::Representor { port: at, .. } if at == port && frame.bytes() == bytes => {
                Packet::Missed
            }
            Verdict::Representor { .. } | Verdict::Dropped(_) => Packet::Lost,
        }
    }
}

fn refuse(request: &Request<RuleId>, errno: i32) -> Reply<RuleId> {
    let refusal = FlowError::other(ErrorKind::Unspecified, errno, "the test refuses");
    match request {
        Request::Insert(_) => Reply::Inserted(Err(refusal)),
        Request::Remove(_) => Reply::Removed(Err(refusal)),
        Request::Count(_) => Reply::Counted(Err(refusal)),
    }
}

fn execute(switch: &mut Eswitch, request: &Request<RuleId>) -> Reply<RuleId> {
    let mut count = |rule| {
        let count = switch.query_count(UPLINK, rule, false, Time::ZERO)?;
        Ok(RuleCounters { packets: count.packets, bytes: count.bytes })
    };
    match request {
        Request::Insert(rule) => {
            let created = switch.create(UPLINK, rule, Time::ZERO);
            Reply::Inserted(created.map(|created| created.rule))
        }
        Request::Count(rule) => Reply::Counted(count(*rule)),
        Request::Remove(rule) => {
            let last = count(*rule).ok();
            Reply::Removed(switch.destroy(UPLINK, *rule, Time::ZERO).map(|_| last))
        }
    }
}

/// Room before and after a frame.
const ROOM: usize = 128;

/// A buffer with a frame in it.
pub fn buffer(frame: &[u8]) -> Vec<u8> {
    let room = [0xa5; ROOM];
    [&room, frame, &room].concat()
}

/// The frame in such a buffer.
pub fn framed(buffer: &mut [u8], length: usize) -> Frame<'_> {
    Frame::new(buffer, ROOM, ROOM + length).expect("there is room")
}
