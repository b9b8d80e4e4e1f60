//! What each profile accepts of patterns, item by item.

use std::net::Ipv4Addr;

use super::super::tests::{HWS, SWS, on, refused, with};
use crate::attribute::{Attributes, Domain};
use crate::error::{Cause, EINVAL, ENOTSUP, ErrorKind, FlowError};
use crate::field::{IntegrityBits, Ipv6Extensions, PacketState};
use crate::header::{
    Any, ArpEthIpv4, Conntrack, Esp, Eth, EthdevPort, Geneve, GeneveOption, Gre, GreOption, Gtp,
    Header, Icmp, Icmp6, Integrity, Ipv4, Ipv6, Ipv6FragExt, Mark, Meta, Nvgre, PortId, Sctp, Tag,
    Tcp, Udp, Vxlan, VxlanGpe,
};
use crate::item::{Item, ItemKind, Match};
use crate::rule::Rule;
use crate::{Action, Profile};

const HWS_24: &str = "bluefield3-hws-24.11";
const BF2: &str = "bluefield2-sws-22.11";
const UNLIMITED: &str = "unlimited";

fn eth() -> Item {
    Item::Eth(Match::default())
}

fn ipv4() -> Item {
    Item::Ipv4(Match::default())
}

fn ipv6() -> Item {
    Item::Ipv6(Match::default())
}

fn tcp() -> Item {
    Item::Tcp(Match::default())
}

fn udp() -> Item {
    Item::Udp(Match::default())
}

fn vxlan() -> Item {
    Item::Vxlan(Match::default())
}

fn geneve() -> Item {
    Item::Geneve(Match::default())
}

fn gre() -> Item {
    Item::Gre(Match::default())
}

fn inside(outer: &[Item], inner: &[Item]) -> Vec<Item> {
    [outer, inner].concat()
}

/// A rule that drops what a pattern matches.
fn rule(domain: Domain, group: u32, pattern: &[Item]) -> Rule {
    Rule {
        attributes: Attributes { group, priority: 0, domain },
        pattern: pattern.to_vec(),
        actions: vec![Action::Drop],
    }
}

fn accepts(profile: &str, pattern: &[Item]) -> Result<(), FlowError> {
    on(profile, &rule(Domain::Transfer, 3, pattern))
}

/// What is wrong with the item at `index`.
#[track_caller]
fn refuses(profile: &str, pattern: &[Item], index: usize, kind: ErrorKind, errno: i32) {
    refused(accepts(profile, pattern), kind, errno, Cause::Item(index));
}

/// Asks for `spec` under `mask`.
fn under<H: Header>(spec: H, mask: H) -> Match<H> {
    Match::masked(spec, mask)
}

fn option(class: u16, option_type: u8, length: u8, first: u8) -> Match<GeneveOption> {
    let mut data = [0; GeneveOption::MAX_DATA];
    data[0] = first;
    let mut mask = [0; GeneveOption::MAX_DATA];
    mask[..usize::from(length) * 4].fill(0xff);
    Match::masked(
        GeneveOption { class, option_type, length, data },
        GeneveOption { class: 0xffff, option_type: 0xff, length: 0x1f, data: mask },
    )
}

fn geneve_opt(asked: &Match<GeneveOption>) -> Item {
    Item::GeneveOpt(Box::new(*asked))
}

