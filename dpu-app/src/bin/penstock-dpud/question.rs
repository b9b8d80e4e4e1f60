//! Questions that others put to the datapath's loop.
//!
//! Whoever asks brings the memory for the answer, so that the loop neither allocates nor frees.

use dpu_app::datapath::conntrack::Connection;
use dpu_app::datapath::counters::{InterfaceCounters, PacketCounters, Traffic};
use dpu_app::datapath::effects::RemovalReason;
use dpu_app::datapath::{ConnectionHandle, Outcome, Port, Shard};
use model::snapshot::InterfaceId;
use rtrb::Producer;
use tokio::sync::{Mutex, oneshot};

/// Questions that may wait.
const QUESTIONS: usize = 16;
/// Flows of a page.
const PAGE: usize = 512;

/// A question.
pub enum Question {
    /// How much of everything?
    Report(Box<Report>),
    /// Which flows?
    Flows(Box<FlowPage>),
    /// What is known of these connections?
    Connections(Box<Lookup>),
    /// Is this packet answered?
    Probe(Box<Probe>),
}

/// What the loop counts besides the datapath's own counters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Connections that were created.
    pub created: u64,
    removed: [u64; REASONS.len()],
    /// Packets that could not be brought into one buffer, or came from a port without a name.
    pub unusable: u64,
    /// Packets for a VF that has no port.
    pub no_port: u64,
    /// Packets that came before there was intent.
    pub without_intent: u64,
}

const REASONS: [RemovalReason; 6] = [
    RemovalReason::Expired,
    RemovalReason::Closed,
    RemovalReason::Reset,
    RemovalReason::Policy,
    RemovalReason::InterfaceRemoved,
    RemovalReason::Evicted,
];

impl Tally {
    /// A connection was removed.
    pub fn removed(&mut self, reason: RemovalReason) {
        for (counter, candidate) in self.removed.iter_mut().zip(REASONS) {
            if candidate == reason {
                *counter = counter.wrapping_add(1);
            }
        }
    }

    /// Connections that were removed, by reason.
    pub fn removals(&self) -> impl Iterator<Item = (RemovalReason, u64)> {
        REASONS.into_iter().zip(self.removed)
    }
}

/// How much of everything.
#[derive(Debug, Default)]
pub struct Report {
    /// What the loop counts.
    pub tally: Tally,
    /// Connections there are.
    pub connections: u32,
    /// Packets from the wire that are for no interface.
    pub wire: PacketCounters,
    /// Packets from VFs without interface.
    pub unassigned: PacketCounters,
    /// Packets that the kernel beside us sent.
    pub kernel: PacketCounters,
    /// What was sent out of the uplink for VMs.
    pub sent_to_wire: Traffic,
    /// Packets that ports did not take.
    pub unsent: Vec<(Port, u64)>,
    /// By interface.
    pub interfaces: Vec<(InterfaceId, InterfaceCounters)>,
    answer: Option<oneshot::Sender<Box<Report>>>,
}

impl Report {
    /// Gives it back to whoever asked.
    pub fn reply(mut self: Box<Self>) {
        if let Some(answer) = self.answer.take() {
            // Whoever asked may have gone.
            let _ = answer.send(self);
        }
    }
}

/// A part of all flows.
#[derive(Debug)]
pub struct FlowPage {
    /// The place of the table to go on at.
    next: u32,
    /// Whether these were the last ones.
    pub is_last: bool,
    /// The flows.
    pub flows: Vec<(ConnectionHandle, Connection)>,
    answer: Option<oneshot::Sender<Box<FlowPage>>>,
}

impl FlowPage {
    /// Adds the flows of at most `places` places of the table; whether the page is done.
    pub fn fill(&mut self, shard: &Shard, places: u32) -> bool {
        let end = self.next.saturating_add(places).min(shard.places());
        while self.next < end {
            if self.flows.len() >= PAGE {
                return true;
            }
            if let Some((id, connection)) = shard.connection_at(self.next) {
                self.flows.push((id, connection));
            }
            self.next += 1;
        }
        self.is_last = self.next >= shard.places();
        self.is_last
    }

    /// Gives it back to whoever asked.
    pub fn reply(mut self: Box<Self>) {
        if let Some(answer) = self.answer.take() {
            let _ = answer.send(self);
        }
    }
}

