//! Zero-copy views of packet headers: parse, build, rewrite, checksums.

mod address;
mod descriptor;
mod frame;
mod tuple;

pub use address::{AddressError, Mac, Vni, VtepAddr};
pub use descriptor::{Fragment, IpPacket, Network, ParseError, Parsed, TcpFlags, Transport};
pub use frame::{Frame, NoRoom};
pub use tuple::{Family, Tuple};
