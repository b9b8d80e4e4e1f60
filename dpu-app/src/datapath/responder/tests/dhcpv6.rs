use std::net::Ipv6Addr;

use packet::wire::dhcpv6::{IaAddress, IaNa, Options, message, option, status};
use packet::wire::udp::Udp;
use zerocopy::FromBytes;

use super::*;

const CLIENT_ID: [u8; 14] = [0, 1, 0, 1, 0x2a, 1, 2, 3, 2, 0, 0, 0, 0, 0x0a];
const SERVER_ID: [u8; 10] = [0, 3, 0, 1, 2, 0x50, 0x4e, 0x53, 0, 1];
const OWN: [&str; 2] = ["2001:db8:0:1::a", "2001:db8:0:1::aa"];
const FOREIGN: &str = "2001:db8:0:1::77";
/// Where clients send to.
const GROUP: &str = "ff02::1:2";

fn bytes(code: u16, value: &[u8]) -> Vec<u8> {
    [&code.to_be_bytes(), &u16::try_from(value.len()).unwrap().to_be_bytes(), value].concat()
}

/// A group of addresses with number `id`, naming some.
fn group(code: u16, id: u8, addresses: &[&str]) -> Vec<u8> {
    let mut value = vec![0, 0, 0, id];
    if code != option::IA_TA {
        value.extend([0; 8]);
    }
    for address in addresses {
        let address: Ipv6Addr = address.parse().unwrap();
        value.extend(bytes(option::IA_ADDRESS, &[&address.octets()[..], &[0; 8]].concat()));
    }
    bytes(code, &value)
}

fn frame(kind: u8, options: &[Vec<u8>], destination: &str) -> Vec<u8> {
    let data = [&[kind, 0xab, 0xcd, 0xef], options.concat().as_slice()].concat();
    udp(&envelope(A, "fe80::a", destination, 1), (546, 547), &data)
}

fn client() -> Vec<u8> {
    bytes(option::CLIENT_IDENTIFIER, &CLIENT_ID)
}

fn server() -> Vec<u8> {
    bytes(option::SERVER_IDENTIFIER, &SERVER_ID)
}

/// A group in an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Given {
    id: u8,
    times: (u32, u32),
    /// Address, preferred and valid lifetime.
    addresses: Vec<(String, u32, u32)>,
    status: Option<u16>,
}

struct Answer {
    kind: u8,
    options: Vec<(u16, Vec<u8>)>,
}

impl Answer {
    fn get(&self, code: u16) -> Option<&[u8]> {
        self.options.iter().find(|(c, _)| *c == code).map(|(_, value)| value.as_slice())
    }

    fn status(&self) -> Option<u16> {
        self.get(option::STATUS).map(|value| u16::from_be_bytes([value[0], value[1]]))
    }

    fn groups(&self, code: u16) -> Vec<Given> {
        let groups = self.options.iter().filter(|(c, _)| *c == code);
        groups.map(|(_, value)| Given::read(code, value)).collect()
    }

    fn check_dns(&self) {
        let server: Ipv6Addr = "2001:db8:0:9::53".parse().unwrap();
        assert_eq!(self.get(option::DNS_SERVERS), Some(&server.octets()[..]));
    }
}

impl Given {
    fn read(code: u16, value: &[u8]) -> Self {
        let (times, options) = if code == option::IA_TA {
            ((0, 0), &value[4..])
        } else {
            let (head, options) = IaNa::ref_from_prefix(value).unwrap();
            ((head.t1.get(), head.t2.get()), options)
        };
        let mut given = Self { id: value[3], times, addresses: Vec::new(), status: None };
        for option in Options::new(options) {
            match option.unwrap() {
                (option::IA_ADDRESS, value) => {
                    let address = IaAddress::ref_from_bytes(value).unwrap();
                    given.addresses.push((
                        Ipv6Addr::from(address.address).to_string(),
                        address.preferred_lifetime.get(),
                        address.valid_lifetime.get(),
                    ));
                }
                (option::STATUS, value) => {
                    given.status = Some(u16::from_be_bytes([value[0], value[1]]));
                }
                (other, _) => panic!("option {other} in a group"),
            }
        }
        given
    }

    fn own(id: u8) -> Self {
        let addresses = OWN.map(|address| (address.to_owned(), 86400, 172_800)).to_vec();
        Self { id, times: (43200, 69120), addresses, status: None }
    }

    fn refused(id: u8, code: u16) -> Self {
        Self { id, times: (0, 0), addresses: Vec::new(), status: Some(code) }
    }
}