/// Some connections that are asked for.
#[derive(Debug)]
pub struct Lookup {
    wanted: Vec<ConnectionHandle>,
    /// Those that there still are.
    pub found: Vec<(ConnectionHandle, Connection)>,
    answer: Option<oneshot::Sender<Box<Lookup>>>,
}

impl Lookup {
    /// Finds them, and gives them to whoever asked.
    pub fn reply(mut self: Box<Self>, shard: &Shard) {
        for wanted in &self.wanted {
            // There is room for as many as are wanted.
            if let Some(connection) = shard.connection(*wanted) {
                self.found.push((*wanted, connection));
            }
        }
        if let Some(answer) = self.answer.take() {
            let _ = answer.send(self);
        }
    }
}

/// A packet that asks whether the datapath works.
#[derive(Debug)]
pub struct Probe {
    /// What became of it, unless it was answered; none before there is intent.
    pub result: Option<Result<(), Outcome>>,
    answer: Option<oneshot::Sender<Box<Probe>>>,
}

impl Probe {
    /// Gives it back to whoever asked.
    pub fn reply(mut self: Box<Self>) {
        if let Some(answer) = self.answer.take() {
            let _ = answer.send(self);
        }
    }
}

/// The datapath's loop does not answer: it has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the datapath does not run; see the daemon's log")]
pub struct NoAnswer;

/// The side that asks.
pub struct Asker {
    questions: Mutex<Producer<Question>>,
}

/// Both ends of the way to the loop.
pub fn questions() -> (Asker, rtrb::Consumer<Question>) {
    let (producer, consumer) = rtrb::RingBuffer::new(QUESTIONS);
    (Asker { questions: Mutex::new(producer) }, consumer)
}

impl Asker {
    /// How much of everything, for a node with so many interfaces?
    ///
    /// # Errors
    /// When the loop has ended.
    pub async fn report(&self, interfaces: usize) -> Result<Box<Report>, NoAnswer> {
        let (answer, wait) = oneshot::channel();
        let report = Report {
            unsent: Vec::with_capacity(usize::from(u8::MAX)),
            interfaces: Vec::with_capacity(interfaces.saturating_add(16)),
            answer: Some(answer),
            ..Report::default()
        };
        self.ask(Question::Report(Box::new(report))).await?;
        wait.await.map_err(|_| NoAnswer)
    }

    /// The flows after `page`, or the first ones. What comes and goes meanwhile may be missed; nothing is told twice.
    ///
    /// # Errors
    /// When the loop has ended.
    pub async fn flows(&self, page: Option<Box<FlowPage>>) -> Result<Box<FlowPage>, NoAnswer> {
        let (answer, wait) = oneshot::channel();
        let mut page = page.unwrap_or_else(|| {
            let flows = Vec::with_capacity(PAGE);
            Box::new(FlowPage { next: 0, is_last: false, flows, answer: None })
        });
        page.flows.clear();
        page.answer = Some(answer);
        self.ask(Question::Flows(page)).await?;
        wait.await.map_err(|_| NoAnswer)
    }

    /// What is known of these connections, which are not many?
    ///
    /// # Errors
    /// When the loop has ended.
    pub async fn connections(
        &self,
        wanted: Vec<ConnectionHandle>,
    ) -> Result<Vec<(ConnectionHandle, Connection)>, NoAnswer> {
        let (answer, wait) = oneshot::channel();
        let found = Vec::with_capacity(wanted.len());
        let lookup = Lookup { wanted, found, answer: Some(answer) };
        self.ask(Question::Connections(Box::new(lookup))).await?;
        wait.await.map(|lookup| lookup.found).map_err(|_| NoAnswer)
    }

    /// Is a packet answered? Nothing, when there is no intent to answer by.
    ///
    /// # Errors
    /// When the loop has ended.
    pub async fn probe(&self) -> Result<Option<Result<(), Outcome>>, NoAnswer> {
        let (answer, wait) = oneshot::channel();
        self.ask(Question::Probe(Box::new(Probe { result: None, answer: Some(answer) }))).await?;
        wait.await.map(|probe| probe.result).map_err(|_| NoAnswer)
    }

    async fn ask(&self, mut question: Question) -> Result<(), NoAnswer> {
        loop {
            let mut questions = self.questions.lock().await;
            if questions.is_abandoned() {
                return Err(NoAnswer);
            }
            match questions.push(question) {
                Ok(()) => return Ok(()),
                Err(rtrb::PushError::Full(back)) => question = back,
            }
            drop(questions);
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    }
}
