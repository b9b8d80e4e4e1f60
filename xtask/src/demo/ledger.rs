//! Who carried the packets of all connections there were, by what they were for.

use std::collections::BTreeMap;
use std::ops::AddAssign;

use miette::Result;

use super::daemon::{Dpu, Flow};

/// A connection at a DPU.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    dpu: &'static str,
    interface: String,
    protocol: String,
    source: (String, u16),
    destination: (String, u16),
}

struct Entry {
    purpose: String,
    hardware: u64,
    software: u64,
}

/// Connections with their purposes. Those that have ended stay on the list with what was last known.
#[derive(Default)]
pub struct Ledger(BTreeMap<Key, Entry>);

/// Packets.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Sum {
    /// How many connections.
    pub connections: usize,
    /// Carried by NIC rules.
    pub hardware: u64,
    /// Carried by daemons' processors.
    pub software: u64,
}

impl Sum {
    const fn add(&mut self, entry: &Entry) {
        self.connections += 1;
        self.hardware += entry.hardware;
        self.software += entry.software;
    }

    /// Carried by NIC rules, of a hundred packets.
    #[expect(clippy::cast_precision_loss, reason = "a percentage for people")]
    pub fn percent(&self) -> f64 {
        let all = self.hardware + self.software;
        if all == 0 { 0.0 } else { 100.0 * self.hardware as f64 / all as f64 }
    }
}

impl AddAssign for Sum {
    fn add_assign(&mut self, other: Self) {
        self.connections += other.connections;
        self.hardware += other.hardware;
        self.software += other.software;
    }
}

impl Ledger {
    /// Takes down what DPUs know now; connections not seen before had this purpose.
    ///
    /// # Errors
    /// When a daemon does not answer.
    pub fn take_down(&mut self, dpus: &[Dpu], purpose: &str) -> Result<()> {
        for dpu in dpus {
            for flow in dpu.flows()? {
                self.record(dpu.node().name, &flow, purpose);
            }
        }
        Ok(())
    }

    /// Takes down a connection at a DPU.
    pub fn record(&mut self, dpu: &'static str, flow: &Flow, purpose: &str) {
        let key = Key {
            dpu,
            interface: flow.interface.clone(),
            protocol: flow.protocol.clone(),
            source: (flow.source.clone(), flow.source_port),
            destination: (flow.destination.clone(), flow.destination_port),
        };
        let entry = self.0.entry(key).or_insert_with(|| Entry {
            purpose: purpose.to_owned(),
            hardware: 0,
            software: 0,
        });
        entry.hardware = entry.hardware.max(flow.hardware());
        entry.software = entry.software.max(flow.software());
    }

    /// The sums of a purpose, by DPU.
    pub fn by_dpu(&self, purpose: &str) -> BTreeMap<&'static str, Sum> {
        let mut sums: BTreeMap<_, Sum> = BTreeMap::new();
        for (key, entry) in self.0.iter().filter(|(_, entry)| entry.purpose == purpose) {
            sums.entry(key.dpu).or_default().add(entry);
        }
        sums
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(port: u16, hardware: u64, software: u64) -> Flow {
        let json = format!(
            r#"{{"interface": "red-1", "protocol": "tcp", "source": "10.1.0.11", "destination": "10.1.0.13",
                "sourcePort": {port}, "destinationPort": 5201, 
                "forward": {{"path": "hardware", "software": {{"packets": {software}}}, "hardware": {{"packets": {hardware}}}}},
                "reverse": {{"path": "software", "software": {{"packets": 0}}, "hardware": {{"packets": 0}}}}}}"#
        );
        serde_json::from_str(&json).unwrap()
    }

    #[test]
    fn a_connection_keeps_its_purpose_and_its_last_figures() {
        let mut ledger = Ledger::default();
        ledger.record("dpu-a", &flow(1, 10, 2), "first");
        ledger.record("dpu-a", &flow(1, 98, 2), "second");
        ledger.record("dpu-b", &flow(1, 5, 5), "second");
        let first = ledger.by_dpu("first")["dpu-a"];
        assert_eq!(first, Sum { connections: 1, hardware: 98, software: 2 });
        assert!((first.percent() - 98.0).abs() < 1e-9);
        assert_eq!(ledger.by_dpu("second").keys().copied().collect::<Vec<_>>(), ["dpu-b"]);
        assert!(!flow(1, 0, 0).is_in_hardware());
    }
}
