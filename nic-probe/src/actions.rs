//! What a NIC accepts of each action: where, with which items, behind which others, and what in particular.

use rte_flow::{
    Action, ActionKind, Age, Domain, FieldId, FieldRef, Ipv4, Item, ItemKind, Match, MeterMark,
    ModifyField, ModifyOperation, Nvgre, RawEncap, Rss, RssFunction, RssTypes, Sample, SetMeta,
    SetTag, ToPortId, U24, Udp, Vxlan,
};

use crate::meters::{MeterPolicy, MeterProfile, policy_takes};
use crate::objects::Objects;
use crate::trial::{DOMAINS, ELSEWHERE, PREFIXES, Place, Trial, bare, largest};

/// A header that encapsulations prepend: Ethernet, IPv4, UDP with a checksum, VXLAN, then zeros up to this length in bytes.
fn tunnel_header(length: usize, checksum: u16) -> Vec<u8> {
    let mut header = vec![0; 12];
    header.extend([0x08, 0x00, 0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0]);
    header.extend([192, 0, 2, 1, 192, 0, 2, 2]);
    header.extend([0xc0, 0, 0x12, 0xb5, 0, 0]);
    header.extend(checksum.to_be_bytes());
    header.extend([0x08, 0, 0, 0, 0, 0, 1, 0]);
    header.resize(length.max(TUNNEL_HEADER), 0);
    header
}

/// The length of such a header in bytes.
const TUNNEL_HEADER: usize = 50;

fn raw_encap(data: Vec<u8>) -> Action {
    Action::RawEncap(RawEncap { data, preserve: None })
}

fn rss(function: RssFunction) -> Action {
    let (types, key) = (RssTypes::empty(), Vec::new());
    Action::Rss(Rss { function, level: 0, types, key, queues: vec![0] })
}

const fn age(seconds: u32) -> Action {
    Action::Age(Age { timeout: U24::truncate(seconds), context: 0 })
}

/// Actions of a kind to try, with what they name.
fn samples(kind: ActionKind, port: u16, objects: &Objects) -> Vec<Action> {
    let ip = Item::Ipv4(Match::of(Ipv4 { src: 0xc000_0201, dst: 0xc000_0202, ..Ipv4::default() }));
    let one = match kind {
        ActionKind::Jump => Action::Jump(ELSEWHERE),
        ActionKind::Rss => rss(RssFunction::Default),
        ActionKind::PortId => Action::PortId(ToPortId { original: false, id: port.into() }),
        ActionKind::PortRepresentor => Action::PortRepresentor(port),
        ActionKind::RepresentedPort => Action::RepresentedPort(port),
        ActionKind::Age => age(10),
        ActionKind::OfPushVlan => Action::OfPushVlan(0x8100),
        ActionKind::SetTag => Action::SetTag(SetTag { data: 1, mask: u32::MAX, index: 0 }),
        ActionKind::SetMeta => Action::SetMeta(SetMeta { data: 1, mask: u32::MAX }),
        ActionKind::VxlanEncap => Action::VxlanEncap(vec![
            Item::Eth(Match::default()),
            ip,
            Item::Udp(Match::of(Udp { dst: 4789, ..Udp::default() })),
            Item::Vxlan(Match::of(Vxlan { vni: U24::truncate(1), ..Vxlan::default() })),
        ]),
        ActionKind::NvgreEncap => Action::NvgreEncap(vec![
            Item::Eth(Match::default()),
            ip,
            Item::Nvgre(Match::of(Nvgre { tni: U24::truncate(1), ..Nvgre::default() })),
        ]),
        ActionKind::RawEncap => raw_encap(tunnel_header(TUNNEL_HEADER, 0)),
        ActionKind::RawDecap => Action::RawDecap(tunnel_header(TUNNEL_HEADER, 0)),
        ActionKind::ModifyField => {
            let fields = FieldId::ALL.iter();
            return fields.map(|field| Action::ModifyField(ModifyField::set(*field, 1))).collect();
        }
        ActionKind::Sample => {
            let destinations = [
                vec![Action::Queue(0)],
                vec![Action::RepresentedPort(port)],
                vec![Action::PortId(ToPortId { original: false, id: port.into() })],
                Vec::new(),
            ];
            return destinations
                .into_iter()
                .map(|actions| Action::Sample(Sample { ratio: 1, actions }))
                .collect();
        }
        ActionKind::Meter => {
            return objects.meter.iter().map(|meter| Action::Meter(meter.id)).collect();
        }
        ActionKind::MeterMark => {
            let policy = objects.meter_policy.as_ref().and_then(MeterPolicy::handle);
            let profile = objects.meter_profile.as_ref().and_then(MeterProfile::handle);
            let mark = |profile| {
                Action::MeterMark(MeterMark { profile, policy, color_aware: None, enabled: true })
            };
            return profile.map(mark).into_iter().collect();
        }
        ActionKind::Indirect => {
            let shared = objects.shared.iter();
            return shared.map(|(_, handle)| Action::Indirect(*handle)).collect();
        }
        _ => return Action::zeroed(kind).into_iter().collect(),
    };
    vec![one]
}

