//! One step of a case.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::case::belongs;
use crate::place::Place;
use crate::refusal::Refusal;

/// testpmd reads no longer lines (`RDLINE_BUF_SIZE`).
const LONGEST_COMMAND: usize = 511;

/// Something that happens, and what must come of it.
#[derive(Debug)]
pub struct Step {
    /// The profiles for which it happens, as in a case; without: all those of the case.
    pub on: Option<Vec<String>>,
    /// What.
    pub act: Act,
}

/// What a step does.
#[derive(Debug)]
pub enum Act {
    /// Gives testpmd a command, once.
    Run(Command),
    /// Gives testpmd a command again and again until it prints what is expected.
    Until(Command),
    /// Pulls the results of a queue's operations until there are this many.
    Pull(Pull),
    /// Sends frames.
    Send(Traffic),
    /// Waits for lines that testpmd prints by itself.
    Hear(Vec<String>),
}

/// A command of testpmd and what it must print.
#[derive(Debug)]
pub struct Command {
    /// The line, verbatim.
    pub line: String,
    /// What it must print.
    pub prints: Vec<String>,
    /// What it must not print.
    pub lacks: Vec<String>,
    /// The driver refuses it.
    pub refused: Option<Refusal>,
}

/// Operations whose results are pulled.
#[derive(Debug)]
pub struct Pull {
    /// The ethdev and the queue, as testpmd writes them: `0 queue 1`.
    pub queue: String,
    /// How many succeed.
    pub succeeded: u32,
    /// How many fail.
    pub failed: u32,
}

/// Frames that are sent, and all that come out.
#[derive(Debug)]
pub struct Traffic {
    /// Where and what, in this order.
    pub frames: Vec<(Place, String)>,
    /// How often.
    pub times: usize,
    /// All that comes out; in order at each place.
    pub out: Vec<Expected>,
    /// What proves that nothing else comes.
    pub sentinel: Sentinel,
}

/// The frame sent behind the others, which must come out somewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sentinel {
    /// The usual one, which rules rarely match.
    Usual,
    /// These layers, because a rule takes the usual one.
    Layers(String),
    /// None gets through; another step shows that the frames were lost.
    Lost,
}

/// A frame that comes out.
#[derive(Debug)]
pub struct Expected {
    /// Where.
    pub place: Place,
    /// The packet's text.
    pub packet: String,
    /// How often, one behind the other.
    pub times: usize,
    /// What the application is told about it.
    pub told: Told,
}

/// What the application is told about a packet beside its bytes; what is absent is not looked at.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Told {
    /// The receive queue.
    pub queue: Option<u16>,
    /// The mark.
    pub mark: Option<Mark>,
    /// The metadata.
    pub meta: Option<Number>,
    /// The RSS hash.
    pub rss: Option<Number>,
    /// Offload flags, without `RTE_MBUF_F_RX_`.
    pub flags: Vec<String>,
}

/// A mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Mark {
    /// Of action MARK.
    Value(u32),
    /// `flag`: of action FLAG. `none`: none.
    Word(MarkWord),
}

/// Marks without a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MarkWord {
    /// Of action FLAG.
    Flag,
    /// None.
    None,
}

/// A number that must be there (`true`: whichever), or must not (`false`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Number {
    /// This one.
    Value(u32),
    /// Whether there is one.
    Is(bool),
}

impl Step {
    /// Whether the step happens on a NIC of this profile.
    #[must_use]
    pub fn holds_for(&self, profile: &str) -> bool {
        self.on.as_ref().is_none_or(|on| on.iter().any(|text| belongs(text, profile)))
    }

    /// Whether frames are sent, and nothing comes out that proves their end.
    #[must_use]
    pub fn loses_the_sentinel(&self) -> bool {
        matches!(&self.act, Act::Send(traffic) if traffic.sentinel == Sentinel::Lost)
    }

    /// The texts of its packets.
    pub fn packets(&self) -> impl Iterator<Item = &str> {
        let traffic = match &self.act {
            Act::Send(traffic) => Some(traffic),
            _ => None,
        };
        traffic.into_iter().flat_map(|traffic| {
            let sent = traffic.frames.iter().map(|(_, text)| text.as_str());
            let expected = traffic.out.iter().map(|expected| expected.packet.as_str());
            let sentinel = match &traffic.sentinel {
                Sentinel::Layers(text) => Some(text.as_str()),
                Sentinel::Usual | Sentinel::Lost => None,
            };
            sent.chain(expected).chain(sentinel)
        })
    }
}

