//! Simulated NICs in this very process, started, with traffic on their wires.

use std::ffi::{CStr, CString, c_char, c_int};
use std::mem::zeroed;
use std::ptr;
use std::sync::OnceLock;

use dpdk_sys as c;
// The driver announces itself to EAL where it is linked.
use penstock_eswitch as _;

/// The cards: each an uplink and the representor of a VF.
pub const PROFILES: [&str; 5] = [
    "unlimited",
    "bluefield3-sws-22.11",
    "bluefield2-sws-22.11",
    "bluefield3-hws-22.11",
    "bluefield3-hws-24.11",
];

/// Operations in flight that a queue has room for.
const QUEUE_SIZE: u32 = 64;

/// Frames of a burst.
const BURST: u16 = 32;

/// A card.
#[derive(Debug, Clone, Copy)]
pub struct Nic {
    /// The ethdev of its uplink.
    pub uplink: u16,
    /// The ethdev of its VF's representor.
    pub representor: u16,
}

/// The card of a profile, by its place in [`PROFILES`].
///
/// # Panics
/// When DPDK does not start.
pub fn nic(index: usize) -> Nic {
    static NICS: OnceLock<[Nic; PROFILES.len()]> = OnceLock::new();
    NICS.get_or_init(|| {
        initialise();
        std::array::from_fn(start)
    })[index]
}

fn initialise() {
    let mut arguments: Vec<String> = [
        "malformed",
        "--no-huge",
        "--no-shconf",
        "--no-telemetry",
        "--no-pci",
        "-m",
        "128",
        "-l",
        "0",
        "--log-level=error",
    ]
    .map(str::to_owned)
    .into();
    for (index, profile) in PROFILES.iter().enumerate() {
        arguments.push(format!(
            "--vdev=net_eswitch{index},vfs=1,representor=vf0,profile={profile},uplink=gen:[flows=5,vni=7,\
             source-vtep=10.1.0.1,destination-vtep=10.1.0.2],vf0=gen:[flows=5]"
        ));
    }
    let pointers: Vec<*mut c_char> = arguments
        .into_iter()
        .map(|text| CString::new(text).expect("no zeros").into_raw())
        .collect();
    let count = c_int::try_from(pointers.len()).expect("few");
    // SAFETY: as many texts as `count`, never freed; called once in this process.
    let result = unsafe { c::rte_eal_init(count, pointers.leak().as_mut_ptr()) };
    assert!(result >= 0, "EAL does not start: errno {}", errno());
}

/// DPDK's errno of this thread.
pub fn errno() -> c_int {
    // SAFETY: reads a number.
    unsafe { c::dpdk_sys_errno() }
}

fn port(name: &str) -> u16 {
    let name = CString::new(name).expect("no zeros");
    let mut port = 0;
    // SAFETY: a C string and room for a number.
    let result = unsafe { c::rte_eth_dev_get_port_by_name(name.as_ptr(), &raw mut port) };
    assert_eq!(result, 0, "{name:?}");
    port
}

fn start(index: usize) -> Nic {
    let uplink = port(&format!("net_eswitch{index}"));
    let representor = port(&format!("net_eswitch{index}_representor_vf0"));
    let name = CString::new(format!("mbufs{index}")).expect("no zeros");
    // SAFETY: EAL runs, and every structure is whole and of this thread; configured before it is started.
    unsafe {
        let pool = c::rte_pktmbuf_pool_create(name.as_ptr(), 1023, 0, 0, 2176, c::SOCKET_ID_ANY);
        assert!(!pool.is_null(), "errno {}", errno());
        for port in [uplink, representor] {
            let conf = zeroed();
            assert_eq!(c::rte_eth_dev_configure(port, 1, 1, &raw const conf), 0);
            assert_eq!(c::rte_eth_rx_queue_setup(port, 0, 64, 0, ptr::null(), pool), 0);
            assert_eq!(c::rte_eth_tx_queue_setup(port, 0, 64, 0, ptr::null()), 0);
            let queue = c::rte_flow_queue_attr { size: QUEUE_SIZE };
            let mut queues = [&raw const queue; 2];
            let attributes: c::rte_flow_port_attr = zeroed();
            let mut error = zeroed();
            // A card with software steering refuses.
            c::rte_flow_configure(
                port,
                &raw const attributes,
                2,
                queues.as_mut_ptr(),
                &raw mut error,
            );
            assert_eq!(c::rte_eth_dev_start(port), 0, "port {port}");
        }
    }
    Nic { uplink, representor }
}

impl Nic {
    /// Lets traffic through the rules that there are.
    pub fn carry(self) {
        for port in [self.uplink, self.representor] {
            let mut mbufs = [ptr::null_mut(); BURST as usize];
            // SAFETY: the port is started, and there is room for a burst; what came is given back.
            unsafe {
                let count = c::rte_eth_rx_burst(port, 0, mbufs.as_mut_ptr(), BURST);
                c::rte_pktmbuf_free_bulk(mbufs.as_mut_ptr(), count.into());
            }
        }
    }

    /// Takes what queues have done.
    pub fn pull(self, queue: u32) {
        // SAFETY: room for as many results as said.
        unsafe {
            let mut error = zeroed();
            let mut results: [c::rte_flow_op_result; BURST as usize] = zeroed();
            c::rte_flow_push(self.uplink, queue, &raw mut error);
            c::rte_flow_pull(self.uplink, queue, results.as_mut_ptr(), BURST, &raw mut error);
        }
    }

    /// Removes all rules that were made one by one.
    pub fn flush(self) {
        for port in [self.uplink, self.representor] {
            // SAFETY: the port exists.
            unsafe {
                let mut error = zeroed();
                c::rte_flow_flush(port, &raw mut error);
            }
        }
    }
}

/// A refusal as DPDK reports it.
#[derive(Debug)]
pub struct Refusal {
    /// `enum rte_flow_error_type`.
    pub kind: u32,
    /// The address of the guilty part.
    pub cause: usize,
    /// The words.
    pub message: String,
    /// DPDK's errno.
    pub errno: c_int,
}

/// Calls DPDK with a structure for an error; what it says, if `failed` says that the call failed.
pub fn refusal<T: Copy>(
    call: impl FnOnce(*mut c::rte_flow_error) -> T,
    failed: impl FnOnce(T) -> bool,
) -> Result<T, Refusal> {
    // SAFETY: a structure of numbers and pointers, for which zero is a value.
    let mut error: c::rte_flow_error = unsafe { zeroed() };
    let result = call(&raw mut error);
    if !failed(result) {
        return Ok(result);
    }
    let message = if error.message.is_null() {
        String::new()
    } else {
        // SAFETY: what an error has for a message is a C string.
        unsafe { CStr::from_ptr(error.message) }.to_str().expect("UTF-8").to_owned()
    };
    Err(Refusal { kind: error.type_, cause: error.cause.addr(), message, errno: errno() })
}
