//! Reading: a file's bytes in, interfaces and packets out, in file order, without copying a frame.
//!
//! Strict where a wrong guess would falsify a replay (lengths, truncated frames, missing timestamps), tolerant of
//! everything it has no use for (unknown blocks and options, section lengths, interfaces without packets).

use std::fmt;

use thiserror::Error;

use super::{BYTE_ORDER_MAGIC, LINKTYPE_ETHERNET, block, option};

/// Why a file cannot be read, and where.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub struct PcapngError {
    /// Offset of the block in the file, bytes.
    pub offset: usize,
    /// Number of the packet the block holds, counted from 0 over the file.
    pub packet: Option<usize>,
    /// What is wrong.
    pub kind: PcapngErrorKind,
}

impl fmt::Display for PcapngError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.packet {
            Some(packet) => write!(f, "packet {packet} (byte {}): {}", self.offset, self.kind),
            None => write!(f, "byte {}: {}", self.offset, self.kind),
        }
    }
}

/// What is wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PcapngErrorKind {
    /// The first block is no section header.
    #[error("this is not a pcapng file (older pcap files convert with `editcap -F pcapng`)")]
    NotPcapng,
    /// A block, or something in it, is longer than what holds it.
    #[error("the file ends in the middle of a block, or a length in it is wrong")]
    CutShort,
    /// A block's length is below its minimum, no multiple of four, or differs between its two ends.
    #[error("the block's length fields are wrong")]
    BlockLength,
    /// A section of a major version other than 1.
    #[error("pcapng version {0} is not known; only version 1 is")]
    Version(u16),
    /// A packet of an interface without `if_name`.
    #[error("its interface {0} has no name (if_name); name it vf0, vf1, ... or uplink")]
    Unnamed(u32),
    /// A packet of an interface that is not Ethernet.
    #[error("its interface {name} has link type {link_type}; only Ethernet (1) is supported")]
    LinkType {
        /// The interface's name.
        name: String,
        /// Its link type.
        link_type: u16,
    },
    /// A packet of an interface the section does not describe.
    #[error("there is no interface {0} in its section")]
    UnknownInterface(u32),
    /// A simple packet block.
    #[error(
        "it is a simple packet block, which has no timestamp; capture with enhanced packet blocks"
    )]
    NoTimestamp,
    /// A frame of which only the beginning was captured.
    #[error("{captured} of {original} bytes were captured; capture whole frames (`-s 0`)")]
    Truncated {
        /// Bytes in the file.
        captured: u32,
        /// Bytes on the link.
        original: u32,
    },
    /// A timestamp before 1970 or after 2554.
    #[error("its timestamp does not fit 64 bits of nanoseconds since 1970")]
    TimeRange,
}

impl PcapngErrorKind {
    /// Whether it speaks of one packet.
    const fn is_of_packet(&self) -> bool {
        matches!(
            self,
            Self::Unnamed(_)
                | Self::LinkType { .. }
                | Self::UnknownInterface(_)
                | Self::NoTimestamp
                | Self::Truncated { .. }
                | Self::TimeRange
        )
    }
}

/// A capture interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// `if_name`, if it has one; all that have packets do.
    pub name: Option<String>,
    link_type: u16,
    resolution: Resolution,
    /// Seconds to add to each timestamp.
    offset: i64,
}

/// Unit of an interface's timestamps (`if_tsresol`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Resolution {
    /// 10 to the power of minus this many seconds.
    Decimal(u8),
    /// 2 to the power of minus this many seconds.
    Binary(u8),
}

impl Resolution {
    const MICROSECONDS: Self = Self::Decimal(6);

    fn from_option(byte: u8) -> Self {
        if byte & 0x80 == 0 { Self::Decimal(byte) } else { Self::Binary(byte & 0x7f) }
    }

    /// A count of units, in nanoseconds, rounded down.
    fn nanoseconds(self, units: u64) -> u128 {
        let scaled = u128::from(units) * 1_000_000_000;
        match self {
            // Beyond 10^-38 the divisor has no room; no 64-bit count of such units reaches a nanosecond.
            Self::Decimal(digits) => {
                10u128.checked_pow(u32::from(digits)).map_or(0, |unit| scaled / unit)
            }
            Self::Binary(bits) => scaled.checked_shr(u32::from(bits)).unwrap_or(0),
        }
    }
}

