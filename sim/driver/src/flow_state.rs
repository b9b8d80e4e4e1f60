//! What the driver keeps of rules besides the eswitch: results that wait until the application asks for them.

use std::collections::{HashMap, VecDeque};

use rte_flow::{ENOENT, ErrorKind, FlowError};
use sim::eswitch::{Completion, Time};

/// Results that wait, by ethdev.
#[derive(Default)]
pub struct FlowState {
    /// Of operations on shared actions, by ethdev and queue, with the time from which they can be pulled.
    completions: HashMap<(u16, u32), VecDeque<(Time, Completion)>>,
    /// Contexts of aged rules that the application has not fetched.
    aged: HashMap<u16, VecDeque<usize>>,
}

impl FlowState {
    /// Gives an ethdev so many queues; what waited is forgotten.
    pub fn configure(&mut self, port: u16, queues: u32) {
        self.completions.retain(|(owner, _), _| *owner != port);
        for queue in 0..queues {
            self.completions.insert((port, queue), VecDeque::new());
        }
    }

    /// Forgets what waits at an ethdev.
    pub fn clear(&mut self, port: u16) {
        self.aged.remove(&port);
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
    fn queue(
        &mut self,
        port: u16,
        queue: u32,
    ) -> Result<&mut VecDeque<(Time, Completion)>, FlowError> {
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

    /// Lets the result of an operation wait; it can be pulled from `at` on.
    ///
    /// # Errors
    /// `ENOENT` for a queue that was not configured.
    pub fn complete(
        &mut self,
        port: u16,
        queue: u32,
        at: Time,
        completion: Completion,
    ) -> Result<(), FlowError> {
        self.queue(port, queue)?.push_back((at, completion));
        Ok(())
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
            let Some((_, completion)) = waiting.pop_front_if(|(at, _)| *at <= now) else { return };
            completions.push(completion);
        }
    }

    /// The contexts of aged rules that wait at an ethdev.
    pub fn aged(&mut self, port: u16) -> &mut VecDeque<usize> {
        self.aged.entry(port).or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_wait_for_their_time_and_their_queue() {
        let mut state = FlowState::default();
        let completion = |user_data| Completion { user_data, result: Ok(()) };
        assert!(state.complete(1, 0, Time(5), completion(7)).is_err(), "not configured");
        state.configure(1, 2);
        state.complete(1, 1, Time(5), completion(7)).unwrap();
        state.complete(1, 1, Time(6), completion(8)).unwrap();
        let pulled = |state: &mut FlowState, queue, most, now| {
            let mut list = Vec::new();
            state.pull(1, queue, most, now, &mut list);
            list.iter().map(|completion| completion.user_data).collect::<Vec<_>>()
        };
        assert!(pulled(&mut state, 1, 9, Time(4)).is_empty());
        assert!(pulled(&mut state, 0, 9, Time(9)).is_empty());
        assert_eq!(pulled(&mut state, 1, 1, Time(9)), [7]);
        state.clear(1);
        assert!(pulled(&mut state, 1, 9, Time(9)).is_empty());
        assert!(state.has_queue(1, 1).is_ok() && state.has_queue(2, 0).is_err());
    }
}
