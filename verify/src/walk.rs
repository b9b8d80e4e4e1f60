//! All ways of all packets through the rules, as sets.

use hashbrown::HashSet;

use crate::bits::{
    BY_SOFTWARE, CONNTRACK, Cube, MARK, META, PORT, TAGS, TUNNEL_HEADER, TUNNEL_KIND, Tunnel, tag,
};
use crate::decision::{Exemptions, MatchSet, wrong_outcome};
use crate::dump::{Connection, Dump, Output, Phase, Serves};
use crate::places::Places;
use crate::program::Fate;
use crate::report::{Counts, Finding, Property};
use crate::space::{Region, Space};
use crate::table::{Group, RuleIndex, Table, connection};
use crate::view::View;
use crate::witness;

/// The most groups that a packet passes; the card gives up on those that jump in circles.
const JUMPS: usize = 64;
/// How many findings of a property are kept.
const KEPT: usize = 10;
/// After so many findings nobody looks further.
const ENOUGH: usize = 500;

/// See the module.
pub struct Walk<'a> {
    /// All packets.
    pub space: &'a Space,
    /// The rules.
    pub table: &'a Table,
    /// The dump they are from.
    pub dump: &'a Dump,
    /// Who is where.
    pub places: &'a Places<'a>,
    /// What the profile cannot match.
    pub exempt: Exemptions,
    /// Whether software may send packets with metadata.
    pub may_send_metadata: bool,
    /// What was found.
    pub findings: Findings,
    /// How much was looked at.
    pub counts: Counts,
    reached: Vec<bool>,
    entered: HashSet<u32>,
}

/// What was found so far.
#[derive(Default)]
pub struct Findings {
    /// The first ones of each property.
    pub kept: Vec<Finding>,
    /// All of them.
    pub count: usize,
}

impl Findings {
    /// Whether another finding of a property would be kept.
    pub fn has_room(&self, property: Property) -> bool {
        self.kept.iter().filter(|finding| finding.property == property).count() < KEPT
    }

    /// Whether nobody should look further.
    pub const fn is_enough(&self) -> bool {
        self.count >= ENOUGH
    }

    /// Notes a finding.
    pub fn add(&mut self, property: Property, finding: impl FnOnce() -> Finding) {
        self.count += 1;
        if self.has_room(property) {
            self.kept.push(finding());
        }
    }
}

/// Where a set of packets is on its way.
#[derive(Clone)]
struct Flow {
    region: Region,
    view: View,
    /// The port they came in at, and whether software sent them.
    port: u16,
    by_software: bool,
    /// Some of the way is taken for wider than it may be.
    is_wider: bool,
}

impl<'a> Walk<'a> {
    /// Before the first packet.
    pub fn new(
        space: &'a Space,
        table: &'a Table,
        dump: &'a Dump,
        places: &'a Places<'a>,
        exempt: Exemptions,
        findings: Findings,
    ) -> Self {
        Self {
            space,
            table,
            dump,
            places,
            exempt,
            may_send_metadata: false,
            findings,
            counts: Counts::default(),
            reached: vec![false; table.rules.len()],
            entered: HashSet::new(),
        }
    }

    /// Sends all packets in at all ports.
    pub fn run(&mut self) {
        for port in self.places.ports() {
            for by_software in [false, true] {
                let mut cube = Cube::of(PORT, port.into()).and(BY_SOFTWARE, by_software.into());
                // Nobody has set a register yet.
                for register in (0..TAGS).map(tag).chain([MARK, CONNTRACK]) {
                    cube.set(register, 0, u128::MAX);
                }
                if !(by_software && self.may_send_metadata) {
                    cube.set(META, 0, u128::MAX);
                }
                let Some(region) = Region::new(self.space, cube) else { continue };
                let flow = Flow { region, view: View::new(), port, by_software, is_wider: false };
                self.visit(0, &flow, &mut Vec::new());
            }
        }
        self.find_unreached();
    }

