//! Datapath, offload manager and NIC, with everything on its way between them for as long as a test likes.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use dpu_app::datapath::conntrack::{Offload, WhySoftware};
use dpu_app::datapath::effects::Effects;
use dpu_app::datapath::settings::Settings;
use dpu_app::datapath::{
    ConnectionHandle, FlowDirection, Incoming, Outcome, Port, Progress, Shard, Time,
};
use dpu_app::offload::{
    InDoubt, Manager, News, Notice, OffloadSettings, RuleTally, Wish, tunnel_header,
};
use model::snapshot::{Snapshot, VfIndex};
use packet::wire::protocol;
use rte_flow::Profile;
use rte_flow_compiler::{EthdevPort, Nic as Target, NotOffloaded, Ports};
use sim::eswitch::RuleId;

use crate::network::{Change, FLOWS, Flow, Kind, MACS, Plan, Vm};
use crate::nic::{Fate, Nic, Packet, UPLINK, VFS, buffer, framed};

/// A direction of a connection.
type Direction = (ConnectionHandle, FlowDirection);

pub struct Rig {
    now: Time,
    plan: Plan,
    /// What the plan means, of which datapath and manager are told when the test says so.
    published: Arc<Snapshot>,
    shard: Shard,
    followed: Arc<Snapshot>,
    manager: Manager<RuleId>,
    managed: Arc<Snapshot>,
    pub nic: Nic,
    /// On their way to the manager.
    wishes: VecDeque<Wish>,
    /// On their way to the datapath.
    notices: VecDeque<Notice>,
    /// Which flow each connection is or was, and whether the flow's other end was first to send.
    flows: HashMap<ConnectionHandle, (&'static Flow, bool)>,
    /// What the manager calls in hardware.
    said: HashSet<Direction>,
    /// Why it said last that others are not.
    reasons: HashMap<Direction, NotOffloaded>,
}

fn ethdev(port: Port) -> u16 {
    match port {
        Port::Vf(vf) => vf.0 + 1,
        Port::Uplink => UPLINK,
        Port::Kernel => panic!("the NIC has no such port"),
    }
}

impl Rig {
    pub fn new(profile: Profile) -> Self {
        let settings = r#"{"connections": {"tableSize": 16}, "fragments": {"tableSize": 2},
            "timeouts": {"udpBothWays": 100000, "tcpEstablished": 100000}}"#;
        let settings: Settings = serde_json::from_str(settings).expect("good settings");
        let plan = Plan::default();
        let published = Arc::new(plan.compile(None));
        let vfs = (0..VFS).map(|vf| (VfIndex(vf), EthdevPort(vf + 1))).collect();
        let ports = Ports { uplink: EthdevPort(UPLINK), vfs };
        let target = Arc::new(Target::new(Arc::new(profile.clone()), ports));
        let mut rig = Self {
            now: Time::ZERO,
            plan,
            shard: Shard::new(settings, 7, Time::ZERO),
            followed: published.clone(),
            manager: Manager::new(target, OffloadSettings::default(), published.clone()),
            managed: published.clone(),
            published,
            nic: Nic::new(profile),
            wishes: VecDeque::new(),
            notices: VecDeque::new(),
            flows: HashMap::new(),
            said: HashSet::new(),
            reasons: HashMap::new(),
        };
        rig.program();
        rig
    }

    fn program(&mut self) {
        let snapshot = self.managed.clone();
        let header = |tunnel| tunnel_header(&snapshot, &HashMap::<_, _>::new(), tunnel);
        self.manager.set_snapshot(snapshot.clone(), header);
        self.hear();
    }

    /// Intent changes; nobody was told yet.
    pub fn change(&mut self, change: Change) {
        self.plan.change(change);
        self.published = Arc::new(self.plan.compile(Some(&self.published)));
    }

    /// The datapath is told of intent, and checks its connections.
    pub fn sweep(&mut self) {
        self.followed = self.published.clone();
        let mut effects = Effects::default();
        while self.shard.sweep(self.now, &self.followed, 4, &mut effects) == Progress::More {}
        self.wish(effects);
    }

