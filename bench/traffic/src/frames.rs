//! Files of frames.

use std::io::{self, Write};

/// Bytes before each frame.
const HEAD: usize = 4;

/// The frames of a file, in the order in which they are received.
///
/// Before each frame stand the number of the port that receives it, and its length in bytes; both have 16 bits, least
/// significant byte first. One frame lies behind the other, so that reading them costs as little as it can.
#[derive(Debug)]
pub struct Frames(Vec<u8>);

impl Frames {
    /// Checks what a file has; `None` when it ends within a frame, or has none.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Option<Self> {
        let frames = Self(bytes);
        let mut at = 0;
        while let Some((_, _, behind)) = frames.at(at) {
            at = behind;
        }
        (at > 0 && at == frames.0.len()).then_some(frames)
    }

    /// The frame at a place: who receives it, the frame, and the place of the next.
    #[must_use]
    pub fn at(&self, at: usize) -> Option<(u16, &[u8], usize)> {
        let (&[port_low, port_high, low, high], rest) = self.0.get(at..)?.split_first_chunk()?;
        let length = usize::from(u16::from_le_bytes([low, high]));
        let frame = rest.get(..length)?;
        Some((u16::from_le_bytes([port_low, port_high]), frame, at + HEAD + length))
    }
}

/// Writes a frame for a port.
///
/// # Errors
/// When it cannot be written, or has more than 65535 bytes.
pub fn write_frame(out: &mut impl Write, port: u16, frame: &[u8]) -> io::Result<()> {
    let length = u16::try_from(frame.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    out.write_all(&port.to_le_bytes())?;
    out.write_all(&length.to_le_bytes())?;
    out.write_all(frame)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_as_they_were_written() {
        let mut bytes = Vec::new();
        write_frame(&mut bytes, 0, b"first").unwrap();
        write_frame(&mut bytes, 258, b"").unwrap();
        let frames = Frames::new(bytes.clone()).unwrap();
        assert_eq!(frames.at(0), Some((0, &b"first"[..], 9)));
        assert_eq!(frames.at(9), Some((258, &b""[..], 13)));
        assert_eq!(frames.at(13), None);
        // Cut short.
        bytes.pop();
        assert!(Frames::new(bytes).is_none());
        assert!(Frames::new(Vec::new()).is_none());
    }

    #[test]
    fn frames_that_are_too_long_are_refused() {
        assert!(write_frame(&mut Vec::new(), 0, &vec![0; 1 << 16]).is_err());
    }
}
