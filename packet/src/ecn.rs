//! Explicit congestion notification at the end of a tunnel (RFC 6040).

use zerocopy::FromBytes;

use crate::checksum::Delta;
use crate::wire::ipv4::Ipv4;
use crate::wire::ipv6::Ipv6;
use crate::{Family, IpPacket};

/// The ECN field of an IP header (RFC 3168, section 5).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Ecn {
    /// 00: the transport does not understand ECN.
    NotEct,
    /// 01: ECN-capable transport (1).
    Ect1,
    /// 10: ECN-capable transport (0).
    Ect0,
    /// 11: congestion experienced.
    Ce,
}

impl Ecn {
    /// The field in the two low bits of a traffic class (IPv4 TOS) byte; the DSCP bits are ignored.
    #[must_use]
    pub const fn from_traffic_class(byte: u8) -> Self {
        match byte & 3 {
            0 => Self::NotEct,
            1 => Self::Ect1,
            2 => Self::Ect0,
            _ => Self::Ce,
        }
    }

    /// The two bits as they stand in the header.
    #[must_use]
    pub const fn bits(self) -> u8 {
        match self {
            Self::NotEct => 0,
            Self::Ect1 => 1,
            Self::Ect0 => 2,
            Self::Ce => 3,
        }
    }
}

/// The ECN field of the inner packet after decapsulation, or `None` when the packet must be dropped: congestion was
/// marked outside, and the inner transport could not be told (RFC 6040, section 4.2, figure 4).
#[must_use]
pub const fn decapsulate_ecn(inner: Ecn, outer: Ecn) -> Option<Ecn> {
    match (inner, outer) {
        (Ecn::NotEct, Ecn::Ce) => None,
        (Ecn::NotEct, _) => Some(Ecn::NotEct),
        (Ecn::Ce, _) | (_, Ecn::Ce) => Some(Ecn::Ce),
        (Ecn::Ect0 | Ecn::Ect1, Ecn::Ect1) => Some(Ecn::Ect1),
        (unchanged, _) => Some(unchanged),
    }
}

/// Writes the ECN field of a packet that was parsed from `frame`, and keeps the IPv4 header checksum right.
pub fn set_ecn(frame: &mut [u8], packet: &mut IpPacket, ecn: Ecn) {
    let Some(bytes) = frame.get_mut(usize::from(packet.network_offset)..) else { return };
    match packet.tuple.family() {
        Family::V4 => {
            let Ok((header, _)) = Ipv4::mut_from_prefix(bytes) else { return };
            let old = header.traffic_class;
            let new = (old & !3) | ecn.bits();
            let delta = Delta::NONE.u16(old.into(), new.into());
            header.traffic_class = new;
            header.checksum = delta.apply(header.checksum.get()).into();
        }
        Family::V6 => {
            let Ok((header, _)) = Ipv6::mut_from_prefix(bytes) else { return };
            let cleared = header.version_class_label.get() & !(3 << 20);
            header.version_class_label = (cleared | (u32::from(ecn.bits()) << 20)).into();
        }
    }
    packet.ecn = ecn;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figure_4_of_rfc_6040() {
        use Ecn::{Ce, Ect0, Ect1, NotEct};
        // Rows: inner field. Columns: outer Not-ECT, ECT(0), ECT(1), CE.
        let figure = [
            (NotEct, [Some(NotEct), Some(NotEct), Some(NotEct), None]),
            (Ect0, [Some(Ect0), Some(Ect0), Some(Ect1), Some(Ce)]),
            (Ect1, [Some(Ect1), Some(Ect1), Some(Ect1), Some(Ce)]),
            (Ce, [Some(Ce), Some(Ce), Some(Ce), Some(Ce)]),
        ];
        for (inner, row) in figure {
            for (outer, expected) in [NotEct, Ect0, Ect1, Ce].into_iter().zip(row) {
                assert_eq!(decapsulate_ecn(inner, outer), expected, "{inner:?} in {outer:?}");
            }
        }
    }

    #[test]
    fn bits_and_back() {
        for byte in 0..=255 {
            assert_eq!(Ecn::from_traffic_class(byte).bits(), byte & 3);
        }
    }
}
