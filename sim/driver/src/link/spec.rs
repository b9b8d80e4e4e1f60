//! What the user writes for a link: `tap:vm0`, `gen:[flows=1000]`, ... Pure: nothing is opened here.

use std::fmt::Display;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use packet::{Mac, VtepAddr, VxlanTunnel};
use thiserror::Error;

use crate::batch::MAX_FRAME;
use crate::devargs::{decimal, split_arguments};

/// Most flows of a generator: their headers take some 100 MB.
const MAX_FLOWS: u32 = 1 << 20;
/// Most bytes of a socket's path: what `sockaddr_un` holds with a final zero.
const MAX_SOCKET_PATH: usize = 107;

/// What a port's wire side is connected to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LinkSpec {
    /// A TAP interface that the driver creates.
    Tap(InterfaceName),
    /// An existing interface, through a packet socket.
    Packet(InterfaceName),
    /// Frames from a capture file, frames to another.
    Pcap {
        /// Where frames come from.
        input: Option<PathBuf>,
        /// Where frames go.
        output: Option<PathBuf>,
    },
    /// A virtual machine's `virtio_net`, at the other end of a `vhost-user` socket that the driver makes.
    Vhost(PathBuf),
    /// Traffic that the driver makes up; what is sent disappears.
    Generator(GeneratorSpec),
    /// One end of a cable of this name; the other end is a link in the same process.
    Peer(String),
}

/// The name of a network interface: 1 to 15 bytes without `/`, `:` and white space.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InterfaceName(String);

impl InterfaceName {
    /// Checks a name by the kernel's rules (`dev_valid_name`).
    fn new(name: &str) -> Result<Self, LinkSpecError> {
        let legal = (1..libc::IFNAMSIZ).contains(&name.len())
            && name != "."
            && name != ".."
            && !name.chars().any(|c| c == '/' || c == ':' || c.is_whitespace() || c == '\0');
        if legal { Ok(Self(name.to_owned())) } else { Err(LinkSpecError::InterfaceName) }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What a generator sends: UDP datagrams of `flows` flows, which differ in source address and port.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GeneratorSpec {
    /// How many flows, at least 1.
    pub flows: u32,
    /// Lengths of the frames in bytes, without tunnel and frame check sequence: flow `n` has the one at `n` modulo their
    /// number. Never empty, and none too short for its headers.
    pub sizes: Vec<u16>,
    /// Decides the source ports and the flows' order.
    pub seed: u64,
    /// Source address of flow 0; flow `n` has the `n`-th address after it. Of the same family as the destination.
    pub source: IpAddr,
    /// Destination address of all flows.
    pub destination: IpAddr,
    /// Source of the Ethernet header.
    pub source_mac: Mac,
    /// Destination of the Ethernet header.
    pub destination_mac: Mac,
    /// The tunnel that all frames come through.
    pub tunnel: Option<VxlanTunnel>,
}

/// Why a link is refused.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum LinkSpecError {
    /// A link of an unknown kind.
    #[error(
        "unknown link; known are tap:INTERFACE, packet:INTERFACE, pcap:IN[:OUT], vhost:SOCKET, peer:NAME and gen:[...]"
    )]
    Unknown,
    /// An interface name that the kernel would refuse.
    #[error("an interface name has 1 to 15 characters, without /, : and blanks")]
    InterfaceName,
    /// A pcap link without a file.
    #[error("name a capture to read, one to write (pcap::OUT), or both")]
    NoCapture,
    /// A socket that cannot have this name.
    #[error("name a socket by a path of 1 to {MAX_SOCKET_PATH} bytes")]
    Socket,
    /// A cable without a name.
    #[error("name the cable; the link at its other end names it too")]
    NoCable,
    /// A generator's arguments do not stand in brackets.
    #[error("put a generator's arguments in brackets: gen:[flows=1000,size=64]")]
    NoBrackets,
    /// A key that a generator does not know, or has already.
    #[error(
        "a generator has no \"{0}\", or has it already; it has flows=, size=, seed=, source=, destination=, source-mac=, \
         destination-mac=, vni=, source-vtep= and destination-vtep=, each once"
    )]
    GeneratorKey(String),
    /// A generator's value that makes no sense.
    #[error("{key}={value}: {problem}")]
    GeneratorValue {
        /// The argument's key.
        key: String,
        /// What stands there.
        value: String,
        /// Why that cannot be.
        problem: String,
    },
    /// Addresses of both families.
    #[error("source and destination of a generator's frames are of one address family")]
    Families,
    /// VTEPs without a VNI, or VTEPs that do not fit each other.
    #[error("a generator's tunnel: {0}")]
    Tunnel(String),
}

