//! Captures as bytes.

/// A pcap file of these frames.
pub fn capture(frames: &[Vec<u8>]) -> Vec<u8> {
    let mut file = Vec::new();
    for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65535, 1] {
        file.extend(word.to_le_bytes());
    }
    for frame in frames {
        let length = u32::try_from(frame.len()).unwrap();
        for word in [0, 0, length, length] {
            file.extend(word.to_le_bytes());
        }
        file.extend(frame);
    }
    file
}

/// The frames of a pcap file.
pub fn frames_of(mut file: &[u8]) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    file = file.get(24..).unwrap_or_default();
    while let Some((header, rest)) = file.split_first_chunk::<16>() {
        let length = u32::from_le_bytes(*header[8..].first_chunk().unwrap()) as usize;
        let (frame, rest) = rest.split_at(length);
        frames.push(frame.to_vec());
        file = rest;
    }
    frames
}
