//! What is forwarded.

use std::fs::File;
use std::io::{BufWriter, Seek, Write};
use std::path::{Path, PathBuf};

use miette::{IntoDiagnostic, Result, WrapErr};
use penstock_traffic::write_frame;

use super::Rig;
use super::addresses::{FAR, Host, LOCAL};
use super::template::{Direction, Family, Payload, Template};

/// The number of the first VM's port, of the uplink's, and of the second VM's, in files of frames.
pub const VM: u16 = 0;
pub const UPLINK: u16 = 1;
pub const SECOND_VM: u16 = 2;

/// The way of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// From the VM into a tunnel.
    Encapsulation,
    /// Out of a tunnel to the VM.
    Decapsulation,
    /// From the VM to the one beside it.
    Local,
}

/// A protocol.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Protocol {
    Udp,
    Tcp,
}

/// How packets belong to connections.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shape {
    /// So many that exist, each packet of another one.
    Established(u32),
    /// None that exists: one UDP datagram each, or what TCP takes to begin and end.
    Connections(Protocol),
    /// Nine packets of so many that exist, then one that is new.
    Mixed(u32),
}

/// Lengths of inner frames, without frame check sequence.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sizes {
    Small,
    /// 7 of 64, 4 of 594 and 1 of 1518 bytes with the frame check sequence.
    Imix,
}

impl Sizes {
    fn frame(self, number: u32) -> usize {
        match (self, number % 12) {
            (Self::Small, _) | (_, 0 | 2 | 4 | 6 | 8 | 10 | 11) => 60,
            (_, 1 | 3 | 7 | 9) => 590,
            _ => 1514,
        }
    }
}

/// What is forwarded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Scenario {
    pub way: Way,
    pub family: Family,
    pub sizes: Sizes,
    pub shape: Shape,
}

const fn small(way: Way, family: Family, shape: Shape) -> Scenario {
    Scenario { way, family, sizes: Sizes::Small, shape }
}

pub const SCENARIOS: &[Scenario] = &[
    small(Way::Encapsulation, Family::V4, Shape::Established(1)),
    small(Way::Encapsulation, Family::V4, Shape::Established(10_000)),
    small(Way::Encapsulation, Family::V4, Shape::Established(100_000)),
    small(Way::Encapsulation, Family::V4, Shape::Established(1_000_000)),
    small(Way::Decapsulation, Family::V4, Shape::Established(1)),
    small(Way::Decapsulation, Family::V4, Shape::Established(10_000)),
    small(Way::Decapsulation, Family::V4, Shape::Established(100_000)),
    small(Way::Decapsulation, Family::V4, Shape::Established(1_000_000)),
    small(Way::Local, Family::V4, Shape::Established(10_000)),
    small(Way::Encapsulation, Family::V6, Shape::Established(10_000)),
    small(Way::Decapsulation, Family::V6, Shape::Established(10_000)),
    Scenario {
        way: Way::Encapsulation,
        family: Family::V4,
        sizes: Sizes::Imix,
        shape: Shape::Established(10_000),
    },
    small(Way::Encapsulation, Family::V4, Shape::Connections(Protocol::Udp)),
    small(Way::Encapsulation, Family::V4, Shape::Connections(Protocol::Tcp)),
    small(Way::Encapsulation, Family::V4, Shape::Mixed(100_000)),
];

/// Connections that are begun where each is new.
const NEW: u32 = 900_000;
/// Packets of one port in a row, where several take turns: as many as a burst.
const TURN: u32 = 32;
/// Frames of a round, at least: the end of the file must not cut bursts short.
const FEWEST: u32 = 1 << 15;
/// Ports of beginners.
const PORTS: u32 = 60_000;
const FIRST_PORT: u32 = 1024;

/// A file of frames.
pub struct Frames {
    pub path: PathBuf,
    /// Where it goes on after its end.
    pub repeat: Option<u64>,
    /// Frames before anything is measured, and those of the file.
    pub warm_up: u64,
    pub count: u64,
    /// A file that begins all connections and answers them, as far as they are to exist, and its frames.
    pub prime: Option<(PathBuf, u64)>,
}

impl Scenario {
    /// What it is called.
    pub fn name(&self) -> String {
        let way = match self.way {
            Way::Encapsulation => "VXLAN encapsulation",
            Way::Decapsulation => "VXLAN decapsulation",
            Way::Local => "VF to VF",
        };
        let family = match self.family {
            Family::V4 => "",
            Family::V6 => ", IPv6",
        };
        let sizes = match self.sizes {
            Sizes::Small => "64 bytes",
            Sizes::Imix => "IMIX",
        };
        let shape = match self.shape {
            Shape::Established(1) => "1 flow".to_owned(),
            Shape::Established(flows) => format!("{flows} flows"),
            Shape::Connections(Protocol::Udp) => "new UDP connections".to_owned(),
            Shape::Connections(Protocol::Tcp) => {
                "new TCP connections (SYN, SYN-ACK, ACK, FIN)".to_owned()
            }
            Shape::Mixed(flows) => format!("{flows} flows and 10 % new ones"),
        };
        format!("{way}{family}, {sizes}, {shape}")
    }

