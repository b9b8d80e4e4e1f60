//! Reading numbers out of bytes that may end early.

/// The 16-bit number in network byte order at `at`.
pub fn u16(bytes: &[u8], at: usize) -> Option<u16> {
    let found = bytes.get(at..)?.first_chunk()?;
    Some(u16::from_be_bytes(*found))
}
