//! Capture files as a link: frames from a pcap or pcapng file, frames to a pcap file.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pcap_file::DataLink;
use pcap_file::pcap::PcapReader;
use pcap_file::pcapng::{Block, PcapNgReader};

use crate::batch::{Batch, MAX_FRAME};
use crate::log;

use super::{Link, LinkError, Received, Sent};

/// First four bytes of a pcapng file: the type of a section header block.
const PCAPNG_MAGIC: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];

enum Reader {
    Pcap(PcapReader<BufReader<File>>),
    PcapNg(PcapNgReader<BufReader<File>>),
    /// The file's end, or what cannot be read any further.
    Ended,
}

/// The captures of one port.
pub struct Captures {
    input: Mutex<Reader>,
    output: Option<Mutex<File>>,
}

impl Captures {
    /// Opens the capture to read and creates the one to write, where named.
    ///
    /// # Errors
    /// [`LinkError`] when a file cannot be opened or is no capture of Ethernet frames.
    pub fn open(input: Option<&Path>, output: Option<&Path>) -> Result<Self, LinkError> {
        Ok(Self {
            input: Mutex::new(input.map_or(Ok(Reader::Ended), open_reader)?),
            output: output.map(create_output).transpose()?,
        })
    }
}

fn not_a_capture(path: &Path) -> impl Fn(pcap_file::PcapError) -> LinkError {
    |problem| LinkError::Capture { file: path.display().to_string(), problem: problem.to_string() }
}

fn open_reader(path: &Path) -> Result<Reader, LinkError> {
    let failed = || LinkError::step(format!("read {}", path.display()));
    let mut file = File::open(path).map_err(failed())?;
    let mut magic = [0; 4];
    let is_pcapng = file.read_exact(&mut magic).is_ok() && magic == PCAPNG_MAGIC;
    file.seek(SeekFrom::Start(0)).map_err(failed())?;
    let file = BufReader::new(file);
    if is_pcapng {
        return PcapNgReader::new(file).map(Reader::PcapNg).map_err(not_a_capture(path));
    }
    let reader = PcapReader::new(file).map_err(not_a_capture(path))?;
    if reader.header().datalink != DataLink::ETHERNET {
        return Err(LinkError::Capture {
            file: path.display().to_string(),
            problem: "the capture's link type is not Ethernet".to_owned(),
        });
    }
    Ok(Reader::Pcap(reader))
}

/// The file header of a pcap file (draft-ietf-opsawg-pcap, section 4): nanoseconds, little-endian, Ethernet.
fn file_header() -> [u8; 24] {
    const NANOSECOND_MAGIC: u32 = 0xa1b2_3c4d;
    const VERSION: [u16; 2] = [2, 4];
    const LINK_TYPE_ETHERNET: u32 = 1;
    let [major, minor] = VERSION;
    let words = [
        NANOSECOND_MAGIC,
        u32::from(minor) << 16 | u32::from(major),
        0,
        0,
        MAX_FRAME as u32,
        LINK_TYPE_ETHERNET,
    ];
    let mut header = [0; 24];
    for (to, word) in header.chunks_mut(4).zip(words) {
        to.copy_from_slice(&word.to_le_bytes());
    }
    header
}

/// Appends a frame as the format's section 5 has it.
fn append_record(to: &mut Vec<u8>, time: Duration, frame: &[u8]) {
    // Seconds are 32 bits in this format; frames are far shorter.
    let words =
        [time.as_secs() as u32, time.subsec_nanos(), frame.len() as u32, frame.len() as u32];
    for word in words {
        to.extend_from_slice(&word.to_le_bytes());
    }
    to.extend_from_slice(frame);
}

fn create_output(path: &Path) -> Result<Mutex<File>, LinkError> {
    let create = || {
        let mut file = File::create(path)?;
        file.write_all(&file_header())?;
        Ok(Mutex::new(file))
    };
    create().map_err(LinkError::step(format!("create {}", path.display())))
}

impl Reader {
    /// The next Ethernet frame; `None` at the end.
    fn next(&mut self, copy: &mut dyn FnMut(&[u8])) -> Result<bool, pcap_file::PcapError> {
        match self {
            Self::Ended => Ok(false),
            Self::Pcap(reader) => match reader.next_packet() {
                None => Ok(false),
                Some(packet) => {
                    copy(&packet?.data);
                    Ok(true)
                }
            },
            Self::PcapNg(reader) => loop {
                let Some(block) = reader.next_block() else { return Ok(false) };
                match block? {
                    Block::EnhancedPacket(packet) => copy(&packet.data),
                    Block::SimplePacket(packet) => copy(&packet.data),
                    _ => continue,
                }
                return Ok(true);
            },
        }
    }
}

impl Link for Captures {
    fn receive(&self, batch: &mut Batch) -> Received {
        let mut received = Received::default();
        let mut input = self.input.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(room) = batch.next_room() {
            let mut length = 0;
            let next = input.next(&mut |frame: &[u8]| {
                if let Some(room) = room.get_mut(..frame.len()) {
                    room.copy_from_slice(frame);
                }
                length = frame.len();
            });
            match next {
                Ok(true) => received.errors += u64::from(!batch.commit(length)),
                Ok(false) => {
                    *input = Reader::Ended;
                    received.idle = true;
                    break;
                }
                Err(problem) => {
                    log::error(&format_args!("the capture ends here: {problem}"));
                    *input = Reader::Ended;
                    received.errors += 1;
                    received.idle = true;
                    break;
                }
            }
        }
        received
    }

    fn send(&self, frames: &[&[u8]]) -> Sent {
        // Without a capture to write, the frames are gone where nobody looks: taken.
        let Some(output) = &self.output else { return frames.iter().copied().collect() };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut records = Vec::new();
        for frame in frames {
            append_record(&mut records, now, frame);
        }
        let mut output = output.lock().unwrap_or_else(PoisonError::into_inner);
        // In one piece: whole frames in the file at any time, also when the process is killed.
        match output.write_all(&records) {
            Ok(()) => frames.iter().copied().collect(),
            Err(_) => Sent::default(),
        }
    }

    fn is_up(&self) -> bool {
        true
    }
}