/// A captured frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Index into [`Reader::interfaces`].
    pub interface: usize,
    /// Nanoseconds since 1970.
    pub time: u64,
    /// The frame, whole, from the destination MAC on.
    pub frame: &'a [u8],
}

/// Byte order of a section.
#[derive(Debug, Clone, Copy)]
enum Endian {
    Little,
    Big,
}

/// What is left of a block's body, and the byte order to read it in.
#[derive(Debug, Clone, Copy)]
struct Cursor<'a> {
    bytes: &'a [u8],
    endian: Endian,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], PcapngErrorKind> {
        let (taken, rest) = self.bytes.split_at_checked(count).ok_or(PcapngErrorKind::CutShort)?;
        self.bytes = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], PcapngErrorKind> {
        let (taken, rest) = self.bytes.split_first_chunk().ok_or(PcapngErrorKind::CutShort)?;
        self.bytes = rest;
        Ok(*taken)
    }

    fn u16(&mut self) -> Result<u16, PcapngErrorKind> {
        let bytes = self.array()?;
        Ok(match self.endian {
            Endian::Little => u16::from_le_bytes(bytes),
            Endian::Big => u16::from_be_bytes(bytes),
        })
    }

    fn u32(&mut self) -> Result<u32, PcapngErrorKind> {
        let bytes = self.array()?;
        Ok(match self.endian {
            Endian::Little => u32::from_le_bytes(bytes),
            Endian::Big => u32::from_be_bytes(bytes),
        })
    }

    fn i64(&mut self) -> Result<i64, PcapngErrorKind> {
        let bytes = self.array()?;
        Ok(match self.endian {
            Endian::Little => i64::from_le_bytes(bytes),
            Endian::Big => i64::from_be_bytes(bytes),
        })
    }

    /// The next option's code and value; `None` at the end of the list, marked or not.
    fn option(&mut self) -> Result<Option<(u16, Self)>, PcapngErrorKind> {
        if self.bytes.is_empty() {
            return Ok(None);
        }
        let code = self.u16()?;
        let length = usize::from(self.u16()?);
        if code == option::END {
            return Ok(None);
        }
        let bytes = self.take(length)?;
        self.take(length.next_multiple_of(4) - length)?;
        Ok(Some((code, Self { bytes, endian: self.endian })))
    }
}

/// An iterator over the packets of a file. After an error it ends.
#[derive(Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    /// Offset of the next block.
    position: usize,
    /// Byte order of the section; `None` before the first.
    endian: Option<Endian>,
    interfaces: Vec<Interface>,
    /// Where in `interfaces` those of the current section start.
    section_start: usize,
    packets: usize,
}

