//! A NIC under DPDK: its ports, and frames through them.

use std::ffi::{CStr, CString, c_int};
use std::marker::PhantomData;
use std::mem::{MaybeUninit, zeroed};
use std::ptr::{self, NonNull};

use dpdk_sys::{rte_eth_dev_info, rte_flow_port_attr, rte_flow_queue_attr, rte_mempool};
use rte_flow::EINVAL;
use thiserror::Error;

use crate::rules::Refusal;

/// Operations in flight.
const QUEUE_SIZE: u32 = 64;
/// Counters that are asked for with templates.
const COUNTERS: u32 = 256;
/// Meters and connections.
const OBJECTS: u32 = 16;

/// Why a NIC cannot be probed.
#[derive(Debug, Error)]
pub enum NicError {
    /// A call of DPDK failed.
    #[error("cannot {action}: {message}; {hint}")]
    Dpdk {
        /// What was tried.
        action: String,
        /// What DPDK says.
        message: String,
        /// How to mend it.
        hint: &'static str,
    },
    /// There is no port.
    #[error(
        "DPDK finds no port of that device; is it bound to a driver that DPDK knows (mlx5_core for mlx5)?"
    )]
    NoPort,
    /// There is neither interface to rules.
    #[error(
        "the device takes no rules: neither rte_flow_create nor templates; is it in switchdev mode?"
    )]
    NoRules,
}

fn failure(action: &str, errno: c_int, hint: &'static str) -> NicError {
    // SAFETY: returns a terminated text that stays valid at least until this thread's next call.
    let message = unsafe { CStr::from_ptr(dpdk_sys::rte_strerror(errno.abs())) };
    NicError::Dpdk {
        action: action.to_owned(),
        message: message.to_string_lossy().into_owned(),
        hint,
    }
}

/// DPDK's environment, one for the process.
pub struct Eal(PhantomData<*const ()>);

impl Eal {
    /// Starts it with these arguments, which follow the program's name.
    pub fn start(arguments: &[String]) -> Result<Self, NicError> {
        let hint = "its own messages are above; hugepages or --no-huge, and root, are what it usually lacks";
        let all = std::iter::once("penstock-nic-probe").chain(arguments.iter().map(String::as_str));
        let owned: Result<Vec<CString>, _> = all.map(CString::new).collect();
        let owned = owned.map_err(|_| failure("start DPDK", EINVAL, hint))?;
        // DPDK keeps pointers to its arguments for as long as the process lives, and reorders the list.
        let list: &mut [_] = owned.into_iter().map(CString::into_raw).collect::<Vec<_>>().leak();
        let count = c_int::try_from(list.len()).unwrap_or(c_int::MAX);
        // SAFETY: as many terminated texts, none of which is ever freed.
        let result = unsafe { dpdk_sys::rte_eal_init(count, list.as_mut_ptr()) };
        // SAFETY: reads a number of this thread.
        let errno = unsafe { dpdk_sys::dpdk_sys_errno() };
        if result < 0 { Err(failure("start DPDK", errno, hint)) } else { Ok(Self(PhantomData)) }
    }
}

impl Drop for Eal {
    fn drop(&mut self) {
        // SAFETY: initialised once, on this thread; all that borrowed from it is gone.
        unsafe { dpdk_sys::rte_eal_cleanup() };
    }
}

/// The NIC: the ports of one switch domain, started.
pub struct Nic<'e> {
    /// The one that manages transfer rules first.
    ports: Vec<u16>,
    /// Whether flow queues could be configured.
    has_templates: bool,
    pool: NonNull<rte_mempool>,
    eal: PhantomData<&'e Eal>,
}

impl<'e> Nic<'e> {
    /// Opens the NIC that the first port belongs to.
    pub fn open(_eal: &'e Eal) -> Result<Self, NicError> {
        let mut ports = Vec::new();
        let mut next = 0;
        loop {
            // SAFETY: takes any number.
            next = unsafe { dpdk_sys::rte_eth_find_next(next) };
            if u32::from(next) >= dpdk_sys::RTE_MAX_ETHPORTS {
                break;
            }
            ports.push(next);
            next += 1;
        }
        let first = *ports.first().ok_or(NicError::NoPort)?;
        let domain = info(first).switch_info.domain_id;
        ports.retain(|port| info(*port).switch_info.domain_id == domain);
        let mut proxy = first;
        // SAFETY: there is room for the port and the error. Without an answer the first port is as good as any.
        unsafe {
            dpdk_sys::rte_flow_pick_transfer_proxy(first, &raw mut proxy, Refusal::new().get())
        };
        ports.sort_by_key(|port| (*port != proxy, *port));
        // SAFETY: a name, and numbers; no private area, the default room.
        let pool = unsafe {
            dpdk_sys::rte_pktmbuf_pool_create(c"probe".as_ptr(), 1023, 0, 0, 2048 + 128, -1)
        };
        let hint = "give DPDK more memory (--eal -m --eal 256)";
        // SAFETY: reads a number of this thread.
        let errno = unsafe { dpdk_sys::dpdk_sys_errno() };
        let pool = NonNull::new(pool).ok_or_else(|| failure("make a packet pool", errno, hint))?;
        let mut nic = Self { ports, has_templates: false, pool, eal: PhantomData };
        nic.start()?;
        Ok(nic)
    }

