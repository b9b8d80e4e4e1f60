//! Announces the driver to EAL, and creates and removes its ports.

use std::cell::UnsafeCell;
use std::ffi::{CStr, CString, c_int, c_void};
use std::mem::zeroed;
use std::ptr;
use std::sync::Arc;

use dpdk_sys::{
    RTE_ETH_DEV_FLOW_OPS_THREAD_SAFE, RTE_ETH_DEV_INTR_LSC, RTE_ETH_DEV_INTR_RMV,
    RTE_ETH_DEV_REPRESENTOR, RTE_MAX_ETHPORTS, RTE_PROC_PRIMARY, rte_device, rte_eal_process_type,
    rte_eth_dev, rte_eth_dev_close, rte_eth_dev_create, rte_eth_dev_stop, rte_eth_find_next_of,
    rte_eth_switch_domain_alloc, rte_eth_switch_domain_free, rte_ether_addr, rte_vdev_device,
    rte_vdev_driver, rte_vdev_register,
};
use packet::Mac;

use crate::control_socket::ControlSocket;
use crate::devargs::DeviceArgs;
use crate::device::{Device, DeviceError, PortIndex};
use crate::kernel::Kernel;
use crate::log;
use crate::port::{OPERATIONS, PortPrivate};
use crate::queue::{receive_burst, receive_count, receive_status, send_burst, transmit_status};
use crate::receive_filter::MAX_ADDRESSES;
use crate::reset;
use crate::telemetry;

/// The driver's name: devices are called `net_eswitch0`, `net_eswitch1`, ...
const NAME: &CStr = c"net_eswitch";

/// Runs before `main`, or when EAL loads the library.
#[used]
#[unsafe(link_section = ".init_array")]
static REGISTER: extern "C" fn() = register;

/// What `dpdk-pmdinfo.py` looks for.
#[used]
static PMD_INFO: &[u8] = b"PMD_INFO_STRING= {\"name\" : \"net_eswitch\", \"params\" : \
\"vfs=<int> representor=vf[<list>] uplink=<link> kernel=<link> vf<int>=<link> profile=<name> mtu=<int> \
fail-insert=<int> refuse-every=<int> lose-every=<int> fault-errno=<int> enospc-after=<int> \
late-completion-ms=<int> freeze-queue=<int> link-drop=[<port>:]<int> link-duplicate=[<port>:]<int> \
link-reorder=[<port>:]<int> link-corrupt=[<port>:]<int> link-flap-ms=[<port>:]<int>/<int> \
fault-seed=<int> reset-after-ms=<int> control=<path>\", \"pci_ids\" : []}\0";

/// The driver as EAL knows it; it links it into its own list.
struct Driver(UnsafeCell<rte_vdev_driver>);

// SAFETY: EAL alone changes it, from the threads that it allows to probe.
unsafe impl Sync for Driver {}

static DRIVER: Driver = {
    // SAFETY: the structure consists of pointers, optional functions and numbers: all zero is a value of it.
    let mut driver: rte_vdev_driver = unsafe { zeroed() };
    driver.driver.name = NAME.as_ptr();
    driver.probe = Some(probe);
    driver.remove = Some(remove);
    Driver(UnsafeCell::new(driver))
};

extern "C" fn register() {
    log::register();
    telemetry::register();
    // SAFETY: the driver is static, and the library is not unloaded while EAL lives.
    unsafe { rte_vdev_register(DRIVER.0.get()) };
}

/// A switch domain of DPDK: ports within one can forward to each other.
pub struct SwitchDomain(u16);

impl SwitchDomain {
    fn allocate() -> Option<Self> {
        let mut id = 0;
        // SAFETY: DPDK writes one number.
        (unsafe { rte_eth_switch_domain_alloc(&raw mut id) } == 0).then_some(Self(id))
    }

    /// DPDK's number of it.
    pub const fn id(&self) -> u16 {
        self.0
    }
}

impl Drop for SwitchDomain {
    fn drop(&mut self) {
        // SAFETY: it was allocated and is freed once.
        unsafe { rte_eth_switch_domain_free(self.0) };
    }
}

/// A device and what DPDK knows it by.
pub struct Card {
    /// The name of the device, as in `--vdev`.
    pub name: CString,
    /// Its switch domain.
    pub domain: SwitchDomain,
    /// The card itself.
    pub device: Arc<Device>,
    /// Where it can be asked and told about faults.
    _control: Option<ControlSocket>,
}

