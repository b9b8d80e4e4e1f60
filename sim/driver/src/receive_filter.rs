//! Which frames a port takes that no rule sent to one of its queues: by address and by VLAN.

use std::collections::BTreeMap;

use packet::Mac;
use packet::wire::ethernet;
use rte_flow::{ReceiveRules, VlanFilter};

/// Most addresses of a port: what mlx5 offers (`MLX5_MAX_UC_MAC_ADDRESSES`).
pub const MAX_ADDRESSES: u32 = 128;

/// The broadcast address.
const BROADCAST: Mac = Mac([0xff; 6]);

/// What an ethdev wants, as its application set it.
#[derive(Clone, Default, Debug)]
pub struct ReceiveFilter {
    /// What the card does by itself.
    pub rules: ReceiveRules,
    /// Frames for any destination.
    pub promiscuous: bool,
    /// Frames for any multicast destination.
    pub allmulticast: bool,
    /// Nothing at all (`rte_flow_isolate`).
    pub isolated: bool,
    /// The port's own addresses by DPDK's index; the one at 0 is the default address.
    pub addresses: BTreeMap<u32, Mac>,
    /// The multicast addresses that the application listens to.
    pub groups: Vec<Mac>,
    /// With the offload `VLAN_FILTER`: which VLAN identifiers the application added.
    pub vlans: Option<VlanSet>,
}

impl ReceiveFilter {
    /// Whether a frame is for this port.
    pub fn wants(&self, frame: &[u8]) -> bool {
        if self.isolated {
            return false;
        }
        if self.promiscuous {
            return true;
        }
        let Some(destination) = frame.first_chunk().map(|octets| Mac(*octets)) else {
            return false;
        };
        let addressed = destination == BROADCAST
            || if destination.is_group() {
                self.allmulticast
                    || self.groups.contains(&destination)
                    || self.rules.multicast.iter().any(|kind| kind.has(destination.0))
            } else {
                self.addresses.values().any(|own| *own == destination)
            };
        addressed && self.vlans.as_ref().is_none_or(|vlans| self.wants_vlan(vlans, vlan(frame)))
    }

    /// Whether frames with this tag, or without, are for this port.
    fn wants_vlan(&self, wanted: &VlanSet, vlan: Option<u16>) -> bool {
        match (self.rules.vlans, vlan) {
            (VlanFilter::Tagged, None) => true,
            (VlanFilter::Listed, None) => wanted.is_empty(),
            (VlanFilter::Listed, Some(_)) if wanted.is_empty() => true,
            (_, Some(vlan)) => wanted.contains(vlan),
        }
    }
}

/// The VLAN identifier of a frame's outer tag.
fn vlan(frame: &[u8]) -> Option<u16> {
    let [a, b, c, d] = *frame.get(12..)?.first_chunk()?;
    let tagged = [ethernet::VLAN, ethernet::SERVICE_VLAN].contains(&u16::from_be_bytes([a, b]));
    tagged.then_some(u16::from_be_bytes([c, d]) & 0x0fff)
}

/// A set of VLAN identifiers, 0 to 4095.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VlanSet(Box<[u64; 64]>);

impl Default for VlanSet {
    fn default() -> Self {
        Self(Box::new([0; 64]))
    }
}

/// From DPDK's form: the bit of VLAN `v` is bit `v % 64` of number `v / 64`.
impl From<[u64; 64]> for VlanSet {
    fn from(words: [u64; 64]) -> Self {
        Self(Box::new(words))
    }
}

impl VlanSet {
    fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    fn contains(&self, vlan: u16) -> bool {
        self.0.get(usize::from(vlan / 64)).is_some_and(|word| word >> (vlan % 64) & 1 == 1)
    }

    /// Lets frames of a VLAN pass, or not.
    pub fn set(&mut self, vlan: u16, passes: bool) {
        if let Some(word) = self.0.get_mut(usize::from(vlan / 64)) {
            *word = *word & !(1 << (vlan % 64)) | u64::from(passes) << (vlan % 64);
        }
    }
}

#[cfg(test)]
mod tests {
    use rte_flow::Multicast;

    use super::*;

