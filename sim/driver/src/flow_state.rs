//! What the driver keeps of rules besides the eswitch: results that wait until the application asks for them.

use std::collections::{HashMap, VecDeque};

use rte_flow::{ENOENT, ErrorKind, FlowError};
use sim::eswitch::{Aged, Completion, Time};

/// Results of a queue, in order, each with the time from which it can be pulled; `None` while it waits for a push.
type Waiting = VecDeque<(Option<Time>, Completion)>;

/// Results that wait, by ethdev.
#[derive(Default)]
pub struct FlowState {
    /// Of operations on shared actions, by ethdev and queue.
    completions: HashMap<(u16, u32), Waiting>,
    /// What has aged, by ethdev.
    ages: HashMap<u16, AgeReports>,
}

/// To whom an ethdev reports what has aged.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum AgeScope {
    /// To the whole ethdev, with an event.
    #[default]
    Port,
    /// To the flow queue through which it was made, which asks (`RTE_FLOW_PORT_FLAG_STRICT_QUEUE`).
    Queue,
}

/// What has aged at an ethdev.
#[derive(Default)]
pub struct AgeReports {
    /// To whom it is reported.
    pub scope: AgeScope,
    /// Contexts that the application has not fetched, by flow queue; with [`AgeScope::Port`] all at 0.
    waiting: HashMap<u32, VecDeque<usize>>,
    /// Whether the application was told, and has not asked since.
    announced: bool,
}

impl AgeReports {
    /// Takes up what has aged. Says whether the application is to be told.
    pub fn take_up(&mut self, news: &[Aged]) -> bool {
        for aged in news {
            let queue = match self.scope {
                AgeScope::Port => 0,
                AgeScope::Queue => aged.queue.unwrap_or(0),
            };
            let context = match (aged.context, aged.rule) {
                // By the API: without a context, the rule itself.
                (0, Some(rule)) => rule.to_bits() as usize,
                (context, _) => context,
            };
            self.waiting.entry(queue).or_default().push_back(context);
        }
        let tells = !news.is_empty() && self.scope == AgeScope::Port && !self.announced;
        self.announced |= tells;
        tells
    }

    /// The contexts that wait for whoever asks through this queue, which the application does now.
    pub fn asked(&mut self, queue: u32) -> &mut VecDeque<usize> {
        self.announced = false;
        let queue = if self.scope == AgeScope::Port { 0 } else { queue };
        self.waiting.entry(queue).or_default()
    }
}

impl FlowState {
    /// Gives an ethdev so many queues; what waited is forgotten.
    pub fn configure(&mut self, port: u16, queues: u32, scope: AgeScope) {
        self.ages.insert(port, AgeReports { scope, ..AgeReports::default() });
        self.completions.retain(|(owner, _), _| *owner != port);
        for queue in 0..queues {
            self.completions.insert((port, queue), VecDeque::new());
        }
    }

    /// Forgets what waits at an ethdev.
    pub fn clear(&mut self, port: u16) {
        if let Some(ages) = self.ages.get_mut(&port) {
            *ages = AgeReports { scope: ages.scope, ..AgeReports::default() };
        }
        for ((owner, _), waiting) in &mut self.completions {
            if *owner == port {
                waiting.clear();
            }
        }
    }

    /// A queue of an ethdev.
    ///
    /// # Errors
    /// `ENOENT` for one that was not configured.
    fn queue(&mut self, port: u16, queue: u32) -> Result<&mut Waiting, FlowError> {
        self.completions.get_mut(&(port, queue)).ok_or_else(|| {
            let message = format!("port {port} has no flow queue {queue}; configure it first");
            FlowError::other(ErrorKind::Unspecified, ENOENT, message)
        })
    }

    /// Whether an ethdev has this queue.
    ///
    /// # Errors
    /// `ENOENT` where not.
    pub fn has_queue(&mut self, port: u16, queue: u32) -> Result<(), FlowError> {
        self.queue(port, queue).map(|_| ())
    }