impl FromStr for LinkSpec {
    type Err = LinkSpecError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':').ok_or(LinkSpecError::Unknown)? {
            ("tap", name) => InterfaceName::new(name).map(Self::Tap),
            ("packet", name) => InterfaceName::new(name).map(Self::Packet),
            ("pcap", files) => {
                let (input, output) = files.split_once(':').unwrap_or((files, ""));
                let file = |name: &str| (!name.is_empty()).then(|| PathBuf::from(name));
                let (input, output) = (file(input), file(output));
                if input.is_none() && output.is_none() {
                    return Err(LinkSpecError::NoCapture);
                }
                Ok(Self::Pcap { input, output })
            }
            ("vhost", path) if (1..=MAX_SOCKET_PATH).contains(&path.len()) => {
                Ok(Self::Vhost(Path::new(path).to_owned()))
            }
            ("vhost", _) => Err(LinkSpecError::Socket),
            ("peer", "") => Err(LinkSpecError::NoCable),
            ("peer", name) => Ok(Self::Peer(name.to_owned())),
            ("gen", arguments) => generator(arguments).map(Self::Generator),
            _ => Err(LinkSpecError::Unknown),
        }
    }
}

/// The text between brackets.
fn in_brackets(text: &str) -> Option<&str> {
    text.strip_prefix('[')?.strip_suffix(']')
}

/// Reads `[flows=N,size=[64,1500],...]`; nothing at all stands for the defaults.
fn generator(text: &str) -> Result<GeneratorSpec, LinkSpecError> {
    let body =
        if text.is_empty() { "" } else { in_brackets(text).ok_or(LinkSpecError::NoBrackets)? };
    let mut spec = GeneratorSpec {
        flows: 1,
        sizes: vec![64],
        seed: 0,
        source: IpAddr::from([10, 0, 0, 1]),
        destination: IpAddr::from([10, 255, 255, 254]),
        source_mac: Mac([0x02, 0, 0, 0, 0, 1]),
        destination_mac: Mac([0x02, 0, 0, 0, 0, 2]),
        tunnel: None,
    };
    let mut sizes = "64";
    let mut vni = None;
    let mut vteps = [None, None];
    let mut seen = Vec::new();
    for argument in split_arguments(body) {
        let unknown = || LinkSpecError::GeneratorKey(argument.to_owned());
        let (key, value) = argument.split_once('=').ok_or_else(unknown)?;
        if seen.contains(&key) {
            return Err(unknown());
        }
        seen.push(key);
        match key {
            "flows" => {
                let count = decimal(value).filter(|count| (1..=MAX_FLOWS).contains(count));
                spec.flows = count.ok_or_else(|| {
                    refused(key, value, format!("expected a number from 1 to {MAX_FLOWS}"))
                })?;
            }
            "size" => sizes = value,
            "seed" => {
                spec.seed =
                    decimal(value).ok_or_else(|| refused(key, value, "expected a number"))?;
            }
            "source" => spec.source = parsed(key, value)?,
            "destination" => spec.destination = parsed(key, value)?,
            "source-mac" => spec.source_mac = parsed(key, value)?,
            "destination-mac" => spec.destination_mac = parsed(key, value)?,
            "vni" => {
                let number = decimal::<u64>(value)
                    .ok_or_else(|| refused(key, value, "expected a number"))?;
                vni = Some(number.try_into().map_err(|e| refused(key, value, e))?);
            }
            "source-vtep" => vteps[0] = Some(parsed::<VtepAddr>(key, value)?),
            "destination-vtep" => vteps[1] = Some(parsed::<VtepAddr>(key, value)?),
            _ => return Err(unknown()),
        }
    }
    if spec.source.is_ipv4() != spec.destination.is_ipv4() {
        return Err(LinkSpecError::Families);
    }
    spec.sizes = frame_sizes(sizes, super::generator::header_length(spec.source))?;
    spec.tunnel = match (vni, vteps) {
        (None, [None, None]) => None,
        (Some(vni), [Some(source), Some(destination)])
            if source.ip().is_ipv4() == destination.ip().is_ipv4() =>
        {
            Some(VxlanTunnel {
                source_mac: spec.source_mac,
                destination_mac: spec.destination_mac,
                source,
                destination,
                vni,
                dscp: 0,
            })
        }
        _ => {
            let problem =
                "give vni=, source-vtep= and destination-vtep=, both of one address family";
            return Err(LinkSpecError::Tunnel(problem.to_owned()));
        }
    };
    Ok(spec)
}

fn refused(key: &str, value: &str, problem: impl Display) -> LinkSpecError {
    LinkSpecError::GeneratorValue {
        key: key.to_owned(),
        value: value.to_owned(),
        problem: problem.to_string(),
    }
}

