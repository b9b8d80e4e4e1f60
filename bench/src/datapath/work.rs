//! The pieces of work: each prepares a world and then does the same to every packet.

use std::hint::black_box;

use dpu_app::datapath::{FlowDirection, decide};
use miette::{Result, bail};
use model::decision::Key;
use packet::{Network, vxlan_source_port};

use super::world::BURST;
use super::{Direction, Frames, Transport, World};

/// SYN and ACK, in TCP's control bits.
const SYN: u8 = 2;
const ACK: u8 = 16;

/// What is done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Work {
    /// Only what measuring itself costs: frames are copied into buffers.
    Nothing,
    /// Frames are parsed.
    Parse,
    /// A flow's first packet is asked for.
    Decide,
    /// The source port of the outer header is found.
    SourcePort,
    /// A connection is found by its key.
    Find,
    /// Packets of connections that are there.
    Established(Direction),
    /// The first packet of each that changes nothing any more: it is asked everything once again.
    Settling(Direction),
    /// The same, one packet at a time.
    OneByOne(Direction),
    /// Each packet begins a connection.
    New(Direction, Transport),
    /// SYN, SYN+ACK and ACK of connections to other nodes.
    Handshake,
}

/// All of it, by name.
pub const WORK: &[(&str, Work)] = &[
    ("nothing", Work::Nothing),
    ("parse", Work::Parse),
    ("decide", Work::Decide),
    ("source-port", Work::SourcePort),
    ("find", Work::Find),
    ("encapsulate", Work::Established(Direction::Encapsulate)),
    ("decapsulate", Work::Established(Direction::Decapsulate)),
    ("local", Work::Established(Direction::Local)),
    ("encapsulate-settling", Work::Settling(Direction::Encapsulate)),
    ("encapsulate-one-by-one", Work::OneByOne(Direction::Encapsulate)),
    ("new-udp", Work::New(Direction::Encapsulate, Transport::Udp)),
    ("new-tcp", Work::New(Direction::Encapsulate, Transport::Tcp(SYN))),
    ("new-local-udp", Work::New(Direction::Local, Transport::Udp)),
    ("tcp-handshake", Work::Handshake),
];

/// A world in which work can be done, and the frames for it.
pub struct Prepared {
    world: World,
    steps: Vec<Frames>,
    keys: Vec<Key>,
}

impl Prepared {
    /// How many packets one [`run`] takes.
    #[must_use]
    pub fn packets(&self) -> usize {
        self.steps.iter().map(Frames::len).sum()
    }
}

/// Makes ready for some work with so many flows.
///
/// # Errors
/// When packets that should pass do not.
pub fn prepare(work: Work, flows: u32) -> Result<Prepared> {
    let mut world = World::new(flows)?;
    let direction = match work {
        Work::Established(direction)
        | Work::Settling(direction)
        | Work::OneByOne(direction)
        | Work::New(direction, _) => direction,
        _ => Direction::Encapsulate,
    };
    let steps = match work {
        Work::New(_, transport) => vec![world.frames(direction, transport, 0, flows)],
        Work::Handshake => {
            let step = |direction, flags| world.frames(direction, Transport::Tcp(flags), 0, flows);
            vec![
                step(Direction::Encapsulate, SYN),
                step(Direction::Decapsulate, SYN | ACK),
                step(Direction::Encapsulate, ACK),
            ]
        }
        _ => vec![world.frames(direction, Transport::Udp, 0, flows).shuffled()],
    };
    let begins = if direction == Direction::Local { direction } else { Direction::Encapsulate };
    let answers = if direction == Direction::Local { direction } else { Direction::Decapsulate };
    if !matches!(work, Work::New(..) | Work::Handshake) {
        let mut through = vec![world.frames(begins, Transport::Udp, 0, flows)];
        if direction != Direction::Local {
            through.push(world.frames(answers, Transport::Udp, 0, flows));
        }
        if matches!(work, Work::Established(_) | Work::OneByOne(_)) {
            through.push(world.frames(direction, Transport::Udp, 0, flows));
        }
        for frames in through {
            let forwarded = world.pass(&frames, BURST);
            if forwarded != frames.len() {
                bail!("{forwarded} of {} frames went on", frames.len());
            }
        }
    }
    let keys = match work {
        Work::Decide | Work::Find => keys(&world),
        _ => Vec::new(),
    };
    Ok(Prepared { world, steps, keys })
}

/// The keys of all connections, as their initiators sent them.
fn keys(world: &World) -> Vec<Key> {
    world
        .shard
        .connections()
        .map(|(_, connection)| connection.key(FlowDirection::Forward))
        .collect()
}

/// Does the work once, for each packet. Measuring tools look for this function.
///
/// # Errors
/// When a packet that should pass does not.
#[inline(never)]
pub fn run(work: Work, prepared: &mut Prepared) -> Result<()> {
    let Prepared { world, steps, keys } = prepared;
    for frames in steps {
        let done = match work {
            Work::Nothing => world.each(frames, |_| true),
            Work::Parse => world.each(frames, |frame| packet::parse(frame.bytes()).is_ok()),
            Work::SourcePort => world.each(frames, |frame| {
                let port =
                    packet::parse(frame.bytes()).ok().and_then(|parsed| match parsed.network {
                        Network::Ip(packet) => Some(vxlan_source_port(&packet)),
                        Network::Arp => None,
                    });
                black_box(port).is_some()
            }),
            Work::Decide => keys
                .iter()
                .filter(|key| black_box(decide(&world.snapshot, key, None, None)).is_ok())
                .count(),
            Work::Find => {
                keys.iter().filter(|key| black_box(world.shard.find(key)).is_some()).count()
            }
            Work::OneByOne(_) => world.pass(frames, 1),
            Work::Established(_) | Work::Settling(_) | Work::New(..) | Work::Handshake => {
                world.pass(frames, BURST)
            }
        };
        if done != frames.len() {
            bail!("{done} of {} packets went on", frames.len());
        }
    }
    Ok(())
}