/// A pattern of each kind of item with nothing special asked of it, which the model knows.
fn plain(kind: ItemKind) -> Vec<Item> {
    let udp_tunnel = |item: Item| vec![eth(), ipv4(), udp(), item];
    match kind {
        ItemKind::Void => vec![Item::Void, eth()],
        ItemKind::Any => vec![eth(), Item::Any(Match::<Any>::default().num(1_u32)), tcp()],
        ItemKind::PortId => vec![Item::PortId(Match::<PortId>::default().id(1_u32)), eth()],
        ItemKind::PortRepresentor => {
            vec![Item::PortRepresentor(Match::<EthdevPort>::default().port_id(1_u16)), eth()]
        }
        ItemKind::RepresentedPort => {
            vec![Item::RepresentedPort(Match::<EthdevPort>::default().port_id(1_u16)), eth()]
        }
        ItemKind::Eth => vec![eth()],
        ItemKind::Vlan => vec![eth(), Item::Vlan(Match::default())],
        ItemKind::ArpEthIpv4 => vec![eth(), Item::ArpEthIpv4(Match::default())],
        ItemKind::Ipv4 => vec![eth(), ipv4()],
        ItemKind::Ipv6 => vec![eth(), ipv6()],
        ItemKind::Ipv6FragExt => vec![eth(), ipv6(), Item::Ipv6FragExt(Match::default())],
        ItemKind::Tcp => vec![eth(), ipv4(), tcp()],
        ItemKind::Udp => vec![eth(), ipv4(), udp()],
        ItemKind::Sctp => vec![eth(), ipv4(), Item::Sctp(Match::default())],
        ItemKind::Icmp => vec![eth(), ipv4(), Item::Icmp(Match::default())],
        ItemKind::Icmp6 => vec![eth(), ipv6(), Item::Icmp6(Match::default())],
        ItemKind::Esp => vec![eth(), ipv4(), Item::Esp(Match::default())],
        ItemKind::Vxlan => udp_tunnel(vxlan()),
        ItemKind::VxlanGpe => udp_tunnel(Item::VxlanGpe(Match::default())),
        ItemKind::Geneve => udp_tunnel(geneve()),
        ItemKind::GeneveOpt => {
            inside(&udp_tunnel(geneve()), &[geneve_opt(&option(0x0102, 3, 1, 9))])
        }
        ItemKind::Gre => vec![eth(), ipv4(), gre()],
        ItemKind::GreKey => vec![eth(), ipv4(), gre(), Item::GreKey(Match::default())],
        ItemKind::GreOption => {
            let key = GreOption { key: 7, ..GreOption::default() };
            let mask = GreOption { key: u32::MAX, ..GreOption::default() };
            vec![eth(), ipv4(), gre(), Item::GreOption(under(key, mask))]
        }
        ItemKind::Nvgre => vec![eth(), ipv4(), Item::Nvgre(Match::default())],
        ItemKind::Gtp => udp_tunnel(Item::Gtp(Match::default())),
        ItemKind::Meta => vec![Item::Meta(Match::<Meta>::default().data(1_u32)), eth()],
        ItemKind::Tag => {
            vec![Item::Tag(Match::<Tag>::default().data(1_u32).index(0_u8)), eth()]
        }
        ItemKind::Mark => vec![Item::Mark(Match::<Mark>::default().id(1_u32)), eth()],
        ItemKind::Integrity => vec![integrity(1, IntegrityBits::L3_OK), eth(), ipv4()],
        ItemKind::Conntrack => vec![conntrack(PacketState::VALID), eth()],
    }
}

fn integrity(level: u32, checks: IntegrityBits) -> Item {
    Item::Integrity(under(Integrity { level, checks }, Integrity { level: 0, checks }))
}

fn conntrack(flags: PacketState) -> Item {
    Item::Conntrack(under(Conntrack { flags }, Conntrack { flags: PacketState::all() }))
}

/// The items that a profile accepts, each in the domain where it belongs.
fn accepted(profile: &str) -> Vec<ItemKind> {
    let domain = |kind| match kind {
        ItemKind::Mark => Domain::Ingress,
        _ => Domain::Transfer,
    };
    let accepts = |kind| on(profile, &rule(domain(kind), 3, &plain(kind))).is_ok();
    ItemKind::ALL.iter().copied().filter(|kind| accepts(*kind)).collect()
}

#[test]
fn each_profile_has_its_items() {
    use ItemKind as K;
    let all = || ItemKind::ALL.iter().copied();
    let without = |missing: &[ItemKind]| all().filter(|k| !missing.contains(k)).collect::<Vec<_>>();
    assert_eq!(accepted(UNLIMITED), all().collect::<Vec<_>>());
    let missing = [K::Any, K::ArpEthIpv4, K::Sctp, K::VxlanGpe, K::Gtp];
    assert_eq!(accepted(SWS), without(&missing));
    assert_eq!(accepted(BF2), without(&missing));
    let lacks_hws = [K::PortId, K::PortRepresentor, K::Ipv6FragExt, K::Mark];
    let lacks_hws_22 = [K::Esp, K::Geneve, K::GeneveOpt, K::Nvgre];
    assert_eq!(accepted(HWS), without(&[&missing[..], &lacks_hws, &lacks_hws_22].concat()));
    assert_eq!(accepted(HWS_24), without(&[&missing[..], &lacks_hws].concat()));
    // As the two drivers' modes say it.
    refuses(SWS, &plain(K::Sctp), 2, ErrorKind::Item, ENOTSUP);
    refuses(HWS, &plain(K::Geneve), 3, ErrorKind::Unspecified, EINVAL);
}

