//! What a change asks of the NIC, by number: what it must, and nothing else.

use rte_flow::Duplicates;

use crate::Card;
use crate::network::{Change, FLOWS};
use crate::rig::Rig;

/// Insertions and removals.
type Requests = (usize, usize);

/// A NIC that carries all flows; what a change asks of it until all is settled.
fn requests(card: Card, change: impl FnOnce(&mut Rig)) -> Requests {
    let mut rig = Rig::new(card.profile(Duplicates::NewestWins));
    rig.open_all();
    rig.settle().unwrap();
    asked(&mut rig, change)
}

fn asked(rig: &mut Rig, change: impl FnOnce(&mut Rig)) -> Requests {
    let before = (rig.nic.insertions(), rig.nic.removals());
    change(rig);
    rig.settle().unwrap();
    (rig.nic.insertions() - before.0, rig.nic.removals() - before.1)
}

/// Whatever the NIC takes in one rule.
fn check(change: Change, expected: Requests) {
    for card in Card::ALL {
        let found = requests(card, |rig| rig.change(change));
        assert_eq!(found, expected, "{change:?} with {card:?}");
    }
}

#[test]
fn what_did_not_change_asks_for_nothing() {
    for card in Card::ALL {
        assert_eq!(requests(card, |rig| rig.repeat().unwrap()), (0, 0));
        // Intent that is compiled anew, and says the same.
        assert_eq!(requests(card, |rig| rig.change(Change::Hop(Some(2)))), (0, 0));
    }
}

#[test]
fn a_security_groups_rule_takes_its_flows_rules_out() {
    // Ingress of TCP: the flow from VM to VM and that from the other node, both directions of each.
    check(Change::Tcp(false), (0, 4));
    // All ingress: UDP between VMs and from the other node as well. What VMs began towards the other node stays.
    check(Change::Open(false), (0, 8));
}

#[test]
fn a_rule_that_no_flow_depends_on_touches_none() {
    // The flows are gone before; those that stay are re-checked, and keep their rules.
    for card in Card::ALL {
        let found = requests(card, |rig| {
            rig.change(Change::Tcp(false));
            rig.settle().unwrap();
            let found = asked(rig, |rig| rig.change(Change::Tcp(true)));
            assert_eq!(found, (0, 0), "{card:?}");
        });
        assert_eq!(found, (0, 4), "{card:?}");
    }
}

#[test]
fn another_next_hop_or_vtep_is_one_rule() {
    // Whatever the number of connections in the tunnel.
    check(Change::Hop(Some(3)), (1, 1));
    check(Change::Dscp(1), (1, 1));
    // And what admits packets from the old one, of four connections, must go, with what those of each VM share where they are
    // split; what goes into the tunnel stays.
    for card in Card::ALL {
        let shared = if matches!(card, Card::Whole | Card::Rooted) { 0 } else { 2 };
        let found = requests(card, |rig| rig.change(Change::Vtep(4)));
        assert_eq!(found, (1, 1 + 4 + shared), "{card:?}");
    }
}

#[test]
fn an_interface_more_is_its_dispatch_rules() {
    for card in Card::ALL {
        let mut rig = Rig::new(card.profile(Duplicates::NewestWins));
        rig.change(Change::Enabled(false));
        rig.open(&FLOWS[2]);
        rig.settle().unwrap();
        // From its VM for both families, and from tunnels.
        let found = asked(&mut rig, |rig| rig.change(Change::Enabled(true)));
        assert_eq!(found, (3, 0), "{card:?}");
        let found = asked(&mut rig, |rig| rig.change(Change::Enabled(false)));
        assert_eq!(found, (0, 3), "{card:?}");
    }
}

#[test]
fn the_mac_of_an_overlay_gateway_is_a_rule_for_each_flow_that_is_routed() {
    // It is what routed packets to the second VM have as source: one direction of both flows between the VMs. On the wire it is
    // the sender's node that writes it, for the other VM's subnet.
    check(Change::Gateway(0xfd), (2, 2));
}
