//! IP addresses of either family as the contract has them (`address_t`): the version, and the address in the last bits.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ethnum::U256;

use crate::bits::Bits;

/// The width of such an address.
pub const WIDTH: u32 = 136;

/// The number that stands for an address.
#[must_use]
pub fn bits(address: IpAddr) -> Bits {
    let (version, address) = match address {
        IpAddr::V4(address) => (4_u8, u128::from(address.to_bits())),
        IpAddr::V6(address) => (6_u8, address.to_bits()),
    };
    Bits::truncate(WIDTH, U256::from(version) << 128 | U256::from(address))
}

/// The address for which a number stands. One without a version is that of a program's variable that was never written.
#[must_use]
pub fn address(bits: Bits) -> IpAddr {
    let number = bits.value();
    if number >> 128 == 4_u128 {
        Ipv4Addr::from_bits(number.as_u32()).into()
    } else {
        Ipv6Addr::from_bits(number.as_u128()).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        for text in ["10.0.0.1", "0.0.0.0", "255.255.255.255", "::", "::ffff:10.0.0.1", "fd00::1"] {
            let one: IpAddr = text.parse().expect("an address");
            assert_eq!(address(bits(one)), one);
        }
        let [v4, v6] =
            ["10.0.0.1", "::ffff:10.0.0.1"].map(|text| text.parse().expect("an address"));
        assert_ne!(bits(v4), bits(v6));
    }
}