#[test]
fn domains_and_the_root_group() {
    let in_domain =
        |profile, domain, group, pattern: &[Item]| on(profile, &rule(domain, group, pattern));
    for kind in [ItemKind::PortId, ItemKind::PortRepresentor, ItemKind::RepresentedPort] {
        let refusal = in_domain(SWS, Domain::Ingress, 1, &plain(kind));
        refused(refusal, ErrorKind::Item, EINVAL, Cause::Item(0));
    }
    let refusal = in_domain(HWS, Domain::Ingress, 1, &plain(ItemKind::Meta));
    refused(refusal, ErrorKind::Item, ENOTSUP, Cause::Item(0));
    assert_eq!(in_domain(HWS_24, Domain::Ingress, 1, &plain(ItemKind::Meta)), Ok(()));
    let refusal = in_domain(SWS, Domain::Transfer, 1, &plain(ItemKind::Mark));
    refused(refusal, ErrorKind::Item, ENOTSUP, Cause::Item(0));
    // What tells the two cards of the same driver apart.
    assert_eq!(in_domain(SWS, Domain::Ingress, 0, &plain(ItemKind::Esp)), Ok(()));
    let refusal = in_domain(BF2, Domain::Ingress, 0, &plain(ItemKind::Esp));
    refused(refusal, ErrorKind::Item, ENOTSUP, Cause::Item(2));
    assert_eq!(in_domain(BF2, Domain::Ingress, 1, &plain(ItemKind::Esp)), Ok(()));
    let ihl = [eth(), Item::Ipv4(Match::<Ipv4>::default().version_ihl(0x45_u8))];
    assert_eq!(accepts(SWS, &ihl), Ok(()));
    refuses(BF2, &ihl, 1, ErrorKind::Item, ENOTSUP);
    let refusal = in_domain(SWS, Domain::Ingress, 0, &plain(ItemKind::Integrity));
    refused(refusal, ErrorKind::Item, ENOTSUP, Cause::Item(0));
}

#[test]
fn fields_beyond_the_cards_are_refused() {
    let total_length = Item::Ipv4(Match::<Ipv4>::default().total_length(40_u16));
    let payload_length = Item::Ipv6(Match::<Ipv6>::default().payload_length(40_u16));
    for (profiles, pattern, index) in [
        (&[SWS, BF2, HWS][..], vec![eth(), total_length], 1),
        (&[SWS, BF2], vec![eth(), payload_length], 1),
        (&[SWS, HWS], vec![eth(), Item::Ipv4(Match::<Ipv4>::default().packet_id(1_u16))], 1),
        (&[SWS, HWS, HWS_24], vec![eth(), Item::Ipv4(Match::<Ipv4>::default().checksum(1_u16))], 1),
        (
            &[SWS, HWS, HWS_24],
            vec![eth(), ipv4(), Item::Tcp(Match::<Tcp>::default().sequence(1_u32))],
            2,
        ),
        (
            &[SWS, HWS, HWS_24],
            vec![eth(), ipv4(), Item::Udp(Match::<Udp>::default().length(8_u16))],
            2,
        ),
        (
            &[SWS, HWS, HWS_24],
            vec![eth(), ipv4(), Item::Icmp(Match::<Icmp>::default().identifier(1_u16))],
            2,
        ),
        (
            &[SWS, HWS, HWS_24],
            vec![eth(), ipv6(), Item::Icmp6(Match::<Icmp6>::default().checksum(1_u16))],
            2,
        ),
        (
            &[SWS, HWS_24],
            vec![eth(), ipv4(), Item::Esp(Match::<Esp>::default().sequence(1_u32))],
            2,
        ),
        (&[SWS], vec![eth(), ipv4(), udp(), Item::Vxlan(Match::<Vxlan>::default().flags(8_u8))], 3),
        (
            &[HWS],
            vec![eth(), ipv4(), udp(), Item::Vxlan(Match::<Vxlan>::default().last_reserved(8_u8))],
            3,
        ),
        (&[SWS], vec![eth(), ipv4(), Item::Nvgre(Match::<Nvgre>::default().flow_id(1_u8))], 2),
        (
            &[SWS, HWS_24],
            vec![
                eth(),
                ipv4(),
                udp(),
                Item::Geneve(Match::<Geneve>::default().last_reserved(1_u8)),
            ],
            3,
        ),
    ] {
        for profile in profiles {
            refuses(profile, &pattern, index, ErrorKind::Item, ENOTSUP);
        }
        assert_eq!(accepts(UNLIMITED, &pattern), Ok(()), "{pattern:?}");
    }
    // Single bits of a field.
    let extensions = |extensions| {
        let mask = Ipv6 { extensions, ..Ipv6::default() };
        vec![eth(), Item::Ipv6(under(Ipv6::default(), mask))]
    };
    let critical = Geneve { control: 0x0040, ..Geneve::default() };
    let version = Gre { c_rsvd0_ver: 1, ..Gre::default() };
    for profile in [SWS, HWS] {
        assert_eq!(accepts(profile, &extensions(Ipv6Extensions::FRAGMENT)), Ok(()));
        let hop = extensions(Ipv6Extensions::HOP_BY_HOP);
        refuses(profile, &hop, 1, ErrorKind::Item, ENOTSUP);
    }
    let critical = [eth(), ipv4(), udp(), Item::Geneve(under(critical, critical))];
    refuses(SWS, &critical, 3, ErrorKind::Item, ENOTSUP);
    assert_eq!(accepts(HWS_24, &critical), Ok(()));
    let version = [eth(), ipv4(), Item::Gre(under(version, version))];
    refuses(SWS, &version, 2, ErrorKind::Item, ENOTSUP);
    assert_eq!(accepts(HWS, &version), Ok(()));
}

