//! Packets as text: `eth(src=..., dst=...)/ipv4(src=10.0.0.1, dst=10.0.0.2)/udp(sport=1, dport=2)/"hello"`.
//!
//! The language is described for its users in `docs/reference/packet-notation.md`. It shares no code with the packet library it
//! tests: checksums, lengths and entropy are computed here once more, from their specifications.

mod build;
mod checksum;
mod read;
mod show;
mod tunnel;
mod value;

pub use show::show;

/// The bytes of a packet.
///
/// # Errors
/// What is wrong with the text, in a sentence.
pub fn packet(text: &str) -> Result<Vec<u8>, String> {
    build::stack(&read::layers(text)?, build::Inside::default())
}
