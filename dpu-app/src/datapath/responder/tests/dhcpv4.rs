use std::net::Ipv4Addr;

use packet::wire::dhcpv4::{Dhcpv4, MAGIC_COOKIE, Options, message, option};
use packet::wire::udp::Udp;
use zerocopy::big_endian::{U16, U32};
use zerocopy::{FromBytes, IntoBytes};

use super::*;

const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 10);
const SERVER: [u8; 4] = [10, 0, 1, 1];

/// A client's message in the making.
struct Client {
    fixed: Dhcpv4,
    options: Vec<u8>,
    source: &'static str,
    destination: &'static str,
}

impl Client {
    fn new(kind: u8) -> Self {
        let fixed = Dhcpv4 {
            operation: 1,
            hardware_type: 1,
            hardware_length: 6,
            transaction: U32::new(0xcafe_f00d),
            seconds: U16::new(3),
            client_mac: A,
            cookie: U32::new(MAGIC_COOKIE),
            ..Dhcpv4::read_from_bytes(&[0; 240]).unwrap()
        };
        let (source, destination) = ("0.0.0.0", "255.255.255.255");
        Self { fixed, options: vec![53, 1, kind], source, destination }
    }

    fn option(mut self, code: u8, value: &[u8]) -> Self {
        self.options.extend([code, u8::try_from(value.len()).unwrap()]);
        self.options.extend(value);
        self
    }

    /// A client that has its address.
    fn bound(mut self, destination: &'static str) -> Self {
        self.fixed.client = ADDRESS.octets();
        (self.source, self.destination) = ("10.0.1.10", destination);
        self
    }

    fn frame(&self) -> Vec<u8> {
        let data = [self.fixed.as_bytes(), &self.options, &[255]].concat();
        udp(&envelope(A, self.source, self.destination, 64), (68, 67), &data)
    }

    fn send(&self) -> Response {
        send(&snapshot(), "a", &self.frame()).0
    }

    fn ask(&self) -> Answer {
        let frame = ask(&snapshot(), "a", &self.frame());
        let (packet, datagram) = ip(&frame);
        assert_eq!((packet.tuple.source_port(), packet.tuple.destination_port()), (67, 68));
        assert_eq!(packet.tuple.source(), Ipv4Addr::from(SERVER));
        assert_eq!(parsed(&frame).source_mac, GATEWAY);
        assert!(packet.length() <= 576 && datagram.len() >= 308);
        let (fixed, options) = Dhcpv4::read_from_prefix(&datagram[Udp::LENGTH..]).unwrap();
        assert_eq!((fixed.operation, fixed.hardware_type, fixed.hardware_length), (2, 1, 6));
        assert_eq!((fixed.transaction, fixed.client_mac), (self.fixed.transaction, A));
        assert_eq!((fixed.flags, fixed.cookie.get()), (self.fixed.flags, MAGIC_COOKIE));
        assert!(options.contains(&255));
        let options = Options::new(options).map(|option| {
            let (code, value) = option.unwrap();
            (code, value.to_vec())
        });
        let answer = Answer {
            to: packet.tuple.destination().to_string(),
            fixed,
            options: options.collect(),
        };
        assert_eq!(answer.get(option::SERVER_IDENTIFIER), Some(&SERVER[..]));
        answer
    }
}

struct Answer {
    to: String,
    fixed: Dhcpv4,
    options: Vec<(u8, Vec<u8>)>,
}

impl Answer {
    fn get(&self, code: u8) -> Option<&[u8]> {
        self.options.iter().find(|(c, _)| *c == code).map(|(_, value)| value.as_slice())
    }

    fn kind(&self) -> u8 {
        self.get(option::MESSAGE_TYPE).unwrap()[0]
    }

    fn check_settings(&self) {
        assert_eq!(self.get(option::SUBNET_MASK), Some(&[255, 255, 255, 0][..]));
        assert_eq!(self.get(option::ROUTER), Some(&SERVER[..]));
        assert_eq!(self.get(option::DNS_SERVERS), Some(&[10, 0, 9, 53, 1, 1, 1, 1][..]));
        assert_eq!(self.get(option::INTERFACE_MTU), Some(&[5, 120][..]));
        assert_eq!(self.get(option::BROADCAST_ADDRESS), Some(&[10, 0, 1, 255][..]));
    }