#[test]
fn what_is_matched_whole_or_must_be_matched() {
    let port = |item: fn(Match<EthdevPort>) -> Item| {
        let partial = under(EthdevPort { port_id: 1 }, EthdevPort { port_id: 1 });
        vec![item(partial), eth()]
    };
    refuses(SWS, &port(Item::RepresentedPort), 0, ErrorKind::ItemMask, ENOTSUP);
    refuses(SWS, &port(Item::PortRepresentor), 0, ErrorKind::ItemMask, ENOTSUP);
    let partial = Item::PortId(under(PortId { id: 1 }, PortId { id: 1 }));
    refuses(SWS, &[partial, eth()], 0, ErrorKind::ItemMask, ENOTSUP);
    let once = plain(ItemKind::RepresentedPort);
    let twice = [once.clone(), once].concat();
    refuses(SWS, &twice, 2, ErrorKind::Item, ENOTSUP);
    let protocol = Ipv4 { protocol: 1, ..Ipv4::default() };
    let partial = [eth(), Item::Ipv4(under(protocol, protocol))];
    refuses(SWS, &partial, 1, ErrorKind::ItemMask, EINVAL);
    for (item, kind) in [
        (Item::Meta(under(Meta { data: 1 }, Meta { data: 0 })), ErrorKind::ItemSpec),
        (
            Item::Tag(under(Tag { data: 1, index: 0 }, Tag { data: 0, index: 0xff })),
            ErrorKind::ItemSpec,
        ),
        (
            Item::Tag(under(Tag { data: 1, index: 0 }, Tag { data: 1, index: 1 })),
            ErrorKind::ItemSpec,
        ),
        (Item::Tag(Match::<Tag>::default().data(1_u32).index(4_u8)), ErrorKind::ItemSpec),
    ] {
        refuses(SWS, &[item, eth()], 0, kind, EINVAL);
    }
    let mark = |id: u32| {
        let mark = Item::Mark(Match::<Mark>::default().id(id));
        on(SWS, &rule(Domain::Ingress, 1, &[mark, eth()]))
    };
    assert_eq!(mark(0x00ff_ffef), Ok(()));
    refused(mark(0x00ff_fff0), ErrorKind::Item, EINVAL, Cause::Item(0));
    let vni = |vni: u32| {
        let vni = crate::field::U24::truncate(vni);
        vec![eth(), ipv4(), udp(), Item::Vxlan(Match::<Vxlan>::default().vni(vni))]
    };
    assert_eq!(accepts(SWS, &vni(1)), Ok(()));
    refuses(SWS, &vni(0), 3, ErrorKind::ItemSpec, ENOTSUP);
    assert_eq!(accepts(HWS, &vni(0)), Ok(()));
    for next in [0_u8, 43, 44, 50, 51, 60] {
        let pattern = [eth(), Item::Ipv6(Match::<Ipv6>::default().protocol(next))];
        refuses(SWS, &pattern, 1, ErrorKind::Item, EINVAL);
        assert_eq!(accepts(UNLIMITED, &pattern), Ok(()));
    }
}

