//! Somebody floods: what others notice of it.

use dpu_app::datapath::effects::{Effect, RemovalReason};
use dpu_app::datapath::settings::Settings;
use model::decision::DropReason;

use super::frames::ip;
use super::world::{World, seconds};

/// Connections that an interface may have.
const QUOTA: u32 = 200;

fn world() -> World {
    let json = format!(r#"{{"connections": {{"tableSize": 4096, "perInterface": {QUOTA}}}}}"#);
    let settings: Settings = serde_json::from_str(&json).unwrap();
    World::with(settings)
}

/// The VM of `lonely` sends so many SYNs, each of another connection, to `c`.
fn flood(world: &mut World, round: u16, count: u16) {
    for number in 0..count {
        let ports = (1024 + number, 1000 + round);
        assert_eq!(world.vm(1, 2, &ip([1, 40], [2, 10]).tcp(ports, "S")).at(), Some((1, 1)));
    }
}

/// For two minutes, four times the quota each second: longer than any half-open connection lives.
#[test]
fn a_syn_flood_takes_nothing_of_other_interfaces() {
    let mut world = world();
    let (there, back) = (ip([1, 10], [1, 20]), ip([1, 20], [1, 10]));
    // Those of `a`, which `b` answers, and one that `b` does not answer.
    for port in 0..20 {
        world.handshake((2000 + port, 80));
    }
    assert_eq!(world.vm(1, 0, &there.udp((53, 53), 0)).at(), Some((2, 0)));
    let (a, lonely) = (world.interface(1, "a").id, world.interface(1, "lonely").id);
    for round in 0..120 {
        flood(&mut world, round, 4 * QUOTA as u16);
        // All established ones go on, in both directions.
        for port in 0..20 {
            let ports = (2000 + port, 80);
            assert_eq!(world.vm(1, 0, &there.tcp(ports, "A")).at(), Some((2, 0)));
            assert_eq!(world.vm(2, 0, &back.tcp((80, ports.0), "A")).at(), Some((1, 0)));
        }
        // What is one-way waits for its answer as long as ever.
        if round == 29 {
            assert_eq!(world.vm(2, 0, &back.udp((53, 53), 0)).at(), Some((1, 0)));
        }
        // New ones come and go.
        world.handshake((3000 + round, 80));
        let is_flood = |effect: &Effect| match effect {
            Effect::FlowRemoved { key, reason, .. } => {
                key.zone.interface() == lonely && *reason == RemovalReason::Evicted
            }
            Effect::FlowCreated { .. } | Effect::EligibleForOffload { .. } => true,
            _ => false,
        };
        let effects = std::mem::take(&mut world.nodes.get_mut(&1).unwrap().effects);
        assert!(effects.iter().all(is_flood), "{round}: {effects:?}");
        let of = |interface| {
            let connections = world.nodes[&1].shard.connections();
            let is_its = |key: model::decision::Key| key.zone.interface() == interface;
            let forward = dpu_app::datapath::FlowDirection::Forward;
            connections.filter(|(_, connection)| is_its(connection.key(forward))).count()
        };
        assert_eq!((of(lonely), of(a)), (QUOTA as usize, 20 + 1 + usize::from(round) + 1));
        world.wait(seconds(1));
    }
    // It begins none itself while it has its full share of established ones.
    assert_eq!(world.shard(1).counters().interface(a).unwrap().from_vm.all_dropped(), 0);
}

/// Full of connections that do not give way, an interface begins no further one; its neighbours do.
#[test]
fn a_full_quota_is_the_interfaces_own() {
    let mut world = world();
    let (there, back) = (ip([1, 40], [2, 10]), ip([2, 10], [1, 40]));
    for port in 0..QUOTA as u16 {
        assert_eq!(world.vm(1, 2, &there.udp((port, 53), 0)).at(), Some((1, 1)));
        assert_eq!(world.vm(1, 1, &back.udp((53, port), 0)).at(), Some((1, 2)));
    }
    let one_more = world.vm(1, 2, &there.udp((9999, 53), 0));
    assert_eq!(one_more.reason(), Some(DropReason::InterfaceQuota));
    world.handshake((2000, 80));
}
