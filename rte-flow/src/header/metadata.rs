//! What a packet has besides its headers: origin, registers, the device's checks.

use dpdk_sys::{
    rte_flow_item_any, rte_flow_item_conntrack, rte_flow_item_ethdev, rte_flow_item_integrity,
    rte_flow_item_mark, rte_flow_item_meta, rte_flow_item_port_id, rte_flow_item_tag,
};

use super::header;
use crate::field::{IntegrityBits, PacketState};

header! {
    /// Metadata that a rule or the application set (`RTE_FLOW_ITEM_TYPE_META`).
    Meta = rte_flow_item_meta {
        /// The value.
        data: u32 = host(data), default u32::MAX, "data";
    }
}

header! {
    /// A register that an earlier rule set (`RTE_FLOW_ITEM_TYPE_TAG`).
    Tag = rte_flow_item_tag {
        /// The value.
        data: u32 = host(data), default u32::MAX, "data";
        /// Which register.
        index: u8 = host(index), default 0xff, "index";
    }
}

header! {
    /// The mark that an earlier rule set (`RTE_FLOW_ITEM_TYPE_MARK`).
    Mark = rte_flow_item_mark {
        /// The value.
        id: u32 = host(id), default u32::MAX, "id";
    }
}

header! {
    /// The device's own checks of a packet (`RTE_FLOW_ITEM_TYPE_INTEGRITY`).
    Integrity = rte_flow_item_integrity {
        /// 0 or 1: the outermost headers; 2: those inside the tunnel.
        level: u32 = host(level), default 0, "level";
        /// What must hold.
        checks: IntegrityBits = host(__bindgen_anon_1.value), default IntegrityBits::empty(), "value";
    }
}

header! {
    /// What connection tracking found (`RTE_FLOW_ITEM_TYPE_CONNTRACK`).
    Conntrack = rte_flow_item_conntrack {
        /// The packet's state.
        flags: PacketState = host(flags), default PacketState::from_bits_retain(u32::MAX), "";
    }
}

header! {
    /// An ethdev port: with `PORT_REPRESENTOR` the application's end, with `REPRESENTED_PORT` the represented entity's.
    EthdevPort = rte_flow_item_ethdev {
        /// The ethdev port identifier.
        port_id: u16 = host(port_id), default u16::MAX, "port_id";
    }
}

header! {
    /// An ethdev port in the deprecated form (`RTE_FLOW_ITEM_TYPE_PORT_ID`).
    PortId = rte_flow_item_port_id {
        /// The ethdev port identifier.
        id: u32 = host(id), default u32::MAX, "id";
    }
}

header! {
    /// Any protocol in place of the current layers (`RTE_FLOW_ITEM_TYPE_ANY`).
    Any = rte_flow_item_any {
        /// How many layers.
        num: u32 = host(num), default 0, "num";
    }
}
