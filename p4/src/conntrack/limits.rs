//! What an operator may configure: how long things live, and how many there may be.

use super::SECOND;
use crate::interpreter::Time;

/// How long a connection of each kind lives without a packet. A packet at exactly this time finds it gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timeouts {
    /// TCP before the handshake is whole.
    pub tcp_half_open: Time,
    /// TCP behind it (RFC 5382).
    pub tcp_established: Time,
    /// TCP after a FIN.
    pub tcp_closing: Time,
    /// TCP after both.
    pub tcp_time_wait: Time,
    /// TCP after a RST.
    pub tcp_reset: Time,
    /// UDP while only one side has sent (RFC 4787).
    pub udp_one_way: Time,
    /// UDP when both have.
    pub udp_both_ways: Time,
    /// ICMP echo.
    pub icmp_echo: Time,
    /// All else.
    pub other: Time,
    /// From a packet's first fragment to the last that follows it.
    pub fragments: Time,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            tcp_half_open: 30 * SECOND,
            tcp_established: 7440 * SECOND,
            tcp_closing: 60 * SECOND,
            tcp_time_wait: 60 * SECOND,
            tcp_reset: 10 * SECOND,
            udp_one_way: 30 * SECOND,
            udp_both_ways: 180 * SECOND,
            icmp_echo: 30 * SECOND,
            other: 120 * SECOND,
            fragments: 30 * SECOND,
        }
    }
}

impl Timeouts {
    /// The timeout of this name.
    pub fn named(&mut self, name: &str) -> Option<&mut Time> {
        Some(match name {
            "tcp_half_open" => &mut self.tcp_half_open,
            "tcp_established" => &mut self.tcp_established,
            "tcp_closing" => &mut self.tcp_closing,
            "tcp_time_wait" => &mut self.tcp_time_wait,
            "tcp_reset" => &mut self.tcp_reset,
            "udp_one_way" => &mut self.udp_one_way,
            "udp_both_ways" => &mut self.udp_both_ways,
            "icmp_echo" => &mut self.icmp_echo,
            "other" => &mut self.other,
            "fragments" => &mut self.fragments,
            _ => return None,
        })
    }
}

/// How many there may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Connections in all.
    pub connections: usize,
    /// Connections of one interface.
    pub connections_of_an_interface: usize,
    /// Packets whose first fragment is remembered.
    pub fragmented_packets: usize,
    /// Those of one interface.
    pub fragmented_packets_of_an_interface: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: usize::MAX,
            connections_of_an_interface: usize::MAX,
            fragmented_packets: usize::MAX,
            fragmented_packets_of_an_interface: usize::MAX,
        }
    }
}

impl Limits {
    /// The limit of this name.
    pub fn named(&mut self, name: &str) -> Option<&mut usize> {
        Some(match name {
            "connections" => &mut self.connections,
            "connections_of_an_interface" => &mut self.connections_of_an_interface,
            "fragmented_packets" => &mut self.fragmented_packets,
            "fragmented_packets_of_an_interface" => &mut self.fragmented_packets_of_an_interface,
            _ => return None,
        })
    }
}
