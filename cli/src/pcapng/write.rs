//! Writing: one section, little endian, nanoseconds, no time of writing and no names of programs: the same packets
//! give the same bytes.

use super::{BYTE_ORDER_MAGIC, LINKTYPE_ETHERNET, block, option};

/// A file being built in memory.
#[derive(Debug)]
pub struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// A file with these Ethernet interfaces, numbered from 0 in their order.
    #[must_use]
    pub fn new<Name: AsRef<str>>(interfaces: impl IntoIterator<Item = Name>) -> Self {
        let mut file = Self { bytes: Vec::new() };
        file.block(block::SECTION_HEADER, |body| {
            body.extend(BYTE_ORDER_MAGIC.to_le_bytes());
            body.extend(1u16.to_le_bytes());
            body.extend(0u16.to_le_bytes());
            // The section's length is not given.
            body.extend((-1i64).to_le_bytes());
        });
        for name in interfaces {
            file.block(block::INTERFACE_DESCRIPTION, |body| {
                body.extend(LINKTYPE_ETHERNET.to_le_bytes());
                body.extend(0u16.to_le_bytes());
                // No limit on a frame's length.
                body.extend(0u32.to_le_bytes());
                put_option(body, option::IF_NAME, name.as_ref().as_bytes());
                put_option(body, option::IF_TSRESOL, &[9]);
                put_option(body, option::END, &[]);
            });
        }
        file
    }

    /// Adds a frame. `time` is in nanoseconds since 1970.
    ///
    /// # Panics
    /// When the frame is longer than 4 GiB.
    pub fn packet(&mut self, interface: u32, time: u64, frame: &[u8]) {
        let length = u32::try_from(frame.len()).expect("a frame is shorter than 4 GiB");
        self.block(block::ENHANCED_PACKET, |body| {
            body.extend(interface.to_le_bytes());
            body.extend(((time >> 32) as u32).to_le_bytes());
            body.extend((time as u32).to_le_bytes());
            body.extend(length.to_le_bytes());
            body.extend(length.to_le_bytes());
            body.extend(frame);
            pad(body);
        });
    }

    /// The whole file.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        self.bytes
    }

    fn block(&mut self, kind: u32, write_body: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        self.bytes.extend(kind.to_le_bytes());
        self.bytes.extend([0; 4]);
        write_body(&mut self.bytes);
        let length = ((self.bytes.len() - start + 4) as u32).to_le_bytes();
        if let Some(field) = self.bytes.get_mut(start + 4..start + 8) {
            field.copy_from_slice(&length);
        }
        self.bytes.extend(length);
    }
}

fn put_option(body: &mut Vec<u8>, code: u16, value: &[u8]) {
    body.extend(code.to_le_bytes());
    body.extend((value.len() as u16).to_le_bytes());
    body.extend(value);
    pad(body);
}

/// Fills up to a multiple of four; blocks start at one.
fn pad(body: &mut Vec<u8>) {
    body.resize(body.len().next_multiple_of(4), 0);
}
