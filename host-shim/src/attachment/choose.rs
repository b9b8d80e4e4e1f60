//! Which VF a VM gets: the nearest to its GPUs that is free.

use thiserror::Error;

use crate::backend::BackendKind;
use crate::device::{Inventory, PciFunction, VFIO_PCI, VfId, VirtualFunction};
use crate::sysfs::PciAddress;
use crate::topology;

/// Why no VF suits.
#[derive(Debug, Error)]
pub enum ChoiceError {
    /// There is none free.
    #[error(
        "no VF is free for {backend}: {vfs} there are, {leased} belong to VMs, {used} are used by the host; make VFs (penstock host vfs), or detach a VM"
    )]
    NoneFree {
        /// The wanted way.
        backend: BackendKind,
        /// How many VFs suit it.
        vfs: usize,
        /// How many of them have leases.
        leased: usize,
        /// How many of them are used otherwise.
        used: usize,
    },
    /// A GPU is not there.
    #[error("{0} is no GPU of this host; see penstock host topology")]
    NoGpu(PciAddress),
}

/// What stands against giving a VF to a VM, although it has no lease: somebody else has it.
#[must_use]
pub fn used_by_host(inventory: &Inventory, vf: &VirtualFunction) -> Option<&'static str> {
    if vf.net.as_ref().is_some_and(|net| net.up) {
        return Some("the host uses its interface (it is up)");
    }
    let function: Option<&PciFunction> = vf.address.and_then(|address| inventory.function(address));
    match function {
        Some(function) if function.driver.as_deref() == Some(VFIO_PCI) => {
            Some("it is bound to vfio-pci, and not by this daemon")
        }
        Some(function) if function.driver_override.is_some() => {
            Some("its driver_override is set, and not by this daemon")
        }
        _ => None,
    }
}

/// The VFs that a VM could get.
pub fn free_vfs<'a>(
    inventory: &'a Inventory,
    backend: BackendKind,
    is_leased: impl Fn(&VfId) -> bool + 'a,
) -> impl Iterator<Item = (&'a VfId, &'a VirtualFunction)> {
    inventory.vfs().filter_map(move |(_, vf)| {
        let id = vf.id.as_ref()?;
        let free = backend.suits(vf) && !is_leased(id) && used_by_host(inventory, vf).is_none();
        free.then_some((id, vf))
    })
}

/// The best free VF for a VM with these GPUs.
///
/// # Errors
/// When there is none, or a GPU is not there.
pub fn choose(
    inventory: &Inventory,
    backend: BackendKind,
    gpus: &[PciAddress],
    is_leased: impl Fn(&VfId) -> bool,
) -> Result<VfId, ChoiceError> {
    if let Some(gpu) = gpus.iter().find(|gpu| !inventory.gpus().any(|known| known.address == **gpu))
    {
        return Err(ChoiceError::NoGpu(*gpu));
    }
    let fit =
        |vf: &VirtualFunction| vf.address.map(|address| topology::fit(inventory, address, gpus));
    free_vfs(inventory, backend, &is_leased)
        .min_by_key(|(id, vf)| (fit(vf), (*id).clone()))
        .map(|(id, _)| id.clone())
        .ok_or_else(|| {
            let suits = || inventory.vfs().map(|(_, vf)| vf).filter(|vf| backend.suits(vf));
            let leased = |vf: &&VirtualFunction| vf.id.as_ref().is_some_and(&is_leased);
            ChoiceError::NoneFree {
                backend,
                vfs: suits().count(),
                leased: suits().filter(leased).count(),
                used: suits()
                    .filter(|vf| !leased(vf) && used_by_host(inventory, vf).is_some())
                    .count(),
            }
        })
}