    const OWN: Mac = Mac([2, 0, 0, 0, 0, 1]);
    const GROUP: Mac = Mac([1, 0, 0x5e, 0, 0, 2]);

    fn to(destination: Mac) -> Vec<u8> {
        [destination.0.to_vec(), vec![0; 54]].concat()
    }

    #[test]
    fn addresses_and_modes_decide() {
        let mut filter = ReceiveFilter::default();
        filter.addresses.insert(0, OWN);
        let other = Mac([2, 0, 0, 0, 0, 2]);
        let wanted = |filter: &ReceiveFilter| [OWN, other, GROUP].map(|to_| filter.wants(&to(to_)));
        assert_eq!(wanted(&filter), [true, false, false]);
        assert!(filter.wants(&to(BROADCAST)) && !filter.wants(&[0xff; 5]));
        filter.groups.push(GROUP);
        assert_eq!(wanted(&filter), [true, false, true]);
        filter.groups.clear();
        filter.allmulticast = true;
        assert_eq!(wanted(&filter), [true, false, true]);
        filter.addresses.insert(3, other);
        assert_eq!(wanted(&filter), [true, true, true]);
        filter.addresses.remove(&3);
        filter.promiscuous = true;
        assert_eq!(wanted(&filter), [true, true, true]);
        filter.isolated = true;
        assert_eq!(wanted(&filter), [false, false, false]);
    }

    #[test]
    fn a_card_takes_multicast_of_its_own_accord() {
        let multicast = vec![Multicast::Ipv6];
        let rules = ReceiveRules { multicast, ..ReceiveRules::default() };
        let mut filter = ReceiveFilter { rules, ..ReceiveFilter::default() };
        let ipv6 = Mac([0x33, 0x33, 0, 0, 0, 1]);
        assert_eq!([ipv6, GROUP].map(|group| filter.wants(&to(group))), [true, false]);
        filter.rules.multicast.push(Multicast::Ipv4);
        assert!(filter.wants(&to(GROUP)) && !filter.wants(&to(Mac([1, 0x80, 0xc2, 0, 0, 0]))));
        filter.isolated = true;
        assert!(!filter.wants(&to(ipv6)));
    }

    #[test]
    fn listed_vlans_exclude_all_else() {
        let rules = ReceiveRules { vlans: VlanFilter::Listed, ..ReceiveRules::default() };
        let mut filter =
            ReceiveFilter { rules, vlans: Some(VlanSet::default()), ..ReceiveFilter::default() };
        filter.addresses.insert(0, OWN);
        let tagged = [OWN.0.as_slice(), &[0; 6], &[0x81, 0, 0, 5], &[0; 50]].concat();
        assert!(filter.wants(&to(OWN)) && filter.wants(&tagged), "no VLAN was added");
        if let Some(vlans) = &mut filter.vlans {
            vlans.set(5, true);
        }
        assert!(!filter.wants(&to(OWN)) && filter.wants(&tagged));
    }

    #[test]
    fn a_vlan_filter_lets_its_vlans_and_untagged_frames_pass() {
        let mut filter = ReceiveFilter { vlans: Some(VlanSet::default()), ..Default::default() };
        filter.addresses.insert(0, OWN);
        let tagged = |vlan: u16| {
            let tag = [0x8100_u16, 0xe000 | vlan].map(u16::to_be_bytes);
            [OWN.0.as_slice(), &[0; 6], tag.as_flattened(), &[0; 50]].concat()
        };
        let wanted = |filter: &ReceiveFilter| [0, 63, 64, 4095].map(|v| filter.wants(&tagged(v)));
        assert!(filter.wants(&to(OWN)));
        assert_eq!(wanted(&filter), [false; 4]);
        let mut set = VlanSet::default();
        set.set(64, true);
        set.set(4095, true);
        filter.vlans = Some(set.clone());
        assert_eq!(wanted(&filter), [false, false, true, true]);
        set.set(64, false);
        filter.vlans = Some(set);
        assert_eq!(wanted(&filter), [false, false, false, true]);
        filter.vlans = None;
        assert_eq!(wanted(&filter), [true; 4]);
    }
}
