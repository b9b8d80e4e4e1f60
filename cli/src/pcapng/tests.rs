//! Reading what is written, what others write, and what nobody should.

use proptest::prelude::*;

use super::{Packet, PcapngErrorKind, Reader, Writer};

/// Numbers in a byte order.
trait Order {
    fn u16(number: u16) -> [u8; 2];
    fn u32(number: u32) -> [u8; 4];
    fn i64(number: i64) -> [u8; 8];
}

struct Little;

impl Order for Little {
    fn u16(number: u16) -> [u8; 2] {
        number.to_le_bytes()
    }
    fn u32(number: u32) -> [u8; 4] {
        number.to_le_bytes()
    }
    fn i64(number: i64) -> [u8; 8] {
        number.to_le_bytes()
    }
}

struct Big;

impl Order for Big {
    fn u16(number: u16) -> [u8; 2] {
        number.to_be_bytes()
    }
    fn u32(number: u32) -> [u8; 4] {
        number.to_be_bytes()
    }
    fn i64(number: i64) -> [u8; 8] {
        number.to_be_bytes()
    }
}

fn block<O: Order>(kind: u32, body: &[&[u8]]) -> Vec<u8> {
    let mut body = body.concat();
    body.resize(body.len().next_multiple_of(4), 0);
    let length = O::u32(body.len() as u32 + 12);
    [&O::u32(kind)[..], &length, &body, &length].concat()
}

fn section<O: Order>() -> Vec<u8> {
    block::<O>(0x0A0D_0D0A, &[&O::u32(0x1A2B_3C4D), &O::u16(1), &O::u16(0), &O::i64(-1), &[0; 4]])
}

fn option<O: Order>(code: u16, value: &[u8]) -> Vec<u8> {
    let mut option = [&O::u16(code)[..], &O::u16(value.len() as u16), value].concat();
    option.resize(option.len().next_multiple_of(4), 0);
    option
}

fn interface<O: Order>(name: &str, options: &[Vec<u8>]) -> Vec<u8> {
    let name = option::<O>(2, name.as_bytes());
    block::<O>(1, &[&O::u16(1), &[0; 2], &O::u32(0), &name, &options.concat()])
}

fn enhanced<O: Order>(interface: u32, units: u64, frame: &[u8]) -> Vec<u8> {
    let length = O::u32(frame.len() as u32);
    let (high, low) = (O::u32((units >> 32) as u32), O::u32(units as u32));
    block::<O>(6, &[&O::u32(interface), &high, &low, &length, &length, frame])
}

fn times(file: &[u8]) -> Vec<u64> {
    Reader::new(file).map(|packet| packet.unwrap().time).collect()
}

fn error(file: &[u8]) -> (Option<usize>, PcapngErrorKind) {
    let mut reader = Reader::new(file);
    let error = reader.find_map(Result::err).expect("an error");
    assert_eq!(reader.next(), None, "nothing comes after an error");
    assert!(!error.to_string().is_empty());
    (error.packet, error.kind)
}

#[test]
fn what_is_written_is_read() {
    let mut file = Writer::new(["vf0", "uplink"]);
    file.packet(1, 1_700_000_000_123_456_789, &[1, 2, 3]);
    file.packet(0, u64::MAX, &[]);
    let file = file.finish();
    let mut reader = Reader::new(&file);
    let packets = reader.by_ref().collect::<Result<Vec<_>, _>>().unwrap();
    assert_eq!(
        packets,
        [
            Packet { interface: 1, time: 1_700_000_000_123_456_789, frame: &[1, 2, 3] },
            Packet { interface: 0, time: u64::MAX, frame: &[] },
        ]
    );
    let names: Vec<&str> = reader.interfaces().iter().map(|i| i.name.as_deref().unwrap()).collect();
    assert_eq!(names, ["vf0", "uplink"]);
}