fn ask_to(kind: u8, options: &[Vec<u8>], destination: &str, from: &str) -> Answer {
    let answer = ask(&snapshot(), "a", &frame(kind, options, destination));
    let (packet, datagram) = ip(&answer);
    assert_eq!((packet.tuple.source_port(), packet.tuple.destination_port()), (547, 546));
    assert_eq!(packet.tuple.source().to_string(), from);
    assert_eq!(packet.tuple.destination().to_string(), "fe80::a");
    assert_eq!(parsed(&answer).source_mac, GATEWAY);
    let data = &datagram[Udp::LENGTH..];
    assert_eq!(data[1..4], [0xab, 0xcd, 0xef]);
    let options = Options::new(&data[4..]).map(|option| {
        let (code, value) = option.unwrap();
        (code, value.to_vec())
    });
    let answer = Answer { kind: data[0], options: options.collect() };
    assert_eq!(answer.get(option::SERVER_IDENTIFIER), Some(&SERVER_ID[..]));
    answer
}

fn ask_all(kind: u8, options: &[Vec<u8>]) -> Answer {
    ask_to(kind, options, GROUP, "fe80::1")
}

fn sent(kind: u8, options: &[Vec<u8>], destination: &str) -> Response {
    send(&snapshot(), "a", &frame(kind, options, destination)).0
}

#[test]
fn solicit_gets_an_advertisement_and_request_its_addresses() {
    let advertisement = ask_all(message::SOLICIT, &[client(), group(option::IA_NA, 5, &[FOREIGN])]);
    assert_eq!(advertisement.kind, message::ADVERTISE);
    assert_eq!(advertisement.get(option::PREFERENCE), Some(&[255][..]));
    assert_eq!(advertisement.groups(option::IA_NA), [Given::own(5)]);
    advertisement.check_dns();
    let reply = ask_all(message::REQUEST, &[client(), server(), group(option::IA_NA, 5, &OWN)]);
    assert_eq!((reply.kind, reply.get(option::PREFERENCE)), (message::REPLY, None));
    assert_eq!(reply.get(option::CLIENT_IDENTIFIER), Some(&CLIENT_ID[..]));
    assert_eq!(reply.groups(option::IA_NA), [Given::own(5)]);
    reply.check_dns();
}

#[test]
fn rapid_commit_saves_a_round() {
    let options = [client(), bytes(option::RAPID_COMMIT, &[]), group(option::IA_NA, 1, &[])];
    let reply = ask_all(message::SOLICIT, &options);
    assert_eq!((reply.kind, reply.get(option::RAPID_COMMIT)), (message::REPLY, Some(&[][..])));
    assert_eq!(reply.groups(option::IA_NA), [Given::own(1)]);
}

#[test]
fn only_the_first_group_gets_addresses_and_nobody_prefixes() {
    let options = [
        client(),
        group(option::IA_PD, 1, &[]),
        group(option::IA_TA, 2, &[]),
        group(option::IA_NA, 3, &[]),
        group(option::IA_NA, 4, &[]),
    ];
    let answer = ask_all(message::SOLICIT, &options);
    let no_addresses = |id| Given::refused(id, status::NO_ADDRESSES);
    assert_eq!(answer.groups(option::IA_PD), [Given::refused(1, status::NO_PREFIXES)]);
    assert_eq!(answer.groups(option::IA_TA), [no_addresses(2)]);
    assert_eq!(answer.groups(option::IA_NA), [Given::own(3), no_addresses(4)]);
}

#[test]
fn requests_for_other_addresses_are_refused() {
    let options = [client(), server(), group(option::IA_NA, 5, &[OWN[0], FOREIGN])];
    let reply = ask_all(message::REQUEST, &options);
    assert_eq!(reply.groups(option::IA_NA), [Given::refused(5, status::NOT_ON_LINK)]);
}

#[test]
fn renewal_extends_own_addresses_and_ends_others() {
    let named = group(option::IA_NA, 5, &[FOREIGN, OWN[0]]);
    let mut expected = Given::own(5);
    expected.addresses.push((FOREIGN.to_owned(), 0, 0));
    let renewed = ask_all(message::RENEW, &[client(), server(), named.clone()]);
    let rebound = ask_all(message::REBIND, &[client(), named]);
    for reply in [renewed, rebound] {
        assert_eq!(reply.kind, message::REPLY);
        assert_eq!(reply.groups(option::IA_NA), [expected.clone()]);
    }
}

