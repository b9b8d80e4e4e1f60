//! Ports (ethdevs).

use std::collections::BTreeMap;
use std::ffi::{CStr, c_int, c_void};
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicBool, Ordering};

use dpdk_sys::{
    rte_eth_conf, rte_eth_dev_info, rte_eth_event_type, rte_eth_link, rte_eth_stats, rte_mbuf,
};

use super::error::check;
use super::{BURST, Burst, DpdkError, Eal, Packet, PacketPool};

/// Buffer of `rte_eth_dev_get_name_by_port` (`RTE_ETH_NAME_MAX_LEN`).
const NAME_LENGTH: usize = 64;

/// A port that DPDK has probed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// DPDK's number.
    pub id: u16,
    /// DPDK's name.
    pub name: String,
    /// Its driver's name.
    pub driver: String,
    /// What it stands for in its NIC.
    pub representation: Representation,
    /// The NIC's switch domain, where it has one.
    pub domain: Option<u16>,
}

/// What a port stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Representation {
    /// Itself.
    Own,
    /// A VF: it is the VF's representor.
    Vf(u16),
    /// Something else of the NIC (a physical function, a subfunction).
    Other,
}

/// All ports there are, by DPDK's numbers.
///
/// # Errors
/// When a port does not say what it is.
pub fn devices(_eal: &Eal) -> Result<BTreeMap<u16, Device>, DpdkError> {
    let mut devices = BTreeMap::new();
    let mut id = 0;
    loop {
        // SAFETY: takes any number.
        id = unsafe { dpdk_sys::rte_eth_find_next(id) };
        if u32::from(id) >= dpdk_sys::RTE_MAX_ETHPORTS {
            return Ok(devices);
        }
        devices.insert(id, Device::read(id)?);
        id += 1;
    }
}

impl Device {
    fn read(id: u16) -> Result<Self, DpdkError> {
        let info = info(id)?;
        let mut name = [0; NAME_LENGTH];
        // SAFETY: `name` is as long as the call may write.
        let result = unsafe { dpdk_sys::rte_eth_dev_get_name_by_port(id, name.as_mut_ptr()) };
        check(result, || format!("read the name of port {id}"))?;
        // SAFETY: the call wrote a terminated text.
        let name = unsafe { CStr::from_ptr(name.as_ptr()) }.to_string_lossy().into_owned();
        let driver = NonNull::new(info.driver_name.cast_mut()).map_or_else(String::new, |driver| {
            // SAFETY: a driver's name is a terminated text that lives as long as the driver.
            unsafe { CStr::from_ptr(driver.as_ptr()) }.to_string_lossy().into_owned()
        });
        // SAFETY: where it is not null, it points into the port's data, valid as long as the port.
        let flags = unsafe { info.dev_flags.as_ref() }.copied().unwrap_or_default();
        let representation = if flags & dpdk_sys::RTE_ETH_DEV_REPRESENTOR == 0 {
            Representation::Own
        } else {
            represented(&name)
        };
        let domain = info.switch_info.domain_id;
        // RTE_ETH_DEV_SWITCH_DOMAIN_ID_INVALID, a macro that casts.
        let domain = (domain != u16::MAX).then_some(domain);
        Ok(Self { id, name, driver, representation, domain })
    }
}

/// What a representor of this name represents. Applications learn it from nowhere else: drivers name representors
/// `NIC_representor_vfN`, with `c<controller>pf<function>` before `vf` on some NICs, or `NIC_representor_N`.
fn represented(name: &str) -> Representation {
    let Some((_, which)) = name.rsplit_once("_representor_") else {
        return Representation::Other;
    };
    let number = match which.rsplit_once("vf") {
        Some((_, number)) => number,
        None => which,
    };
    number.parse().map_or(Representation::Other, Representation::Vf)
}

fn info(id: u16) -> Result<rte_eth_dev_info, DpdkError> {
    let mut info = MaybeUninit::<rte_eth_dev_info>::zeroed();
    // SAFETY: the call fills what it is given.
    let result = unsafe { dpdk_sys::rte_eth_dev_info_get(id, info.as_mut_ptr()) };
    check(result, || format!("ask port {id} what it can do"))?;
    // SAFETY: all-zero is valid, and the rest was filled.
    Ok(unsafe { info.assume_init() })
}