/// What is accepted of shared actions.
pub struct Shared {
    /// Which actions can be shared.
    pub kinds: Vec<ActionKind>,
    /// Which of them can be updated.
    pub updates: Vec<ActionKind>,
}

/// Makes every action shared that can be.
pub fn share(port: u16, objects: &mut Objects) -> Shared {
    let mut shared = Shared { kinds: Vec::new(), updates: Vec::new() };
    for kind in ActionKind::ALL.iter().copied().filter(|kind| *kind != ActionKind::Indirect) {
        for sample in samples(kind, port, objects) {
            if let Some(handle) = objects.share(&sample) {
                shared.kinds.push(kind);
                shared.updates.extend(objects.updates(handle, &sample).then_some(kind));
                break;
            }
        }
    }
    shared
}

/// Actions that are accepted at a place.
#[derive(Debug, Clone)]
pub struct Accepted {
    /// The domain.
    pub domain: Domain,
    /// The action, behind those that it needs before it.
    pub actions: Vec<Action>,
    /// The positions of the prefixes with which they are accepted.
    pub prefixes: Vec<usize>,
}

/// What was found of an action.
#[derive(Debug, Clone)]
pub struct FoundAction {
    /// Which action.
    pub kind: ActionKind,
    /// Where it is accepted, a domain each.
    pub accepted: Vec<Accepted>,
    /// Whether it is in root groups, where those differ.
    pub root: bool,
    /// Rules have it as a shared one only.
    pub only_shared: bool,
    /// Items of which the pattern must have one.
    pub needs: Vec<ItemKind>,
    /// Items that the pattern must not have.
    pub without: Vec<ItemKind>,
    /// Actions of which one must stand before, where the pattern has none of those items.
    pub after: Vec<ActionKind>,
}

impl FoundAction {
    /// The domains where it is accepted.
    pub fn domains(&self) -> Vec<Domain> {
        self.accepted.iter().map(|accepted| accepted.domain).collect()
    }

    /// What is accepted of it in a domain.
    pub fn in_domain(&self, domain: Domain) -> Option<&Accepted> {
        self.accepted.iter().find(|accepted| accepted.domain == domain)
    }
}

/// Finds out about all actions. Some need others before them: these are tried again with those that were found.
pub fn examine(trial: &mut Trial<'_, '_>, root: &[Domain], objects: &Objects) -> Vec<FoundAction> {
    let mut found: Vec<FoundAction> = Vec::new();
    let mut others = ActionKind::ALL.to_vec();
    loop {
        let mut left = Vec::new();
        for kind in others.iter().copied() {
            match examine_one(trial, kind, root, objects, &found) {
                Some(action) => found.push(action),
                None => left.push(kind),
            }
        }
        if left.len() == others.len() {
            found.sort_by_key(|action| action.kind);
            return found;
        }
        others = left;
    }
}

fn examine_one(
    trial: &mut Trial<'_, '_>,
    kind: ActionKind,
    root: &[Domain],
    objects: &Objects,
    found: &[FoundAction],
) -> Option<FoundAction> {
    let plain = samples(kind, trial.nic.proxy(), objects);
    let shared = objects.of_kind(kind).map(Action::Indirect);
    let mut only_shared = false;
    let mut accepted = accepted(trial, &plain, &[]);
    if accepted.is_empty() {
        accepted = self::accepted(trial, shared.as_slice(), &[]);
        only_shared = !accepted.is_empty();
    }
    if accepted.is_empty() {
        accepted = found.iter().find_map(|before| {
            let accepted = self::accepted(trial, &plain, std::slice::from_ref(before));
            (!accepted.is_empty()).then_some(accepted)
        })?;
    }
    let (needs, after) = conditions(trial, kind, accepted.last()?, found);
    let in_root = |trial: &mut Trial<'_, '_>, accepted: &Accepted| {
        trial.accepts_actions(Place::first(accepted.domain), &accepted.actions)
    };
    let mut tried = accepted.iter().filter(|accepted| root.contains(&accepted.domain)).peekable();
    let root = tried.peek().is_none() || tried.any(|accepted| in_root(trial, accepted));
    let without = without(trial, &accepted);
    Some(FoundAction { kind, accepted, root, only_shared, needs, without, after })
}

