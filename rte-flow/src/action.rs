//! Actions: what a rule does to a packet.
//!
//! A new action begins here with its row in the table at the end; what it carries, and how that lies in memory, is in
//! [`crate::conf`].

use std::net::{Ipv4Addr, Ipv6Addr};

use dpdk_sys::rte_flow_action_type;
use packet::Mac;

use crate::conf::Conf;
use crate::connection::Connection;
use crate::encode::Arena;
use crate::error::DecodeReason;
use crate::field::U24;
use crate::item::Item;
use crate::meter::{Color, MeterMark};
use crate::modify::ModifyField;
use crate::rss::Rss;

/// Reports the rule when no packet hit it for a while (`struct rte_flow_action_age`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Age {
    /// Idle time in seconds.
    pub timeout: U24,
    /// What the report carries; 0 for the rule's handle.
    pub context: usize,
}

/// What changes of a shared AGE (`struct rte_flow_update_age`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AgeUpdate {
    /// The idle time in seconds, 0 for no ageing; `None`: it stays.
    pub timeout: Option<U24>,
    /// Whether it is as if a packet had come.
    pub touch: bool,
}

/// Sends to an ethdev port, deprecated form (`struct rte_flow_action_port_id`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ToPortId {
    /// Use the port that received the packet, not `id`.
    pub original: bool,
    /// The ethdev port identifier.
    pub id: u32,
}

/// Prepends a ready-made header (`struct rte_flow_action_raw_encap`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawEncap {
    /// The header's bytes.
    pub data: Vec<u8>,
    /// The bits of `data` that are written as they are, as long as `data`; `None` for all.
    pub preserve: Option<Vec<u8>>,
}

/// Sets a register for later groups (`struct rte_flow_action_set_tag`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SetTag {
    /// The value.
    pub data: u32,
    /// Which bits of it.
    pub mask: u32,
    /// Which register.
    pub index: u8,
}

/// Sets the packet's metadata (`struct rte_flow_action_set_meta`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SetMeta {
    /// The value.
    pub data: u32,
    /// Which bits of it.
    pub mask: u32,
}

/// Copies every `ratio`-th packet, on which the sub-actions work (`struct rte_flow_action_sample`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// One packet of so many is copied; 1 mirrors all of them.
    pub ratio: u32,
    /// What happens to the copy.
    pub actions: Vec<Action>,
}

/// An action object that several rules share, as the driver named it (`struct rte_flow_action_handle *`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct IndirectHandle(pub usize);

