use dpu_app::datapath::effects::RemovalReason::Expired;

use super::frames::ip;
use super::world::World;

#[test]
fn udp_one_way_30_seconds() {
    let mut world = World::new();
    let there = ip([1, 10], [1, 20]).udp((5000, 53), 10);
    for second in [0, 29, 58] {
        world.at(second);
        assert_eq!(world.vm(1, 0, &there).at(), Some((2, 0)));
    }
    world.at(88);
    assert_eq!(world.removed(1), [(Expired, 88)]);
    assert_eq!(world.removed(2), [(Expired, 88)]);
}

#[test]
fn udp_both_ways_180_seconds() {
    let mut world = World::new();
    let there = ip([1, 10], [1, 20]).udp((5000, 53), 10);
    let back = ip([1, 20], [1, 10]).udp((53, 5000), 10);
    world.vm(1, 0, &there);
    world.at(29);
    assert_eq!(world.vm(2, 0, &back).at(), Some((1, 0)));
    world.at(29 + 179);
    assert_eq!(world.vm(1, 0, &there).at(), Some((2, 0)));
    world.at(29 + 179 + 180);
    assert_eq!(world.removed(1), [(Expired, 388)]);
}

#[test]
fn echo_30_seconds_by_identifier() {
    let mut world = World::new();
    let (there, back) = (ip([1, 10], [1, 20]), ip([1, 20], [1, 10]));
    assert_eq!(world.vm(1, 0, &there.echo(8, 77)).at(), Some((2, 0)));
    assert_eq!(world.vm(1, 0, &there.echo(8, 78)).at(), Some((2, 0)));
    assert_eq!(world.shard(1).connection_count(), 2);
    world.at(20);
    assert_eq!(world.vm(2, 0, &back.echo(0, 77)).at(), Some((1, 0)));
    assert_eq!(world.shard(2).connection_count(), 2, "an answer, not a new connection");
    world.at(30);
    assert_eq!(world.removed(1), [(Expired, 30)]);
    world.at(50);
    assert_eq!(world.removed(1), [(Expired, 50)]);
}

#[test]
fn other_protocols_120_seconds() {
    let mut world = World::new();
    let there = ip([1, 10], [1, 20]).carry(47, &[0; 4]);
    let back = ip([1, 20], [1, 10]).carry(47, &[1; 4]);
    assert_eq!(world.vm(1, 0, &there).at(), Some((2, 0)));
    world.at(119);
    assert_eq!(world.vm(2, 0, &back).at(), Some((1, 0)));
    world.at(239);
    assert_eq!(world.removed(1), [(Expired, 239)]);
}

#[test]
fn a_packet_at_exactly_the_timeout_begins_a_new_connection() {
    let mut world = World::new();
    let there = ip([1, 10], [1, 20]).udp((5000, 53), 10);
    world.vm(1, 0, &there);
    // Without `advance` in between: the lookup itself is exact.
    world.now = dpu_app::datapath::Time(29_999_999_999);
    world.vm(1, 0, &there);
    assert!(world.removed(1).is_empty());
    world.now = world.now + std::time::Duration::from_secs(30);
    world.vm(1, 0, &there);
    let connections: Vec<_> = world.shard(1).connections().map(|(_, c)| c.created()).collect();
    assert_eq!(connections, [world.now]);
}
