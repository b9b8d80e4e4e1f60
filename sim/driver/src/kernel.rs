//! The kernel that shares the uplink with the application, as mlx5's bifurcated driver has it: what the application does not take
//! is the kernel's.

use packet::Mac;

use crate::batch::Batch;
use crate::counters::PortCounters;
use crate::link::{self, InterfaceName, LinkError, LinkSpec};
use crate::wire::Wire;

/// The kernel's own interface of the uplink.
pub struct Kernel {
    wire: Wire,
    mac: Mac,
    /// What came from the kernel (`link_rx`) and went to it (`link_tx`).
    pub counters: PortCounters,
}

impl Kernel {
    /// Makes the interface.
    ///
    /// # Errors
    /// [`LinkError`] when it cannot be made.
    pub fn open(name: &InterfaceName, mtu: u16) -> Result<Self, LinkError> {
        let link = link::open(&LinkSpec::Tap(name.clone()), mtu)?;
        let mac = link::interface_address(name)?;
        Ok(Self { wire: Wire::new(link), mac, counters: PortCounters::default() })
    }

    /// The interface's address, which is the uplink's: both are one port.
    pub const fn mac(&self) -> Mac {
        self.mac
    }

    /// Reads what the kernel sends.
    pub fn read(&self, batch: &mut Batch) {
        self.wire.read(batch, &self.counters);
    }

    /// Hands a frame to the kernel.
    pub fn write(&self, frame: &[u8]) {
        self.wire.write(&[frame], &self.counters);
    }
}
