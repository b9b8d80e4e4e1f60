//! `rte_flow` as Rust types: encoding to and decoding from DPDK's C structures, NIC profiles.
//!
//! This is the language that the rule compiler and the simulated NIC share: the one knows nothing of the simulator,
//! the other nothing of VPCs. Numbers are native here; byte order is a matter of [`EncodedRule`] and [`decode_rule`]
//! alone. Names follow DPDK's guide "Generic flow API".

mod action;
mod attribute;
mod conf;
mod connection;
mod decode;
mod encode;
mod error;
mod field;
mod header;
mod item;
mod layers;
mod legality;
mod meter;
mod modify;
mod profile;
#[cfg(test)]
mod round_trip_tests;
mod rss;
mod rule;
mod template;
mod text;

pub use action::{
    Action, ActionKind, Age, AgeUpdate, IndirectHandle, RawEncap, Sample, SetMeta, SetTag, ToPortId,
};
pub use attribute::{Attributes, Domain};
pub use connection::{
    Connection, ConnectionState, ConnectionUpdate, Direction, LastSegment, TcpDirection,
    WindowScale,
};
pub use decode::{ItemsOf, decode_actions, decode_attributes, decode_items, decode_rule};
pub use encode::{EncodedRule, encode_attributes};
pub use error::{
    Cause, DecodeError, DecodeReason, EAGAIN, EBUSY, EEXIST, EINVAL, ENOENT, ENOMEM, ENOSPC,
    ENOTSUP, ErrorKind, FlowError,
};
pub use field::{Field, IntegrityBits, Ipv6Extensions, PacketState, U24};
pub use header::{
    Any, ArpEthIpv4, Conntrack, Esp, Eth, EthdevPort, FieldInfo, Geneve, GeneveOption,
    GeneveOptionId, Gre, GreKey, GreOption, Gtp, Header, Icmp, Icmp6, Integrity, Ipv4, Ipv6,
    Ipv6FragExt, Mark, Meta, Nvgre, PortId, Sctp, Tag, Tcp, Udp, Vlan, Vxlan, VxlanGpe,
};
pub use item::{AskedField, FieldMatch, Item, ItemKind, Match, TemplateMismatch};
pub use layers::{Depth, Layers, Position};
pub use legality::{
    Api, Context, NoObjects, Objects, check, check_actions_template, check_pattern_template,
    check_table,
};
pub use meter::{
    Color, ColorSource, MeterAlgorithm, MeterError, MeterErrorKind, MeterMark, MeterMarkUpdate,
    MeterParams, MeterPolicy, MeterPolicyHandle, MeterProfile, MeterProfileHandle, MeterStatistics,
    color_table,
};
pub use modify::{FieldId, FieldRef, ModifyField, ModifyOperation, ModifySource};
pub use profile::{
    AgeRules, ConntrackItem, ConntrackRules, Duplicates, Encap, Fates, Fragments, IndirectRules,
    IntegrityDepth, Interface, IpInIp, Limits, Matching, MeterRules, ModifyRules, Multicast,
    PoolRules, PortItems, Profile, ProfileError, QueueRules, ReceiveRules, Reconfiguration,
    RssRules, SampleRules, SpecOutsideMask, Steering, TableRules, Timing, TransferPorts,
    VlanFilter, VlanTags,
};
pub use rss::{Rss, RssFunction, RssTypes};
pub use rule::Rule;
pub use template::{
    ActionsTemplate, EncodedActionsTemplate, EncodedPatternTemplate, PatternTemplate,
    TableAttributes, TemplateAction, decode_actions_template, decode_pattern_template,
    decode_table, encode_table,
};