/// Which port of a device `rte_eth_dev_create` is to make.
enum Part<'a> {
    /// The uplink, and the card with it: only now DPDK says which number the uplink has.
    Uplink(&'a DeviceArgs),
    /// A representor of the card's.
    Representor {
        /// The card.
        card: Arc<Card>,
        /// The VF it represents.
        vf: u16,
    },
}

/// A port on its way through `rte_eth_dev_create`.
struct NewPort<'a> {
    part: Part<'a>,
    device_name: &'a CStr,
    /// The card it belongs to, or why it cannot be made.
    result: Result<Arc<Card>, Refusal>,
}

/// Why a device cannot be made.
#[derive(Debug)]
struct Refusal {
    errno: c_int,
    problem: String,
}

impl Refusal {
    fn new(errno: c_int, problem: impl Into<String>) -> Self {
        Self { errno, problem: problem.into() }
    }
}

unsafe extern "C" fn probe(vdev: *mut rte_vdev_device) -> c_int {
    // SAFETY: EAL passes a device of its own, whose name and arguments are C strings.
    let (device, name, arguments) = unsafe {
        let device = &raw mut (*vdev).device;
        let devargs = (*device).devargs;
        let arguments =
            if devargs.is_null() { ptr::null() } else { (*devargs).__bindgen_anon_1.args };
        let arguments = if arguments.is_null() { c"" } else { CStr::from_ptr(arguments) };
        (device, CStr::from_ptr((*device).name).to_owned(), arguments)
    };
    match create(device, &name, arguments) {
        Ok(()) => 0,
        Err(refusal) => {
            log::error(&format_args!("{}: {}", name.to_string_lossy(), refusal.problem));
            // What exists by now goes with the device.
            close_ports(device);
            -refusal.errno
        }
    }
}

fn create(device: *mut rte_device, name: &CStr, arguments: &CStr) -> Result<(), Refusal> {
    // SAFETY: asks EAL for a number.
    if unsafe { rte_eal_process_type() } != RTE_PROC_PRIMARY {
        return Err(Refusal::new(libc::ENOTSUP, "only a primary process can have this device"));
    }
    let arguments = arguments
        .to_str()
        .map_err(|_| Refusal::new(libc::EINVAL, "the arguments are not UTF-8"))?;
    let args =
        DeviceArgs::parse(arguments).map_err(|e| Refusal::new(libc::EINVAL, e.to_string()))?;
    let card = create_port(device, name, name, Part::Uplink(&args))?;
    for &vf in &args.representors {
        let port_name = format!("{}_representor_vf{vf}", name.to_string_lossy());
        let port_name =
            CString::new(port_name).map_err(|e| Refusal::new(libc::EINVAL, e.to_string()))?;
        create_port(device, name, &port_name, Part::Representor { card: Arc::clone(&card), vf })?;
    }
    telemetry::add(&card);
    if let Some(after) = args.reset_after {
        reset::schedule(card.device.uplink(), after);
    }
    log::notice(&format_args!(
        "{}: {}, {} VFs, {} of them with a representor",
        name.to_string_lossy(),
        args.profile.name,
        card.device.vfs(),
        args.representors.len()
    ));
    Ok(())
}

fn create_port(
    device: *mut rte_device,
    device_name: &CStr,
    port_name: &CStr,
    part: Part<'_>,
) -> Result<Arc<Card>, Refusal> {
    // Stands when `initialise` is not even reached.
    let no_room = Refusal::new(
        libc::ENOSPC,
        format!(
            "DPDK cannot have the port {} (in this build, {RTE_MAX_ETHPORTS} a process)",
            port_name.to_string_lossy()
        ),
    );
    let mut new = NewPort { part, device_name, result: Err(no_room) };
    // SAFETY: the device is EAL's; `initialise` gets the `NewPort` and the private memory it expects.
    unsafe {
        rte_eth_dev_create(
            device,
            port_name.as_ptr(),
            size_of::<PortPrivate>(),
            None,
            ptr::null_mut(),
            Some(initialise),
            (&raw mut new).cast(),
        )
    };
    new.result
}