#[test]
fn ranges() {
    let ttl = |spec, last| {
        Item::Ipv4(Match {
            spec: Some(Ipv4 { ttl: spec, ..Ipv4::default() }),
            last: Some(Ipv4 { ttl: last, ..Ipv4::default() }),
            mask: Some(Ipv4 { ttl: 255, ..Ipv4::default() }),
        })
    };
    let backwards = |profile| with(profile, |rule| rule.pattern[2] = ttl(9, 3));
    refused(backwards(UNLIMITED), ErrorKind::ItemLast, EINVAL, Cause::Item(2));
    refused(backwards(HWS_24), ErrorKind::Item, EINVAL, Cause::Item(2));
    for nobody_looks in [SWS, BF2, HWS] {
        assert_eq!(backwards(nobody_looks), Ok(()), "{nobody_looks}");
    }
    // Software steering takes it for the sake of fragments, and matches the lower end: the simulated NIC shows that. So
    // does the hardware steering of 22.11, which looks at no range.
    let ttl = |profile| with(profile, |rule| rule.pattern[2] = ttl(2, 255));
    assert_eq!((ttl(SWS), ttl(HWS)), (Ok(()), Ok(())));
    refused(ttl(HWS_24), ErrorKind::Item, EINVAL, Cause::Item(2));
    let ports = Item::Tcp(Match {
        spec: Some(Tcp { dst: 1, ..Tcp::default() }),
        last: Some(Tcp { dst: 9, ..Tcp::default() }),
        mask: Some(Tcp { dst: 0xffff, ..Tcp::default() }),
    });
    let pattern = [eth(), ipv4(), ports];
    assert_eq!(accepts(UNLIMITED, &pattern), Ok(()));
    assert_eq!(accepts(HWS, &pattern), Ok(()));
    refuses(SWS, &pattern, 2, ErrorKind::Item, EINVAL);
    let next_header = |header: u8| Ipv6FragExt { next_header: header, ..Ipv6FragExt::default() };
    let asked = Match {
        spec: Some(next_header(1)),
        last: Some(next_header(9)),
        mask: Some(next_header(255)),
    };
    assert_eq!(accepts(SWS, &[eth(), ipv6(), Item::Ipv6FragExt(asked)]), Ok(()));
    let other = Item::Ipv6FragExt(Match::<Ipv6FragExt>::default().identification(7_u32));
    // Nobody looks at it: the simulated NIC shows that too.
    assert_eq!(accepts(SWS, &[eth(), ipv6(), other]), Ok(()));
}

#[test]
fn fragments_are_told_from_whole_packets_only() {
    let v4 = |spec: u16, last: Option<u16>, mask: u16| {
        let header = |fragment_offset| Ipv4 { fragment_offset, ..Ipv4::default() };
        let asked =
            Match { spec: Some(header(spec)), last: last.map(header), mask: Some(header(mask)) };
        [eth(), Item::Ipv4(asked)]
    };
    let v6 = |spec: u16, last: Option<u16>, mask: u16| {
        let header = |fragment_data| Ipv6FragExt { fragment_data, ..Ipv6FragExt::default() };
        let asked =
            Match { spec: Some(header(spec)), last: last.map(header), mask: Some(header(mask)) };
        [eth(), ipv6(), Item::Ipv6FragExt(asked)]
    };
    for profile in [SWS, BF2, HWS_24] {
        for whole in [v4(0, None, 0x3fff), v4(1, Some(0x3fff), 0x3fff), v4(0, None, 0x2000)] {
            assert_eq!(accepts(profile, &whole), Ok(()), "{profile}: {whole:?}");
        }
        for (pattern, kind, errno) in [
            (v4(0x2000, None, 0x3fff), ErrorKind::Item, ENOTSUP),
            (v4(0x2000, None, 0x2000), ErrorKind::ItemMask, EINVAL),
            (v4(7, None, 0x3fff), ErrorKind::Item, ENOTSUP),
            (v4(0x2001, Some(0x3fff), 0x3fff), ErrorKind::ItemLast, ENOTSUP),
            (v4(1, Some(0x1fff), 0x3fff), ErrorKind::ItemLast, ENOTSUP),
            (v4(2, Some(9), 0x3fff), ErrorKind::ItemLast, ENOTSUP),
        ] {
            refuses(profile, &pattern, 1, kind, errno);
            assert_eq!(accepts(UNLIMITED, &pattern), Ok(()), "{pattern:?}");
        }
    }
    assert_eq!(accepts(SWS, &v6(0, None, 0xfff9)), Ok(()));
    for (pattern, kind, errno) in [
        (v6(1, None, 0xfff9), ErrorKind::Item, ENOTSUP),
        (v6(8, None, 0xfff9), ErrorKind::Item, EINVAL),
        (v6(1, None, 0x0001), ErrorKind::ItemMask, EINVAL),
        (v6(9, Some(0xfff9), 0xffff), ErrorKind::ItemLast, ENOTSUP),
        (v6(8, Some(0xfff8), 0xffff), ErrorKind::ItemLast, ENOTSUP),
        (v6(16, Some(0xfff8), 0xffff), ErrorKind::ItemLast, EINVAL),
    ] {
        refuses(SWS, &pattern, 2, kind, errno);
        assert_eq!(accepts(UNLIMITED, &pattern), Ok(()), "{pattern:?}");
    }
}