impl<'a> Reader<'a> {
    /// A reader over a whole file.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            position: 0,
            endian: None,
            interfaces: Vec::new(),
            section_start: 0,
            packets: 0,
        }
    }

    /// The interfaces described so far, over all sections, in file order: all there are once the iterator has ended.
    #[must_use]
    pub fn interfaces(&self) -> &[Interface] {
        &self.interfaces
    }

    /// Reads the block at `position`, and advances behind it: its packet, if it holds one.
    fn block(&mut self) -> Result<Option<Packet<'a>>, PcapngErrorKind> {
        let bytes = self.bytes.get(self.position..).unwrap_or_default();
        // Types read the same from both ends where it matters: a section header's is a palindrome.
        let endian = self.endian.unwrap_or(Endian::Little);
        let mut header = Cursor { bytes, endian };
        let kind = header.u32();
        if kind == Ok(block::SECTION_HEADER) {
            header.endian = section_endian(bytes)?;
            self.endian = Some(header.endian);
        } else if self.endian.is_none() {
            return Err(PcapngErrorKind::NotPcapng);
        }
        let length = header.u32()?;
        let body_length = length.checked_sub(12).ok_or(PcapngErrorKind::BlockLength)?;
        let body = header.take(usize::try_from(body_length).unwrap_or(usize::MAX))?;
        if header.u32()? != length || length % 4 != 0 {
            return Err(PcapngErrorKind::BlockLength);
        }
        self.position = self.bytes.len() - header.bytes.len();
        let mut body = Cursor { bytes: body, ..header };
        match kind? {
            block::SECTION_HEADER => {
                self.section_start = self.interfaces.len();
                body.u32()?;
                match body.u16()? {
                    1 => Ok(None),
                    major => Err(PcapngErrorKind::Version(major)),
                }
            }
            block::INTERFACE_DESCRIPTION => {
                self.interfaces.push(interface(body)?);
                Ok(None)
            }
            block::ENHANCED_PACKET => {
                let number = body.u32()?;
                self.packet(number, body).map(Some)
            }
            block::OBSOLETE_PACKET => {
                let number = body.u16()?;
                let _drops = body.u16()?;
                self.packet(number.into(), body).map(Some)
            }
            block::SIMPLE_PACKET => Err(PcapngErrorKind::NoTimestamp),
            _ => Ok(None),
        }
    }

    /// Reads a packet from its timestamp on.
    fn packet(&self, number: u32, mut body: Cursor<'a>) -> Result<Packet<'a>, PcapngErrorKind> {
        let index = usize::try_from(number)
            .ok()
            .and_then(|number| self.section_start.checked_add(number))
            .ok_or(PcapngErrorKind::UnknownInterface(number))?;
        let interface =
            self.interfaces.get(index).ok_or(PcapngErrorKind::UnknownInterface(number))?;
        let name = interface.name.as_ref().ok_or(PcapngErrorKind::Unnamed(number))?;
        if interface.link_type != LINKTYPE_ETHERNET {
            let (name, link_type) = (name.clone(), interface.link_type);
            return Err(PcapngErrorKind::LinkType { name, link_type });
        }
        let units = u64::from(body.u32()?) << 32 | u64::from(body.u32()?);
        let captured = body.u32()?;
        let original = body.u32()?;
        if captured < original {
            return Err(PcapngErrorKind::Truncated { captured, original });
        }
        let frame = body.take(usize::try_from(captured).unwrap_or(usize::MAX))?;
        let time = i128::try_from(interface.resolution.nanoseconds(units))
            .ok()
            .and_then(|time| {
                u64::try_from(time + i128::from(interface.offset) * 1_000_000_000).ok()
            })
            .ok_or(PcapngErrorKind::TimeRange)?;
        Ok(Packet { interface: index, time, frame })
    }
}

impl<'a> Iterator for Reader<'a> {
    type Item = Result<Packet<'a>, PcapngError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.position < self.bytes.len() || self.endian.is_none() {
            let offset = self.position;
            match self.block() {
                Ok(None) => {}
                Ok(Some(packet)) => {
                    self.packets += 1;
                    return Some(Ok(packet));
                }
                Err(kind) => {
                    let packet = kind.is_of_packet().then_some(self.packets);
                    // Ends the iteration, also where the file was no pcapng at all.
                    self.position = self.bytes.len();
                    self.endian = Some(Endian::Little);
                    return Some(Err(PcapngError { offset, packet, kind }));
                }
            }
        }
        None
    }
}

/// The byte order of the section whose header starts here.
fn section_endian(bytes: &[u8]) -> Result<Endian, PcapngErrorKind> {
    let magic: [u8; 4] = bytes
        .get(8..12)
        .and_then(|magic| magic.try_into().ok())
        .ok_or(PcapngErrorKind::CutShort)?;
    if magic == BYTE_ORDER_MAGIC.to_le_bytes() {
        Ok(Endian::Little)
    } else if magic == BYTE_ORDER_MAGIC.to_be_bytes() {
        Ok(Endian::Big)
    } else {
        Err(PcapngErrorKind::NotPcapng)
    }
}

/// Reads an interface description.
fn interface(mut body: Cursor<'_>) -> Result<Interface, PcapngErrorKind> {
    let link_type = body.u16()?;
    let _reserved = body.u16()?;
    let _snap_length = body.u32()?;
    let mut interface =
        Interface { name: None, link_type, resolution: Resolution::MICROSECONDS, offset: 0 };
    while let Some((code, mut value)) = body.option()? {
        match code {
            option::IF_NAME => {
                // Texts are as long as the option says, or end at a zero octet before (section 3.5).
                let text = value.bytes.split(|octet| *octet == 0).next().unwrap_or_default();
                interface.name = Some(String::from_utf8_lossy(text).into_owned());
            }
            option::IF_TSRESOL => {
                let [byte] = value.array()?;
                interface.resolution = Resolution::from_option(byte);
            }
            option::IF_TSOFFSET => interface.offset = value.i64()?,
            _ => {}
        }
    }
    Ok(interface)
}