fn parsed<T: FromStr<Err: Display>>(key: &str, value: &str) -> Result<T, LinkSpecError> {
    value.parse().map_err(|problem| refused(key, value, problem))
}

/// `64` or `[64,1500]`: bytes of frames, each with room for its headers.
fn frame_sizes(text: &str, headers: usize) -> Result<Vec<u16>, LinkSpecError> {
    // So that the longest tunnel still fits the longest frame.
    const TUNNEL: usize = 70;
    let most = MAX_FRAME - TUNNEL;
    in_brackets(text)
        .unwrap_or(text)
        .split(',')
        .map(|size| {
            decimal::<u16>(size)
                .filter(|size| (headers..=most).contains(&usize::from(*size)))
                .ok_or_else(|| {
                    refused("size", text, format!("expected numbers from {headers} to {most}"))
                })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        text.parse::<LinkSpec>().unwrap_err().to_string()
    }

    #[test]
    fn captures_in_either_direction() {
        assert_eq!(
            "pcap::o.pcap".parse(),
            Ok(LinkSpec::Pcap { input: None, output: Some("o.pcap".into()) })
        );
        assert_eq!(
            "pcap:i.pcap".parse(),
            Ok(LinkSpec::Pcap { input: Some("i.pcap".into()), output: None })
        );
    }

    #[test]
    fn every_kind() {
        assert_eq!("tap:vm0".parse(), Ok(LinkSpec::Tap(InterfaceName("vm0".into()))));
        assert_eq!("packet:eth1".parse(), Ok(LinkSpec::Packet(InterfaceName("eth1".into()))));
        assert_eq!("vhost:/run/vm0".parse(), Ok(LinkSpec::Vhost("/run/vm0".into())));
        assert_eq!("peer:cable".parse(), Ok(LinkSpec::Peer("cable".into())));
        let Ok(LinkSpec::Generator(plain)) = "gen:".parse() else { panic!("no generator") };
        assert_eq!((plain.flows, plain.sizes, plain.tunnel), (1, vec![64], None));
        let text = "gen:[flows=1000,size=[64,1500],seed=7,source=2001:db8::1,destination=2001:db8::2,\
                    source-mac=02:00:00:00:00:0a,destination-mac=02:00:00:00:00:0b,vni=77,\
                    source-vtep=192.0.2.1,destination-vtep=192.0.2.2]";
        let Ok(LinkSpec::Generator(spec)) = text.parse() else { panic!("no generator") };
        assert_eq!((spec.flows, spec.seed), (1000, 7));
        assert_eq!(spec.sizes, [64, 1500]);
        assert_eq!(spec.source, "2001:db8::1".parse::<IpAddr>().unwrap());
        assert_eq!(spec.destination_mac, Mac([2, 0, 0, 0, 0, 0xb]));
        let tunnel = spec.tunnel.expect("a tunnel");
        assert_eq!(tunnel.vni.get(), 77);
        assert_eq!(tunnel.destination, "192.0.2.2".parse().unwrap());
    }

    #[test]
    fn refusals_say_what_is_wrong() {
        for (text, words) in [
            ("eth0", "unknown link"),
            ("wire:x", "unknown link"),
            ("tap:", "an interface name has 1 to 15 characters"),
            ("tap:abcdefghijklmnop", "an interface name has 1 to 15 characters"),
            ("packet:a/b", "an interface name"),
            ("pcap:", "name a capture to read"),
            ("vhost:", "name a socket"),
            (&format!("vhost:/{}", "x".repeat(107)), "of 1 to 107 bytes"),
            ("peer:", "name the cable"),
            ("gen:flows=1", "in brackets"),
            ("gen:[flows]", "has no \"flows\""),
            ("gen:[flow=1]", "has no \"flow=1\""),
            ("gen:[flows=1,flows=2]", "has no \"flows=2\", or has it already"),
            ("gen:[flows=0]", "flows=0: expected a number from 1 to 1048576"),
            ("gen:[size=41]", "size=41: expected numbers from 42 to 9552"),
            ("gen:[size=[64,9553]]", "expected numbers from 42"),
            ("gen:[size=[]]", "expected numbers from 42"),
            ("gen:[source=::1]", "of one address family"),
            ("gen:[source=x]", "source=x: "),
            ("gen:[vni=5]", "give vni=, source-vtep= and destination-vtep="),
            ("gen:[vni=0]", "vni=0: "),
            ("gen:[vni=5,source-vtep=192.0.2.1,destination-vtep=2001:db8::1]", "both of one"),
            ("gen:[source=::1,destination=::2,size=61]", "from 62"),
        ] {
            assert!(refusal(text).contains(words), "{text}: {}", refusal(text));
        }
    }
}
