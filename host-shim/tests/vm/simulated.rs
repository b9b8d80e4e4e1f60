//! A card of netdevsim: what devlink, representors and PFs say on a real kernel.

use std::fs;

use host_shim::device::{InterfaceName, PfDevice, PhysicalFunction, VfNumber};
use host_shim::lease::{LinkState, SeenSettings, VfSettings};
use host_shim::netlink::devlink::{Card, Devlink, EswitchMode, Flavour};
use host_shim::netlink::{PfControl, Rtnetlink};

use crate::guest::{Daemon, done, inventory, kept, leases, penstock, refused, wait_for};

pub const CHECKS: &[(&str, fn() -> String)] = &[
    ("its PF has VFs, and keeps all that can be said of them", pf),
    ("its switch changes to switchdev: a representor and a rate for each VF", switchdev),
    ("a part in error is found by the doctor", health),
    ("VFs that are no PCI functions are not given by vfio", no_function),
];

const NAME: &str = "netdevsim7";
const BUS: &str = "/sys/bus/netdevsim";
const DEBUG: &str = "/sys/kernel/debug/netdevsim";

/// A card that goes with this value.
struct Simulated;

impl Simulated {
    fn with_vfs(number: u16) -> Self {
        fs::write(format!("{BUS}/new_device"), "7 1").unwrap();
        let card = Self;
        done(&["host", "vfs", NAME, &number.to_string()]);
        card
    }

    fn pf() -> PhysicalFunction {
        let device = PfDevice::Netdevsim(NAME.into());
        let all = inventory().physical_functions;
        all.into_iter().find(|pf| pf.device == device).expect("the card's PF")
    }

    fn card() -> Card {
        let cards = Devlink::open().unwrap().cards().unwrap();
        cards.into_iter().find(|card| card.handle.name == NAME).expect("the card")
    }
}

impl Drop for Simulated {
    fn drop(&mut self) {
        let _ = fs::write(format!("{BUS}/del_device"), "7");
    }
}

fn pf() -> String {
    let _daemon = Daemon::fresh("");
    let _card = Simulated::with_vfs(3);
    let pf = Simulated::pf();
    assert_eq!(pf.vfs.len(), 3);
    let name: InterfaceName = pf.net.as_ref().unwrap().name.clone();
    let before = Rtnetlink.settings(&name, VfNumber(2)).unwrap().unwrap();
    let settings = VfSettings {
        mac: "02:00:00:00:00:07".parse().unwrap(),
        vlan: Some(7.try_into().unwrap()),
        trust: Some(true),
        spoof_check: Some(true),
        max_rate: Some(100),
        link: Some(LinkState::Enable),
    };
    Rtnetlink.configure(&name, VfNumber(2), &settings).unwrap();
    let seen = Rtnetlink.settings(&name, VfNumber(2)).unwrap().unwrap();
    assert!(settings.is_met_by(&seen), "{seen:?}");
    let told = kept(&pf, 2);
    assert_eq!(
        (&told["address"], &told["vlan_list"][0]["vlan"], &told["link_state"]),
        (&"02:00:00:00:00:07".into(), &7.into(), &"enable".into()),
        "{told}"
    );
    assert_eq!(Rtnetlink.settings(&name, VfNumber(1)).unwrap().unwrap(), before);
    Rtnetlink.reset(&name, VfNumber(2), &settings).unwrap();
    assert_eq!(Rtnetlink.settings(&name, VfNumber(2)).unwrap().unwrap(), SeenSettings::default());
    assert_eq!(Rtnetlink.settings(&name, VfNumber(3)).unwrap(), None);
    "MAC, VLAN, trust, spoof check, rate, link state".into()
}

fn switchdev() -> String {
    let _daemon = Daemon::fresh("");
    let _card = Simulated::with_vfs(3);
    let card = Simulated::card();
    assert_eq!(card.eswitch, Some(EswitchMode::Legacy));
    Devlink::open().unwrap().set_eswitch(&card.handle, EswitchMode::Switchdev).unwrap();
    let card = Simulated::card();
    assert_eq!(card.eswitch, Some(EswitchMode::Switchdev));
    let vfs: Vec<Option<u16>> = card
        .ports
        .iter()
        .filter(|port| port.flavour == Flavour::PciVf && port.net.is_some())
        .map(|port| port.vf)
        .collect();
    assert_eq!(vfs, [Some(0), Some(1), Some(2)], "{:?}", card.ports);
    assert!(card.ports.iter().any(|port| port.flavour == Flavour::Physical), "{:?}", card.ports);
    let leaves = card.rates.iter().filter(|rate| rate.port.is_some() && rate.node.is_none());
    assert_eq!(leaves.count(), 3, "{:?}", card.rates);
    let representors = wait_for("representors", || {
        let all = inventory().representors;
        (all.len() == 3).then_some(all)
    });
    for (index, representor) in representors.iter().enumerate() {
        assert_eq!(representor.vf, VfNumber(u16::try_from(index).unwrap()), "{representors:?}");
        assert!(representor.net.switch.is_some(), "{representor:?}");
        let port = card.ports.iter().find(|port| port.vf == Some(representor.vf.0)).unwrap();
        assert_eq!(port.net.as_deref(), Some(representor.net.name.as_str()));
    }
    Devlink::open().unwrap().set_eswitch(&card.handle, EswitchMode::Legacy).unwrap();
    assert_eq!(Simulated::card().eswitch, Some(EswitchMode::Legacy));
    assert_eq!(inventory().representors, []);
    "pf0vf0 to pf0vf2, 3 rates; and back to legacy".into()
}

fn health() -> String {
    let _daemon = Daemon::fresh("");
    let _card = Simulated::with_vfs(1);
    let healthy = || Simulated::card().health.iter().all(|part| part.healthy);
    assert!(!Simulated::card().health.is_empty() && healthy());
    done(&["host", "doctor"]);
    // What the kernel does with an error by itself must not help.
    fs::write(format!("{DEBUG}/{NAME}/health/fail_recover"), "Y").unwrap();
    let _ = fs::write(format!("{DEBUG}/{NAME}/health/break_health"), "melted");
    let ill: Vec<_> = Simulated::card().health.into_iter().filter(|part| !part.healthy).collect();
    assert_eq!(ill.len(), 1, "{ill:?}");
    let said = penstock(&["host", "doctor"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    let text = said.output + &said.errors;
    let wanted = format!("netdevsim/{NAME}: {} is in error", ill[0].name);
    let line = text.lines().find(|line| line.contains(&wanted));
    line.unwrap_or_else(|| panic!("{text}")).trim().to_owned()
}

fn no_function() -> String {
    let _daemon = Daemon::fresh("");
    let _card = Simulated::with_vfs(1);
    let vf = Simulated::pf().vfs[0].id.as_ref().unwrap().to_string();
    let words = "cannot be given by vfio";
    refused(&["vm", "attach", "vm-1", "--mac", "02:00:00:00:00:01", "--vf", &vf], words);
    assert_eq!(leases().len(), 0);
    format!("{vf} {words}")
}
