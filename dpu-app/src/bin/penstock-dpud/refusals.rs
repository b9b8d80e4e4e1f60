//! What the NIC said of connections that it refused, for whoever asks why they are not in hardware.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use dpu_app::datapath::{ConnectionHandle, FlowDirection};
use rte_flow_compiler::NotOffloaded;

type Messages = HashMap<(ConnectionHandle, FlowDirection), String>;

/// See the module. The datapath's loop never comes here.
#[derive(Debug, Default)]
pub struct Refusals(Mutex<Messages>);

impl Refusals {
    /// Notes why a direction is not in hardware, if more can be said of it than the reason's name.
    pub fn note(&self, connection: ConnectionHandle, direction: FlowDirection, why: &NotOffloaded) {
        match why {
            NotOffloaded::Illegal(_)
            | NotOffloaded::Refused(_)
            | NotOffloaded::StaticPart(Some(_)) => {
                self.messages().insert((connection, direction), why.to_string());
            }
            _ => self.forget(connection, direction),
        }
    }

    /// The direction is in hardware, or gone.
    pub fn forget(&self, connection: ConnectionHandle, direction: FlowDirection) {
        self.messages().remove(&(connection, direction));
    }

    /// No direction is in hardware, or about to be.
    pub fn forget_all(&self) {
        self.messages().clear();
    }

    /// What was said of a direction.
    pub fn message(
        &self,
        connection: ConnectionHandle,
        direction: FlowDirection,
    ) -> Option<String> {
        self.messages().get(&(connection, direction)).cloned()
    }

    fn messages(&self) -> MutexGuard<'_, Messages> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