    fn check_lease(&self) {
        self.check_settings();
        assert_eq!(self.fixed.your, ADDRESS.octets());
        let seconds = |code| U32::read_from_bytes(self.get(code).unwrap()).unwrap().get();
        let times = [option::RENEWAL_TIME, option::REBINDING_TIME, option::LEASE_TIME].map(seconds);
        assert_eq!(times, [43200, 75600, 86400]);
    }
}

#[test]
fn discover_gets_an_offer_and_request_its_address() {
    let offer = Client::new(message::DISCOVER).option(55, &[1, 3, 6, 15, 26]).ask();
    assert_eq!((offer.kind(), offer.to.as_str()), (message::OFFER, "10.0.1.10"));
    offer.check_lease();
    let ack = Client::new(message::REQUEST)
        .option(option::REQUESTED_ADDRESS, &offer.fixed.your)
        .option(option::SERVER_IDENTIFIER, offer.get(option::SERVER_IDENTIFIER).unwrap())
        .ask();
    assert_eq!((ack.kind(), ack.to.as_str()), (message::ACK, "10.0.1.10"));
    ack.check_lease();
}

#[test]
fn clients_that_need_broadcast_get_it() {
    let mut client = Client::new(message::DISCOVER);
    client.fixed.flags = U16::new(0x8000);
    assert_eq!(client.ask().to, "255.255.255.255");
}

#[test]
fn rebooting_clients_are_confirmed_or_refused() {
    let client = |address: [u8; 4]| {
        Client::new(message::REQUEST).option(option::REQUESTED_ADDRESS, &address)
    };
    let ack = client([10, 0, 1, 10]).ask();
    assert_eq!(ack.kind(), message::ACK);
    ack.check_lease();
    // Another, and even the interface's second one: a client holds the first.
    for wrong in [[192, 168, 1, 5], [10, 0, 1, 11]] {
        let nak = client(wrong).ask();
        assert_eq!((nak.kind(), nak.to.as_str()), (message::NAK, "255.255.255.255"));
        assert_eq!((nak.fixed.your, nak.fixed.client), ([0; 4], [0; 4]));
        let codes: Vec<u8> = nak.options.iter().map(|(code, _)| *code).collect();
        assert_eq!(codes, [option::MESSAGE_TYPE, option::SERVER_IDENTIFIER]);
    }
}

#[test]
fn renewing_and_rebinding_clients_are_answered_at_their_address() {
    for destination in ["10.0.1.1", "255.255.255.255"] {
        let ack = Client::new(message::REQUEST).bound(destination).ask();
        assert_eq!((ack.kind(), ack.to.as_str()), (message::ACK, "10.0.1.10"));
        assert_eq!(ack.fixed.client, ADDRESS.octets());
        ack.check_lease();
    }
    let mut wrong = Client::new(message::REQUEST).bound("10.0.1.1");
    wrong.fixed.client = [10, 0, 1, 77];
    assert_eq!(wrong.ask().kind(), message::NAK);
}

#[test]
fn inform_gets_settings_without_an_address() {
    let mut client = Client::new(message::INFORM).bound("255.255.255.255");
    let ack = client.ask();
    assert_eq!((ack.kind(), ack.to.as_str(), ack.fixed.your), (message::ACK, "10.0.1.10", [0; 4]));
    ack.check_settings();
    for code in [option::LEASE_TIME, option::RENEWAL_TIME, option::REBINDING_TIME] {
        assert_eq!(ack.get(code), None);
    }
    client.fixed.client = [0; 4];
    assert_eq!(client.ask().to, "10.0.1.10");
    client.fixed.client = [10, 0, 1, 77];
    assert_eq!(client.send(), UNANSWERED);
}

#[test]
fn the_client_identifier_comes_back() {
    for length in [1, 7, 255] {
        let id = vec![7; length];
        let client = Client::new(message::DISCOVER).option(option::CLIENT_IDENTIFIER, &id);
        let offer = client.ask();
        assert_eq!(offer.get(option::CLIENT_IDENTIFIER), Some(id.as_slice()));
        offer.check_lease_without_dns();
    }
    let nak = Client::new(message::REQUEST)
        .option(option::REQUESTED_ADDRESS, &[1, 2, 3, 4])
        .option(option::CLIENT_IDENTIFIER, &[1, 2])
        .ask();
    assert_eq!(nak.get(option::CLIENT_IDENTIFIER), Some(&[1, 2][..]));
}