    /// Packets that come to a group.
    fn visit(&mut self, group: u32, flow: &Flow, chain: &mut Vec<RuleIndex>) {
        if self.findings.is_enough() {
            return;
        }
        if chain.len() >= JUMPS {
            // Once around is enough.
            let again = (1..chain.len()).find(|at| chain[..*at].contains(&chain[*at]));
            let once = &chain[..again.map_or(chain.len(), |at| at + 1)];
            self.find(Property::Whole, flow, &flow.region, once, || "jumps in circles".to_owned());
            return;
        }
        self.entered.insert(group);
        let table = self.table;
        let Some(group) = table.groups.get(&group) else {
            return self.miss(flow, chain, &[], None);
        };
        let known = flow.view.known(&flow.region.cube);
        let candidates = group.candidates(table, &known);
        for rule in &candidates {
            if let Some(met) = self.meet(*rule, flow) {
                self.reached[*rule] = true;
                self.show_overlap(*rule, &met);
                chain.push(*rule);
                self.act(*rule, met, chain);
                chain.pop();
            }
        }
        self.miss(flow, chain, &candidates, Some(group));
    }

    /// Shows by one of the packets that a rule takes that another one takes it, too, where that is a finding.
    fn show_overlap(&mut self, rule: RuleIndex, met: &Flow) {
        let (space, table) = (self.space, self.table);
        for finding in &mut self.findings.kept {
            let [one, other] = finding.rules[..] else { continue };
            if finding.property != Property::Overlap || finding.packet.is_some() || one != rule {
                continue;
            }
            let other = table.rules.get(other).and_then(Option::as_ref);
            let both = other.and_then(|other| met.view.meet(space, &met.region, &other.asked));
            if let Some((region, is_wider)) = both {
                finding.packet = witness::packet(space, &region);
                finding.is_uncertain = met.is_wider | is_wider;
            }
        }
    }

    /// Those of the packets that a rule takes.
    fn meet(&self, rule: RuleIndex, flow: &Flow) -> Option<Flow> {
        let followed = self.table.rules.get(rule)?.as_ref()?;
        let (mut region, mut is_wider) =
            flow.view.meet(self.space, &flow.region, &followed.asked)?;
        is_wider |= followed.has_more_higher;
        for higher in &followed.higher {
            let higher = self.table.rules.get(*higher)?.as_ref()?;
            if flow.view.meet(self.space, &region, &higher.asked).is_none() {
                continue;
            }
            match flow.view.others(self.space, &higher.asked) {
                Some(others) => region = region.meet_set(&others)?,
                None => is_wider = true,
            }
        }
        region.has_some(self.space).then(|| Flow {
            region,
            view: flow.view.clone(),
            is_wider: flow.is_wider | is_wider,
            ..*flow
        })
    }

    /// A rule's actions on packets that it takes.
    fn act(&mut self, rule: RuleIndex, flow: Flow, chain: &mut Vec<RuleIndex>) {
        let Some(Some(followed)) = self.table.rules.get(rule) else { return };
        let Flow { region, mut view, .. } = flow;
        let Some(region) = followed.program.run(self.space, region, &mut view) else { return };
        let flow = Flow { region, view, ..flow };
        match followed.program.fate {
            Fate::Jump(group) => return self.visit(group, &flow, chain),
            Fate::Port(port) => self.deliver(port, &flow, chain),
            Fate::Drop => {
                if !self.serves_moving(chain) {
                    self.find(Property::Decision, &flow, &flow.region, chain, || {
                        "is dropped, and no decision says so".to_owned()
                    });
                }
            }
            Fate::Software(port) if port != flow.port => {
                let name = self.places.port_name(port);
                self.find(Property::Isolation, &flow, &flow.region, chain, || {
                    format!("comes to software as if from {name}")
                });
            }
            Fate::Software(_) | Fate::Miss => self.miss(&flow, chain, &[], None),
        }
        self.counts.ways += 1;
    }