#[test]
fn integrity_is_asked_once_and_positively_of_named_layers() {
    let l3 = IntegrityBits::L3_OK;
    let l4 = IntegrityBits::L4_OK;
    let tunnel = [eth(), ipv4(), udp(), vxlan(), eth(), ipv4(), tcp()];
    let both = inside(&[integrity(1, l3), integrity(2, l3 | l4)], &tunnel);
    for profile in [SWS, HWS, HWS_24, UNLIMITED] {
        assert_eq!(accepts(profile, &both), Ok(()), "{profile}");
    }
    let level = |level: u32| {
        let (spec, mask) =
            (Integrity { level, checks: l3 }, Integrity { level: u32::MAX, checks: l3 });
        inside(&[Item::Integrity(under(spec, mask))], &tunnel)
    };
    for profile in Profile::names() {
        assert_eq!(accepts(profile, &level(2)), Ok(()), "{profile}");
        refuses(profile, &level(3), 0, ErrorKind::Item, EINVAL);
    }
    let twice = inside(&[integrity(0, l3), integrity(1, l4)], &tunnel);
    refuses(SWS, &twice, 1, ErrorKind::Item, ENOTSUP);
    let negative = Item::Integrity(under(
        Integrity { level: 0, checks: IntegrityBits::empty() },
        Integrity { level: 0, checks: l3 },
    ));
    let negative = [negative, eth(), ipv4()];
    refuses(SWS, &negative, 0, ErrorKind::Item, EINVAL);
    assert_eq!(accepts(HWS, &negative), Ok(()));
    refuses(SWS, &[integrity(0, IntegrityBits::PACKET_OK), eth()], 0, ErrorKind::Item, ENOTSUP);
    refuses(HWS, &[integrity(0, IntegrityBits::L2_CRC_OK), eth()], 0, ErrorKind::Item, ENOTSUP);
    refuses(SWS, &[Item::Integrity(Match::default()), eth()], 0, ErrorKind::Item, ENOTSUP);
    refuses(SWS, &[integrity(0, l3), eth()], 0, ErrorKind::Item, EINVAL);
    refuses(SWS, &[integrity(0, l4), eth(), ipv4()], 0, ErrorKind::Item, EINVAL);
    let inner = inside(&[integrity(2, l3)], &tunnel[..5]);
    refuses(SWS, &inner, 0, ErrorKind::Item, EINVAL);
    let checksum = [integrity(0, IntegrityBits::IPV4_CHECKSUM_OK), eth(), ipv6()];
    refuses(SWS, &checksum, 0, ErrorKind::Item, EINVAL);
}

#[test]
fn a_packet_is_in_one_state_of_its_connection() {
    let valid = PacketState::VALID;
    for profile in [SWS, HWS_24] {
        refuses(profile, &[conntrack(valid | PacketState::BAD), eth()], 0, ErrorKind::Item, EINVAL);
        let twice = [conntrack(valid), conntrack(PacketState::CHANGED), eth()];
        refuses(profile, &twice, 1, ErrorKind::Item, EINVAL);
        assert_eq!(accepts(profile, &[conntrack(valid | PacketState::CHANGED), eth()]), Ok(()));
    }
    refuses(SWS, &[Item::Conntrack(Match::default()), eth()], 0, ErrorKind::Item, ENOTSUP);
}

#[test]
fn options_of_geneve_are_few_and_whole() {
    let behind = |options: &[Item]| inside(&[eth(), ipv4(), udp(), geneve()], options);
    let one = geneve_opt(&option(0x0102, 3, 1, 9));
    let other = geneve_opt(&option(0x0102, 4, 1, 9));
    assert_eq!(accepts(SWS, &behind(std::slice::from_ref(&one))), Ok(()));
    let two = behind(&[one.clone(), other]);
    refuses(SWS, &two, 5, ErrorKind::Item, ENOTSUP);
    assert_eq!(accepts(HWS_24, &two), Ok(()));
    refuses(HWS_24, &behind(&[one.clone(), one]), 5, ErrorKind::Item, ENOTSUP);
    refuses(SWS, &behind(&[geneve_opt(&option(1, 2, 2, 9))]), 4, ErrorKind::Item, ENOTSUP);
    refuses(HWS_24, &behind(&[geneve_opt(&option(1, 2, 8, 9))]), 4, ErrorKind::Item, ENOTSUP);
    for wrong in [
        // No data, data that is 0, no spec, masks that are not full.
        option(1, 2, 0, 0),
        option(1, 2, 1, 0),
        Match::default(),
        Match { mask: None, ..option(1, 2, 1, 9) },
        Match {
            mask: Some(GeneveOption { class: 0xff, ..GeneveOption::DEFAULT_MASK }),
            ..option(1, 2, 1, 9)
        },
    ] {
        for profile in [SWS, HWS_24] {
            refuses(profile, &behind(&[geneve_opt(&wrong)]), 4, ErrorKind::Item, ENOTSUP);
        }
    }
    assert_eq!(accepts(UNLIMITED, &behind(&[geneve_opt(&option(1, 2, 31, 9))])), Ok(()));
}

