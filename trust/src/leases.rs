//! Which VM a host gave which VF to, as the DPU agreed to it. On disk before the host is told.

use std::collections::BTreeMap;
use std::path::Path;

use packet::Mac;
use serde::{Deserialize, Serialize};

use crate::file::FileError;
use crate::identity::HostName;
use crate::kept::Kept;
use crate::refusal::Refusal;
use crate::vf::VfId;
use crate::vm::{VmInterface, VmName};

const FILE: &str = "host-leases.json";
const MENDING: &str = "remove it: hosts say again what they have";

/// What a VF was given for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HostLease {
    /// The VM.
    pub vm: VmName,
    /// Its interface.
    pub interface: VmInterface,
    /// The address it uses.
    pub mac: Mac,
}

/// What a host has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OfHost {
    /// The last version of its desired state that was heard of.
    version: u64,
    leases: BTreeMap<VfId, HostLease>,
}

/// See the module.
#[derive(Debug)]
pub struct LeaseBook(Kept<BTreeMap<HostName, OfHost>>);

impl LeaseBook {
    /// Those that are kept in a directory.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn open(directory: &Path) -> Result<Self, FileError> {
        Kept::open(directory.join(FILE), MENDING).map(Self)
    }

    /// A host's.
    pub fn of(&self, host: &HostName) -> impl Iterator<Item = (&VfId, &HostLease)> {
        self.0.record.get(host).into_iter().flat_map(|of| &of.leases)
    }

    /// The last version of a host's desired state that was heard of.
    #[must_use]
    pub fn version(&self, host: &HostName) -> u64 {
        self.0.record.get(host).map_or(0, |of| of.version)
    }

    /// Refuses changes of a host up to this version from now on. Not on disk: calls that are on their way end with the
    /// daemon.
    pub fn fence(&mut self, host: &HostName, version: u64) {
        // A host that has nothing needs no entry.
        let known = self.version(host);
        if version > known {
            self.0.record.entry(host.clone()).or_default().version = version;
        }
    }

    /// Whether a change would be one, and is not late.
    ///
    /// # Errors
    /// Why not.
    pub fn check(
        &self,
        host: &HostName,
        version: u64,
        vf: &VfId,
        lease: Option<&HostLease>,
    ) -> Result<bool, Refusal> {
        if version <= self.version(host) {
            return Err(Refusal::StaleVersion);
        }
        let there = self.0.record.get(host).and_then(|of| of.leases.get(vf));
        match (there, lease) {
            (None, None) => Ok(false),
            (Some(there), Some(lease)) if there == lease => Ok(false),
            (Some(there), Some(lease))
                if (&there.vm, &there.interface) != (&lease.vm, &lease.interface) =>
            {
                Err(Refusal::VfTaken)
            }
            _ => Ok(true),
        }
    }

    /// Makes a change that was checked.
    ///
    /// # Errors
    /// When it cannot be kept; then nothing has changed.
    pub fn change(
        &mut self,
        host: &HostName,
        version: u64,
        vf: &VfId,
        lease: Option<HostLease>,
    ) -> Result<(), FileError> {
        let mut record = self.0.record.clone();
        let of = record.entry(host.clone()).or_default();
        of.version = version;
        match lease {
            Some(lease) => of.leases.insert(vf.clone(), lease),
            None => of.leases.remove(vf),
        };
        self.0.replace(record)
    }

    /// Forgets all of a host: it begins anew, or is gone.
    ///
    /// # Errors
    /// When it cannot be kept; then nothing is forgotten.
    pub fn forget(&mut self, host: &HostName) -> Result<(), FileError> {
        let mut record = self.0.record.clone();
        if record.remove(host).is_none() {
            return Ok(());
        }
        self.0.replace(record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(vm: &str, mac: u8) -> HostLease {
        HostLease {
            vm: vm.parse().unwrap(),
            interface: "net0".parse().unwrap(),
            mac: Mac([2, 0, 0, 0, 0, mac]),
        }
    }

    #[test]
    fn changes_come_in_order_and_outlive_the_program() {
        let directory = tempfile::tempdir().unwrap();
        let mut book = LeaseBook::open(directory.path()).unwrap();
        let host: HostName = "gpu-17".parse().unwrap();
        let vf: VfId = "S1/02:00:00:00:01:00/vf0".parse().unwrap();
        let one = lease("vm-1", 1);
        assert_eq!(book.check(&host, 0, &vf, Some(&one)), Err(Refusal::StaleVersion));
        assert_eq!(book.check(&host, 5, &vf, Some(&one)), Ok(true));
        book.change(&host, 5, &vf, Some(one.clone())).unwrap();

        let mut book = LeaseBook::open(directory.path()).unwrap();
        assert_eq!(book.of(&host).collect::<Vec<_>>(), [(&vf, &one)]);
        assert_eq!(book.check(&host, 5, &vf, None), Err(Refusal::StaleVersion));
        assert_eq!(book.check(&host, 6, &vf, Some(&one)), Ok(false));
        assert_eq!(book.check(&host, 6, &vf, Some(&lease("vm-2", 1))), Err(Refusal::VfTaken));
        // Another address for the same VM: intent has changed.
        assert_eq!(book.check(&host, 6, &vf, Some(&lease("vm-1", 2))), Ok(true));
        // What is late has no effect once a later version is known of.
        book.fence(&host, 9);
        book.fence(&host, 3);
        assert_eq!(book.check(&host, 9, &vf, None), Err(Refusal::StaleVersion));
        assert_eq!(book.check(&host, 10, &vf, None), Ok(true));
        book.change(&host, 10, &vf, None).unwrap();
        assert_eq!((book.of(&host).count(), book.version(&host)), (0, 10));
        book.forget(&host).unwrap();
        assert_eq!(LeaseBook::open(directory.path()).unwrap().version(&host), 0);
    }

    #[test]
    fn what_cannot_be_kept_is_not_so() {
        let directory = tempfile::tempdir().unwrap();
        let mut book = LeaseBook::open(directory.path()).unwrap();
        let host: HostName = "gpu-17".parse().unwrap();
        let vf: VfId = "-/02:00:00:00:01:00/vf0".parse().unwrap();
        book.0.path = directory.path().join("missing\0");
        assert!(book.change(&host, 1, &vf, Some(lease("vm-1", 1))).is_err());
        assert_eq!((book.of(&host).count(), book.version(&host)), (0, 0));
    }
}