#[test]
fn confirm_says_whether_the_addresses_are_still_right() {
    let confirm = |addresses: &[&str]| {
        ask_all(message::CONFIRM, &[client(), group(option::IA_NA, 1, addresses)]).status()
    };
    assert_eq!(confirm(&OWN), Some(status::SUCCESS));
    assert_eq!(confirm(&[OWN[0], FOREIGN]), Some(status::NOT_ON_LINK));
    let empty = [client(), group(option::IA_NA, 1, &[])];
    assert_eq!(sent(message::CONFIRM, &empty, GROUP), UNANSWERED);
}

#[test]
fn release_and_decline_succeed() {
    for kind in [message::RELEASE, message::DECLINE] {
        let reply = ask_all(kind, &[client(), server(), group(option::IA_NA, 1, &OWN)]);
        assert_eq!((reply.kind, reply.status()), (message::REPLY, Some(status::SUCCESS)));
    }
}

#[test]
fn information_needs_no_identity() {
    let reply = ask_all(message::INFORMATION_REQUEST, &[]);
    assert_eq!((reply.kind, reply.get(option::CLIENT_IDENTIFIER)), (message::REPLY, None));
    reply.check_dns();
    let named = ask_all(message::INFORMATION_REQUEST, &[client(), server()]);
    assert_eq!(named.get(option::CLIENT_IDENTIFIER), Some(&CLIENT_ID[..]));
}

#[test]
fn unicast_to_the_gateway_is_for_those_who_know_the_server() {
    let renew = [client(), server(), group(option::IA_NA, 1, &OWN)];
    for gateway in ["fe80::1", "2001:db8:0:1::1"] {
        let source = if gateway == "fe80::1" { "fe80::a" } else { OWN[0] };
        let data = [&[message::RENEW, 1, 2, 3], renew.concat().as_slice()].concat();
        let request = udp(&envelope(A, source, gateway, 64), (546, 547), &data);
        let answer = ask(&snapshot(), "a", &request);
        let tuple = ip(&answer).0.tuple;
        assert_eq!(
            (tuple.source().to_string(), tuple.destination().to_string()),
            (gateway.into(), source.into())
        );
    }
    assert_eq!(sent(message::SOLICIT, &[client()], "fe80::1"), UNANSWERED);
    assert_eq!(sent(message::INFORMATION_REQUEST, &[], "fe80::1"), UNANSWERED);
}

#[test]
fn what_is_not_answered() {
    let other = bytes(option::SERVER_IDENTIFIER, &[0, 3, 0, 1, 1, 2, 3, 4, 5, 6]);
    let request = [client(), other, group(option::IA_NA, 1, &[])];
    assert_eq!(sent(message::REQUEST, &request, GROUP), UNANSWERED);
    for kind in [message::ADVERTISE, message::REPLY, 10, 12, 13, 0, 255] {
        assert_eq!(sent(kind, &[client()], GROUP), UNANSWERED, "type {kind}");
    }
    let data = [&[message::SOLICIT, 1, 2, 3], client().as_slice()].concat();
    let without_v6 = udp(&envelope(C, "fe80::c", GROUP, 1), (546, 547), &data);
    assert_eq!(send(&snapshot(), "c", &without_v6).0, UNANSWERED);
}

#[test]
fn identities_must_be_there_or_not_as_the_message_wants() {
    for (kind, options) in [
        (message::SOLICIT, vec![]),
        (message::SOLICIT, vec![client(), server()]),
        (message::REBIND, vec![client(), server()]),
        (message::CONFIRM, vec![client(), server()]),
        (message::REQUEST, vec![client()]),
        (message::RENEW, vec![server()]),
        (message::RELEASE, vec![client()]),
        (message::INFORMATION_REQUEST, vec![group(option::IA_NA, 1, &[])]),
        (message::SOLICIT, vec![client(), client()]),
        (message::SOLICIT, vec![bytes(option::CLIENT_IDENTIFIER, &[1; 131])]),
        (message::SOLICIT, vec![bytes(option::CLIENT_IDENTIFIER, &[])]),
        (message::SOLICIT, vec![client(), bytes(option::IA_NA, &[0; 11])]),
        (message::SOLICIT, vec![client(), vec![0, 9, 0, 1]]),
    ] {
        assert_eq!(sent(kind, &options, GROUP), MALFORMED, "type {kind}: {options:02x?}");
    }
    let mut damaged = frame(message::SOLICIT, &[client()], GROUP);
    *damaged.last_mut().unwrap() ^= 1;
    assert_eq!(send(&snapshot(), "a", &damaged).0, MALFORMED);
    let mut unchecked = frame(message::SOLICIT, &[client()], GROUP);
    unchecked[60..62].fill(0);
    assert_eq!(send(&snapshot(), "a", &unchecked).0, MALFORMED);
}