    /// The manager is told of intent, then of wishes, at most so many: intent is never older than the wishes.
    pub fn deliver(&mut self, most: usize) {
        if self.managed.epoch != self.published.epoch {
            self.managed = self.published.clone();
            self.program();
        }
        for wish in self.wishes.drain(..most.min(self.wishes.len())).collect::<Vec<_>>() {
            let directions = match &wish {
                Wish::Offer(offer) => (offer.connection, offer.direction),
                Wish::Withdraw(connection, direction) => (*connection, *direction),
                Wish::Bypassed(..) => {
                    wish.tell(&mut self.manager);
                    continue;
                }
            };
            self.said.remove(&directions);
            wish.tell(&mut self.manager);
            self.hear();
        }
    }

    /// The manager is told of the intent that it knows.
    ///
    /// # Errors
    /// When it asks the NIC for anything because of that.
    pub fn repeat(&mut self) -> Result<(), String> {
        self.ask(usize::MAX);
        self.program();
        match self.manager.next_request(self.now) {
            None => Ok(()),
            Some((_, request)) => Err(format!("nothing has changed, but it asks for {request:?}")),
        }
    }

    /// Whether nothing is on its way.
    pub fn is_quiet(&mut self) -> bool {
        let asked = self.ask(usize::MAX);
        asked == 0 && !self.nic.is_busy() && self.wishes.is_empty() && self.notices.is_empty()
    }

    /// The NIC gets requests, at most so many. How many it got.
    pub fn ask(&mut self, most: usize) -> usize {
        for number in 0..most {
            let Some((ticket, request)) = self.manager.next_request(self.now) else {
                return number;
            };
            self.nic.take(ticket, request);
        }
        most
    }

    /// The manager gets one of the NIC's answers.
    pub fn answer(&mut self, which: usize) {
        if let Some((ticket, reply)) = self.nic.answer(which) {
            self.manager.complete(self.now, ticket, reply);
            self.hear();
        }
    }

    /// Notes what the manager says.
    fn hear(&mut self) {
        while let Some(notice) = self.manager.next_notice() {
            let direction = (notice.connection, notice.direction);
            match &notice.news {
                News::InHardware => _ = self.said.insert(direction),
                News::InSoftware(reason) => {
                    self.said.remove(&direction);
                    self.reasons.insert(direction, reason.clone());
                }
                News::Carried(_) | News::Watched => {}
            }
            self.notices.push_back(notice);
        }
    }

    /// The datapath hears what the manager said, at most so much of it.
    pub fn tell(&mut self, most: usize) {
        for notice in self.notices.drain(..most.min(self.notices.len())) {
            notice.tell(self.now, &mut self.shard);
        }
    }

    /// Time passes.
    pub fn wait(&mut self, duration: Duration) {
        self.now = self.now + duration;
        let mut effects = Effects::default();
        while self.shard.advance(self.now, 4, &mut effects) == Progress::More {}
        self.wish(effects);
        self.manager.advance(self.now);
        self.hear();
    }

    fn wish(&mut self, mut effects: Effects) {
        for effect in effects.drain() {
            for wish in Wish::of(&effect, &self.shard).collect::<Vec<_>>() {
                wish.note(self.now, &mut self.shard);
                self.wishes.push_back(wish);
            }
        }
    }

    /// A flow begins: packets until it may be offloaded.
    pub fn open(&mut self, flow: &'static Flow) {
        use FlowDirection::{Forward, Reverse};
        self.send(flow, Forward, Kind::Open);
        self.send(flow, Reverse, Kind::Accept);
        self.send(flow, Forward, Kind::Data);
    }

    /// All flows begin.
    pub fn open_all(&mut self) {
        for flow in &FLOWS {
            self.open(flow);
        }
    }

    /// A flow ends, if it knows how to.
    pub fn reset(&mut self, flow: &'static Flow) {
        if flow.protocol == protocol::TCP {
            self.send(flow, FlowDirection::Forward, Kind::Reset);
        }
    }

    /// A packet on its way through NIC and datapath.
    pub fn send(&mut self, flow: &'static Flow, direction: FlowDirection, kind: Kind) {
        let (port, frame) = self.plan.packet(flow, direction, kind);
        if self.nic.packet(ethdev(port), &frame) == Packet::Missed {
            self.process(port, &frame);
        }
        for (connection, known) in self.shard.connections() {
            let source = known.key(FlowDirection::Forward).tuple.source_port();
            // A new one is this flow's, as all others have found theirs before.
            self.flows.entry(connection).or_insert((flow, source != flow.port));
        }
    }

