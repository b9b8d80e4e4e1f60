//! What a NIC accepts of each item: its fields one by one, their masks, values and ranges.

use rte_flow::{AskedField, Domain, Item, ItemKind};

use crate::trial::{Place, Trial, largest};

/// Items that are about a packet as a whole, not a layer: a pattern may have them several times.
const OF_PACKETS: &[ItemKind] = &[
    ItemKind::PortId,
    ItemKind::PortRepresentor,
    ItemKind::RepresentedPort,
    ItemKind::Meta,
    ItemKind::Tag,
    ItemKind::Mark,
    ItemKind::Integrity,
    ItemKind::Conntrack,
];

/// The value for fields that name something, or whose values have rules of their own: these are tried with this value alone.
fn named_value(kind: ItemKind, field: &str, port: u16) -> Option<u128> {
    match (kind, field) {
        (ItemKind::PortId | ItemKind::PortRepresentor | ItemKind::RepresentedPort, _) => {
            Some(port.into())
        }
        (ItemKind::Tag, "index")
        // Which fragments can be asked for is a matter of its own.
        | (ItemKind::Ipv4, "fragment_offset")
        | (ItemKind::Ipv6FragExt, "fragment_data")
        | (ItemKind::Conntrack, _) => Some(0),
        // Data that is not 0 under any mask.
        (ItemKind::GeneveOpt, "data") => Some(u32::MAX.into()),
        (ItemKind::Any | ItemKind::GeneveOpt, _) => Some(1),
        _ => None,
    }
}

/// What was found of a field.
#[derive(Debug, Clone)]
#[allow(clippy::struct_excessive_bools, reason = "each is a list of the file by itself")]
pub struct FoundField {
    /// The position in the item's fields.
    pub index: usize,
    /// The name in profiles.
    pub name: &'static str,
    /// All its bits.
    pub all: u128,
    /// Those that can be matched.
    pub bits: u128,
    /// It is matched whole or not at all.
    pub whole: bool,
    /// It must be matched.
    pub required: bool,
    /// It cannot be matched against 0.
    pub nonzero: bool,
    /// Its bits are asked to be set, never to be clear.
    pub positive: bool,
    /// Values that it cannot be matched against.
    pub excluded: Vec<u64>,
    /// The largest value that it can be matched against.
    pub highest: Option<u64>,
    /// It may have a range.
    pub range: bool,
    /// A range is accepted and not looked at.
    pub range_ignored: bool,
    /// A value that it can be matched against.
    pub value: u128,
}

/// What was found of an item.
#[derive(Debug, Clone)]
pub struct FoundItem {
    /// Which item.
    pub kind: ItemKind,
    /// Where it is accepted.
    pub domains: Vec<Domain>,
    /// Whether it is in root groups, where those differ.
    pub root: bool,
    /// What it asks at least to be accepted.
    pub least: Vec<AskedField>,
    /// Patterns before it with which it is accepted so.
    pub before: Vec<Vec<Item>>,
    /// Its matchable fields.
    pub fields: Vec<FoundField>,
    /// It must have a spec.
    pub spec: bool,
    /// A pattern has it once.
    pub once: bool,
}

/// The fields of `least`, with another one or another value of one.
pub fn with_field(least: &[AskedField], field: AskedField) -> Vec<AskedField> {
    let others = least.iter().filter(|other| other.index != field.index);
    others.copied().chain([field]).collect()
}

/// Asks for all these bits of a field.
pub const fn full(index: usize, spec: u128, mask: u128) -> AskedField {
    AskedField { index, spec, last: None, mask }
}

/// All bits that the field of an item has.
fn all_bits(kind: ItemKind, index: usize) -> u128 {
    let mut all = 0;
    // Options of GENEVE have data when their length says so.
    let mut asked = vec![full(index, 1, u128::MAX)];
    if kind == ItemKind::GeneveOpt && index != GENEVE_LENGTH {
        asked.push(full(GENEVE_LENGTH, 1, 0));
    }
    Item::asking(kind, &asked).for_each_field(&mut |field| {
        if field.index == index {
            all |= field.mask;
        }
    });
    all
}