/// How ports are set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortSettings {
    /// Longest IP packet, bytes.
    pub mtu: u16,
    /// Descriptors of the receive queue.
    pub rx_descriptors: u16,
    /// Descriptors of the transmit queue.
    pub tx_descriptors: u16,
}

/// What a port counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PortStats {
    /// Packets received by software.
    pub rx_packets: u64,
    /// Their bytes.
    pub rx_bytes: u64,
    /// Packets sent by software.
    pub tx_packets: u64,
    /// Their bytes.
    pub tx_bytes: u64,
    /// Packets lost because software was too slow, or had no buffer.
    pub rx_missed: u64,
    /// Packets received with errors.
    pub rx_errors: u64,
    /// Packets that could not be sent.
    pub tx_errors: u64,
}

/// A port that is set up and stopped: the time for what cannot be changed while it runs. Dropped, it is closed.
pub struct StoppedPort<'pool> {
    device: Device,
    pool: PhantomData<&'pool PacketPool<'pool>>,
    gone: &'pool AtomicBool,
}

impl<'pool> StoppedPort<'pool> {
    /// Sets a port up with one queue for each way. `gone` is set when it is removed or reset, by another thread, where its
    /// driver tells such things.
    ///
    /// # Errors
    /// The step that the port refused.
    pub fn set_up(
        device: Device,
        settings: PortSettings,
        pool: &'pool PacketPool<'_>,
        gone: &'pool AtomicBool,
    ) -> Result<Self, DpdkError> {
        let id = device.id;
        let name = device.name.clone();
        let action = |what: &str| format!("{what} port {name}");
        // SAFETY: all-zero is the default configuration.
        let mut configuration: rte_eth_conf = unsafe { MaybeUninit::zeroed().assume_init() };
        // SAFETY: where it is not null, it points into the port's data, valid as long as the port.
        let flags = unsafe { info(id)?.dev_flags.as_ref() }.copied().unwrap_or_default();
        configuration.intr_conf.set_rmv(u32::from(flags & dpdk_sys::RTE_ETH_DEV_INTR_RMV != 0));
        // SAFETY: the port exists, and is stopped as nobody has started it.
        let result = unsafe { dpdk_sys::rte_eth_dev_configure(id, 1, 1, &raw const configuration) };
        check(result, || action("configure"))?;
        // From here on there is something to close.
        let port = Self { device, pool: PhantomData, gone };
        // SAFETY: the flag outlives the port, which takes the callback back before it closes.
        let result = unsafe {
            dpdk_sys::rte_eth_dev_callback_register(
                id,
                dpdk_sys::RTE_ETH_EVENT_INTR_RMV,
                Some(on_removal),
                port.gone_pointer(),
            )
        };
        check(result, || action("ask to be told of the removal of"))?;
        let (mut rx, mut tx) = (settings.rx_descriptors, settings.tx_descriptors);
        // SAFETY: both numbers are there to be changed.
        let result =
            unsafe { dpdk_sys::rte_eth_dev_adjust_nb_rx_tx_desc(id, &raw mut rx, &raw mut tx) };
        check(result, || action("choose queue lengths of"))?;
        // SAFETY: reads a number of the port.
        let socket = unsafe { dpdk_sys::rte_eth_dev_socket_id(id) }.cast_unsigned();
        // SAFETY: the port is configured with one queue, the pool outlives the port, null means the port's defaults.
        let result = unsafe {
            let defaults = std::ptr::null();
            dpdk_sys::rte_eth_rx_queue_setup(id, 0, rx, socket, defaults, pool.as_ptr())
        };
        check(result, || action("set up the receive queue of"))?;
        // SAFETY: as above.
        let result =
            unsafe { dpdk_sys::rte_eth_tx_queue_setup(id, 0, tx, socket, std::ptr::null()) };
        check(result, || action("set up the transmit queue of"))?;
        port.set_mtu(settings.mtu)?;
        Ok(port)
    }

