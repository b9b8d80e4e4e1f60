use dpu_app::datapath::effects::RemovalReason::Expired;
use model::decision::DropReason;

use super::frames::{Ip, ip};
use super::world::World;

#[test]
fn an_error_passes_with_the_connection_it_quotes() {
    let mut world = World::new();
    let (there, back) = (ip([1, 10], [1, 20]), ip([1, 20], [1, 10]));
    let udp = there.udp((1000, 53), 10);
    let error = back.error(3, &udp);
    assert_eq!(world.vm(2, 0, &error).reason(), Some(DropReason::RelatedUnknown));
    world.vm(1, 0, &udp);
    world.at(20);
    assert_eq!(world.vm(2, 0, &error).at(), Some((1, 0)));
    // Never a sign of life, never an answer.
    world.at(30);
    assert_eq!(world.removed(1), [(Expired, 30)]);
    assert_eq!(world.removed(2), [(Expired, 30)]);
    assert_eq!(world.vm(2, 0, &error).reason(), Some(DropReason::RelatedUnknown));
    assert_eq!(world.shard(2).connection_count(), 0);
}

#[test]
fn an_error_about_an_answer_passes_too() {
    let mut world = World::new();
    let (there, back) = (ip([1, 10], [1, 20]), ip([1, 20], [1, 10]));
    world.vm(1, 0, &there.echo(8, 7));
    let reply = back.echo(0, 7);
    world.vm(2, 0, &reply);
    assert_eq!(world.vm(1, 0, &there.error(11, &reply)).at(), Some((2, 0)));
}

#[test]
fn an_error_must_go_to_the_sender_of_what_it_quotes() {
    let mut world = World::new();
    let udp = ip([1, 10], [1, 20]).udp((1000, 53), 10);
    world.vm(1, 0, &udp);
    let stray = ip([1, 20], [2, 10]).error(3, &udp);
    assert_eq!(world.vm(2, 0, &stray).reason(), Some(DropReason::RelatedUnknown));
    let cut = ip([1, 20], [1, 10]).error(3, &udp[..14 + 22]);
    assert_eq!(world.vm(2, 0, &cut).reason(), Some(DropReason::RelatedUnknown));
}

#[test]
fn policy_knows_types_and_codes() {
    let mut world = World::new();
    let there = ip([1, 10], [2, 80]);
    assert_eq!(world.vm(1, 0, &there.echo(8, 1)).at(), Some((2, 1)));
    let mut with_code = there.echo(8, 1);
    with_code[35] = 1;
    let end = world.vm(1, 0, &with_code);
    assert_eq!(end.reason(), Some(DropReason::SecurityGroupIngress), "on the same connection");
    let timestamp = there.carry(1, &[13, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(world.vm(1, 0, &timestamp).reason(), Some(DropReason::SecurityGroupIngress));
}

#[test]
fn the_gateway_answers_without_a_connection() {
    let mut world = World::new();
    let end =
        world.vm(2, 1, &Ip { destination: [10, 1, 2, 1].into(), ..ip([2, 80], [7, 7]) }.echo(8, 1));
    assert!(matches!(end, super::world::End::Replied(_)), "{end:?}");
    assert_eq!(world.shard(2).connection_count(), 0);
}
