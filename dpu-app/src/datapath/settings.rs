//! What an operator may tune about the datapath.

use std::num::NonZeroU32;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// All settings of the datapath; what a configuration leaves out has its default.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Settings {
    /// The connection table.
    pub connections: ConnectionLimits,
    /// The table of fragmented packets.
    pub fragments: FragmentLimits,
    /// How long connections live without traffic.
    pub timeouts: Timeouts,
    /// TCP.
    pub tcp: TcpSettings,
    /// When connections become candidates for hardware.
    pub offload: OffloadSettings,
    /// The port to the kernel beside us; absent: there is none, and what is not the datapath's is dropped.
    pub kernel_port: Option<KernelPortSettings>,
    /// Messages to VMs that their packets are too big.
    pub too_big: TooBigSettings,
}

/// How many connections there may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct ConnectionLimits {
    /// Connections in all. Memory for them is reserved at the start and used when needed.
    pub table_size: TableSize,
    /// Connections of one interface, counted where they were initiated (for those from the wire: their receiver).
    pub per_interface: NonZeroU32,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self { table_size: TableSize(1 << 20), per_interface: const_non_zero(1 << 18) }
    }
}

/// How many fragmented packets are followed at a time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct FragmentLimits {
    /// Packets in all.
    pub table_size: TableSize,
    /// Packets of one interface; beyond, its oldest gives way.
    pub per_interface: NonZeroU32,
}

impl Default for FragmentLimits {
    fn default() -> Self {
        Self { table_size: TableSize(8192), per_interface: const_non_zero(1024) }
    }
}

/// Number of entries of a table: 1..=2^28.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct TableSize(u32);

/// A table cannot have this many entries.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a table of {0} entries is not possible; choose 1 to {max}", max = TableSize::MAX)]
pub struct TableSizeError(u32);

impl TableSize {
    const MAX: u32 = 1 << 28;

    /// The number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl TryFrom<u32> for TableSize {
    type Error = TableSizeError;

    fn try_from(number: u32) -> Result<Self, Self::Error> {
        if (1..=Self::MAX).contains(&number) {
            Ok(Self(number))
        } else {
            Err(TableSizeError(number))
        }
    }
}

impl From<TableSize> for u32 {
    fn from(size: TableSize) -> Self {
        size.0
    }
}

/// A positive number of seconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seconds(NonZeroU32);

impl Seconds {
    /// As a duration.
    #[must_use]
    pub const fn duration(self) -> Duration {
        Duration::from_secs(self.0.get() as u64)
    }
}

impl From<NonZeroU32> for Seconds {
    fn from(seconds: NonZeroU32) -> Self {
        Self(seconds)
    }
}

/// Idle timeouts, in seconds: a packet that comes exactly this long after the one before finds the connection gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Timeouts {
    /// TCP before the handshake is over.
    pub tcp_half_open: Seconds,
    /// TCP after it (RFC 5382, REQ-5).
    pub tcp_established: Seconds,
    /// TCP after one side's FIN.
    pub tcp_closing: Seconds,
    /// TCP after both sides' FIN.
    pub tcp_time_wait: Seconds,
    /// TCP after a RST.
    pub tcp_reset: Seconds,
    /// UDP without an answer.
    pub udp_one_way: Seconds,
    /// UDP with traffic in both directions (RFC 4787, REQ-5).
    pub udp_both_ways: Seconds,
    /// ICMP and ICMPv6 echo.
    pub icmp_echo: Seconds,
    /// All other protocols.
    pub other: Seconds,
    /// From a packet's first fragment to its last.
    pub fragments: Seconds,
    /// How late the NIC's counters may tell of traffic: a connection in hardware is given so much longer. Whoever runs
    /// the NIC knows it, operators do not set it.
    #[serde(skip)]
    pub counter_delay: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        const fn seconds(number: u32) -> Seconds {
            Seconds(const_non_zero(number))
        }
        Self {
            tcp_half_open: seconds(30),
            tcp_established: seconds(7440),
            tcp_closing: seconds(60),
            tcp_time_wait: seconds(60),
            tcp_reset: seconds(10),
            udp_one_way: seconds(30),
            udp_both_ways: seconds(180),
            icmp_echo: seconds(30),
            other: seconds(120),
            fragments: seconds(30),
            counter_delay: Duration::ZERO,
        }
    }
}