macro_rules! actions {
    ($($(#[$doc:meta])* $kind:ident$(($conf:ty: $c:ident))? = $number:ident, $name:literal;)+) => {
        /// One action of a rule. The END action is implied by the list's end.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum Action {
            $($(#[$doc])* $kind$(($conf))?,)+
        }

        /// Which action, without its configuration.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum ActionKind {
            $($(#[$doc])* $kind,)+
        }

        impl ActionKind {
            /// Every kind there is.
            pub const ALL: &'static [Self] = &[$(Self::$kind),+];

            /// DPDK's number (`enum rte_flow_action_type`).
            #[must_use]
            pub const fn number(self) -> rte_flow_action_type {
                match self {
                    $(Self::$kind => dpdk_sys::$number,)+
                }
            }

            /// The kind of DPDK's number.
            #[must_use]
            pub const fn from_number(number: rte_flow_action_type) -> Option<Self> {
                match number {
                    $(dpdk_sys::$number => Some(Self::$kind),)+
                    _ => None,
                }
            }

            /// testpmd's word, which profiles use too.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$kind => $name,)+
                }
            }

            /// The size of the configuration's C structure in bytes; 0 without, and for a handle.
            pub(crate) const fn conf_size(self) -> usize {
                match self {
                    $(Self::$kind => actions!(@size $($c)?),)+
                }
            }

            /// Whether the action has a configuration.
            #[must_use]
            pub const fn has_conf(self) -> bool {
                match self {
                    $(Self::$kind => actions!(@has $($conf)?),)+
                }
            }
        }

        impl Action {
            /// Which action this is.
            #[must_use]
            pub const fn kind(&self) -> ActionKind {
                match self {
                    $(Self::$kind { .. } => ActionKind::$kind,)+
                }
            }

            /// The C form of the configuration, in `arena`'s memory; null for an action without.
            pub(crate) fn encode_conf(&self, arena: &mut Arena) -> *const std::ffi::c_void {
                match self {
                    $(actions!(@pattern $kind conf $($conf)?) =>
                        actions!(@encode conf arena $($conf: $c)?),)+
                }
            }

            /// The action of `kind` with the configuration at `conf`.
            ///
            /// # Safety
            /// `conf` is null or what DPDK asks of the `conf` of an action of this kind.
            pub(crate) unsafe fn decode_conf(
                kind: ActionKind,
                conf: *const std::ffi::c_void,
            ) -> Result<Self, DecodeReason> {
                Ok(match kind {
                    $(ActionKind::$kind => actions!(@decode $kind conf $($conf: $c)?),)+
                })
            }

            /// Writes the configuration in testpmd's words, each with a space before it.
            pub(crate) fn text_conf(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                match self {
                    $(actions!(@pattern $kind conf $($conf)?) =>
                        actions!(@text conf f $($conf: $c)?),)+
                }
            }
        }
    };
    (@size) => { 0 };
    (@size $c:ident) => { size_of::<dpdk_sys::$c>() };
    (@has) => { false };
    (@has $conf:ty) => { true };
    (@pattern $kind:ident $name:ident) => { Self::$kind };
    (@pattern $kind:ident $name:ident $conf:ty) => { Self::$kind($name) };
    (@encode $name:ident $arena:ident) => { std::ptr::null() };
    (@encode $name:ident $arena:ident $conf:ty: $c:ident) => {
        <$conf as Conf<dpdk_sys::$c>>::encode($name, $arena)
    };
    (@decode $kind:ident $name:ident) => { Self::$kind };
    (@decode $kind:ident $name:ident $conf:ty: $c:ident) => {
        // SAFETY: the caller vouches for the pointer, and the row of the table names the structure of this kind.
        Self::$kind(unsafe { <$conf as Conf<dpdk_sys::$c>>::decode($name)? })
    };
    (@text $name:ident $f:ident) => { Ok(()) };
    (@text $name:ident $f:ident $conf:ty: $c:ident) => {
        <$conf as Conf<dpdk_sys::$c>>::text($name, $f)
    };
}

actions! {
    /// Nothing; a place holder.
    Void = RTE_FLOW_ACTION_TYPE_VOID, "void";
    /// Lets lower-priority rules see the packet too.
    Passthru = RTE_FLOW_ACTION_TYPE_PASSTHRU, "passthru";
    /// Continues in another group of the same domain.
    Jump(u32: rte_flow_action_jump) = RTE_FLOW_ACTION_TYPE_JUMP, "jump";
    /// Gives the packet a number that the application sees in the mbuf.
    Mark(u32: rte_flow_action_mark) = RTE_FLOW_ACTION_TYPE_MARK, "mark";
    /// Flags the packet for the application.
    Flag = RTE_FLOW_ACTION_TYPE_FLAG, "flag";
    /// Delivers to a receive queue.
    Queue(u16: rte_flow_action_queue) = RTE_FLOW_ACTION_TYPE_QUEUE, "queue";
    /// Drops the packet.
    Drop = RTE_FLOW_ACTION_TYPE_DROP, "drop";
    /// Counts packets and bytes; the number names the counter within the rule.
    Count(u32: rte_flow_action_count) = RTE_FLOW_ACTION_TYPE_COUNT, "count";
    /// Delivers to one of several receive queues.
    Rss(Rss: rte_flow_action_rss) = RTE_FLOW_ACTION_TYPE_RSS, "rss";
    /// Sends to the entity behind an ethdev port, deprecated form.
    PortId(ToPortId: rte_flow_action_port_id) = RTE_FLOW_ACTION_TYPE_PORT_ID, "port_id";
    /// Reports idleness.
    Age(Age: rte_flow_action_age) = RTE_FLOW_ACTION_TYPE_AGE, "age";
    /// Meters and polices with the meter of this identifier (`rte_mtr_create`).
    Meter(u32: rte_flow_action_meter) = RTE_FLOW_ACTION_TYPE_METER, "meter";
    /// Removes the outermost VLAN tag.
    OfPopVlan = RTE_FLOW_ACTION_TYPE_OF_POP_VLAN, "of_pop_vlan";
    /// Adds an outermost VLAN tag of this `EtherType`.
    OfPushVlan(u16: rte_flow_action_of_push_vlan) = RTE_FLOW_ACTION_TYPE_OF_PUSH_VLAN, "of_push_vlan";
    /// Sets the outermost tag's VLAN identifier.
    OfSetVlanVid(u16: rte_flow_action_of_set_vlan_vid) = RTE_FLOW_ACTION_TYPE_OF_SET_VLAN_VID, "of_set_vlan_vid";
    /// Sets the outermost tag's priority.
    OfSetVlanPcp(u8: rte_flow_action_of_set_vlan_pcp) = RTE_FLOW_ACTION_TYPE_OF_SET_VLAN_PCP, "of_set_vlan_pcp";
    /// Encapsulates with the headers of these items: ETH, IPv4 or IPv6, UDP, VXLAN.
    VxlanEncap(Vec<Item>: rte_flow_action_vxlan_encap) = RTE_FLOW_ACTION_TYPE_VXLAN_ENCAP, "vxlan_encap";
    /// Removes the outer headers down to the VXLAN header.
    VxlanDecap = RTE_FLOW_ACTION_TYPE_VXLAN_DECAP, "vxlan_decap";
    /// Encapsulates with the headers of these items: ETH, IPv4 or IPv6, NVGRE.
    NvgreEncap(Vec<Item>: rte_flow_action_nvgre_encap) = RTE_FLOW_ACTION_TYPE_NVGRE_ENCAP, "nvgre_encap";
    /// Removes the outer headers down to the NVGRE header.
    NvgreDecap = RTE_FLOW_ACTION_TYPE_NVGRE_DECAP, "nvgre_decap";
    /// Prepends a header.
    RawEncap(RawEncap: rte_flow_action_raw_encap) = RTE_FLOW_ACTION_TYPE_RAW_ENCAP, "raw_encap";
    /// Removes a header as long as these bytes, which show its layers; empty for the driver's choice.
    RawDecap(Vec<u8>: rte_flow_action_raw_decap) = RTE_FLOW_ACTION_TYPE_RAW_DECAP, "raw_decap";
    /// Sets, adds to or copies a field.
    ModifyField(ModifyField: rte_flow_action_modify_field) = RTE_FLOW_ACTION_TYPE_MODIFY_FIELD, "modify_field";
    /// Sets a register.
    SetTag(SetTag: rte_flow_action_set_tag) = RTE_FLOW_ACTION_TYPE_SET_TAG, "set_tag";
    /// Sets the metadata.
    SetMeta(SetMeta: rte_flow_action_set_meta) = RTE_FLOW_ACTION_TYPE_SET_META, "set_meta";
    /// Adds to the TCP sequence number.
    IncTcpSeq(u32: rte_be32_t) = RTE_FLOW_ACTION_TYPE_INC_TCP_SEQ, "inc_tcp_seq";
    /// Subtracts from the TCP sequence number.
    DecTcpSeq(u32: rte_be32_t) = RTE_FLOW_ACTION_TYPE_DEC_TCP_SEQ, "dec_tcp_seq";
    /// Adds to the TCP acknowledgment number.
    IncTcpAck(u32: rte_be32_t) = RTE_FLOW_ACTION_TYPE_INC_TCP_ACK, "inc_tcp_ack";
    /// Subtracts from the TCP acknowledgment number.
    DecTcpAck(u32: rte_be32_t) = RTE_FLOW_ACTION_TYPE_DEC_TCP_ACK, "dec_tcp_ack";
    /// Sets the IPv4 DSCP.
    SetIpv4Dscp(u8: rte_flow_action_set_dscp) = RTE_FLOW_ACTION_TYPE_SET_IPV4_DSCP, "set_ipv4_dscp";
    /// Sets the IPv6 DSCP.
    SetIpv6Dscp(u8: rte_flow_action_set_dscp) = RTE_FLOW_ACTION_TYPE_SET_IPV6_DSCP, "set_ipv6_dscp";
    /// Sets the source MAC address.
    SetMacSrc(Mac: rte_flow_action_set_mac) = RTE_FLOW_ACTION_TYPE_SET_MAC_SRC, "set_mac_src";
    /// Sets the destination MAC address.
    SetMacDst(Mac: rte_flow_action_set_mac) = RTE_FLOW_ACTION_TYPE_SET_MAC_DST, "set_mac_dst";
    /// Sets the IPv4 source address.
    SetIpv4Src(Ipv4Addr: rte_flow_action_set_ipv4) = RTE_FLOW_ACTION_TYPE_SET_IPV4_SRC, "set_ipv4_src";
    /// Sets the IPv4 destination address.
    SetIpv4Dst(Ipv4Addr: rte_flow_action_set_ipv4) = RTE_FLOW_ACTION_TYPE_SET_IPV4_DST, "set_ipv4_dst";
    /// Sets the IPv6 source address.
    SetIpv6Src(Ipv6Addr: rte_flow_action_set_ipv6) = RTE_FLOW_ACTION_TYPE_SET_IPV6_SRC, "set_ipv6_src";
    /// Sets the IPv6 destination address.
    SetIpv6Dst(Ipv6Addr: rte_flow_action_set_ipv6) = RTE_FLOW_ACTION_TYPE_SET_IPV6_DST, "set_ipv6_dst";
    /// Sets the TCP or UDP source port.
    SetTpSrc(u16: rte_flow_action_set_tp) = RTE_FLOW_ACTION_TYPE_SET_TP_SRC, "set_tp_src";
    /// Sets the TCP or UDP destination port.
    SetTpDst(u16: rte_flow_action_set_tp) = RTE_FLOW_ACTION_TYPE_SET_TP_DST, "set_tp_dst";
    /// Sets TTL or hop limit.
    SetTtl(u8: rte_flow_action_set_ttl) = RTE_FLOW_ACTION_TYPE_SET_TTL, "set_ttl";
    /// Decrements TTL or hop limit; a packet whose TTL becomes 0 is not dropped.
    DecTtl = RTE_FLOW_ACTION_TYPE_DEC_TTL, "dec_ttl";
    /// Sends to the application's end of an ethdev port.
    PortRepresentor(u16: rte_flow_action_ethdev) = RTE_FLOW_ACTION_TYPE_PORT_REPRESENTOR, "port_representor";
    /// Sends to the entity (VF, wire) that an ethdev port represents.
    RepresentedPort(u16: rte_flow_action_ethdev) = RTE_FLOW_ACTION_TYPE_REPRESENTED_PORT, "represented_port";
    /// Copies packets.
    Sample(Sample: rte_flow_action_sample) = RTE_FLOW_ACTION_TYPE_SAMPLE, "sample";
    /// Tracks a TCP connection.
    Conntrack(Connection: rte_flow_action_conntrack) = RTE_FLOW_ACTION_TYPE_CONNTRACK, "conntrack";
    /// Gives the packet a colour; for the policies of meters.
    MeterColor(Color: rte_flow_action_meter_color) = RTE_FLOW_ACTION_TYPE_METER_COLOR, "color";
    /// Meters, and gives the packet the colour that results.
    MeterMark(MeterMark: rte_flow_action_meter_mark) = RTE_FLOW_ACTION_TYPE_METER_MARK, "meter_mark";
    /// A shared action object.
    Indirect(IndirectHandle: rte_flow_action_handle) = RTE_FLOW_ACTION_TYPE_INDIRECT, "indirect";
}

impl Action {
    /// The action of a kind with a configuration of zeros; `None` where that says nothing.
    #[must_use]
    pub fn zeroed(kind: ActionKind) -> Option<Self> {
        const LARGEST: usize = {
            let (mut most, mut index) = (0, 0);
            while index < ActionKind::ALL.len() {
                let size = ActionKind::ALL[index].conf_size();
                most = if size > most { size } else { most };
                index += 1;
            }
            most
        };
        /// Aligned as strictly as any configuration.
        #[repr(align(16))]
        struct Zeros([u8; LARGEST]);
        let zeros = Zeros([0; LARGEST]);
        let conf = if kind.conf_size() == 0 { std::ptr::null() } else { zeros.0.as_ptr() };
        // SAFETY: null for an action without a structure; else as many zeros as the structure has bytes: numbers and null
        // pointers, which the decoder takes for what they are.
        unsafe { Self::decode_conf(kind, conf.cast()) }.ok()
    }
}

impl ActionKind {
    /// Whether the action decides where the packet goes next.
    #[must_use]
    pub const fn is_fate(self) -> bool {
        matches!(
            self,
            Self::Jump
                | Self::Queue
                | Self::Drop
                | Self::Rss
                | Self::PortId
                | Self::PortRepresentor
                | Self::RepresentedPort
        )
    }

    /// Whether the action is one of the two that label a packet for the application.
    #[must_use]
    pub const fn is_label(self) -> bool {
        matches!(self, Self::Mark | Self::Flag)
    }

    /// Whether the action prepends a tunnel's headers.
    #[must_use]
    pub const fn is_encap(self) -> bool {
        matches!(self, Self::VxlanEncap | Self::NvgreEncap | Self::RawEncap)
    }

    /// Whether a template says something of the action that is every rule's, even where rules give its values: what
    /// `MODIFY_FIELD` changes, the size of a header.
    #[must_use]
    pub const fn has_shape(self) -> bool {
        self.is_encap() || matches!(self, Self::ModifyField | Self::RawDecap)
    }

    /// Whether the action adds or removes a VLAN tag.
    #[must_use]
    pub const fn is_tag(self) -> bool {
        matches!(self, Self::OfPushVlan | Self::OfPopVlan)
    }

    /// Whether the action removes a tunnel's headers.
    #[must_use]
    pub const fn is_decap(self) -> bool {
        matches!(self, Self::VxlanDecap | Self::NvgreDecap | Self::RawDecap)
    }

    /// Whether the action rewrites the packet's headers or registers through the modify-header engine.
    #[must_use]
    pub const fn is_modify(self) -> bool {
        matches!(
            self,
            Self::ModifyField
                | Self::IncTcpSeq
                | Self::DecTcpSeq
                | Self::IncTcpAck
                | Self::DecTcpAck
                | Self::SetIpv4Dscp
                | Self::SetIpv6Dscp
                | Self::SetTag
                | Self::SetMeta
                | Self::SetMacSrc
                | Self::SetMacDst
                | Self::SetIpv4Src
                | Self::SetIpv4Dst
                | Self::SetIpv6Src
                | Self::SetIpv6Dst
                | Self::SetTpSrc
                | Self::SetTpDst
                | Self::SetTtl
                | Self::DecTtl
        )
    }
}