#[test]
fn an_ipv6_5_tuple_is_too_wide_for_hardware_steering_of_22_11() {
    let six = |rule: &mut Rule| {
        let addresses = Match::<Ipv6>::default().src(1_u128).dst(2_u128).protocol(6_u8);
        rule.pattern[2] = Item::Ipv6(addresses);
    };
    for profile in [SWS, BF2, HWS_24, UNLIMITED] {
        assert_eq!(with(profile, six), Ok(()), "{profile}");
    }
    refused(with(HWS, six), ErrorKind::Unspecified, ENOTSUP, Cause::None);
}

#[test]
fn layers_stand_on_what_carries_them() {
    let inner = [eth(), ipv4(), udp(), vxlan()];
    let proto = |number: u8| Item::Ipv4(Match::<Ipv4>::default().protocol(number));
    let next = |number: u8| Item::Ipv6(Match::<Ipv6>::default().protocol(number));
    let ether_type = |number: u16| Item::Eth(Match::<Eth>::default().ether_type(number));
    let vlan = || Item::Vlan(Match::default());
    let no_key = {
        let mask = Gre { c_rsvd0_ver: 0x2000, ..Gre::default() };
        Item::Gre(under(Gre::default(), mask))
    };
    let key = || Item::GreKey(Match::default());
    let nvgre = || Item::Nvgre(Match::default());
    let long = {
        let control = Geneve { control: 0x0100, ..Geneve::default() };
        Item::Geneve(under(control, Geneve { control: 0x3f00, ..Geneve::default() }))
    };
    let opt = || geneve_opt(&option(1, 2, 1, 9));
    for (pattern, index, errno) in [
        (vec![eth(), eth()], 1, ENOTSUP),
        (vec![eth(), ipv4(), eth()], 2, EINVAL),
        (vec![vlan(), eth()], 1, EINVAL),
        (vec![eth(), ipv4(), vlan()], 2, EINVAL),
        (vec![eth(), vlan(), vlan()], 2, EINVAL),
        (vec![ether_type(0x86dd), ipv4()], 1, EINVAL),
        (vec![ether_type(0x0800), ipv6()], 1, EINVAL),
        (vec![eth(), tcp()], 1, EINVAL),
        (vec![eth(), ipv4(), tcp(), udp()], 3, EINVAL),
        (vec![eth(), proto(17), tcp()], 2, EINVAL),
        (vec![eth(), next(17), tcp()], 2, EINVAL),
        (vec![eth(), ipv4(), tcp(), ipv4()], 3, ENOTSUP),
        (vec![eth(), ipv4(), ipv6()], 2, ENOTSUP),
        (vec![eth(), ipv6(), Item::Icmp(Match::default())], 2, EINVAL),
        (vec![eth(), ipv4(), Item::Icmp6(Match::default())], 2, EINVAL),
        (vec![eth(), ipv4(), Item::Ipv6FragExt(Match::default())], 2, EINVAL),
        (vec![eth(), ipv6(), udp(), Item::Ipv6FragExt(Match::default())], 3, EINVAL),
        (vec![eth(), ipv4(), Item::Esp(Match::default()), udp()], 3, EINVAL),
        (vec![eth(), ipv4(), vxlan()], 2, EINVAL),
        (vec![eth(), ipv4(), tcp(), geneve()], 3, EINVAL),
        (inside(&inner, &inner), 7, ENOTSUP),
        (inside(&inner, &[eth(), ipv4(), gre()]), 6, ENOTSUP),
        (vec![eth(), gre()], 1, ENOTSUP),
        (vec![eth(), proto(6), gre()], 2, EINVAL),
        (vec![eth(), ipv4(), key()], 2, ENOTSUP),
        (vec![eth(), ipv4(), gre(), key(), key()], 4, ENOTSUP),
        (vec![eth(), ipv4(), gre(), eth(), key()], 4, ENOTSUP),
        (vec![eth(), ipv4(), no_key, key()], 3, EINVAL),
        (vec![eth(), ipv4(), nvgre(), ipv4()], 3, EINVAL),
        (vec![eth(), ipv4(), nvgre(), key()], 3, ENOTSUP),
        (vec![eth(), ipv4(), udp(), opt()], 3, ENOTSUP),
        (vec![eth(), ipv4(), udp(), geneve(), eth(), opt()], 5, ENOTSUP),
        (vec![eth(), ipv4(), udp(), long, opt()], 4, ENOTSUP),
        // IP in IP needs the protocol, and that of the packet inside.
        (vec![eth(), ipv4(), ipv4()], 2, ENOTSUP),
        (vec![eth(), proto(4), ipv6()], 2, EINVAL),
        (vec![eth(), proto(41), ipv6(), vxlan()], 3, ENOTSUP),
        (vec![eth(), proto(4), ipv4(), eth()], 3, EINVAL),
    ] {
        refuses(SWS, &pattern, index, ErrorKind::Item, errno);
    }
}