    /// Lets the result of an operation wait; it can be pulled from `at` on, or when it was pushed.
    ///
    /// # Errors
    /// `ENOENT` for a queue that was not configured.
    pub fn complete(
        &mut self,
        port: u16,
        queue: u32,
        at: Option<Time>,
        completion: Completion,
    ) -> Result<(), FlowError> {
        self.queue(port, queue)?.push_back((at, completion));
        Ok(())
    }

    /// Lets results that wait for a push be pulled from `at` on.
    pub fn push(&mut self, port: u16, queue: u32, at: Time) {
        let Ok(waiting) = self.queue(port, queue) else { return };
        for (due, _) in waiting {
            due.get_or_insert(at);
        }
    }

    /// Appends to `completions` the results that can be pulled, at most `most`.
    pub fn pull(
        &mut self,
        port: u16,
        queue: u32,
        most: usize,
        now: Time,
        completions: &mut Vec<Completion>,
    ) {
        let Ok(waiting) = self.queue(port, queue) else { return };
        for _ in 0..most {
            let is_due = |(at, _): &mut (Option<Time>, Completion)| at.is_some_and(|at| at <= now);
            let Some((_, completion)) = waiting.pop_front_if(is_due) else { return };
            completions.push(completion);
        }
    }

    /// What has aged at an ethdev.
    pub fn ages(&mut self, port: u16) -> &mut AgeReports {
        self.ages.entry(port).or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_wait_for_their_time_and_their_queue() {
        let mut state = FlowState::default();
        let completion = |user_data| Completion { user_data, result: Ok(()) };
        assert!(state.complete(1, 0, Some(Time(5)), completion(7)).is_err(), "not configured");
        state.configure(1, 2, AgeScope::Port);
        state.complete(1, 1, Some(Time(5)), completion(7)).unwrap();
        state.complete(1, 1, None, completion(8)).unwrap();
        let pulled = |state: &mut FlowState, queue, most, now| {
            let mut list = Vec::new();
            state.pull(1, queue, most, now, &mut list);
            list.iter().map(|completion| completion.user_data).collect::<Vec<_>>()
        };
        assert!(pulled(&mut state, 1, 9, Time(4)).is_empty());
        assert!(pulled(&mut state, 0, 9, Time(9)).is_empty());
        assert_eq!(pulled(&mut state, 1, 9, Time(9)), [7], "the other waits for a push");
        state.push(1, 1, Time(10));
        assert!(pulled(&mut state, 1, 9, Time(9)).is_empty());
        assert_eq!(pulled(&mut state, 1, 1, Time(10)), [8]);
        state.complete(1, 1, Some(Time(5)), completion(7)).unwrap();
        state.clear(1);
        assert!(pulled(&mut state, 1, 9, Time(9)).is_empty());
        assert!(state.has_queue(1, 1).is_ok() && state.has_queue(2, 0).is_err());
    }

    #[test]
    fn ages_are_announced_once_until_somebody_asks() {
        let idle = |queue, context| Aged { rule: None, queue, context };
        let mut reports = AgeReports::default();
        assert!(!reports.take_up(&[]));
        assert!(reports.take_up(&[idle(Some(1), 5)]));
        assert!(!reports.take_up(&[idle(None, 6)]), "told, and not asked since");
        assert_eq!(reports.asked(3).drain(..).collect::<Vec<_>>(), [5, 6], "whatever queue asks");
        assert!(reports.take_up(&[idle(None, 7)]));
    }

    #[test]
    fn strict_queues_ask_for_their_own() {
        let idle = |queue, context| Aged { rule: None, queue, context };
        let mut reports = AgeReports { scope: AgeScope::Queue, ..AgeReports::default() };
        assert!(!reports.take_up(&[idle(Some(1), 5), idle(Some(0), 6)]), "there is no event");
        assert_eq!(reports.asked(1).drain(..).collect::<Vec<_>>(), [5]);
        assert_eq!(reports.asked(0).drain(..).collect::<Vec<_>>(), [6]);
    }
}