#[test]
fn sections_have_their_own_byte_order_and_interfaces() {
    let file = [
        section::<Big>(),
        interface::<Big>("vf7", &[]),
        enhanced::<Big>(0, 5, &[7]),
        // A block nobody knows.
        block::<Big>(0x0bad, &[&[1, 2, 3, 4]]),
        section::<Little>(),
        interface::<Little>("uplink", &[]),
        interface::<Little>("vf7", &[]),
        enhanced::<Little>(1, 6, &[8]),
    ]
    .concat();
    let mut reader = Reader::new(&file);
    let packets = reader.by_ref().collect::<Result<Vec<_>, _>>().unwrap();
    assert_eq!(
        packets,
        [
            Packet { interface: 0, time: 5_000, frame: &[7] },
            Packet { interface: 2, time: 6_000, frame: &[8] },
        ]
    );
}

#[test]
fn timestamps_have_the_interface_s_unit_and_offset() {
    let read = |options: &[Vec<u8>], units| {
        times(
            &[section::<Big>(), interface::<Big>("vf0", options), enhanced::<Big>(0, units, &[])]
                .concat(),
        )[0]
    };
    let resolution = |byte| vec![option::<Big>(9, &[byte])];
    assert_eq!(read(&[], 1_500_001), 1_500_001_000);
    assert_eq!(read(&resolution(0), 3), 3_000_000_000);
    assert_eq!(read(&resolution(9), 42), 42);
    assert_eq!(read(&resolution(12), 42_999), 42);
    assert_eq!(read(&resolution(0x8a), 1536), 1_500_000_000);
    assert_eq!(read(&resolution(0xa0), 3 << 31), 1_500_000_000);
    assert_eq!(read(&resolution(127), u64::MAX), 0);
    assert_eq!(read(&resolution(255), u64::MAX), 0);
    let offset = |seconds| vec![option::<Big>(14, &Big::i64(seconds)), option::<Big>(0, &[])];
    assert_eq!(read(&offset(10), 1), 10_000_001_000);
    assert_eq!(read(&offset(-10), 10_000_000), 0);
}

#[test]
fn timestamps_that_fit_nowhere_are_refused() {
    let file = |options: &[Vec<u8>], units| {
        [section::<Big>(), interface::<Big>("vf0", options), enhanced::<Big>(0, units, &[])]
            .concat()
    };
    let refused = (Some(0), PcapngErrorKind::TimeRange);
    assert_eq!(error(&file(&[option::<Big>(14, &Big::i64(-1))], 999_999)), refused);
    assert_eq!(error(&file(&[option::<Big>(9, &[0])], u64::MAX)), refused);
    let far = [option::<Big>(9, &[0]), option::<Big>(14, &Big::i64(i64::MAX))];
    assert_eq!(error(&file(&far, u64::MAX)), refused);
}

#[test]
fn what_would_falsify_a_replay_is_refused() {
    let start = [section::<Little>(), interface::<Little>("vf0", &[])].concat();
    let with = |block: &[u8]| error(&[&start[..], block].concat());
    let (zero, one, four) = (Little::u32(0), Little::u32(1), Little::u32(4));

    let cut = block::<Little>(6, &[&zero, &zero, &zero, &one, &four, &[9]]);
    let truncated = PcapngErrorKind::Truncated { captured: 1, original: 4 };
    assert_eq!(with(&cut), (Some(0), truncated.clone()));
    let second = [enhanced::<Little>(0, 0, &[1, 2, 3, 4]), cut].concat();
    assert_eq!(with(&second), (Some(1), truncated));

    assert_eq!(with(&block::<Little>(3, &[&one, &[9]])), (Some(0), PcapngErrorKind::NoTimestamp));
    let elsewhere = enhanced::<Little>(1, 0, &[]);
    assert_eq!(with(&elsewhere), (Some(0), PcapngErrorKind::UnknownInterface(1)));
    let unnamed = [block::<Little>(1, &[&Little::u16(1), &[0; 6]]), elsewhere.clone()].concat();
    assert_eq!(with(&unnamed), (Some(0), PcapngErrorKind::Unnamed(1)));
    let raw_ip = [
        block::<Little>(1, &[&Little::u16(101), &[0; 6], &option::<Little>(2, b"vf1")]),
        elsewhere,
    ]
    .concat();
    let link_type = PcapngErrorKind::LinkType { name: "vf1".to_owned(), link_type: 101 };
    assert_eq!(with(&raw_ip), (Some(0), link_type));
    let long = block::<Little>(6, &[&zero, &zero, &zero, &Little::u32(u32::MAX), &four]);
    assert_eq!(with(&long), (None, PcapngErrorKind::CutShort));
}

