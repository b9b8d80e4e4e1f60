use super::*;
use crate::device::config_space::{Acs, AcsBits};
use crate::device::testing::{DOWNSTREAM, ROOT_PORT, Tree, UPSTREAM};
use crate::device::{Inventory, Sources};

/// Node 0 has a switch with a NIC and a GPU, and a second root complex with a GPU; node 1 has another GPU.
fn host() -> (Tree, Inventory) {
    let acs = Some(AcsBits::ISOLATION);
    let tree = Tree::empty();
    tree.port("pci0000:00", "0000:00:01.0", ROOT_PORT, acs, 0, 1);
    tree.port("pci0000:00/0000:00:01.0", "0000:01:00.0", UPSTREAM, None, 0, 2);
    let switch = "pci0000:00/0000:00:01.0/0000:01:00.0";
    tree.port(switch, "0000:02:00.0", DOWNSTREAM, acs, 0, 3);
    tree.port(switch, "0000:02:01.0", DOWNSTREAM, acs, 0, 4);
    tree.nic(&format!("{switch}/0000:02:00.0"), "0000:03:00.0", 0, 5, "S1", "02:00:00:00:00:01");
    tree.gpu(&format!("{switch}/0000:02:01.0"), "0000:04:00.0", 0, 6);
    tree.port("pci0000:00", "0000:00:02.0", ROOT_PORT, acs, 0, 7);
    tree.gpu("pci0000:00/0000:00:02.0", "0000:05:00.0", 0, 8);
    tree.port("pci0000:20", "0000:20:00.0", ROOT_PORT, acs, 0, 9);
    tree.gpu("pci0000:20/0000:20:00.0", "0000:21:00.0", 0, 10);
    tree.port("pci0000:40", "0000:40:00.0", ROOT_PORT, acs, 1, 11);
    tree.gpu("pci0000:40/0000:40:00.0", "0000:41:00.0", 1, 12);
    let sysfs = tree.sysfs();
    sysfs.write("bus/pci/devices/0000:03:00.0/sriov_numvfs", 1).unwrap();
    let inventory = Inventory::read(&sysfs, &Sources::default()).unwrap();
    (tree, inventory)
}

#[test]
fn four_distances_each_with_its_reason() {
    let (_tree, inventory) = host();
    let topology = Topology::of(&inventory);
    let pairs: Vec<(String, Distance, &str)> = topology
        .pairs
        .iter()
        .map(|pair| (pair.gpu.to_string(), pair.distance, pair.reason.as_str()))
        .collect();
    assert_eq!(
        pairs,
        [
            ("0000:04:00.0".into(), Distance::SameSwitch, "both below switch 0000:01:00.0"),
            (
                "0000:05:00.0".into(),
                Distance::SameRootComplex,
                "root complex pci0000:00, no switch in common"
            ),
            (
                "0000:21:00.0".into(),
                Distance::SameNode,
                "node 0, root complexes pci0000:00 and pci0000:20"
            ),
            (
                "0000:41:00.0".into(),
                Distance::Across,
                "nodes 0 and 1: over the processors' interconnect"
            ),
        ]
    );
    assert_eq!(topology.warnings, []);
    let vf = "0000:03:10.0".parse().unwrap();
    let gpus = |text: &[&str]| text.iter().map(|gpu| gpu.parse().unwrap()).collect::<Vec<_>>();
    assert_eq!(fit(&inventory, vf, &gpus(&["0000:04:00.0"])), (Distance::SameSwitch, 0));
    assert_eq!(
        fit(&inventory, vf, &gpus(&["0000:04:00.0", "0000:21:00.0"])),
        (Distance::SameNode, 2)
    );
    assert_eq!(fit(&inventory, vf, &gpus(&["0000:99:00.0"])), (Distance::Across, 3));
}

#[test]
fn a_tree() {
    let (_tree, inventory) = host();
    let holder = |vf: PciAddress| (vf.to_string() == "0000:03:10.0").then(|| "vm-1".to_owned());
    assert_eq!(
        draw(&inventory, holder),
        "\
NUMA node 0
├─ root complex pci0000:00
│  ├─ root port 0000:00:01.0 group 1 [pcieport]
│  │  └─ switch 0000:01:00.0 group 2 [pcieport]
│  │     ├─ switch port 0000:02:00.0 group 3 [pcieport]
│  │     │  └─ NIC 0000:03:00.0 group 5 [igb] eth3 02:00:00:00:00:01 serial S1
│  │     │     └─ vf0 0000:03:10.0 group 50 [igbvf] -> vm-1
│  │     └─ switch port 0000:02:01.0 group 4 [pcieport]
│  │        └─ GPU 0000:04:00.0 group 6
│  └─ root port 0000:00:02.0 group 7 [pcieport]
│     └─ GPU 0000:05:00.0 group 8
└─ root complex pci0000:20
   └─ root port 0000:20:00.0 group 9 [pcieport]
      └─ GPU 0000:21:00.0 group 10
NUMA node 1
└─ root complex pci0000:40
   └─ root port 0000:40:00.0 group 11 [pcieport]
      └─ GPU 0000:41:00.0 group 12
"
    );
}

/// A switch without ACS puts all that is behind it, and its port, into one group.
#[test]
fn a_switch_that_does_not_isolate() {
    let tree = Tree::empty();
    tree.port("pci0000:00", "0000:00:02.0", ROOT_PORT, Some(AcsBits::ISOLATION), 0, 1);
    tree.port("pci0000:00/0000:00:02.0", "0000:01:00.0", UPSTREAM, None, 0, 2);
    let switch = "pci0000:00/0000:00:02.0/0000:01:00.0";
    tree.port(switch, "0000:02:00.0", DOWNSTREAM, None, 0, 0);
    tree.nic(&format!("{switch}/0000:02:00.0"), "0000:03:00.0", 0, 0, "S1", "02:00:00:00:00:01");
    let sysfs = tree.sysfs();
    sysfs.write("bus/pci/devices/0000:03:00.0/sriov_numvfs", 2).unwrap();
    let topology = Topology::of(&Inventory::read(&sysfs, &Sources::default()).unwrap());
    let address = |text: &str| text.parse::<PciAddress>().unwrap();
    assert_eq!(
        topology.warnings,
        [
            Warning::SharedGroup {
                group: 0,
                members: vec![
                    address("0000:03:00.0"),
                    address("0000:03:10.0"),
                    address("0000:03:10.1")
                ],
            },
            Warning::NoIsolation { port: address("0000:02:00.0"), acs: Acs::Missing },
        ]
    );
    assert!(
        topology.warnings[0].to_string().starts_with("IOMMU group 0 is shared by 0000:03:00.0, ")
    );
    assert!(topology.warnings[1].to_string().starts_with("port 0000:02:00.0 has no ACS: "));
}
