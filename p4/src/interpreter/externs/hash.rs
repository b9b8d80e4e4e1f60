//! Checksum and hash.

/// The Internet checksum (RFC 1071) of bytes, which an odd number of are padded with zero.
pub fn internet(bytes: &[u8]) -> u16 {
    let mut sum = 0_u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// CRC-16 with the polynomial 0x100b, the remainder of the bytes as one number, as `mlx5dr_crc32.c` of DPDK 24.03 has it.
pub fn crc16(bytes: &[u8]) -> u16 {
    let mut remainder = 0_u16;
    for byte in bytes {
        for bit in (0..8).rev() {
            let top = remainder >> 15 ^ u16::from(byte >> bit & 1);
            remainder = remainder << 1 ^ if top == 1 { 0x100b } else { 0 };
        }
    }
    remainder
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksum_of_the_example_of_rfc_1071() {
        assert_eq!(internet(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
        assert_eq!(internet(&[0xff]), !0xff00);
    }

    /// The remainder is linear: that of a sum is the sum of the remainders.
    #[test]
    fn crc_is_the_remainder_of_a_polynomial() {
        assert_eq!(crc16(&[0x01]), 0x100b);
        assert_eq!(crc16(&[0x02]), 0x100b << 1);
        assert_eq!(crc16(&[0x03]), 0x100b ^ 0x100b << 1);
        assert_eq!(crc16(&[0, 0, 0]), 0);
    }
}