    /// Those of the packets that no rule of the group takes.
    fn miss(
        &mut self,
        flow: &Flow,
        chain: &[RuleIndex],
        candidates: &[RuleIndex],
        group: Option<&Group>,
    ) {
        if !flow.view.is_rewritten() {
            self.counts.ways += 1;
            return;
        }
        let mut left = flow.region.clone();
        for rule in candidates {
            let Some(Some(followed)) = self.table.rules.get(*rule) else { continue };
            let asked = &followed.asked;
            if asked.ranges.is_empty()
                && !asked.is_wider
                && flow.view.decides(&left, &asked.cube) == Some(true)
            {
                return;
            }
            let Some(others) = flow.view.others(self.space, asked) else { continue };
            match left.meet_set(&others) {
                Some(rest) => left = rest,
                None => return,
            }
        }
        if left.has_some(self.space) {
            self.counts.ways += 1;
            let what = if group.is_some() {
                "no rule of the next group takes it"
            } else {
                "nothing takes it"
            };
            self.find(Property::Whole, flow, &left, chain, || {
                format!("comes to software rewritten: {what}")
            });
        }
    }

    /// Whether a rule of the chain is on its way, so that it is held to no decision.
    fn serves_moving(&self, chain: &[RuleIndex]) -> bool {
        chain
            .iter()
            .any(|rule| self.dump.rules.get(*rule).is_some_and(|r| r.phase == Phase::Moving))
    }

    /// Packets that leave at a port.
    fn deliver(&mut self, port: u16, flow: &Flow, chain: &[RuleIndex]) {
        self.counts.deliveries += 1;
        if let Some((what, region)) = self.trespass(port, flow) {
            self.find(Property::Isolation, flow, &region, chain, || what);
            return;
        }
        if self.serves_moving(chain) {
            return;
        }
        let dump = self.dump;
        let mut decisions = chain.iter().filter_map(|rule| connection(dump, *rule));
        let Some(decision) = decisions.next() else {
            self.find(Property::Decision, flow, &flow.region, chain, || {
                "is delivered by rules that are no connection's".to_owned()
            });
            return;
        };
        if decisions.any(|other| other != decision) {
            self.find(Property::Decision, flow, &flow.region, chain, || {
                "takes rules of two connections".to_owned()
            });
            return;
        }
        self.counts.decisions += 1;
        let name = connection_name(decision);
        let match_set = match MatchSet::new(decision, self.places, self.exempt) {
            Ok(match_set) => match_set,
            Err(why) => {
                let what = format!("meets the rules of {name}, whose decision cannot be: {why}");
                self.find(Property::Decision, flow, &flow.region, chain, || what);
                return;
            }
        };
        if let Some((what, outside)) = match_set.outside(self.space, &flow.region) {
            self.find(Property::Decision, flow, &outside, chain, || {
                format!("meets the rules of {name}, and {what}")
            });
            return;
        }
        let wrong = wrong_outcome(decision, self.places, &flow.region, &flow.view, port);
        if let Some(what) = wrong.unwrap_or_else(Some) {
            self.find(Property::Decision, flow, &flow.region, chain, || {
                format!("meets the rules of {name}, and {what}")
            });
        }
    }

    /// Packets that leave at a port of another VPC than theirs, or into its tunnels.
    fn trespass(&self, port: u16, flow: &Flow) -> Option<(String, Region)> {
        let places = self.places;
        let uplink = places.node.uplink;
        let all = |what: String| Some((what, flow.region.clone()));
        let from = places.describe(flow.port);
        if port != uplink {
            let Some(target) = places.interface_at(port) else {
                return all(format!("from {from} reaches {}", places.describe(port)));
            };
            if flow.port != uplink {
                let same = places.interface_at(flow.port).is_some_and(|i| i.vpc == target.vpc);
                return if same {
                    None
                } else {
                    all(format!("from {from} reaches {}", places.describe(port)))
                };
            }
            let Ok(vni) = places.vni_of(&target.vpc) else {
                return all(format!("from the wire reaches {}", places.describe(port)));
            };
            let own = Cube::of(TUNNEL_KIND, Tunnel::Vxlan as u128)
                .and(TUNNEL_HEADER.part(32, 24), vni.into());
            let others = flow.region.outside(self.space, &own)?;
            return Some((
                format!("from the wire and not of VNI {vni} reaches {}", places.describe(port)),
                others,
            ));
        }
        // As software sent it: that is what a miss does, too.
        if flow.by_software && flow.port == uplink && !flow.view.is_rewritten() {
            return None;
        }
        let known = flow.view.known(&flow.region.cube);
        let is_vxlan = known.known(TUNNEL_KIND) == Some(Tunnel::Vxlan as u128);
        let vni = known.known(TUNNEL_HEADER.part(32, 24)).filter(|_| is_vxlan);
        let Some(vni) = vni else {
            return all(format!("from {from} goes to the wire outside of any tunnel"));
        };
        if flow.port == uplink {
            let same =
                Cube::of(TUNNEL_KIND, Tunnel::Vxlan as u128).and(TUNNEL_HEADER.part(32, 24), vni);
            let others = flow.region.outside(self.space, &same)?;
            return Some((format!("from the wire goes back into a tunnel of VNI {vni}"), others));
        }
        let own = places.interface_at(flow.port).and_then(|i| places.vni_of(&i.vpc).ok());
        let is_own = own.is_some_and(|own| u128::from(own) == vni) && flow.view.encapsulations > 0;
        if is_own { None } else { all(format!("from {from} goes into a tunnel of VNI {vni}")) }
    }

