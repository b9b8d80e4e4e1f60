use dpu_app::datapath::effects::RemovalReason::{Closed, Expired, Reset};
use dpu_app::datapath::settings::{PickUp, Settings};
use model::decision::DropReason;

use super::frames::{Ip, ip};
use super::world::World;

const PORTS: (u16, u16) = (40_000, 80);
const BACK: (u16, u16) = (80, 40_000);

fn there() -> Ip {
    ip([1, 10], [1, 20])
}

fn back() -> Ip {
    ip([1, 20], [1, 10])
}

fn a(world: &mut World, flags: &str) -> Option<DropReason> {
    world.vm(1, 0, &there().tcp(PORTS, flags)).reason()
}

fn b(world: &mut World, flags: &str) -> Option<DropReason> {
    world.vm(2, 0, &back().tcp(BACK, flags)).reason()
}

#[test]
fn only_a_bare_syn_begins_a_connection() {
    let mut world = World::new();
    for flags in ["A", "SA", "R", "RA", "FA", "SF", "SR", ""] {
        assert_eq!(a(&mut world, flags), Some(DropReason::TcpNotSyn), "{flags}");
    }
    assert_eq!(a(&mut world, "S"), None);
}

#[test]
fn policy_is_asked_before_mid_stream() {
    let mut world = World::new();
    let closed = there();
    let to_web = Ip { destination: [10, 1, 2, 10].into(), ..closed };
    let lonely = Ip { destination: [10, 1, 1, 40].into(), ..there() };
    assert_eq!(world.vm(1, 0, &to_web.tcp((1, 2), "A")).reason(), Some(DropReason::TcpNotSyn));
    assert_eq!(
        world.vm(1, 0, &lonely.tcp((1, 2), "A")).reason(),
        Some(DropReason::SecurityGroupIngress)
    );
}

#[test]
fn half_open_lasts_30_seconds() {
    let mut world = World::new();
    assert_eq!(a(&mut world, "S"), None);
    world.at(29);
    assert_eq!(b(&mut world, "SA"), None);
    world.at(59);
    assert_eq!(a(&mut world, "A"), Some(DropReason::TcpNotSyn));
    assert_eq!(world.removed(1), [(Expired, 59)]);
    assert_eq!(world.removed(2), [(Expired, 59)]);
}

#[test]
fn a_bare_ack_from_the_responder_keeps_it_half_open() {
    let mut world = World::new();
    assert_eq!(a(&mut world, "S"), None);
    world.at(29);
    assert_eq!(b(&mut world, "A"), None);
    assert_eq!(a(&mut world, "A"), None);
    world.at(59);
    assert_eq!(world.removed(1), [(Expired, 59)]);
    assert_eq!(b(&mut world, "SA"), Some(DropReason::TcpNotSyn));
}

#[test]
fn established_lasts_7440_seconds_after_the_last_packet() {
    let mut world = World::new();
    world.handshake(PORTS);
    world.at(7439);
    assert_eq!(b(&mut world, "PA"), None);
    world.at(7439 + 7439);
    // RFC 5961: forwarded, and no sign of life.
    assert_eq!(a(&mut world, "S"), None);
    world.at(7439 + 7440);
    assert_eq!(a(&mut world, "A"), Some(DropReason::TcpNotSyn));
    assert_eq!(world.removed(1), [(Expired, 14_879)]);
}

#[test]
fn a_syn_on_an_established_connection_changes_nothing() {
    let mut world = World::new();
    world.handshake(PORTS);
    assert_eq!(a(&mut world, "S"), None);
    assert_eq!(b(&mut world, "SA"), None);
    world.at(100);
    assert_eq!(a(&mut world, "A"), None);
    assert_eq!(world.shard(1).connection_count(), 1);
    assert!(world.removed(1).is_empty());
}

#[test]
fn one_fin_leaves_60_seconds_and_two_as_well() {
    let mut world = World::new();
    world.handshake(PORTS);
    assert_eq!(a(&mut world, "FA"), None);
    world.at(59);
    assert_eq!(b(&mut world, "PA"), None);
    world.at(118);
    assert_eq!(b(&mut world, "FA"), None);
    world.at(177);
    assert_eq!(a(&mut world, "A"), None);
    world.at(237);
    assert_eq!(a(&mut world, "A"), Some(DropReason::TcpNotSyn));
    assert_eq!(world.removed(1), [(Closed, 237)]);
    assert_eq!(world.removed(2), [(Closed, 237)]);
}

#[test]
fn a_half_closed_connection_expires() {
    let mut world = World::new();
    world.handshake(PORTS);
    assert_eq!(b(&mut world, "FA"), None);
    world.at(60);
    assert_eq!(world.removed(1), [(Expired, 60)]);
}

#[test]
fn a_syn_on_a_closing_connection_starts_anew() {
    for closing in [&["F"][..], &["F", "f"], &["R"]] {
        let mut world = World::new();
        world.handshake(PORTS);
        for segment in closing {
            match *segment {
                "F" => assert_eq!(a(&mut world, "FA"), None),
                "f" => assert_eq!(b(&mut world, "FA"), None),
                _ => assert_eq!(a(&mut world, "R"), None),
            }
        }
        world.at(5);
        assert_eq!(b(&mut world, "S"), None, "from the other side");
        let reason = if closing == ["R"] { Reset } else { Closed };
        assert_eq!(world.removed(1), [(reason, 5)]);
        let initiators: Vec<_> = world
            .shard(2)
            .connections()
            .map(|(_, c)| c.key(dpu_app::datapath::FlowDirection::Forward).tuple.source_port())
            .collect();
        assert_eq!(initiators, [80]);
    }
}

#[test]
fn a_reset_leaves_10_seconds_of_silence() {
    let mut world = World::new();
    world.handshake(PORTS);
    assert_eq!(b(&mut world, "RA"), None);
    world.at(9);
    assert_eq!(a(&mut world, "A"), None);
    world.at(19);
    assert_eq!(a(&mut world, "A"), Some(DropReason::TcpNotSyn));
    assert_eq!(world.removed(1), [(Reset, 19)]);
}

#[test]
fn traffic_in_both_directions_undoes_a_reset() {
    let mut world = World::new();
    world.handshake(PORTS);
    assert_eq!(b(&mut world, "R"), None);
    assert_eq!(a(&mut world, "PA"), None);
    assert_eq!(b(&mut world, "A"), None);
    world.at(5000);
    assert_eq!(a(&mut world, "PA"), None);
    assert!(world.removed(1).is_empty());
}

#[test]
fn pick_up_for_a_limited_time() {
    let settings: Settings = serde_json::from_str(r#"{"tcp": {"pickUp": {"for": 60}}}"#).unwrap();
    let mut world = World::with(settings);
    assert!(matches!(settings.tcp.pick_up, PickUp::For(_)));
    world.at(59);
    for flags in ["R", "SA", "RA"] {
        assert_eq!(a(&mut world, flags), Some(DropReason::TcpNotSyn), "{flags}");
    }
    assert_eq!(a(&mut world, "PA"), None);
    assert_eq!(b(&mut world, "PA"), None);
    world.at(60);
    let other = there().tcp((40_001, 80), "A");
    assert_eq!(world.vm(1, 0, &other).reason(), Some(DropReason::TcpNotSyn));
    world.at(7000);
    assert_eq!(a(&mut world, "PA"), None, "as established as any");
}