/// Where the NIC accepts one of these actions, behind one of those, if they are any.
fn accepted(
    trial: &mut Trial<'_, '_>,
    samples: &[Action],
    before: &[FoundAction],
) -> Vec<Accepted> {
    let mut list = Vec::new();
    for domain in trial.domains() {
        let found = samples.iter().find_map(|sample| {
            let mut actions = match before.first() {
                Some(before) => before.in_domain(domain)?.actions.clone(),
                None => Vec::new(),
            };
            actions.push(sample.clone());
            let prefixes = trial.prefixes_with(Place::scratch(domain), &actions);
            (!prefixes.is_empty()).then_some(Accepted { domain, actions, prefixes })
        });
        list.extend(found);
    }
    list
}

/// Which items an action needs in the pattern, and which actions before it.
fn conditions(
    trial: &mut Trial<'_, '_>,
    kind: ActionKind,
    accepted: &Accepted,
    found: &[FoundAction],
) -> (Vec<ItemKind>, Vec<ActionKind>) {
    let Accepted { domain, actions, prefixes } = accepted;
    let place = Place::scratch(*domain);
    let Some(action) = actions.last() else { return Default::default() };
    let plain = bare(PREFIXES.first().copied().unwrap_or_default());
    let mut is_plain = |actions: &[Action]| {
        let actions = trial.ended(*domain, actions);
        trial.accepts(&place.rule(plain.clone(), actions))
    };
    // What a decapsulation removes is a matter of its own.
    if kind.is_decap() {
        return Default::default();
    }
    if is_plain(std::slice::from_ref(action)) {
        // Then it needs what that pattern has over the empty one, where there is such.
        let is_needed = !prefixes.contains(&1) && trial.accepts_pattern(place, &[]);
        return (if is_needed { vec![ItemKind::Eth] } else { Vec::new() }, Vec::new());
    }
    let mut helps = |other: &FoundAction| {
        let Some(before) = other.in_domain(*domain).map(|accepted| &accepted.actions) else {
            return false;
        };
        let with: Vec<Action> = before.iter().chain([action]).cloned().collect();
        let without: Vec<Action> =
            before.iter().rev().skip(1).rev().chain([action]).cloned().collect();
        is_plain(&with) && !is_plain(&without)
    };
    let after = found.iter().filter(|other| helps(other)).map(|other| other.kind).collect();
    let with_items = |positions: &[usize], is_it: &dyn Fn(&[ItemKind]) -> bool| {
        positions.iter().filter_map(|position| PREFIXES.get(*position)).all(|items| is_it(items))
    };
    let others: Vec<usize> =
        (0..PREFIXES.len()).filter(|position| !prefixes.contains(position)).collect();
    let is_needed = |kind: &&ItemKind| {
        with_items(prefixes, &|items| items.contains(kind))
            && with_items(&others, &|items| !items.contains(kind) || is_tunnel(items))
    };
    // With an action before it, it needs no item.
    if actions.len() > 1 {
        return (Vec::new(), after);
    }
    let needs: Vec<ItemKind> = ItemKind::ALL.iter().filter(is_needed).copied().collect();
    if !needs.is_empty() {
        return (needs, after);
    }
    // One of several: what the shortest of the patterns end with.
    let accepted: Vec<&[ItemKind]> =
        prefixes.iter().filter_map(|position| PREFIXES.get(*position).copied()).collect();
    let is_shortest = |items: &&&[ItemKind]| {
        !accepted.iter().any(|other| other.len() < items.len() && items.starts_with(other))
    };
    let last = accepted.iter().filter(is_shortest).filter_map(|items| items.last());
    let is_missed =
        |kind: &&ItemKind| with_items(&others, &|items| !items.contains(*kind) || is_tunnel(items));
    let mut needs: Vec<ItemKind> = Vec::new();
    for kind in last.filter(is_missed) {
        if !needs.contains(kind) {
            needs.push(*kind);
        }
    }
    (needs, after)
}