impl Answer {
    /// The longest identifier leaves no room for DNS servers in the message every client takes.
    fn check_lease_without_dns(&self) {
        assert_eq!(self.fixed.your, ADDRESS.octets());
        assert!(self.get(option::LEASE_TIME).is_some());
        assert!(self.get(option::BROADCAST_ADDRESS).is_some());
    }
}

#[test]
fn options_may_overflow_into_the_fields_before_them() {
    let mut client = Client::new(message::REQUEST).option(option::OVERLOAD, &[3]);
    client.fixed.boot_file[..7].copy_from_slice(&[50, 4, 10, 0, 1, 10, 255]);
    client.fixed.server_name[..7].copy_from_slice(&[54, 4, 10, 0, 1, 1, 255]);
    let ack = client.ask();
    assert_eq!(ack.kind(), message::ACK);
    assert_eq!((ack.fixed.boot_file, ack.fixed.server_name), ([0; 128], [0; 64]));
}

#[test]
fn a_datagram_without_checksum_is_fine_on_ipv4() {
    let mut frame = Client::new(message::DISCOVER).frame();
    frame[40..42].fill(0);
    ask(&snapshot(), "a", &frame);
    frame[41] = 1;
    assert_eq!(send(&snapshot(), "a", &frame).0, MALFORMED);
}

#[test]
fn what_is_not_answered() {
    for kind in [message::RELEASE, message::DECLINE, message::OFFER, message::ACK, 99] {
        assert_eq!(Client::new(kind).send(), UNANSWERED, "type {kind}");
    }
    let to_another = Client::new(message::REQUEST)
        .option(option::REQUESTED_ADDRESS, &[10, 0, 1, 10])
        .option(option::SERVER_IDENTIFIER, &[10, 0, 1, 99]);
    assert_eq!(to_another.send(), UNANSWERED);
    assert_eq!(Client::new(message::REQUEST).send(), UNANSWERED, "asks for nothing");

    let mut relayed = Client::new(message::DISCOVER);
    relayed.fixed.relay = [10, 0, 1, 10];
    assert_eq!(relayed.send(), UNANSWERED);
    (relayed.source, relayed.destination) = ("10.0.1.10", "10.0.1.1");
    assert_eq!(relayed.send(), Response::NotForUs);

    let mut stranger = Client::new(message::DISCOVER);
    stranger.fixed.client_mac = B;
    assert_eq!(stranger.send(), Response::Drop(DropReason::SpoofedSource));

    let mut reply = Client::new(message::DISCOVER);
    reply.fixed.operation = 2;
    assert_eq!(reply.send(), UNANSWERED);
    let mut bootp = Client::new(message::DISCOVER);
    bootp.fixed.cookie = U32::new(1);
    assert_eq!(bootp.send(), UNANSWERED);

    // An interface that may spoof, for somebody behind it; and it has no IPv4 address anyway.
    let frame = Client::new(message::DISCOVER).frame();
    assert_eq!(send(&snapshot(), "router", &frame).0, UNANSWERED);
    let mut own = Client::new(message::DISCOVER);
    own.fixed.client_mac = ROUTER;
    assert_eq!(send(&snapshot(), "router", &own.frame()).0, UNANSWERED);
}

#[test]
fn bad_messages_are_malformed() {
    let mut infiniband = Client::new(message::DISCOVER);
    infiniband.fixed.hardware_type = 32;
    assert_eq!(infiniband.send(), MALFORMED);
    assert_eq!(Client::new(message::REQUEST).option(50, &[1, 2, 3]).send(), MALFORMED);
    let mut cut = Client::new(message::DISCOVER);
    cut.options.extend([12, 200, 1]);
    assert_eq!(cut.send(), MALFORMED);
    let mut untyped = Client::new(message::DISCOVER);
    untyped.options = vec![12, 1, 65];
    assert_eq!(untyped.send(), MALFORMED);
    let short = udp(&envelope(A, "0.0.0.0", "255.255.255.255", 64), (68, 67), &[1; 200]);
    assert_eq!(send(&snapshot(), "a", &short).0, MALFORMED);
}
