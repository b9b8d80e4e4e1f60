//! Vpc.

use ipnet::IpNet;
use packet::Vni;

use super::{Field, all_at, read_cidrs, values};
use crate::intent::name::shortened;
use crate::intent::object::{Dscp, Encap, Given, VpcSpec};
use crate::intent::reader::{Known, Reader, decimal};
use crate::intent::report::{At, Position};
use crate::intent::yaml::Node;

pub(in crate::intent) struct VpcDraft {
    pub(in crate::intent) vni: Field<Vni>,
    pub(in crate::intent) cidrs: Vec<At<IpNet>>,
    pub(in crate::intent) mtu: Field<u16>,
    dscp: Dscp,
}

impl VpcDraft {
    pub(super) fn read(node: &Node<'_>, reader: &mut Reader<'_>) -> Option<Self> {
        const KNOWN: Known<5> =
            Known { fields: ["vni", "cidrs", "encap", "mtu", "dscp"], later: &[] };
        let [vni, cidrs, encap, mtu, dscp] = reader.fields(node, &KNOWN)?;
        let cidrs = reader
            .required(node, "cidrs", cidrs)
            .map_or_else(Vec::new, |node| read_cidrs(node, "VPC", reader));
        for cidr in &cidrs {
            if let Some(what) = crate::intent::address::unusable(cidr.value.addr()) {
                let message = format!("{} starts with {what}; no VM can use that", cidr.value);
                reader.error(cidr.at, message);
            }
        }
        if let Some(encap) = encap
            && let Some(text) = reader.text(encap, "an encapsulation")
        {
            match text {
                "vxlan" => {}
                "geneve" => reader.not_supported_yet(encap.at, "`encap: geneve`"),
                other => {
                    let message = format!("`{}` is not an encapsulation", shortened(other));
                    reader.error_with_hint(encap.at, message, "write vxlan");
                }
            }
        }
        Some(Self {
            vni: vni.and_then(|node| read_vni(node, reader)),
            cidrs,
            mtu: mtu.and_then(|node| reader.integer(node, 576..=u16::MAX)),
            dscp: dscp
                .and_then(|node| reader.integer(node, 0..=63))
                .and_then(|dscp| Dscp::new(dscp.value))
                .unwrap_or_default(),
        })
    }

    /// `given` is what intent says of what is settled otherwise where it does not.
    pub(in crate::intent) fn of(spec: &VpcSpec, given: Given, at: Position) -> Self {
        Self {
            vni: given.vni.map(|value| At { value, at }),
            cidrs: all_at(&spec.cidrs, at),
            mtu: given.mtu.map(|value| At { value, at }),
            dscp: spec.dscp,
        }
    }

    pub(in crate::intent) fn given(&self) -> Given {
        Given { vni: self.vni.map(|vni| vni.value), mtu: self.mtu.map(|mtu| mtu.value) }
    }

    pub(in crate::intent) fn finish(self, vni: Vni, mtu: u16) -> VpcSpec {
        VpcSpec { vni, cidrs: values(self.cidrs), encap: Encap::Vxlan, mtu, dscp: self.dscp }
    }
}

fn read_vni(node: &Node<'_>, reader: &mut Reader<'_>) -> Field<Vni> {
    let text = reader.text(node, "a VNI")?;
    if decimal(text) == Some(0) {
        reader.error_with_hint(
            node.at,
            "VNI 0 is reserved",
            "give one from 1 to 16777215, or leave the field out to have one allocated",
        );
        return None;
    }
    let number: At<u64> = reader.integer(node, 1..=u64::from(Vni::MAX.get()))?;
    Vni::try_from(number.value).ok().map(|value| At { value, at: node.at })
}