    /// The flag as callbacks get it.
    fn gone_pointer(&self) -> *mut c_void {
        ptr::from_ref(self.gone).cast_mut().cast()
    }

    /// Whether the device is gone. What cannot say is there.
    pub fn is_gone(&self) -> bool {
        // SAFETY: the port exists.
        unsafe { dpdk_sys::rte_eth_dev_is_removed(self.device.id) != 0 }
    }

    /// Starts the port.
    ///
    /// # Errors
    /// When it refuses; it is stopped then as before.
    pub fn start(self) -> Result<Port<'pool>, (Self, DpdkError)> {
        let id = self.device.id;
        // SAFETY: the port is whole.
        let result = unsafe { dpdk_sys::rte_eth_dev_start(id) };
        if let Err(error) = check(result, || format!("start port {}", self.device.name)) {
            return Err((self, error));
        }
        // Frames for VMs' and tenants' addresses must reach us. What cannot filter (pcap, null) may refuse.
        // SAFETY: the port is started.
        unsafe { dpdk_sys::rte_eth_promiscuous_enable(id) };
        Ok(Port { _running: Running(id), set_up: self, queues_taken: AtomicBool::new(false) })
    }

    fn set_mtu(&self, mtu: u16) -> Result<(), DpdkError> {
        let mut now = 0;
        // SAFETY: there is room for the number.
        let known = unsafe { dpdk_sys::rte_eth_dev_get_mtu(self.device.id, &raw mut now) } == 0;
        if known && now == mtu {
            return Ok(());
        }
        // SAFETY: the port exists.
        let result = unsafe { dpdk_sys::rte_eth_dev_set_mtu(self.device.id, mtu) };
        // What has no MTU (pcap, null) takes frames of any length.
        if result == -rte_flow::ENOTSUP {
            return Ok(());
        }
        check(result, || {
            format!("set the MTU of port {} to {mtu}; change [ports] mtu", self.device.name)
        })?;
        Ok(())
    }

    /// What it is.
    pub const fn device(&self) -> &Device {
        &self.device
    }
}

impl Drop for StoppedPort<'_> {
    fn drop(&mut self) {
        // A callback that runs is waited for: EAGAIN.
        // SAFETY: the same as when it was registered.
        while unsafe {
            dpdk_sys::rte_eth_dev_callback_unregister(
                self.device.id,
                dpdk_sys::RTE_ETH_EVENT_INTR_RMV,
                Some(on_removal),
                self.gone_pointer(),
            )
        } == -rte_flow::EAGAIN
        {
            std::thread::yield_now();
        }
        // SAFETY: the port is stopped, and nobody else has it.
        unsafe { dpdk_sys::rte_eth_dev_close(self.device.id) };
    }
}

/// Notes, on a thread of DPDK's, that a port's device is gone.
unsafe extern "C" fn on_removal(
    _port: u16,
    _event: rte_eth_event_type,
    gone: *mut c_void,
    _result: *mut c_void,
) -> c_int {
    // SAFETY: it is the flag that was registered, which lives as long as the registration.
    unsafe { &*gone.cast::<AtomicBool>() }.store(true, Ordering::Release);
    0
}

/// Stops a port when dropped.
struct Running(u16);

impl Drop for Running {
    fn drop(&mut self) {
        // SAFETY: queues and rules borrow from the port, so nobody uses it any more.
        unsafe { dpdk_sys::rte_eth_dev_stop(self.0) };
    }
}

/// A port that carries packets. Dropped, it is stopped and closed.
pub struct Port<'pool> {
    // A port stops before it closes.
    _running: Running,
    set_up: StoppedPort<'pool>,
    queues_taken: AtomicBool,
}

impl<'pool> Port<'pool> {
    /// Whether the device is gone. What cannot say is there.
    pub fn is_gone(&self) -> bool {
        self.set_up.is_gone()
    }