/// The items with which no rule has the action, though the NIC takes their patterns and without them the action.
fn without(trial: &mut Trial<'_, '_>, accepted: &[Accepted]) -> Vec<ItemKind> {
    let mut wrong = Vec::new();
    for kind in ItemKind::ALL.iter().copied() {
        let (mut tried, mut taken) = (false, false);
        for Accepted { domain, actions, prefixes } in accepted {
            let place = Place::scratch(*domain);
            let actions = trial.ended(*domain, actions);
            for prefix in prefixes.iter().filter_map(|at| PREFIXES.get(*at)) {
                let pattern = [bare(prefix), bare(&[kind])].concat();
                if !taken && trial.accepts_pattern(place, &pattern) {
                    tried = true;
                    taken = trial.accepts(&place.rule(pattern, actions.clone()));
                }
            }
        }
        wrong.extend((tried && !taken).then_some(kind));
    }
    wrong
}

/// Whether these items go into a tunnel: what they name there is not what an action finds.
fn is_tunnel(items: &[ItemKind]) -> bool {
    items.iter().filter(|kind| **kind == ItemKind::Eth).count() > 1
}

/// What is accepted of `MODIFY_FIELD`.
#[derive(Default)]
pub struct Modify {
    /// The fields that it changes.
    pub destinations: Vec<FieldId>,
    /// It reaches inner headers.
    pub inner: bool,
    /// It subtracts.
    pub sub: bool,
    /// It moves bits within a field.
    pub within_field: bool,
}

/// Finds out about `MODIFY_FIELD`.
pub fn modify(trial: &mut Trial<'_, '_>, domain: Domain) -> Modify {
    let place = Place::scratch(domain);
    let mut accepts =
        |modify: ModifyField| trial.accepts_actions(place, &[Action::ModifyField(modify)]);
    let fields = FieldId::ALL.iter().copied();
    let destinations: Vec<FieldId> =
        fields.filter(|field| accepts(ModifyField::set(*field, 1))).collect();
    let mut on_any = |modify: &dyn Fn(FieldId) -> ModifyField| {
        destinations.iter().any(|field| accepts(modify(*field)))
    };
    let inner = on_any(&|field| {
        // A register's level is its number.
        let level = if field.is_host_order() { 300 } else { 2 };
        let destination = FieldRef { field, level, offset: 0 };
        ModifyField::immediate(ModifyOperation::Set, destination, field.bits(), 1)
    });
    let sub = on_any(&|field| {
        let destination = FieldRef::outermost(field);
        ModifyField::immediate(ModifyOperation::Sub, destination, field.bits(), 1)
    });
    let within_field = on_any(&|field| {
        let half = field.bits() / 2;
        let source = FieldRef { offset: half, ..FieldRef::outermost(field) };
        ModifyField::copy(FieldRef::outermost(field), source, half)
    });
    Modify { destinations, inner, sub, within_field }
}

/// What is accepted of encapsulation and decapsulation.
#[allow(clippy::struct_excessive_bools, reason = "each is a key of the file by itself")]
pub struct Tunnels {
    /// The longest header in bytes, if there is a limit.
    pub max_bytes: Option<u64>,
    /// The outer UDP checksum must be 0.
    pub zero_udp_checksum: bool,
    /// A decapsulation needs the item of its tunnel.
    pub decap_needs_item: bool,
    /// In egress rules of representors too.
    pub on_representors: bool,
    /// Buffers must be headers.
    pub checks_buffers: bool,
}

/// Finds out about encapsulation and decapsulation.
pub fn tunnels(trial: &mut Trial<'_, '_>, actions: &[FoundAction]) -> Tunnels {
    /// Longer than any header.
    const MOST: usize = 512;
    const NO_HEADER: [u8; 60] = [0xff; 60];
    let of = |kind: ActionKind| actions.iter().find(|action| action.kind == kind);
    let place = of(ActionKind::RawEncap)
        .and_then(|action| action.accepted.last())
        .map(|accepted| Place::scratch(accepted.domain));
    let mut accepts =
        |data: Vec<u8>| place.is_none_or(|place| trial.accepts_actions(place, &[raw_encap(data)]));
    let most = (MOST - TUNNEL_HEADER) as u64;
    let max_bytes = largest(most, |more| accepts(tunnel_header(TUNNEL_HEADER + more as usize, 0)))
        .map(|more| more + TUNNEL_HEADER as u64);
    let zero_udp_checksum = !accepts(tunnel_header(TUNNEL_HEADER, 1));
    let checks_buffers = !accepts(NO_HEADER.to_vec());
    let pattern = bare(&[ItemKind::Eth]);
    let decap_needs_item = of(ActionKind::VxlanDecap).is_some_and(|action| {
        action.accepted.iter().all(|accepted| {
            let actions = trial.ended(accepted.domain, &accepted.actions);
            !trial.accepts(&Place::scratch(accepted.domain).rule(pattern.clone(), actions))
        })
    });
    let on_representors = trial.nic.representor().is_some_and(|port| {
        let encap = [raw_encap(tunnel_header(TUNNEL_HEADER, 0))];
        let actions = trial.ended(Domain::Egress, &encap);
        trial.on(port, &Place::scratch(Domain::Egress).rule(pattern, actions)).is_ok()
    });
    Tunnels { max_bytes, zero_udp_checksum, decap_needs_item, on_representors, checks_buffers }
}