/// The position of an option's length.
const GENEVE_LENGTH: usize = 2;

/// The lowest bit.
const fn lowest(bits: u128) -> u128 {
    bits & bits.wrapping_neg()
}

/// The lowest bit, and the lowest two together.
const fn ends(bits: u128) -> (u128, u128) {
    let one = lowest(bits);
    (one, one | lowest(bits ^ one))
}

/// One item on trial at a place.
struct Examination<'t, 'n, 'e> {
    trial: &'t mut Trial<'n, 'e>,
    kind: ItemKind,
    place: Place,
    before: Vec<Vec<Item>>,
    least: Vec<AskedField>,
}

impl Examination<'_, '_, '_> {
    fn accepts(&mut self, asked: &[AskedField]) -> bool {
        let item = Item::asking(self.kind, asked);
        let Self { trial, place, before, .. } = self;
        before.iter().any(|before| {
            let pattern = [&before[..], std::slice::from_ref(&item)].concat();
            trial.accepts_pattern(*place, &pattern)
        })
    }

    fn accepts_field(&mut self, field: AskedField) -> bool {
        let asked = with_field(&self.least, field);
        self.accepts(&asked)
    }

    fn name(&self, index: usize) -> &'static str {
        self.kind.fields().get(index).map_or("", |info| info.name)
    }

    fn named_value(&self, index: usize) -> Option<u128> {
        named_value(self.kind, self.name(index), self.trial.nic.proxy())
    }

    /// Values to match these bits against, of which one should do.
    fn values(&self, index: usize, mask: u128) -> Vec<u128> {
        match self.named_value(index) {
            Some(value) => vec![value & mask],
            None => vec![0, 1 & mask, mask],
        }
    }

    /// A value against which these bits can be matched.
    fn value(&mut self, index: usize, mask: u128) -> Option<u128> {
        let values = self.values(index, mask);
        values.into_iter().find(|value| self.accepts_field(full(index, *value, mask)))
    }

    /// The bits that can be matched, and a value of theirs.
    fn matchable(&mut self, index: usize, all: u128) -> Option<(u128, u128)> {
        if let Some(value) = self.value(index, all) {
            return Some((all, value));
        }
        let single = (0..u128::BITS).map(|bit| 1 << bit).filter(|bit| all & bit != 0);
        let bits = single.filter(|bit| self.value(index, *bit).is_some());
        let bits = bits.collect::<Vec<u128>>().into_iter().fold(0, |all, bit| all | bit);
        let value = self.value(index, bits).filter(|_| bits != 0)?;
        Some((bits, value))
    }

    fn field(&mut self, index: usize) -> Option<FoundField> {
        let all = all_bits(self.kind, index);
        let (bits, value) = self.matchable(index, all)?;
        let mut found = FoundField {
            index,
            name: self.name(index),
            all,
            bits,
            value,
            whole: false,
            required: false,
            nonzero: false,
            positive: false,
            excluded: Vec::new(),
            highest: None,
            range: false,
            range_ignored: false,
        };
        let without_lowest = bits ^ lowest(bits);
        found.whole = without_lowest != 0 && self.value(index, without_lowest).is_none();
        if self.named_value(index).is_none() {
            self.field_values(&mut found);
        }
        let (spec, last) = if without_lowest == 0 { (0, bits) } else { ends(bits) };
        found.range = self.accepts_field(AskedField { index, spec, last: Some(last), mask: bits });
        Some(found)
    }

    /// Which values the field can be matched against.
    fn field_values(&mut self, found: &mut FoundField) {
        const BYTE: u128 = 0xff;
        let FoundField { index, all, bits, .. } = *found;
        let (one, two) = ends(bits);
        found.positive = one != two
            && !found.whole
            && !self.accepts_field(full(index, one, two))
            && self.accepts_field(full(index, two, two));
        if bits != all {
            return;
        }
        let mut accepts = |value: u128| self.accepts_field(full(index, value, all));
        if all <= BYTE {
            let refused: Vec<u128> = (0..=all).filter(|value| !accepts(*value)).collect();
            match refused.first() {
                None => {}
                Some(0) if refused.len() == 1 => found.nonzero = true,
                Some(first) if (*first..=all).eq(refused.iter().copied()) => {
                    found.highest = first.checked_sub(1).map(|highest| highest as u64);
                }
                Some(_) => found.excluded = refused.iter().map(|value| *value as u64).collect(),
            }
        } else {
            found.nonzero = !accepts(0) && accepts(1);
            if let Ok(most) = u64::try_from(all)
                && !found.positive
                && accepts(1)
            {
                found.highest = largest(most, |value| value == 0 || accepts(value.into()));
            }
        }
    }
}

