//! What only packets show: frames are sent through rules that count, all of them at once, as a card tells its counters late.

use std::thread;
use std::time::{Duration, Instant};

use rte_flow::{Action, AskedField, Domain, FlowError, Item, ItemKind, Rule};

use crate::frames::{frame, frame_with};
use crate::items::{FoundItem, full, with_field};
use crate::rules::Made;
use crate::trial::{Place, Trial};

/// What happened to the rules of an experiment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The NIC refused one.
    Refused(FlowError),
    /// All were made; whether each was hit.
    Hit(Vec<bool>),
}

impl Outcome {
    /// Whether the rule at this position was hit.
    pub fn hit(&self, rule: usize) -> bool {
        matches!(self, Self::Hit(hits) if hits.get(rule) == Some(&true))
    }
}

/// Rules, and a frame that is sent to them.
pub struct Experiment {
    rules: Vec<Rule>,
    frame: Vec<u8>,
}

/// Experiments that do not disturb each other: the frames of each come from an Ethernet address of its own.
pub struct Experiments {
    list: Vec<Experiment>,
}

/// The positions of an Ethernet header's fields.
const DESTINATION: usize = 0;
const SOURCE: usize = 1;
const ADDRESS: u128 = 0xffff_ffff_ffff;

impl Experiments {
    /// None yet.
    pub const fn new() -> Self {
        Self { list: Vec::new() }
    }

    /// Adds one: rules of these patterns, behind an Ethernet header of which these fields are asked, and a frame that begins with
    /// such a header. Returns its number.
    pub fn add(
        &mut self,
        domain: Domain,
        ethernet: &[AskedField],
        patterns: &[Vec<Item>],
        mut frame: Vec<u8>,
    ) -> usize {
        let number = self.list.len();
        // What is asked of one address leaves the other to tell experiments apart.
        let by = if ethernet.iter().any(|field| field.index == SOURCE && field.mask != 0) {
            DESTINATION
        } else {
            SOURCE
        };
        let address = 0x0200_0000_0000 | (number as u128 + 1);
        let octets = (address as u64).to_be_bytes();
        let at = if by == DESTINATION { 0 } else { 6 };
        if let (Some(place), Some(octets)) = (frame.get_mut(at..at + 6), octets.get(2..)) {
            place.copy_from_slice(octets);
        }
        let ethernet =
            Item::asking(ItemKind::Eth, &with_field(ethernet, full(by, address, ADDRESS)));
        let rule = |items: &Vec<Item>| {
            // Port items come first.
            let of_ports = items.iter().take_while(|item| is_port(item)).count();
            let mut pattern = items.clone();
            pattern.insert(of_ports, ethernet.clone());
            Place::first(domain).rule(pattern, vec![Action::Count(0), Action::Drop])
        };
        self.list.push(Experiment { rules: patterns.iter().map(rule).collect(), frame });
        number
    }

    /// Adds one whose frame does not come to the rules of these patterns before these actions changed it. Returns its number;
    /// the first of the patterns is its rule 2.
    pub fn add_behind(
        &mut self,
        domain: Domain,
        actions: &[Action],
        patterns: &[Vec<Item>],
        frame: Vec<u8>,
    ) -> usize {
        let number = self.add(domain, &[], &[Vec::new()], frame);
        // Root tables do not take every action: two groups behind, of this experiment alone.
        let group = FIRST_GROUP + 2 * number as u32;
        let in_group = |group: u32, rule: &Rule| {
            let mut rule = rule.clone();
            rule.attributes.group = group;
            rule
        };
        if let Some(Experiment { rules, .. }) = self.list.last_mut()
            && let Some(first) = rules.first_mut()
        {
            let mut changing = in_group(group, first);
            changing.actions = actions.iter().cloned().chain([Action::Jump(group + 1)]).collect();
            let watching = patterns.iter().map(|items| {
                let mut rule = in_group(group + 1, first);
                rule.pattern.extend(items.iter().cloned());
                rule
            });
            let watching: Vec<Rule> = watching.collect();
            first.actions = vec![Action::Jump(group)];
            rules.push(changing);
            rules.extend(watching);
        }
        number
    }

    /// Makes all rules, sends all frames through the port that manages the switch, and looks at the counters when that of
    /// `witness` has moved.
    pub fn run(self, trial: &mut Trial<'_, '_>, witness: usize) -> Vec<Outcome> {
        let port = trial.nic.proxy();
        let mut made: Vec<Result<Vec<Made>, FlowError>> = Vec::new();
        for experiment in &self.list {
            made.push(experiment.rules.iter().map(|rule| trial.insert(port, rule)).collect());
        }
        for experiment in &self.list {
            trial.nic.send(port, &experiment.frame);
        }
        // A rule without COUNT has no number.
        let is_hit = |rule: &Made| rule.count().unwrap_or(0) > 0;
        if let Some(Ok(rules)) = made.get(witness) {
            let begin = Instant::now();
            while begin.elapsed() < PATIENCE && !rules.iter().any(is_hit) {
                thread::sleep(POLL);
            }
            // Cards read their counters one after the other.
            thread::sleep(begin.elapsed().min(PATIENCE / 10));
        }
        let outcomes = made.iter().map(|rules| match rules {
            Ok(rules) => Outcome::Hit(rules.iter().map(is_hit).collect()),
            Err(error) => Outcome::Refused(error.clone()),
        });
        outcomes.collect()
    }
}