#[test]
fn interfaces_without_packets_may_be_anything() {
    let file = [
        section::<Little>(),
        block::<Little>(1, &[&Little::u16(1), &[0; 6]]),
        block::<Little>(1, &[&Little::u16(101), &[0; 6], &option::<Little>(2, b"tun0")]),
        interface::<Little>("vf0\0\0", &[]),
        enhanced::<Little>(2, 1, &[7]),
    ]
    .concat();
    let mut reader = Reader::new(&file);
    let packets: Vec<_> = reader.by_ref().map(Result::unwrap).collect();
    assert_eq!(packets, [Packet { interface: 2, time: 1_000, frame: &[7] }]);
    let names: Vec<_> = reader.interfaces().iter().map(|i| i.name.as_deref()).collect();
    assert_eq!(names, [None, Some("tun0"), Some("vf0")]);
}

#[test]
fn broken_structure_is_refused() {
    let short = |length: u32| {
        let ends = Little::u32(length);
        [&section::<Little>()[..], &Little::u32(5), &ends, &[0; 8], &ends].concat()
    };
    assert_eq!(error(&short(11)).1, PcapngErrorKind::BlockLength);
    assert_eq!(error(&short(19)).1, PcapngErrorKind::BlockLength);
    assert_eq!(error(&short(u32::MAX)).1, PcapngErrorKind::CutShort);
    let half = &section::<Little>()[..20];
    assert_eq!(error(half).1, PcapngErrorKind::CutShort);
    assert_eq!(error(&[section::<Big>(), vec![0; 3]].concat()).1, PcapngErrorKind::CutShort);
    for other in
        [&b""[..], b"hello", &[0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0], &[0x0a, 0x0d, 0x0d, 0x0a]]
    {
        assert!(matches!(error(other).1, PcapngErrorKind::NotPcapng | PcapngErrorKind::CutShort));
    }
    let future = block::<Big>(
        0x0A0D_0D0A,
        &[&Big::u32(0x1A2B_3C4D), &Big::u16(2), &Big::u16(0), &Big::i64(-1)],
    );
    assert_eq!(error(&future).1, PcapngErrorKind::Version(2));
}

#[test]
fn the_obsolete_packet_block_is_read() {
    let length = Big::u32(2);
    let body: [&[u8]; 7] =
        [&Big::u16(0), &Big::u16(9), &Big::u32(0), &Big::u32(4), &length, &length, &[5, 6]];
    let file = [section::<Big>(), interface::<Big>("vf0", &[]), block::<Big>(2, &body)].concat();
    let packets: Vec<_> = Reader::new(&file).map(Result::unwrap).collect();
    assert_eq!(packets, [Packet { interface: 0, time: 4_000, frame: &[5, 6] }]);
}

/// A good file to spoil.
fn good() -> Vec<u8> {
    let mut file = Writer::new(["vf0", "vf1", "uplink"]);
    for number in 0..8 {
        file.packet(number % 3, u64::from(number) * 1_000, &[number as u8; 61]);
    }
    [file.finish(), section::<Big>(), interface::<Big>("vf0", &[]), enhanced::<Big>(0, 1, &[3; 5])]
        .concat()
}

/// Reads to the end; every step goes forward, so there are no more packets than bytes.
fn reads_to_an_end(bytes: &[u8]) {
    assert!(Reader::new(bytes).count() <= bytes.len() + 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn any_bytes_come_to_an_end(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        reads_to_an_end(&bytes);
    }

    #[test]
    fn spoiled_files_come_to_an_end(
        spoiled in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        length in any::<prop::sample::Index>(),
    ) {
        let mut bytes = good();
        for (index, byte) in spoiled {
            let at = index.index(bytes.len());
            bytes[at] = byte;
        }
        reads_to_an_end(&bytes);
        reads_to_an_end(&bytes[..length.index(bytes.len())]);
    }
}