    /// Stops the port.
    pub fn stop(self) -> StoppedPort<'pool> {
        self.set_up
    }

    /// What it is.
    pub const fn device(&self) -> &Device {
        self.set_up.device()
    }

    /// Its queues, for the one thread that sends and receives; `None` when they were taken before.
    pub fn queues(&self) -> Option<Queues<'_>> {
        (!self.queues_taken.swap(true, Ordering::AcqRel))
            .then_some(Queues { id: self.device().id, port: PhantomData })
    }

    /// Whether its link is up.
    pub fn link_is_up(&self) -> bool {
        let mut link = MaybeUninit::<rte_eth_link>::zeroed();
        // SAFETY: the call fills what it is given.
        let known =
            unsafe { dpdk_sys::rte_eth_link_get_nowait(self.device().id, link.as_mut_ptr()) };
        // SAFETY: all-zero is valid.
        known == 0
            && u32::from(unsafe { link.assume_init() }.link_status()) == dpdk_sys::RTE_ETH_LINK_UP
    }

    /// What it counted; all zero where it does not count.
    pub fn stats(&self) -> PortStats {
        let mut stats = MaybeUninit::<rte_eth_stats>::zeroed();
        // SAFETY: the call fills what it is given.
        unsafe { dpdk_sys::rte_eth_stats_get(self.device().id, stats.as_mut_ptr()) };
        // SAFETY: all-zero is valid.
        let stats = unsafe { stats.assume_init() };
        PortStats {
            rx_packets: stats.ipackets,
            rx_bytes: stats.ibytes,
            tx_packets: stats.opackets,
            tx_bytes: stats.obytes,
            rx_missed: stats.imissed.wrapping_add(stats.rx_nombuf),
            rx_errors: stats.ierrors,
            tx_errors: stats.oerrors,
        }
    }
}

/// A port's one receive and one transmit queue.
pub struct Queues<'port> {
    id: u16,
    port: PhantomData<&'port Port<'port>>,
}

impl<'port> Queues<'port> {
    /// Adds packets that came in; returns how many.
    pub fn receive(&mut self, burst: &mut Burst<'port>) -> usize {
        let mut mbufs = [std::ptr::null_mut::<rte_mbuf>(); BURST];
        let room = burst.remaining_capacity().min(BURST) as u16;
        // SAFETY: there is room for as many pointers; the port is started, and its queue used by this thread alone.
        let count = unsafe { dpdk_sys::rte_eth_rx_burst(self.id, 0, mbufs.as_mut_ptr(), room) };
        for mbuf in mbufs.iter().take(count.min(room).into()).copied().filter_map(NonNull::new) {
            // SAFETY: received packets belong to the receiver.
            burst.push(unsafe { Packet::from_raw(mbuf) });
        }
        count.into()
    }

    /// Sends packets; returns how many could not be sent, and are gone.
    pub fn send(&mut self, burst: &mut Burst<'_>) -> usize {
        let mut mbufs = [std::ptr::null_mut::<rte_mbuf>(); BURST];
        let count = burst.len();
        for (place, packet) in mbufs.iter_mut().zip(burst.drain(..)) {
            *place = packet.into_raw().as_ptr();
        }
        // SAFETY: as many valid packets, handed over; the port is started, and its queue used by this thread alone.
        let sent =
            unsafe { dpdk_sys::rte_eth_tx_burst(self.id, 0, mbufs.as_mut_ptr(), count as u16) };
        let unsent = mbufs.iter().take(count).skip(sent.into()).copied();
        for mbuf in unsent.filter_map(NonNull::new) {
            // SAFETY: what was not sent is still ours.
            drop(unsafe { Packet::from_raw(mbuf) });
        }
        count.saturating_sub(sent.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn representors_are_known_by_their_names() {
        for (name, expected) in [
            ("net_eswitch0_representor_vf3", Representation::Vf(3)),
            ("0000:03:00.0_representor_vf12", Representation::Vf(12)),
            ("0000:03:00.0_representor_c1pf0vf7", Representation::Vf(7)),
            ("net_0000:81:00.0_representor_5", Representation::Vf(5)),
            ("0000:03:00.0_representor_sf4", Representation::Other),
            ("0000:03:00.0", Representation::Other),
        ] {
            assert_eq!(represented(name), expected, "{name}");
        }
    }
}