/// TCP.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct TcpSettings {
    /// Whether TCP in mid-stream may begin a connection.
    pub pick_up: PickUp,
}

/// Whether TCP in mid-stream may begin a connection (policy must allow it as it would a SYN).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PickUp {
    /// No: such packets are dropped as `tcp_not_syn`.
    #[default]
    Never,
    /// Yes.
    Always,
    /// For so many seconds after the start: connections that were there before a restart go on.
    For(Seconds),
}

/// When connections become candidates for hardware.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct OffloadSettings {
    /// UDP without an answer is offloaded after so many packets; 0: only once it was answered.
    pub after_packets: u32,
}

/// How much of what is not the datapath's the kernel beside us gets, of each core.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct KernelPortSettings {
    /// Frames a second in the long run.
    pub packets_per_second: NonZeroU32,
    /// Frames at once, after a silence.
    pub burst: NonZeroU32,
}

impl Default for KernelPortSettings {
    fn default() -> Self {
        Self { packets_per_second: const_non_zero(10_000), burst: const_non_zero(1000) }
    }
}

/// How many messages that its packets are too big a VM is sent, by each core (RFC 4443, section 2.4 (f); RFC 1812,
/// section 4.3.2.8). Beyond, such packets are dropped in silence.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct TooBigSettings {
    /// Messages a second in the long run.
    pub packets_per_second: NonZeroU32,
    /// Messages at once, after a silence.
    pub burst: NonZeroU32,
}

impl Default for TooBigSettings {
    fn default() -> Self {
        Self { packets_per_second: const_non_zero(1000), burst: const_non_zero(1000) }
    }
}

/// For constants that are visibly positive.
const fn const_non_zero(number: u32) -> NonZeroU32 {
    match NonZeroU32::new(number) {
        Some(number) => number,
        None => NonZeroU32::MIN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_has_its_default() {
        let settings: Settings = serde_json::from_str(
            r#"{"timeouts": {"udpOneWay": 5}, "tcp": {"pickUp": {"for": 60}},
                "connections": {"tableSize": 100}, "offload": {"afterPackets": 3},
                "kernelPort": {"burst": 5}, "tooBig": {"packetsPerSecond": 7}}"#,
        )
        .unwrap();
        assert_eq!(settings.timeouts.udp_one_way.duration(), Duration::from_secs(5));
        assert_eq!(settings.timeouts.tcp_established.duration(), Duration::from_mins(124));
        assert_eq!(settings.tcp.pick_up, PickUp::For(Seconds(NonZeroU32::new(60).unwrap())));
        assert_eq!(settings.connections.table_size.get(), 100);
        assert_eq!(settings.offload.after_packets, 3);
        let kernel = settings.kernel_port.unwrap();
        assert_eq!((kernel.packets_per_second.get(), kernel.burst.get()), (10_000, 5));
        let TooBigSettings { packets_per_second, burst } = settings.too_big;
        assert_eq!((packets_per_second.get(), burst.get()), (7, 1000));
        assert_eq!(serde_json::from_str::<Settings>("{}").unwrap(), Settings::default());
    }

    #[test]
    fn what_cannot_work_is_refused() {
        for wrong in [
            r#"{"timeouts": {"udpOneWay": 0}}"#,
            r#"{"timeouts": {"udp": 1}}"#,
            r#"{"connections": {"tableSize": 0}}"#,
            r#"{"connections": {"tableSize": 4000000000}}"#,
            r#"{"tcp": {"pickUp": "sometimes"}}"#,
            r#"{"kernelPort": {"packetsPerSecond": 0}}"#,
            r#"{"kernelPort": {"rate": 1}}"#,
            r#"{"tooBig": {"burst": 0}}"#,
        ] {
            assert!(serde_json::from_str::<Settings>(wrong).is_err(), "{wrong}");
        }
    }
}