    /// Whether what input and output alone cost is measured with it too.
    pub fn has_ceiling(&self) -> bool {
        matches!(self.shape, Shape::Established(_)) && self.way != Way::Local
    }

    /// Packets that make one of what is counted.
    pub fn packets_of_one(&self) -> u8 {
        match self.shape {
            Shape::Connections(Protocol::Tcp) => 4,
            _ => 1,
        }
    }

    /// The port that receives the first frame, and the one that its packets leave by.
    pub fn ports(&self) -> (u16, u16) {
        match self.way {
            Way::Encapsulation => (VM, UPLINK),
            Way::Decapsulation => (UPLINK, VM),
            Way::Local => (VM, SECOND_VM),
        }
    }

    /// The hosts of a flow: who began it, and with whom.
    fn hosts(&self, flow: u32) -> (Host, Host) {
        let far = Host::far((flow % u32::from(FAR)) as u16);
        match self.way {
            Way::Encapsulation => (LOCAL[0], far),
            Way::Decapsulation => (far, LOCAL[0]),
            Way::Local => (LOCAL[0], LOCAL[1]),
        }
    }

    /// Makes the frames.
    pub fn frames(&self, rig: &Rig) -> Result<Frames> {
        let name: String =
            self.name().chars().map(|c| if c.is_alphanumeric() { c } else { '-' }).collect();
        let path = rig.file(&format!("{name}.frames"));
        let (flows, count) = match self.shape {
            Shape::Established(flows) | Shape::Mixed(flows) => {
                (flows, u64::from(flows) + u64::from(self.round()))
            }
            Shape::Connections(Protocol::Udp) => (0, NEW.into()),
            Shape::Connections(Protocol::Tcp) => (0, u64::from(NEW / TURN * TURN) * 4),
        };
        let first = self.write(&path).wrap_err_with(|| self.name())?;
        let prime = rig.file(&format!("{name}.prime"));
        if flows > 0 {
            self.write_prime(&prime, flows).wrap_err_with(|| self.name())?;
        }
        let (repeat, warm_up) = match self.shape {
            Shape::Established(_) => (Some(first), count),
            Shape::Mixed(flows) => (None, flows.into()),
            // Until caches and memory have settled.
            Shape::Connections(_) => (None, count / 10),
        };
        Ok(Frames {
            path,
            repeat,
            warm_up,
            count,
            prime: (flows > 0).then_some((prime, u64::from(flows) * 2)),
        })
    }

    /// Packets behind the first ones of each flow.
    fn round(&self) -> u32 {
        match self.shape {
            Shape::Established(flows) => flows * FEWEST.div_ceil(flows),
            _ => NEW * 2,
        }
    }

    /// Writes the file; where in it the packets begin that are not the first of their flows.
    fn write(&self, path: &Path) -> Result<u64> {
        let mut out = BufWriter::with_capacity(1 << 20, File::create(path).into_diagnostic()?);
        let mut first = 0;
        match self.shape {
            Shape::Established(flows) => {
                self.write_first(&mut out, flows)?;
                first = out.stream_position().into_diagnostic()?;
                self.write_round(&mut out, flows)?;
            }
            Shape::Connections(Protocol::Udp) => self.write_first(&mut out, NEW)?,
            Shape::Connections(Protocol::Tcp) => self.write_tcp(&mut out)?,
            Shape::Mixed(flows) => self.write_mixed(&mut out, flows)?,
        }
        out.flush().into_diagnostic()?;
        Ok(first)
    }

    /// One packet of each flow.
    fn write_first(&self, out: &mut impl Write, flows: u32) -> Result<()> {
        let mut templates = self.templates()?;
        (0..flows).try_for_each(|flow| templates.write(out, flow, flow))
    }

    /// Packets of all flows, in an order that has nothing to do with that in which they began.
    fn write_round(&self, out: &mut impl Write, flows: u32) -> Result<()> {
        let mut templates = self.templates()?;
        let order = shuffled(flows);
        (0..self.round())
            .zip(order.iter().cycle())
            .try_for_each(|(number, flow)| templates.write(out, *flow, number))
    }

    fn write_mixed(&self, out: &mut impl Write, flows: u32) -> Result<()> {
        self.write_first(out, flows)?;
        let mut templates = self.templates()?;
        let order = shuffled(flows);
        let mut known = order.iter().cycle();
        for number in 0..self.round() {
            let flow =
                if number % 10 == 9 { flows + number / 10 } else { *known.next().unwrap_or(&0) };
            templates.write(out, flow, number)?;
        }
        Ok(())
    }