/// The first group for rules behind others; nothing else is there.
const FIRST_GROUP: u32 = 100;

/// How long a counter may take to show a packet.
const PATIENCE: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(1);

fn is_port(item: &Item) -> bool {
    matches!(item, Item::PortId(_) | Item::PortRepresentor(_) | Item::RepresentedPort(_))
}

/// Whether an item's fields with a range are matched by it: sends a frame whose field is not the range's lower end.
pub struct RangeExperiment {
    item: usize,
    field: usize,
    without: usize,
    with: usize,
}

/// Adds an experiment for every field that may have a range and stands in some frame.
pub fn add_ranges(experiments: &mut Experiments, found: &[FoundItem]) -> Vec<RangeExperiment> {
    let mut list = Vec::new();
    for (item_index, item) in found.iter().enumerate() {
        let Some((before, frame)) = item.before.iter().find_map(|before| {
            let kinds: Vec<ItemKind> = before.iter().map(Item::kind).collect();
            // Experiments begin with Ethernet.
            let is_whole = kinds.first().unwrap_or(&item.kind) == &ItemKind::Eth;
            let frame = frame_with(&kinds, item.kind).filter(|_| is_whole)?;
            Some((before.clone(), frame))
        }) else {
            continue;
        };
        let is_ethernet = before.is_empty();
        for (field_index, field) in item.fields.iter().enumerate().filter(|(_, field)| field.range)
        {
            let low = u128::from(field.nonzero);
            let range = AskedField {
                index: field.index,
                spec: low,
                last: Some(field.bits),
                mask: field.bits,
            };
            let mut add = |asked: &[AskedField]| {
                if is_ethernet {
                    return experiments.add(Domain::Egress, asked, &[Vec::new()], frame.clone());
                }
                let mut pattern = before.get(1..).unwrap_or_default().to_vec();
                pattern.push(Item::asking(item.kind, asked));
                experiments.add(Domain::Egress, &[], &[pattern], frame.clone())
            };
            let without = add(&item.least);
            let with = add(&with_field(&item.least, range));
            list.push(RangeExperiment { item: item_index, field: field_index, without, with });
        }
    }
    list
}

/// Notes which ranges are not looked at.
pub fn note_ranges(list: &[RangeExperiment], outcomes: &[Outcome], found: &mut [FoundItem]) {
    let hit = |number: usize| outcomes.get(number).is_some_and(|outcome| outcome.hit(0));
    for RangeExperiment { item, field, without, with } in list {
        let field = found.get_mut(*item).and_then(|item| item.fields.get_mut(*field));
        if let Some(field) = field
            && hit(*without)
            && !hit(*with)
        {
            field.range = false;
            field.range_ignored = true;
        }
    }
}

/// A frame of these headers; all have one.
pub fn plain(kinds: &[ItemKind]) -> Vec<u8> {
    frame(kinds).unwrap_or_default()
}

/// How long a counter's reading may be old, in milliseconds; `None` where nothing can be counted.
pub fn counter_refresh(trial: &mut Trial<'_, '_>) -> Option<u64> {
    /// Intervals that differ by less are the same.
    const TOLERANCE: Duration = Duration::from_millis(20);
    /// Refreshes come at multiples of this.
    const STEP: u64 = 50;
    let port = trial.nic.proxy();
    let ethernet = Item::asking(ItemKind::Eth, &[]);
    let rule =
        Place::first(Domain::Egress).rule(vec![ethernet], vec![Action::Count(0), Action::Drop]);
    let made = trial.insert(port, &rule).ok()?;
    let frame = plain(&[ItemKind::Eth, ItemKind::Ipv4, ItemKind::Udp]);
    let begin = Instant::now();
    let (mut shown, mut sent) = (0, 0);
    let mut changes: Vec<Duration> = Vec::new();
    let mut refresh = None;
    while refresh.is_none() && begin.elapsed() < 4 * PATIENCE {
        trial.nic.send(port, &frame);
        sent += 1;
        let count = made.count().unwrap_or(0);
        if count != shown {
            shown = count;
            changes.push(begin.elapsed());
        }
        if sent == 3 && changes.len() == 3 {
            refresh = Some(0);
        } else if let [.., one, two, three] = changes[..]
            && two.saturating_sub(one).abs_diff(three.saturating_sub(two)) < TOLERANCE
        {
            let interval = three.saturating_sub(one).as_millis() / 2;
            let interval = u64::try_from(interval).unwrap_or(u64::MAX);
            refresh = Some((interval + STEP / 2) / STEP * STEP);
        }
        thread::sleep(POLL);
    }
    refresh
}