    fn find(
        &mut self,
        property: Property,
        flow: &Flow,
        region: &Region,
        chain: &[RuleIndex],
        what: impl FnOnce() -> String,
    ) {
        let space = self.space;
        self.findings.add(property, || Finding {
            property,
            what: format!("a packet {}", what()),
            rules: chain.to_vec(),
            packet: witness::packet(space, region),
            is_uncertain: flow.is_wider,
        });
    }

    /// Rules that no packet meets.
    fn find_unreached(&mut self) {
        // What was not looked at is not known to be unreachable.
        if self.findings.is_enough() {
            return;
        }
        let rules = &self.dump.rules;
        let used: HashSet<u32> = rules
            .iter()
            .filter_map(|rule| match &rule.serves {
                Serves::Connection(connection) => match connection.output {
                    Output::Tunnel(id) => Some(id),
                    Output::Interface(_) => None,
                },
                _ => None,
            })
            .collect();
        for (index, dumped) in rules.iter().enumerate() {
            if self.reached[index] || dumped.phase == Phase::Moving {
                continue;
            }
            let Some(Some(followed)) = self.table.rules.get(index) else { continue };
            let is_idle = match &dumped.serves {
                Serves::Tunnel(id) => !used.contains(id),
                // What leads there was refused, or is not wanted yet; a connection that needs it would be unreachable.
                Serves::All => !self.entered.contains(&dumped.rule.attributes.group),
                Serves::Connection(_) | Serves::Interface(_) | Serves::Gone => false,
            };
            if is_idle && !followed.asked.never {
                self.counts.idle += 1;
                continue;
            }
            let group = dumped.rule.attributes.group;
            let why = if followed.asked.never {
                "it contradicts itself".to_owned()
            } else if !self.entered.contains(&group) {
                format!("no rule that is met jumps to group {group}")
            } else if followed.higher.is_empty() {
                format!("no packet that comes to group {group} is what it asks for")
            } else {
                "rules of higher priority take all its packets".to_owned()
            };
            self.findings.add(Property::Reachable, || Finding {
                property: Property::Reachable,
                what: format!("no packet meets the rule of {}: {why}", served(&dumped.serves)),
                rules: vec![index],
                packet: None,
                is_uncertain: false,
            });
        }
    }
}

/// What a person calls a connection.
pub fn connection_name(connection: &Connection) -> String {
    let protocol = match connection.protocol {
        6 => "tcp".to_owned(),
        17 => "udp".to_owned(),
        other => format!("protocol {other}"),
    };
    let end = |ip: std::net::IpAddr, port: u16| std::net::SocketAddr::new(ip, port);
    format!(
        "connection {protocol} {} > {} at {}",
        end(connection.source, connection.source_port),
        end(connection.destination, connection.destination_port),
        connection.interface
    )
}

/// What a person calls what a rule is for.
#[must_use]
pub fn served(serves: &Serves) -> String {
    match serves {
        Serves::Connection(connection) => connection_name(connection),
        Serves::Interface(name) => format!("interface {name}"),
        Serves::Tunnel(id) => format!("tunnel {id}"),
        Serves::All => "all interfaces".to_owned(),
        Serves::Gone => "something that is no more".to_owned(),
    }
}