#[test]
fn layers_that_fit_are_accepted() {
    let proto = |number: u8| Item::Ipv4(Match::<Ipv4>::default().protocol(number));
    let next = |number: u8| Item::Ipv6(Match::<Ipv6>::default().protocol(number));
    let vlan = || Item::Vlan(Match::default());
    let key = || Item::GreKey(Match::default());
    let nvgre = || Item::Nvgre(Match::default());
    let opt = || geneve_opt(&option(1, 2, 1, 9));
    let behind = |tunnel: &[Item]| inside(tunnel, &[eth(), vlan(), ipv6(), tcp()]);
    for pattern in [
        behind(&[eth(), ipv4(), udp(), vxlan()]),
        behind(&[eth(), ipv6(), udp(), geneve(), opt()]),
        behind(&[eth(), ipv4(), gre(), key()]),
        behind(&[eth(), ipv4(), nvgre()]),
        vec![eth(), ipv4(), gre(), ipv6(), udp()],
        vec![eth(), proto(4), ipv4(), tcp()],
        vec![eth(), proto(41), ipv6(), udp()],
        vec![eth(), next(4), ipv4(), tcp()],
    ] {
        assert_eq!(accepts(SWS, &pattern), Ok(()), "{pattern:?}");
    }
    // The model without limits goes further.
    let any = |num: u32| Item::Any(Match::<Any>::default().num(num));
    for pattern in [
        vec![eth(), vlan(), vlan(), ipv4()],
        vec![eth(), ipv4(), ipv6(), tcp()],
        vec![eth(), any(2), vxlan(), eth(), any(1), tcp()],
        vec![eth(), Item::Any(Match::default()), tcp()],
        vec![
            eth(),
            ipv4(),
            udp(),
            Item::VxlanGpe(Match::<VxlanGpe>::default().protocol(1_u8)),
            ipv4(),
        ],
        vec![eth(), ipv4(), udp(), Item::Gtp(Match::<Gtp>::default().teid(1_u32)), ipv4(), udp()],
        vec![eth(), ipv4(), Item::Sctp(Match::<Sctp>::default().dst(1_u16))],
        vec![
            eth(),
            Item::ArpEthIpv4(Match::<ArpEthIpv4>::default().target_ip(Ipv4Addr::LOCALHOST)),
        ],
    ] {
        assert_eq!(accepts(UNLIMITED, &pattern), Ok(()), "{pattern:?}");
    }
    refuses(UNLIMITED, &[eth(), vlan(), vlan(), vlan()], 3, ErrorKind::Item, EINVAL);
    refuses(UNLIMITED, &[eth(), any(3)], 1, ErrorKind::Item, ENOTSUP);
    let masked = Item::Any(under(Any { num: 1 }, Any { num: 1 }));
    refuses(UNLIMITED, &[eth(), masked], 1, ErrorKind::ItemMask, ENOTSUP);
    refuses(
        UNLIMITED,
        &[eth(), Item::ArpEthIpv4(Match::default()), udp()],
        2,
        ErrorKind::Item,
        EINVAL,
    );
    // Hardware steering of 22.11 takes no IP inside IP.
    refuses(HWS, &[eth(), proto(4), ipv4()], 2, ErrorKind::Item, ENOTSUP);
}

#[test]
fn hardware_steering_has_eight_registers() {
    let register = |index: u8| {
        with(HWS, |rule| {
            rule.pattern = vec![Item::Tag(Match::<Tag>::default().data(1_u32).index(index))];
        })
    };
    assert_eq!(register(7), Ok(()));
    refused(register(8), ErrorKind::ItemSpec, EINVAL, Cause::Item(0));
}