/// A step's keys, all together.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Keys {
    on: Option<Vec<String>>,
    run: Option<String>,
    until: Option<String>,
    #[serde(deserialize_with = "list")]
    prints: Vec<String>,
    #[serde(deserialize_with = "list")]
    lacks: Vec<String>,
    refused: Option<Refusal>,
    pull: Option<String>,
    succeeded: u32,
    failed: u32,
    #[serde(deserialize_with = "list")]
    send: Vec<BTreeMap<Place, String>>,
    times: Option<usize>,
    #[serde(deserialize_with = "list")]
    out: Vec<ExpectedKeys>,
    sentinel: Option<String>,
    #[serde(deserialize_with = "list")]
    hear: Vec<String>,
}

#[derive(Deserialize)]
struct ExpectedKeys {
    times: Option<usize>,
    #[serde(flatten)]
    told: Told,
    #[serde(flatten)]
    frame: BTreeMap<String, String>,
}

impl Keys {
    fn step(self) -> Result<Step, String> {
        let acts = [
            self.run.is_some(),
            self.until.is_some(),
            self.pull.is_some(),
            !self.send.is_empty(),
            !self.hear.is_empty(),
        ];
        if acts.into_iter().filter(|there| *there).count() != 1 {
            return Err("a step is one of run, until, pull, send and hear".to_owned());
        }
        let expects_traffic =
            self.times.is_some() || !self.out.is_empty() || self.sentinel.is_some();
        if expects_traffic && self.send.is_empty() {
            return Err("times, out and sentinel belong to send".to_owned());
        }
        let expects_words = !self.prints.is_empty() || !self.lacks.is_empty();
        if (expects_words || self.refused.is_some()) && self.run.is_none() && self.until.is_none() {
            return Err("prints, lacks and refused belong to run or until".to_owned());
        }
        if (self.succeeded > 0 || self.failed > 0) != self.pull.is_some() {
            return Err("succeeded and failed belong to pull, which has one of them".to_owned());
        }
        if self.until.is_some() && !expects_words && self.refused.is_none() {
            return Err("until needs prints, lacks or refused".to_owned());
        }
        let command = |line: &str| -> Result<Command, String> {
            let (prints, lacks, refused) = (self.prints, self.lacks, self.refused);
            Ok(Command { line: checked(line)?, prints, lacks, refused })
        };
        let act = if let Some(line) = self.run {
            Act::Run(command(&line)?)
        } else if let Some(line) = self.until {
            Act::Until(command(&line)?)
        } else if let Some(queue) = self.pull {
            Act::Pull(Pull { queue, succeeded: self.succeeded, failed: self.failed })
        } else if self.send.is_empty() {
            Act::Hear(self.hear)
        } else {
            let out = self.out.into_iter().map(ExpectedKeys::expected).collect::<Result<_, _>>()?;
            Act::Send(Traffic {
                frames: self.send.into_iter().flatten().collect(),
                times: self.times.unwrap_or(1),
                out,
                sentinel: match self.sentinel {
                    None => Sentinel::Usual,
                    Some(text) if text == "lost" => Sentinel::Lost,
                    Some(layers) => Sentinel::Layers(layers),
                },
            })
        };
        Ok(Step { on: self.on, act })
    }
}

impl ExpectedKeys {
    fn expected(self) -> Result<Expected, String> {
        let mut frames = self.frame.into_iter();
        let (Some((place, packet)), None) = (frames.next(), frames.next()) else {
            return Err("an entry of out has one PLACE: PACKET".to_owned());
        };
        let place = place.parse()?;
        Ok(Expected { place, packet, times: self.times.unwrap_or(1), told: self.told })
    }
}

/// A command that testpmd reads whole.
fn checked(line: &str) -> Result<String, String> {
    let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.len() {
        0 => Err("an empty command".to_owned()),
        1..=LONGEST_COMMAND => Ok(line),
        length => Err(format!("the command has {length} bytes, testpmd reads {LONGEST_COMMAND}")),
    }
}

impl<'de> Deserialize<'de> for Step {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StepVisitor)
    }
}

/// A command alone, which must be accepted, or keys.
struct StepVisitor;

impl<'de> Visitor<'de> for StepVisitor {
    type Value = Step;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a command or a map of run, until, pull, send or hear")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Step, E> {
        let line = checked(text).map_err(E::custom)?;
        let command = Command { line, prints: Vec::new(), lacks: Vec::new(), refused: None };
        Ok(Step { on: None, act: Act::Run(command) })
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Step, A::Error> {
        Keys::deserialize(MapAccessDeserializer::new(map))?.step().map_err(A::Error::custom)
    }
}

/// Reads a value or a list of values.
fn list<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Vec<T>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMore<T> {
        One(T),
        More(Vec<T>),
    }
    Ok(match OneOrMore::deserialize(from)? {
        OneOrMore::One(one) => vec![one],
        OneOrMore::More(more) => more,
    })
}
