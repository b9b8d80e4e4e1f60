//! What a port counts, and the names under which it shows (`xstats`).

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that several threads add to.
#[derive(Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds to it.
    pub fn add(&self, amount: u64) {
        if amount > 0 {
            self.0.fetch_add(amount, Ordering::Relaxed);
        }
    }

    /// The number.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Begins at 0 again.
    pub fn reset(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

/// Some frames of a burst, which are counted together: a number that threads share is dear.
#[derive(Clone, Copy, Default)]
pub struct Sum {
    packets: u64,
    bytes: u64,
}

impl Sum {
    /// Adds a frame.
    pub fn count(&mut self, bytes: usize) {
        self.packets += 1;
        self.bytes += bytes as u64;
    }
}

impl FromIterator<usize> for Sum {
    /// Of frames with these lengths.
    fn from_iter<I: IntoIterator<Item = usize>>(lengths: I) -> Self {
        let mut sum = Self::default();
        lengths.into_iter().for_each(|length| sum.count(length));
        sum
    }
}

/// Frames and their bytes, without preamble and frame check sequence.
#[derive(Default)]
pub struct Traffic {
    /// Frames.
    pub packets: Counter,
    /// Their bytes.
    pub bytes: Counter,
}

impl Traffic {
    /// Counts one frame.
    pub fn count(&self, bytes: usize) {
        self.packets.add(1);
        self.bytes.add(bytes as u64);
    }

    /// Counts some frames.
    pub fn add(&self, frames: Sum) {
        self.packets.add(frames.packets);
        self.bytes.add(frames.bytes);
    }

    fn reset(&self) {
        self.packets.reset();
        self.bytes.reset();
    }
}

macro_rules! port_counters {
    ($($(#[$doc:meta])* $name:ident: $kind:ident,)+) => {
        /// The counters of one port.
        #[derive(Default)]
        pub struct PortCounters {
            $($(#[$doc])* pub $name: $kind,)+
        }

        impl PortCounters {
            /// Calls `visit` with every counter that `xstats` shows, under its name, in a fixed order.
            pub fn for_each(&self, mut visit: impl FnMut(&'static str, &Counter)) {
                $(port_counters!(@visit visit, self.$name, stringify!($name), $kind);)+
            }

            /// Sets every one to 0.
            pub fn reset(&self) {
                $(self.$name.reset();)+
            }
        }
    };
    (@visit $visit:ident, $counter:expr, $name:expr, Traffic) => {
        $visit(concat!($name, "_packets"), &$counter.packets);
        $visit(concat!($name, "_bytes"), &$counter.bytes);
    };
    (@visit $visit:ident, $counter:expr, $name:expr, Counter) => {
        $visit($name, &$counter);
    };
}

port_counters! {
    /// Frames that came from the link.
    link_rx: Traffic,
    /// Frames from the link that could not be used: too long, or unsegmented.
    link_rx_errors: Counter,
    /// Frames that left through the link.
    link_tx: Traffic,
    /// Frames that should have left through the link, which did not take them.
    link_tx_errors: Counter,
    /// Frames from this link that rules alone carried to another port or the wire.
    hw_forwarded: Traffic,
    /// Frames from this link that the eswitch dropped: by a rule, as oversize, or because they cannot be changed as a rule asks.
    hw_dropped: Traffic,
    /// Frames from this link that went to software.
    hw_missed: Traffic,
    /// Times that a frame from here met a transfer rule that took it.
    transfer_hits: Counter,
    /// Times that a frame from here met a group of transfer rules of which none took it.
    transfer_misses: Counter,
    /// The same for ingress rules.
    ingress_hits: Counter,
    /// The same for ingress rules.
    ingress_misses: Counter,
    /// The same for egress rules.
    egress_hits: Counter,
    /// The same for egress rules.
    egress_misses: Counter,
    /// Frames larger than the port's MTU that should have left through this link.
    oversize: Counter,
    /// Frames for the application that no rule sent to a queue and the port did not want: another destination address and not
    /// promiscuous, or isolated.
    filtered: Counter,
    /// Frames the application received from this port.
    software_rx: Traffic,
    /// Frames the application sent through this port.
    software_tx: Traffic,
    /// Frames the application sent that the eswitch dropped.
    software_tx_dropped: Counter,
    /// Frames the application sent that are too long.
    software_tx_errors: Counter,
    /// Frames for the application that found its receive queue full or the port stopped.
    software_rx_missed: Counter,
    /// Frames for the application for which there was no mbuf.
    software_rx_no_mbuf: Counter,
    /// Frames for the application that do not fit its mbufs.
    software_rx_errors: Counter,
}