    fn write_tcp(&self, out: &mut impl Write) -> Result<()> {
        let steps = [
            ("S", Direction::Forward),
            ("SA", Direction::Reverse),
            ("A", Direction::Forward),
            ("FA", Direction::Forward),
        ];
        let mut templates = Vec::new();
        for (flags, direction) in steps {
            let of_step = (0..u32::from(FAR)).map(|flow| {
                let (from, to) = self.hosts(flow);
                let payload = Payload::Tcp { flags };
                match direction {
                    Direction::Forward => {
                        Template::plain(from, to, self.family, payload, direction)
                    }
                    Direction::Reverse => {
                        Template::tunnelled(to, from, self.family, payload, direction)
                    }
                }
            });
            templates.push((direction, of_step.collect::<Result<Vec<_>>>()?));
        }
        for turn in 0..NEW / TURN {
            for (direction, templates) in &mut templates {
                let port = if *direction == Direction::Forward { VM } else { UPLINK };
                for flow in turn * TURN..(turn + 1) * TURN {
                    let template = &mut templates[(flow % u32::from(FAR)) as usize];
                    write_frame(out, port, template.with_port(self.port_of(flow)))
                        .into_diagnostic()?;
                }
            }
        }
        Ok(())
    }

    /// Each flow's first packet and its answer, all as they look without a tunnel.
    fn write_prime(&self, path: &Path, flows: u32) -> Result<()> {
        let mut out = BufWriter::with_capacity(1 << 20, File::create(path).into_diagnostic()?);
        for direction in [Direction::Forward, Direction::Reverse] {
            let templates = (0..u32::from(FAR)).map(|flow| {
                let (mut from, mut to) = self.hosts(flow);
                if direction == Direction::Reverse {
                    (from, to) = (to, from);
                }
                Template::plain(from, to, self.family, Payload::Udp { frame: 60 }, direction)
            });
            let mut templates = templates.collect::<Result<Vec<_>>>()?;
            for flow in 0..flows {
                let template = &mut templates[(flow % u32::from(FAR)) as usize];
                write_frame(&mut out, 0, template.with_port(self.port_of(flow)))
                    .into_diagnostic()?;
            }
        }
        out.flush().into_diagnostic()
    }

    /// The port of a flow's beginner.
    fn port_of(&self, flow: u32) -> u16 {
        let number = match self.way {
            Way::Local => flow,
            Way::Encapsulation | Way::Decapsulation => flow / u32::from(FAR),
        };
        (FIRST_PORT + number % PORTS) as u16
    }

    fn templates(&self) -> Result<Templates> {
        let mut all = Vec::new();
        for size in 0..12 {
            let payload = Payload::Udp { frame: self.sizes.frame(size) };
            let of_size = (0..u32::from(FAR)).map(|flow| {
                let (from, to) = self.hosts(flow);
                if self.way == Way::Decapsulation {
                    Template::tunnelled(from, to, self.family, payload, Direction::Forward)
                } else {
                    Template::plain(from, to, self.family, payload, Direction::Forward)
                }
            });
            all.push(of_size.collect::<Result<Vec<_>>>()?);
        }
        Ok(Templates { scenario: *self, all })
    }
}

/// The datagrams of a scenario: by size, then by host.
struct Templates {
    scenario: Scenario,
    all: Vec<Vec<Template>>,
}

impl Templates {
    /// Writes the packet of a flow that is the one of this number in all.
    fn write(&mut self, out: &mut impl Write, flow: u32, number: u32) -> Result<()> {
        let of_size = &mut self.all[(number % 12) as usize];
        let template = &mut of_size[(flow % u32::from(FAR)) as usize];
        let (port, _) = self.scenario.ports();
        write_frame(out, port, template.with_port(self.scenario.port_of(flow))).into_diagnostic()
    }
}

/// The numbers below a limit, in an order that looks like chance and is always the same.
fn shuffled(count: u32) -> Vec<u32> {
    let mut numbers: Vec<u32> = (0..count).collect();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for place in (1..numbers.len()).rev() {
        // xorshift64
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        numbers.swap(place, (state % (place as u64 + 1)) as usize);
    }
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flows_differ() {
        for scenario in SCENARIOS {
            let flows = match scenario.shape {
                Shape::Established(flows) => flows,
                Shape::Connections(_) => NEW,
                Shape::Mixed(flows) => flows + NEW * 2 / 10,
            };
            let mut distinct: Vec<_> = (0..flows)
                .map(|flow| {
                    let (from, to) = scenario.hosts(flow);
                    (from.number(), to.number(), scenario.port_of(flow))
                })
                .collect();
            distinct.sort_unstable();
            distinct.dedup();
            assert_eq!(distinct.len(), flows as usize, "{}", scenario.name());
        }
    }

    #[test]
    fn imix_has_its_shares() {
        let count = |size| (0..12).filter(|number| Sizes::Imix.frame(*number) == size).count();
        assert_eq!((count(60), count(590), count(1514)), (7, 4, 1));
    }

    #[test]
    fn shuffling_keeps_all() {
        let mut shuffled = shuffled(1000);
        assert!(!shuffled.is_sorted());
        shuffled.sort_unstable();
        assert!(shuffled.into_iter().eq(0..1000));
    }
}