    fn start(&mut self) -> Result<(), NicError> {
        let hint = "is another program using the device?";
        for &port in &self.ports {
            // SAFETY: all-zero is the default configuration; the port exists and is stopped; the pool outlives it.
            unsafe {
                let configuration = zeroed();
                let configured =
                    dpdk_sys::rte_eth_dev_configure(port, 1, 1, &raw const configuration);
                let (mut rx, mut tx) = (128, 128);
                dpdk_sys::rte_eth_dev_adjust_nb_rx_tx_desc(port, &raw mut rx, &raw mut tx);
                let socket = dpdk_sys::rte_eth_dev_socket_id(port).cast_unsigned();
                let rx = dpdk_sys::rte_eth_rx_queue_setup(
                    port,
                    0,
                    rx,
                    socket,
                    ptr::null(),
                    self.pool.as_ptr(),
                );
                let tx = dpdk_sys::rte_eth_tx_queue_setup(port, 0, tx, socket, ptr::null());
                let result = configured.min(rx).min(tx);
                if result < 0 {
                    return Err(failure("set a port up", result, hint));
                }
            }
            self.has_templates |= configure_queue(port);
        }
        for &port in &self.ports {
            // SAFETY: the port is set up.
            let result = unsafe { dpdk_sys::rte_eth_dev_start(port) };
            if result < 0 {
                return Err(failure("start a port", result, hint));
            }
        }
        Ok(())
    }

    /// The port that manages transfer rules.
    pub fn proxy(&self) -> u16 {
        self.ports.first().copied().unwrap_or(0)
    }

    /// A port that represents another function, if the device has one.
    pub fn representor(&self) -> Option<u16> {
        self.ports.get(1).copied()
    }

    /// Whether there are templates.
    pub const fn has_templates(&self) -> bool {
        self.has_templates
    }

    /// Sends a frame through a port.
    pub fn send(&mut self, port: u16, frame: &[u8]) {
        // SAFETY: the pool is there; a new packet has room for a short frame, and belongs to the driver once it took it.
        unsafe {
            let packet = dpdk_sys::rte_pktmbuf_alloc(self.pool.as_ptr());
            if packet.is_null() {
                return;
            }
            let room = dpdk_sys::rte_pktmbuf_append(packet, frame.len() as u16);
            if !room.is_null() {
                ptr::copy_nonoverlapping(frame.as_ptr(), room.cast(), frame.len());
            }
            let mut list = [packet];
            if dpdk_sys::rte_eth_tx_burst(port, 0, list.as_mut_ptr(), 1) == 0 {
                dpdk_sys::rte_pktmbuf_free(packet);
            }
        }
    }
}

impl Drop for Nic<'_> {
    fn drop(&mut self) {
        // Representors first, as mlx5 asks.
        for &port in self.ports.iter().rev() {
            // SAFETY: the port is there, and nobody else uses it.
            unsafe {
                dpdk_sys::rte_eth_dev_stop(port);
            }
        }
        for &port in self.ports.iter().rev() {
            // SAFETY: as above, and stopped.
            unsafe {
                dpdk_sys::rte_eth_dev_close(port);
            }
        }
    }
}

fn info(port: u16) -> rte_eth_dev_info {
    let mut info = MaybeUninit::<rte_eth_dev_info>::zeroed();
    // SAFETY: the call fills what it is given; all-zero is valid where it fails.
    unsafe {
        dpdk_sys::rte_eth_dev_info_get(port, info.as_mut_ptr());
        info.assume_init()
    }
}

/// Gives a stopped port a flow queue, if it can have one.
fn configure_queue(port: u16) -> bool {
    let queue = rte_flow_queue_attr { size: QUEUE_SIZE };
    // Not every NIC has meters and connections.
    [OBJECTS, 0].into_iter().any(|objects| {
        let attributes = rte_flow_port_attr {
            nb_counters: COUNTERS,
            nb_aging_objects: COUNTERS,
            nb_meters: objects,
            nb_conn_tracks: objects,
            flags: 0,
        };
        let mut queues = [&raw const queue];
        // SAFETY: the port is configured and stopped; attributes live until the call is over.
        let result = unsafe {
            dpdk_sys::rte_flow_configure(
                port,
                &raw const attributes,
                1,
                queues.as_mut_ptr(),
                Refusal::new().get(),
            )
        };
        result == 0
    })
}