/// The hash functions of RSS.
pub fn rss_functions(trial: &mut Trial<'_, '_>) -> Vec<RssFunction> {
    let mut functions = vec![
        RssFunction::Default,
        RssFunction::Toeplitz,
        RssFunction::SimpleXor,
        RssFunction::SymmetricToeplitz,
    ];
    let place = Place::scratch(Domain::Ingress);
    functions.retain(|function| trial.accepts_actions(place, &[rss(*function)]));
    functions
}

/// Whether AGE takes a timeout of 0, and whether it stands with a shared COUNT.
pub fn ageing(trial: &mut Trial<'_, '_>, objects: &Objects) -> (bool, bool) {
    let mut accepts = |actions: &[Action]| {
        DOMAINS.iter().any(|domain| trial.accepts_actions(Place::scratch(*domain), actions))
    };
    let zero = accepts(&[age(0)]);
    let shared = objects.of_kind(ActionKind::Count).map(Action::Indirect);
    let with_shared =
        shared.is_none_or(|count| accepts(&[age(10), count.clone()]) || accepts(&[count, age(10)]));
    (zero, with_shared)
}

/// What the policy of a meter may do with packets that are not red.
pub fn policy_actions(port: u16, objects: &Objects) -> Vec<ActionKind> {
    let kinds = ActionKind::ALL.iter().copied().filter(|kind| *kind != ActionKind::Void);
    let takes = |kind: &ActionKind| {
        samples(*kind, port, objects).iter().any(|sample| policy_takes(port, sample))
    };
    kinds.filter(takes).collect()
}

/// What is accepted of SAMPLE.
pub struct Samples {
    /// The sub-actions, by domain.
    pub sub_actions: Vec<(Domain, Vec<ActionKind>)>,
    /// The copy must go somewhere.
    pub needs_destination: bool,
    /// A transfer rule that copies not every packet has no sub-actions.
    pub bare_in_transfer: bool,
}

/// Finds out about SAMPLE, if there is such.
pub fn sampling(
    trial: &mut Trial<'_, '_>,
    actions: &[FoundAction],
    objects: &Objects,
) -> Option<Samples> {
    let sample = actions.iter().find(|action| action.kind == ActionKind::Sample)?;
    let port = trial.nic.proxy();
    let mut accepts = |domain: Domain, ratio: u32, actions: Vec<Action>| {
        let sample = Action::Sample(Sample { ratio, actions });
        trial.accepts_actions(Place::scratch(domain), &[sample])
    };
    let (mut sub_actions, mut needs_destination, mut bare_in_transfer) = (Vec::new(), false, false);
    for accepted in &sample.accepted {
        let domain = accepted.domain;
        let Some(Action::Sample(Sample { actions: end, .. })) = accepted.actions.last() else {
            continue;
        };
        let mut kinds = Vec::new();
        // VOID is nothing anywhere.
        for kind in ActionKind::ALL.iter().copied().filter(|kind| *kind != ActionKind::Void) {
            let is_taken =
                |sub: Action, accepts: &mut dyn FnMut(Domain, u32, Vec<Action>) -> bool| {
                    let ended: Vec<Action> = [sub.clone()].into_iter().chain(end.clone()).collect();
                    accepts(domain, 1, vec![sub]) || accepts(domain, 1, ended)
                };
            if samples(kind, port, objects).into_iter().any(|sub| is_taken(sub, &mut accepts)) {
                kinds.push(kind);
            }
        }
        if kinds.contains(&ActionKind::Count) {
            needs_destination |= !accepts(domain, 1, vec![Action::Count(0)]);
        }
        if domain == Domain::Transfer {
            bare_in_transfer = !end.is_empty() && !accepts(domain, 2, end.clone());
        }
        sub_actions.push((domain, kinds));
    }
    Some(Samples { sub_actions, needs_destination, bare_in_transfer })
}