/// The forms in which an item is tried at first, from the least that it can ask.
fn first_forms(examination: &Examination<'_, '_, '_>) -> Vec<Vec<AskedField>> {
    let kind = examination.kind;
    let fields = 0..kind.fields().len();
    let forms = |index: usize| {
        let all = all_bits(kind, index);
        examination.values(index, all).into_iter().map(move |value| full(index, value, all))
    };
    let mut list = vec![Vec::new(), vec![full(0, 0, 0)]];
    list.extend(fields.clone().flat_map(forms).map(|field| vec![field]));
    list.push(fields.filter_map(|index| forms(index).next_back()).collect());
    list
}

/// Finds out about an item, if it is accepted anywhere.
pub fn examine(trial: &mut Trial<'_, '_>, kind: ItemKind, root: &[Domain]) -> Option<FoundItem> {
    let domains = trial.domains();
    let mut examination = Examination {
        trial,
        kind,
        place: Place::scratch(Domain::Transfer),
        before: Vec::new(),
        least: Vec::new(),
    };
    let forms = first_forms(&examination);
    let (place, least) = forms.into_iter().find_map(|form| {
        let item = [Item::asking(kind, &form)];
        let mut places = domains.iter().map(|domain| Place::scratch(*domain));
        let place =
            places.find(|place| !examination.trial.patterns_with(*place, &item).is_empty())?;
        Some((place, form))
    })?;
    let item = [Item::asking(kind, &least)];
    let patterns = examination.trial.patterns_with(place, &item);
    examination.before = patterns
        .into_iter()
        .map(|mut pattern| {
            pattern.pop();
            pattern
        })
        .collect();
    examination.place = place;
    examination.least = least;
    let spec = !examination.least.is_empty();
    let required = required(&mut examination);
    let mut fields: Vec<FoundField> =
        (0..kind.fields().len()).filter_map(|index| examination.field(index)).collect();
    for field in &mut fields {
        field.required = required.contains(&field.index);
    }
    let Examination { trial, before, least, .. } = examination;
    let item = Item::asking(kind, &least);
    let mut accepted =
        |place: Place| !trial.patterns_with(place, std::slice::from_ref(&item)).is_empty();
    let domains: Vec<Domain> =
        domains.into_iter().filter(|domain| accepted(Place::scratch(*domain))).collect();
    let mut root = root.iter().filter(|domain| domains.contains(domain)).peekable();
    let in_root = root.peek().is_none() || root.any(|domain| accepted(Place::first(*domain)));
    let twice = || [item.clone(), item.clone()];
    let once = OF_PACKETS.contains(&kind) && trial.patterns_with(place, &twice()).is_empty();
    // Where a field is required, a spec is too.
    let spec = spec && required.is_empty();
    Some(FoundItem { kind, domains, root: in_root, least, before, fields, spec, once })
}

/// Takes out of what the item asks at least whatever it can do without; returns the fields that are left.
fn required(examination: &mut Examination<'_, '_, '_>) -> Vec<usize> {
    let fields = examination.least.clone();
    let mut required = Vec::new();
    for field in fields.into_iter().filter(|field| field.mask != 0) {
        let spec = examination.named_value(field.index).unwrap_or(0);
        let without = with_field(&examination.least, full(field.index, spec, 0));
        // Data is what an option is for: what is asked of it is no matter of the profile.
        let is_data =
            examination.kind == ItemKind::GeneveOpt && examination.name(field.index) == "data";
        if is_data {
            continue;
        }
        if examination.accepts(&without) {
            examination.least = without;
        } else {
            required.push(field.index);
        }
    }
    required
}