    /// What the manager said last of why the NIC does not carry a flow's direction.
    pub fn reason(&self, flow: &Flow, direction: FlowDirection) -> Option<NotOffloaded> {
        let mut reasons = self.reasons.iter();
        let reason = reasons.find(|(place, _)| {
            let (own, own_direction) = self.flow(**place);
            std::ptr::eq(own, flow) && own_direction == direction
        });
        reason.map(|(_, reason)| reason.clone())
    }

    /// How many rules the manager counts.
    pub fn tally(&self) -> RuleTally {
        self.manager.rules()
    }

    /// Where the datapath thinks that a flow's direction is, if it knows the flow.
    pub fn offload_of(&self, flow: &Flow, direction: FlowDirection) -> Option<Offload> {
        self.shard.connections().find_map(|(connection, known)| {
            FlowDirection::ALL.into_iter().find_map(|its| {
                let (own, own_direction) = self.flow((connection, its));
                let is_it = std::ptr::eq(own, flow) && own_direction == direction;
                is_it.then_some(*known.offload().get(its))
            })
        })
    }

    /// A connection's direction as its flow calls it.
    fn flow(&self, (connection, direction): Direction) -> (&'static Flow, FlowDirection) {
        let (flow, turned) = self.flows[&connection];
        (flow, if turned { opposite(direction) } else { direction })
    }

    fn process(&mut self, port: Port, frame: &[u8]) -> (Outcome, Vec<u8>) {
        let mut buffer = buffer(frame);
        let view = framed(&mut buffer, frame.len());
        let mut effects = Effects::default();
        let mut packet = [Incoming::new(port, view)];
        self.shard.process(self.now, &self.followed, &mut packet, &mut effects);
        let [Incoming { outcome, frame: view, .. }] = packet;
        let after = view.bytes().to_vec();
        self.wish(effects);
        (outcome, after)
    }

    /// Packets of a flow as they would come in under this and other plans.
    fn packets(&self, flow: &Flow, direction: FlowDirection) -> Vec<(Port, Vec<u8>)> {
        let switches = [false, true];
        let mut packets = vec![self.plan.packet(flow, direction, Kind::Data)];
        for moved in switches {
            for swapped in switches {
                for mac in MACS {
                    let plan = Plan { moved, mac, swapped, ..self.plan.clone() };
                    packets.push(plan.packet(flow, direction, Kind::Data));
                }
            }
        }
        let mut seen = HashSet::new();
        packets.retain(|packet| seen.insert(packet.clone()));
        packets
    }

    /// Whether the NIC carries a flow's packets as they come in under some plan.
    pub fn is_carried(&mut self, flow: &Flow, direction: FlowDirection) -> bool {
        let packets = self.packets(flow, direction);
        packets.iter().any(|(port, frame)| {
            matches!(self.nic.packet(ethdev(*port), frame), Packet::Carried(..))
        })
    }

    /// What holds at every moment.
    ///
    /// # Errors
    /// What does not.
    pub fn check(&mut self) -> Result<(), String> {
        for flow in &FLOWS {
            for direction in FlowDirection::ALL {
                for (port, frame) in self.packets(flow, direction) {
                    if self.nic.packet(ethdev(port), &frame) == Packet::Lost {
                        return Err(format!("a packet of {flow:?}, {direction:?}, is lost"));
                    }
                }
            }
        }
        for known in self.said.clone() {
            let (flow, direction) = self.flow(known);
            if !self.is_carried(flow, direction) {
                return Err(format!("{flow:?}, {direction:?}, is called in hardware, and is not"));
            }
        }
        Ok(())
    }

    /// Lets all that is under way come to an end, in a NIC that does what it is asked, and the manager's patience too.
    ///
    /// # Errors
    /// When there is no end, and what [`Self::check`] finds on the way.
    pub fn settle(&mut self) -> Result<(), String> {
        /// Longer than any wait before a request is repeated.
        const PATIENCE: Duration = Duration::from_secs(100);
        let end = self.now + PATIENCE;
        self.sweep();
        for _ in 0..2000 {
            self.deliver(usize::MAX);
            let asked = self.ask(usize::MAX);
            while self.nic.is_busy() {
                self.nic.execute(0, Fate::Done);
                self.answer(0);
                self.check()?;
            }
            self.tell(usize::MAX);
            if asked > 0 || !self.wishes.is_empty() || !self.notices.is_empty() {
                continue;
            }
            match self.manager.next_retry() {
                Some(at) if at <= end => {
                    self.wait(at - self.now);
                    self.manager.retry(self.now);
                }
                _ if self.now < end => self.wait(end - self.now),
                // Nothing but what will never come.
                _ => return self.check_end(),
            }
        }
        Err("it does not settle".into())
    }