impl NewPort<'_> {
    /// Makes what is behind the ethdev `id`: for the uplink the card, for a representor the eswitch's port.
    fn build(&self, id: u16) -> Result<(Arc<Card>, PortIndex), Refusal> {
        let refused = |problem: DeviceError| Refusal::new(libc::ENODEV, problem.to_string());
        match &self.part {
            Part::Uplink(args) => {
                let device = Arc::new(Device::open(args, id).map_err(refused)?);
                let domain = SwitchDomain::allocate()
                    .ok_or_else(|| Refusal::new(libc::ENOSPC, "DPDK has no switch domain left"))?;
                let name = self.device_name.to_string_lossy().into_owned();
                let control = args.control.as_ref().map(|path| {
                    ControlSocket::open(path, name, Arc::downgrade(&device)).map_err(|error| {
                        Refusal::new(
                            libc::EADDRINUSE,
                            format!("control={}: {error}", path.display()),
                        )
                    })
                });
                let control = control.transpose()?;
                let name = self.device_name.to_owned();
                let card = Card { name, domain, device, _control: control };
                Ok((Arc::new(card), PortIndex::UPLINK))
            }
            Part::Representor { card, vf } => {
                card.device.add_vf(*vf, id).map_err(refused)?;
                Ok((Arc::clone(card), PortIndex::vf(*vf)))
            }
        }
    }
}

unsafe extern "C" fn initialise(dev: *mut rte_eth_dev, parameters: *mut c_void) -> c_int {
    // SAFETY: DPDK passes a new port with private memory as large as `PortPrivate`, aligned to a cache line, and what
    // `create_port` gave it.
    unsafe {
        let new = &mut *parameters.cast::<NewPort<'_>>();
        let dev = &mut *dev;
        let data = &mut *dev.data;
        let (card, index) = match new.build(data.port_id) {
            Ok(built) => built,
            Err(refusal) => {
                let errno = refusal.errno;
                new.result = Err(refusal);
                return -errno;
            }
        };
        // The kernel's interface and the uplink are one port.
        let kernel = card.device.kernel().filter(|_| index == PortIndex::UPLINK);
        let mac = kernel.map_or_else(random_mac, Kernel::mac);
        if let Some(port) = card.device.port(index) {
            let rules =
                card.device.with_switch(|switch, _| switch.eswitch.profile().receive.clone());
            port.software.change_filter(|filter| {
                filter.rules = rules;
                filter.addresses.insert(0, mac);
            });
        }
        if let Part::Representor { vf, .. } = new.part {
            data.dev_flags |= RTE_ETH_DEV_REPRESENTOR;
            data.representor_id = vf;
            data.backer_port_id = card.device.uplink();
        }
        let mut addresses = [rte_ether_addr { addr_bytes: [0; 6] }; MAX_ADDRESSES as usize];
        addresses[0].addr_bytes = mac.0;
        let private = data.dev_private.cast::<PortPrivate>();
        private.write(PortPrivate { addresses, card: Arc::clone(&card), index });
        data.mac_addrs = (&raw mut (*private).addresses).cast();
        data.numa_node = (*dev.device).numa_node;
        // The operations take the device's own lock.
        data.dev_flags |=
            RTE_ETH_DEV_FLOW_OPS_THREAD_SAFE | RTE_ETH_DEV_INTR_LSC | RTE_ETH_DEV_INTR_RMV;
        dev.dev_ops = &raw const OPERATIONS;
        dev.rx_pkt_burst = Some(receive_burst);
        dev.tx_pkt_burst = Some(send_burst);
        dev.rx_queue_count = Some(receive_count);
        dev.rx_descriptor_status = Some(receive_status);
        dev.tx_descriptor_status = Some(transmit_status);
        new.result = Ok(card);
    }
    0
}

/// A random locally administered address: several devices, in several processes, meet on one underlay.
fn random_mac() -> Mac {
    let mut octets = [0_u8; 6];
    // SAFETY: the kernel fills at most the bytes of the array. It cannot fail for so few; if it did, all ports had one
    // address until the application sets it.
    unsafe { libc::getrandom(octets.as_mut_ptr().cast(), octets.len(), 0) };
    octets[0] = (octets[0] & 0xfc) | 0x02;
    Mac(octets)
}

unsafe extern "C" fn remove(vdev: *mut rte_vdev_device) -> c_int {
    // SAFETY: EAL passes a device of its own.
    close_ports(unsafe { &raw mut (*vdev).device });
    0
}

/// Stops and closes all ports of a device, representors before the uplink; with the last one the links go.
fn close_ports(device: *mut rte_device) {
    let mut ports = Vec::new();
    loop {
        let next = ports.last().map_or(0, |port| port + 1);
        // SAFETY: the device is EAL's.
        let port = unsafe { rte_eth_find_next_of(next, device) };
        if u32::from(port) >= RTE_MAX_ETHPORTS {
            break;
        }
        ports.push(port);
    }
    for port in ports.into_iter().rev() {
        // SAFETY: the port exists; stopping a stopped one does nothing.
        let closed = unsafe { rte_eth_dev_stop(port).max(rte_eth_dev_close(port)) };
        if closed != 0 {
            log::error(&format_args!("port {port} cannot be closed"));
        }
    }
}
