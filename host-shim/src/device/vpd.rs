//! Vital Product Data of a card (PCI Local Bus 3.0, appendix I): read from a device, so trusted in nothing.

use thiserror::Error;

/// What is of use in a card's VPD.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Vpd {
    /// What the card is called.
    pub name: Option<String>,
    /// `PN`.
    pub part_number: Option<String>,
    /// `SN`.
    pub serial_number: Option<String>,
}

/// Why bytes are no VPD.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum VpdError {
    /// They end before the end tag.
    #[error("VPD ends at byte {0} within a resource; the card's EEPROM may be damaged")]
    Truncated(usize),
    /// A tag that does not belong there.
    #[error("VPD has the unknown tag {tag:#04x} at byte {at}; the card's EEPROM may be damaged")]
    Tag {
        /// The tag's first byte.
        tag: u8,
        /// Where.
        at: usize,
    },
    /// The bytes up to the checksum do not add up to 0.
    #[error("VPD's checksum is wrong; the card's EEPROM may be damaged")]
    Checksum,
    /// There is no checksum.
    #[error("VPD has no checksum (RV); the card's EEPROM may be empty")]
    NoChecksum,
}

const IDENTIFIER: u8 = 0x82;
const READ_ONLY: u8 = 0x90;
const READ_WRITE: u8 = 0x91;
/// A small resource's name is in bits 3 to 6, its length in bits 0 to 2.
const END: u8 = 0x78;

/// Reads VPD.
///
/// # Errors
/// [`VpdError`]: nothing of a VPD that is wrong somewhere is believed.
pub fn parse(bytes: &[u8]) -> Result<Vpd, VpdError> {
    let mut vpd = Vpd::default();
    let mut checked = false;
    let mut at = 0;
    loop {
        let truncated = VpdError::Truncated(bytes.len());
        let tag = *bytes.get(at).ok_or(truncated)?;
        if tag & 0x80 == 0 {
            if tag & 0xf8 == END {
                break;
            }
            return Err(VpdError::Tag { tag, at });
        }
        let length = bytes.get(at + 1..at + 3).ok_or(truncated)?;
        let length = usize::from(u16::from_le_bytes([length[0], length[1]]));
        let start = at + 3;
        let content = bytes.get(start..start + length).ok_or(truncated)?;
        match tag {
            IDENTIFIER => vpd.name = text(content),
            READ_ONLY => checked |= read_only(bytes, start, content, &mut vpd)?,
            READ_WRITE => {}
            _ => return Err(VpdError::Tag { tag, at }),
        }
        at = start + length;
    }
    if checked { Ok(vpd) } else { Err(VpdError::NoChecksum) }
}

/// Reads the keywords of a read-only resource; whether the checksum was among them.
fn read_only(bytes: &[u8], start: usize, content: &[u8], vpd: &mut Vpd) -> Result<bool, VpdError> {
    let mut rest = content;
    let mut checked = false;
    while let Some((header, behind)) = rest.split_first_chunk::<3>() {
        let length = usize::from(header[2]);
        let at = start + content.len() - behind.len();
        let value = behind.get(..length).ok_or(VpdError::Truncated(at))?;
        match &header[..2] {
            b"PN" => vpd.part_number = text(value),
            b"SN" => vpd.serial_number = text(value),
            b"RV" => {
                // The checksum is the value's first byte, and the last of those that are summed up.
                let summed =
                    bytes.get(..=at).filter(|_| length > 0).ok_or(VpdError::Truncated(at))?;
                if summed.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)) != 0 {
                    return Err(VpdError::Checksum);
                }
                checked = true;
            }
            _ => {}
        }
        rest = &behind[length..];
    }
    Ok(checked)
}

/// Printable text, without the blanks that fill it up; none where nothing is left.
fn text(bytes: &[u8]) -> Option<String> {
    let text: String = bytes
        .iter()
        .filter(|b| b.is_ascii_graphic() || **b == b' ')
        .map(|b| char::from(*b))
        .collect();
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A VPD with these keywords and a good checksum.
    pub(crate) fn vpd(name: &str, keywords: &[(&str, &str)]) -> Vec<u8> {
        let mut bytes = vec![IDENTIFIER];
        bytes.extend((name.len() as u16).to_le_bytes());
        bytes.extend(name.bytes());
        let mut list = Vec::new();
        for (keyword, value) in keywords {
            list.extend(keyword.bytes());
            list.push(value.len() as u8);
            list.extend(value.bytes());
        }
        list.extend(b"RV\x02");
        bytes.push(READ_ONLY);
        bytes.extend((list.len() as u16 + 2).to_le_bytes());
        bytes.extend(list);
        let sum = bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
        bytes.extend([0_u8.wrapping_sub(sum), 0, END]);
        bytes
    }

    #[test]
    fn a_card_is_known() {
        let bytes =
            vpd("BlueField-3", &[("PN", "900-9D3B6"), ("EC", "A7"), ("SN", "MT2334X00001 ")]);
        let expected = Vpd {
            name: Some("BlueField-3".into()),
            part_number: Some("900-9D3B6".into()),
            serial_number: Some("MT2334X00001".into()),
        };
        assert_eq!(parse(&bytes), Ok(expected));
    }

    #[test]
    fn what_is_damaged_is_not_believed() {
        let bytes = vpd("X", &[("SN", "1234")]);
        for length in 0..bytes.len() {
            assert!(parse(&bytes[..length]).is_err(), "{length}");
        }
        let serial = bytes.windows(4).position(|four| four == b"1234").unwrap();
        let mut damaged = bytes.clone();
        damaged[serial] ^= 1;
        assert_eq!(parse(&damaged), Err(VpdError::Checksum));
        assert_eq!(parse(&[END]), Err(VpdError::NoChecksum));
        assert_eq!(parse(&[0xff; 64]), Err(VpdError::Truncated(64)));
        assert_eq!(parse(&[0x00, 0x78]), Err(VpdError::Tag { tag: 0, at: 0 }));
    }

    proptest! {
        #[test]
        fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&bytes);
        }

        /// Bytes that nearly are a VPD reach further into the parser.
        #[test]
        fn any_damage(at in 0..40_usize, value: u8, length in 0..60_usize) {
            let mut bytes = vpd("Card", &[("PN", "part"), ("SN", "serial")]);
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
            bytes.truncate(length);
            let _ = parse(&bytes);
        }
    }
}
