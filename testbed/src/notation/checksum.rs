//! The Internet checksum (RFC 1071), with pseudo-headers (RFC 9293, section 3.1; RFC 8200, section 8.1), SCTP's CRC,
//! and the CRC that spreads tunnelled flows over UDP source ports.

use std::net::IpAddr;

use super::value::octets;

/// The checksum of some bytes.
pub fn internet(bytes: &[u8]) -> u16 {
    let mut sum: u64 = bytes
        .chunks(2)
        .map(|pair| u64::from(pair[0]) << 8 | pair.get(1).map_or(0, |b| u64::from(*b)))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// The checksum of a transport header and its payload.
pub fn transport(source: IpAddr, destination: IpAddr, protocol: u8, bytes: &[u8]) -> u16 {
    let mut all = [octets(source), octets(destination)].concat();
    all.extend((bytes.len() as u32).to_be_bytes());
    all.extend([0, 0, 0, protocol]);
    all.extend(bytes);
    internet(&all)
}

/// `0xC000 | crc16` over destination address, source address (16 bytes each), protocol, destination port and source
/// port; generator 0x100b.
pub fn entropy(source: IpAddr, destination: IpAddr, protocol: u8, sport: u16, dport: u16) -> u16 {
    let wide = |address| {
        let octets = octets(address);
        [vec![0; 16 - octets.len()], octets].concat()
    };
    let mut input = [wide(destination), wide(source), vec![protocol]].concat();
    input.extend(dport.to_be_bytes());
    input.extend(sport.to_be_bytes());
    let mut crc = 0u16;
    for byte in input {
        crc ^= u16::from(byte) << 8;
        for _ in 0..8 {
            let carry = crc & 0x8000 != 0;
            crc <<= 1;
            if carry {
                crc ^= 0x100b;
            }
        }
    }
    0xc000 | crc
}

/// CRC-32C (RFC 9260, appendix A); it is sent with its lowest octet first.
pub fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = crc >> 1 ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 };
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::crc32c;

    /// RFC 3720, section B.4.
    #[test]
    fn the_published_check_values() {
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
    }
}
