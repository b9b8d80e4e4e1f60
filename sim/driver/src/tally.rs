//! What became of the frames of a burst, to be counted together where they came from.

use rte_flow::Domain;
use sim::eswitch::Trace;

use crate::counters::{PortCounters, Sum};

/// Frames of one port by their end, and the lookups on their ways.
#[derive(Default)]
pub struct Tally {
    /// Carried by rules alone.
    pub forwarded: Sum,
    /// Ended in the eswitch.
    pub dropped: Sum,
    /// For software.
    pub missed: Sum,
    /// Sent by software, and ended in the eswitch.
    pub lost: u64,
    lookups: Lookups,
}

/// Lookups in the rules: hits and misses by domain.
#[derive(Default)]
struct Lookups {
    transfer: [u64; 2],
    ingress: [u64; 2],
    egress: [u64; 2],
}

impl Tally {
    /// Adds the lookups of one frame.
    pub fn note(&mut self, trace: &Trace) {
        let Lookups { transfer, ingress, egress } = &mut self.lookups;
        for visit in trace.visits() {
            let [hits, misses] = match visit.domain {
                Domain::Transfer => &mut *transfer,
                Domain::Ingress => &mut *ingress,
                Domain::Egress => &mut *egress,
            };
            *(if visit.rule.is_some() { hits } else { misses }) += 1;
        }
    }

    /// Counts all.
    pub fn count(self, counters: &PortCounters) {
        counters.hw_forwarded.add(self.forwarded);
        counters.hw_dropped.add(self.dropped);
        counters.hw_missed.add(self.missed);
        counters.software_tx_dropped.add(self.lost);
        let Lookups { transfer, ingress, egress } = self.lookups;
        for ([hits, misses], hit, miss) in [
            (transfer, &counters.transfer_hits, &counters.transfer_misses),
            (ingress, &counters.ingress_hits, &counters.ingress_misses),
            (egress, &counters.egress_hits, &counters.egress_misses),
        ] {
            hit.add(hits);
            miss.add(misses);
        }
    }
}
