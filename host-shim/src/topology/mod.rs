//! How near VFs and GPUs are to each other, and what stands between them. It reports; it changes nothing.

mod distance;
mod tree;
mod warning;

use serde::{Deserialize, Serialize};

pub use distance::Distance;
pub use tree::draw;
pub use warning::{Warning, warnings_of};

use crate::device::{Inventory, PciFunction, VfId};
use crate::sysfs::PciAddress;

/// A VF and a GPU, and how near they are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Pair {
    /// The VF.
    pub vf: VfId,
    /// Where the VF is.
    pub vf_address: PciAddress,
    /// The GPU.
    pub gpu: PciAddress,
    /// How near.
    pub distance: Distance,
    /// Why so.
    pub reason: String,
}

/// What a host looks like for placing VMs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Topology {
    /// All VFs with all GPUs; by GPU, the nearest first.
    pub pairs: Vec<Pair>,
    /// What VMs should not be given without knowing.
    pub warnings: Vec<Warning>,
}

impl Topology {
    /// Looks at a host.
    #[must_use]
    pub fn of(inventory: &Inventory) -> Self {
        let mut pairs = Vec::new();
        for gpu in inventory.gpus() {
            let mut near = Vec::new();
            for (_, vf) in inventory.vfs() {
                let Some((id, function)) =
                    vf.id.clone().zip(vf.address.and_then(|address| inventory.function(address)))
                else {
                    continue;
                };
                let (distance, reason) = Distance::between(inventory, function, gpu);
                let (vf_address, gpu) = (function.address, gpu.address);
                near.push(Pair { vf: id, vf_address, gpu, distance, reason });
            }
            near.sort_by_key(|pair| (pair.distance, pair.vf_address));
            pairs.extend(near);
        }
        let mut warnings = Vec::new();
        for function in inventory.functions.iter().filter(|function| may_be_given(function)) {
            for warning in warnings_of(inventory, function) {
                if !warnings.contains(&warning) {
                    warnings.push(warning);
                }
            }
        }
        Self { pairs, warnings }
    }
}

/// What a VM may get: VFs and GPUs.
fn may_be_given(function: &PciFunction) -> bool {
    function.physical.is_some() || function.kind == crate::device::FunctionKind::Gpu
}

/// How well a VF suits a VM with these GPUs: the farthest and the sum of all, the less the better. GPUs that are not there
/// are as far as can be.
#[must_use]
pub fn fit(inventory: &Inventory, vf: PciAddress, gpus: &[PciAddress]) -> (Distance, u32) {
    let function = inventory.function(vf);
    let distances = gpus.iter().map(|gpu| match function.zip(inventory.function(*gpu)) {
        Some((vf, gpu)) => Distance::between(inventory, vf, gpu).0,
        None => Distance::Across,
    });
    distances.fold((Distance::SameSwitch, 0), |(farthest, sum), distance| {
        (farthest.max(distance), sum + distance as u32)
    })
}

#[cfg(test)]
mod tests;