    /// What holds when nothing is under way any more.
    fn check_end(&mut self) -> Result<(), String> {
        let rules = self.manager.rules();
        if rules.statics + rules.connections != self.nic.rules() + self.nic.missing() {
            return Err(format!("{} rules are in the NIC, not {rules:?}", self.nic.rules()));
        }
        if rules.in_doubt != InDoubt::default() {
            return self.check_doubtful_end();
        }
        if let Some(at) = self.manager.next_retry() {
            return Err(format!("something is to be tried again at {at:?}, {:?} now", self.now));
        }
        let mut in_hardware = 0;
        for flow in &FLOWS {
            for direction in FlowDirection::ALL {
                in_hardware += usize::from(self.check_flow(flow, direction)?);
            }
        }
        if in_hardware != rules.connections {
            return Err(format!("{rules:?} for {in_hardware} directions"));
        }
        Ok(())
    }

    /// What holds while rules are in doubt: nothing is on its way, and what is said to be in hardware is ([`Self::check`]).
    fn check_doubtful_end(&mut self) -> Result<(), String> {
        for (connection, known) in self.shard.connections() {
            for direction in FlowDirection::ALL {
                let told = *known.offload().get(direction);
                if (told == Offload::Hardware) != self.said.contains(&(connection, direction)) {
                    return Err(format!(
                        "{connection:?}, {direction:?}, is {told:?} for the datapath"
                    ));
                }
                if told == Offload::Pending {
                    return Err(format!("{connection:?}, {direction:?}, is on its way for ever"));
                }
            }
        }
        Ok(())
    }

    /// Whether a flow's direction is in hardware at the end, and all say so.
    fn check_flow(
        &mut self,
        flow: &'static Flow,
        direction: FlowDirection,
    ) -> Result<bool, String> {
        let what = format!("{flow:?}, {direction:?}");
        let known = self.offload_of(flow, direction);
        for (number, (port, frame)) in self.packets(flow, direction).into_iter().enumerate() {
            let is_todays = number == 0;
            match (self.nic.packet(ethdev(port), &frame), known) {
                (Packet::Carried(out, after), Some(Offload::Hardware)) if is_todays => {
                    let outcome = self.process(port, &frame);
                    let expected = (Outcome::Forward { port: port_of(out) }, after);
                    if outcome != expected {
                        return Err(format!("{what}: {expected:x?}, but software {outcome:x?}"));
                    }
                }
                (Packet::Missed, Some(Offload::Software(why))) if is_todays => {
                    if why.is_managers() && !self.is_hopeless(flow, direction, why) {
                        return Err(format!("{what} is not in hardware, because of {why:?}"));
                    }
                }
                (Packet::Missed, known) if !is_todays || known.is_none() => {}
                (packet, known) => {
                    return Err(format!("{what} is {known:?}, and the NIC's {packet:x?}"));
                }
            }
        }
        Ok(known == Some(Offload::Hardware))
    }

    /// Whether there is no way into hardware that a good NIC could provide: the next hop is not known.
    fn is_hopeless(&self, flow: &Flow, direction: FlowDirection, why: WhySoftware) -> bool {
        let to = if direction == FlowDirection::Forward { flow.to } else { flow.from };
        let unknown = self.plan.hop.is_none() && !self.plan.moved;
        why == WhySoftware::StaticPart && unknown && to == Vm::Far
    }
}

const fn opposite(direction: FlowDirection) -> FlowDirection {
    match direction {
        FlowDirection::Forward => FlowDirection::Reverse,
        FlowDirection::Reverse => FlowDirection::Forward,
    }
}

fn port_of(ethdev: u16) -> Port {
    ethdev.checked_sub(1).map_or(Port::Uplink, |vf| Port::Vf(VfIndex(vf)))
}
