//! Zero-copy views of packet headers: parse, build, rewrite, checksums.

mod address;
pub mod checksum;
mod descriptor;
mod ecn;
mod encapsulation;
mod entropy;
mod frame;
mod parse;
mod tuple;
pub mod wire;

pub use address::{AddressError, Mac, Vni, VtepAddr};
pub use descriptor::{Fragment, IpPacket, Network, ParseError, Parsed, TcpFlags, Transport};
pub use ecn::{Ecn, decapsulate_ecn, set_ecn};
pub use encapsulation::{EncapsulationError, TunnelError, VxlanHeader, VxlanTunnel};
pub use entropy::{outer_source_port, vxlan_source_port, vxlan_source_port_of};
pub use frame::{Frame, NoRoom};
pub use parse::{
    AddressWords, NotVxlan, Quoted, Usual, UsualVxlan, VxlanError, VxlanPacket, address_words,
    parse, parse_quoted, parse_usual, parse_usual_vxlan, parse_vxlan,
};
pub use tuple::{Family, Tuple};
