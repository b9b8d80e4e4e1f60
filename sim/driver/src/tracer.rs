//! The way of single frames through the rules, kept for whoever asks; off unless somebody wants it.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use packet::Network;
use sim::eswitch::{Ingress, Trace, Verdict};

use crate::lock;

/// How many frames are kept: the last ones.
const KEPT: usize = 64;

/// The last frames' ways.
#[derive(Default)]
pub struct Tracer {
    on: AtomicBool,
    lines: Mutex<VecDeque<String>>,
}

impl Tracer {
    /// Whether frames are to be noted.
    pub fn is_on(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }

    /// Switches it; what was kept is forgotten when it is switched on.
    pub fn switch(&self, on: bool) {
        if on {
            lock(&self.lines).clear();
        }
        self.on.store(on, Ordering::Relaxed);
    }

    /// What is kept, the oldest first.
    pub fn lines(&self) -> Vec<String> {
        lock(&self.lines).iter().cloned().collect()
    }

    /// Notes a frame that is now as the rules left it.
    pub fn note(&self, from: Ingress, frame: &[u8], trace: &Trace, verdict: Verdict) {
        let line = describe(from, frame, trace, verdict);
        let mut lines = lock(&self.lines);
        if lines.len() >= KEPT {
            lines.pop_front();
        }
        lines.push_back(line);
    }
}

/// One line: where the frame came from, each lookup, where it went, what it is then.
fn describe(from: Ingress, frame: &[u8], trace: &Trace, verdict: Verdict) -> String {
    // Writing to a string cannot fail.
    let mut line = match from {
        Ingress::Represented(port) => format!("link {port}:"),
        Ingress::Representor(port) => format!("port {port}:"),
    };
    for visit in trace.visits() {
        let _ = write!(line, " {} {}", visit.domain.name(), visit.group);
        let _ = match visit.rule {
            Some(rule) => write!(line, " rule {:#x},", rule.to_bits()),
            None => write!(line, " miss,"),
        };
    }
    if trace.is_truncated() {
        line.push_str(" ...,");
    }
    let _ = match verdict {
        Verdict::Represented(port) => write!(line, " to link {port}"),
        Verdict::Representor { port, .. } => write!(line, " to port {port}"),
        Verdict::Dropped(cause) => write!(line, " dropped: {cause:?}"),
    };
    let _ = write!(line, "; {} B", frame.len());
    if let Ok(Network::Ip(ip)) = packet::parse(frame).map(|parsed| parsed.network) {
        let tuple = ip.tuple;
        let (source, destination) = (tuple.source(), tuple.destination());
        let (from, to) = (tuple.source_port(), tuple.destination_port());
        let protocol = u16::from(tuple.protocol());
        let _ = write!(line, ", protocol {protocol}, {source} {from} > {destination} {to}");
    }
    line
}
