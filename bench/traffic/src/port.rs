//! The driver as DPDK sees it.

use std::cell::UnsafeCell;
use std::ffi::{CStr, c_int, c_uint, c_void};
use std::mem::zeroed;
use std::path::{Path, PathBuf};
use std::ptr::{self, NonNull, copy_nonoverlapping};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use dpdk_sys::{
    RTE_ETH_LINK_FULL_DUPLEX, RTE_ETH_LINK_SPEED_100G, RTE_ETH_LINK_UP, RTE_ETH_SPEED_NUM_100G,
    RTE_MAX_ETHPORTS, eth_dev_ops, rte_eth_dev, rte_eth_dev_close, rte_eth_dev_info,
    rte_eth_dev_probing_finish, rte_eth_find_next_of, rte_eth_rxconf, rte_eth_stats,
    rte_eth_txconf, rte_eth_vdev_allocate, rte_ether_addr, rte_mbuf, rte_mempool,
    rte_pktmbuf_alloc_bulk, rte_pktmbuf_free_bulk, rte_vdev_device, rte_vdev_driver,
    rte_vdev_register,
};
use rustix::time::{ClockId, clock_gettime};

use crate::frames::Frames;
use crate::report::{Checkpoint, Report};

/// Runs before `main`, or when EAL loads the library.
#[used]
#[unsafe(link_section = ".init_array")]
static REGISTER: extern "C" fn() = register;

/// The driver as EAL knows it; it links it into its own list.
struct Driver(UnsafeCell<rte_vdev_driver>);

// SAFETY: EAL alone changes it, from the threads that it allows to probe.
unsafe impl Sync for Driver {}

static DRIVER: Driver = {
    // SAFETY: the structure consists of pointers, optional functions and numbers: all zero is a value of it.
    let mut driver: rte_vdev_driver = unsafe { zeroed() };
    driver.driver.name = c"net_traffic".as_ptr();
    driver.probe = Some(probe);
    driver.remove = Some(remove);
    Driver(UnsafeCell::new(driver))
};

extern "C" fn register() {
    // SAFETY: the driver is static, and the library is not unloaded while EAL lives.
    unsafe { rte_vdev_register(DRIVER.0.get()) };
}

/// What the ports with one file share.
struct Traffic {
    path: PathBuf,
    frames: Frames,
    /// Where the frames go on behind the last one.
    repeat: Option<usize>,
    report: Option<Report>,
    place: AtomicUsize,
    received: AtomicU64,
    sent: AtomicU64,
}

/// All traffic of this process that has ports.
static ALL: Mutex<Vec<Weak<Traffic>>> = Mutex::new(Vec::new());

/// The arguments of a device.
#[derive(Debug, Default)]
struct Arguments<'a> {
    file: Option<&'a Path>,
    port: u16,
    repeat: Option<usize>,
    report: Option<&'a Path>,
}

impl<'a> Arguments<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let mut arguments = Self::default();
        for argument in text.split(',').filter(|argument| !argument.is_empty()) {
            match argument.split_once('=')? {
                ("file", value) => arguments.file = Some(Path::new(value)),
                ("port", value) => arguments.port = value.parse().ok()?,
                ("repeat", value) => arguments.repeat = Some(value.parse().ok()?),
                ("report", value) => arguments.report = Some(Path::new(value)),
                _ => return None,
            }
        }
        Some(arguments)
    }
}

impl Traffic {
    /// That of a file: of the ports that have it already, or read anew.
    fn open(arguments: &Arguments<'_>) -> Option<Arc<Self>> {
        let path = arguments.file?;
        let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|traffic| traffic.strong_count() > 0);
        if let Some(shared) = all.iter().filter_map(Weak::upgrade).find(|one| one.path == path) {
            return Some(shared);
        }
        let report = match arguments.report {
            Some(path) => Some(Report::create(path).ok()?),
            None => None,
        };
        let traffic = Arc::new(Self {
            path: path.to_owned(),
            frames: Frames::new(std::fs::read(path).ok()?)?,
            repeat: arguments.repeat,
            report,
            place: AtomicUsize::new(0),
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
        });
        all.push(Arc::downgrade(&traffic));
        Some(traffic)
    }

    /// How many of the next frames, at most `most`, a port receives, and where the first of them is.
    fn waiting(&self, port: u16, most: usize) -> (usize, usize) {
        let mut place = self.place.load(Ordering::Relaxed);
        if let Some(start) = self.repeat
            && self.frames.at(place).is_none()
        {
            place = start;
        }
        let mut count = 0;
        let mut at = place;
        while count < most
            && let Some((receiver, _, behind)) = self.frames.at(at)
            && receiver == port
        {
            (count, at) = (count + 1, behind);
        }
        (count, place)
    }

    /// Notes that frames were received, up to a place.
    fn pass(&self, count: usize, place: usize) {
        self.place.store(place, Ordering::Relaxed);
        let before = self.received.load(Ordering::Relaxed);
        let received = before + count as u64;
        self.received.store(received, Ordering::Relaxed);
        if let Some(report) = &self.report
            && before / Report::INTERVAL != received / Report::INTERVAL
        {
            let sent = self.sent.load(Ordering::Relaxed);
            report.add(Checkpoint { received, sent, cpu: thread_time() });
        }
    }
}

/// Time that this thread has had on its core.
fn thread_time() -> Duration {
    clock_gettime(ClockId::ThreadCPUTime).try_into().unwrap_or_default()
}

/// What an ethdev of ours keeps in `dev_private`.
struct Port {
    /// Where `mac_addrs` points to.
    address: rte_ether_addr,
    number: u16,
    traffic: Arc<Traffic>,
    received: Arc<AtomicU64>,
    sent: Arc<AtomicU64>,
}

/// A receive queue.
struct Receive {
    traffic: Arc<Traffic>,
    number: u16,
    port_id: u16,
    pool: NonNull<rte_mempool>,
    received: Arc<AtomicU64>,
}

/// A transmit queue.
struct Transmit {
    traffic: Arc<Traffic>,
    sent: Arc<AtomicU64>,
}

static OPERATIONS: eth_dev_ops = eth_dev_ops {
    dev_configure: Some(accept),
    dev_start: Some(start),
    dev_stop: Some(stop),
    dev_close: Some(close),
    dev_infos_get: Some(infos_get),
    link_update: Some(link_update),
    rx_queue_setup: Some(rx_queue_setup),
    rx_queue_release: Some(rx_queue_release),
    tx_queue_setup: Some(tx_queue_setup),
    tx_queue_release: Some(tx_queue_release),
    promiscuous_enable: Some(accept),
    promiscuous_disable: Some(accept),
    allmulticast_enable: Some(accept),
    allmulticast_disable: Some(accept),
    mac_addr_set: Some(mac_addr_set),
    mtu_set: Some(mtu_set),
    stats_get: Some(stats_get),
    stats_reset: Some(stats_reset),
    // SAFETY: the table consists of optional function pointers, for which all zero means none.
    ..unsafe { zeroed() }
};

unsafe extern "C" fn probe(vdev: *mut rte_vdev_device) -> c_int {
    // SAFETY: EAL passes a device of its own, whose arguments are a C string or absent.
    let arguments = unsafe {
        let devargs = (*vdev).device.devargs;
        let text = if devargs.is_null() { ptr::null() } else { (*devargs).__bindgen_anon_1.args };
        if text.is_null() { c"" } else { CStr::from_ptr(text) }
    };
    let arguments = arguments.to_str().ok().and_then(Arguments::parse);
    let Some((port, traffic)) =
        arguments.and_then(|arguments| Some((arguments.port, Traffic::open(&arguments)?)))
    else {
        return -libc::EINVAL;
    };
    // SAFETY: the device is EAL's; DPDK gives a port with private memory of the size that is asked for, zeroed and
    // aligned to a cache line, and the port is not used before `rte_eth_dev_probing_finish`.
    unsafe {
        let dev = rte_eth_vdev_allocate(vdev, size_of::<Port>());
        if dev.is_null() {
            return -libc::ENOMEM;
        }
        let data = &mut *(*dev).data;
        let private = data.dev_private.cast::<Port>();
        let [high, low] = port.to_be_bytes();
        let address = rte_ether_addr { addr_bytes: [0x02, 0x54, 0x52, 0x46, high, low] };
        let (received, sent) = Default::default();
        private.write(Port { address, number: port, traffic, received, sent });
        data.mac_addrs = &raw mut (*private).address;
        data.dev_link.link_speed = RTE_ETH_SPEED_NUM_100G;
        data.dev_link.set_link_duplex(RTE_ETH_LINK_FULL_DUPLEX as u16);
        (*dev).dev_ops = &raw const OPERATIONS;
        (*dev).rx_pkt_burst = Some(receive_burst);
        (*dev).tx_pkt_burst = Some(send_burst);
        rte_eth_dev_probing_finish(dev);
    }
    0
}

unsafe extern "C" fn remove(vdev: *mut rte_vdev_device) -> c_int {
    // SAFETY: EAL passes a device of its own; a port that DPDK finds for it is one of ours.
    unsafe {
        let port = rte_eth_find_next_of(0, &raw const (*vdev).device);
        if u32::from(port) < RTE_MAX_ETHPORTS { rte_eth_dev_close(port) } else { 0 }
    }
}

/// # Safety
/// `dev` is an ethdev of ours that is not closed.
unsafe fn port<'a>(dev: *mut rte_eth_dev) -> &'a Port {
    // SAFETY: `probe` wrote one there, and `close` takes it away last.
    unsafe { &*(*(*dev).data).dev_private.cast::<Port>() }
}

unsafe extern "C" fn accept(_dev: *mut rte_eth_dev) -> c_int {
    0
}

unsafe extern "C" fn mac_addr_set(_dev: *mut rte_eth_dev, _address: *mut rte_ether_addr) -> c_int {
    0
}

unsafe extern "C" fn mtu_set(_dev: *mut rte_eth_dev, _mtu: u16) -> c_int {
    0
}

/// # Safety
/// `dev` is an ethdev of ours.
unsafe fn set_running(dev: *mut rte_eth_dev, running: bool) {
    // SAFETY: by the caller's promise; queues beyond those that are set up are nobody's.
    unsafe {
        let data = &mut *(*dev).data;
        data.dev_link.set_link_status(if running { RTE_ETH_LINK_UP as u16 } else { 0 });
        let state = u8::from(running);
        data.rx_queue_state[..data.nb_rx_queues.into()].fill(state);
        data.tx_queue_state[..data.nb_tx_queues.into()].fill(state);
    }
}

unsafe extern "C" fn start(dev: *mut rte_eth_dev) -> c_int {
    // SAFETY: DPDK passes ethdevs of ours.
    unsafe { set_running(dev, true) };
    0
}

unsafe extern "C" fn stop(dev: *mut rte_eth_dev) -> c_int {
    // SAFETY: DPDK passes ethdevs of ours.
    unsafe { set_running(dev, false) };
    0
}

unsafe extern "C" fn close(dev: *mut rte_eth_dev) -> c_int {
    // SAFETY: DPDK passes ethdevs of ours, stopped, and calls nothing of them afterwards. It frees the arrays of queues
    // and the private memory itself; the address in there is not freed by itself because `mac_addrs` is cleared.
    unsafe {
        let data = &mut *(*dev).data;
        (0..data.nb_rx_queues).for_each(|queue| rx_queue_release(dev, queue));
        (0..data.nb_tx_queues).for_each(|queue| tx_queue_release(dev, queue));
        data.mac_addrs = ptr::null_mut();
        ptr::drop_in_place(data.dev_private.cast::<Port>());
    }
    0
}

unsafe extern "C" fn infos_get(_dev: *mut rte_eth_dev, info: *mut rte_eth_dev_info) -> c_int {
    // SAFETY: DPDK passes a structure to fill.
    let info = unsafe { &mut *info };
    info.max_rx_pktlen = u16::MAX.into();
    info.max_mtu = u16::MAX;
    info.max_rx_queues = 1;
    info.max_tx_queues = 16;
    info.max_mac_addrs = 1;
    info.speed_capa = RTE_ETH_LINK_SPEED_100G;
    0
}

unsafe extern "C" fn link_update(_dev: *mut rte_eth_dev, _wait: c_int) -> c_int {
    0
}

unsafe extern "C" fn stats_get(dev: *mut rte_eth_dev, stats: *mut rte_eth_stats) -> c_int {
    // SAFETY: DPDK passes ethdevs of ours and a structure to fill.
    let (port, stats) = unsafe { (port(dev), &mut *stats) };
    stats.ipackets = port.received.load(Ordering::Relaxed);
    stats.opackets = port.sent.load(Ordering::Relaxed);
    0
}

unsafe extern "C" fn stats_reset(dev: *mut rte_eth_dev) -> c_int {
    // SAFETY: DPDK passes ethdevs of ours.
    let port = unsafe { port(dev) };
    port.received.store(0, Ordering::Relaxed);
    port.sent.store(0, Ordering::Relaxed);
    0
}

unsafe extern "C" fn rx_queue_setup(
    dev: *mut rte_eth_dev,
    queue: u16,
    _descriptors: u16,
    _socket: c_uint,
    _conf: *const rte_eth_rxconf,
    pool: *mut rte_mempool,
) -> c_int {
    let Some(pool) = NonNull::new(pool) else { return -libc::EINVAL };
    // SAFETY: DPDK passes ethdevs of ours and a queue within what was configured.
    unsafe {
        let (port, data) = (port(dev), &mut *(*dev).data);
        let receive = Receive {
            traffic: Arc::clone(&port.traffic),
            number: port.number,
            port_id: data.port_id,
            pool,
            received: Arc::clone(&port.received),
        };
        *data.rx_queues.add(queue.into()) = Box::into_raw(Box::new(receive)).cast::<c_void>();
    }
    0
}

unsafe extern "C" fn rx_queue_release(dev: *mut rte_eth_dev, queue: u16) {
    // SAFETY: DPDK passes ethdevs of ours and a queue within what was configured; one that was set up is a box of ours,
    // and no thread uses it any more.
    unsafe {
        let entry = (*(*dev).data).rx_queues.add(queue.into());
        if !(*entry).is_null() {
            drop(Box::from_raw((*entry).cast::<Receive>()));
            *entry = ptr::null_mut();
        }
    }
}

unsafe extern "C" fn tx_queue_setup(
    dev: *mut rte_eth_dev,
    queue: u16,
    _descriptors: u16,
    _socket: c_uint,
    _conf: *const rte_eth_txconf,
) -> c_int {
    // SAFETY: DPDK passes ethdevs of ours and a queue within what was configured.
    unsafe {
        let port = port(dev);
        let transmit =
            Transmit { traffic: Arc::clone(&port.traffic), sent: Arc::clone(&port.sent) };
        *(*(*dev).data).tx_queues.add(queue.into()) =
            Box::into_raw(Box::new(transmit)).cast::<c_void>();
    }
    0
}

unsafe extern "C" fn tx_queue_release(dev: *mut rte_eth_dev, queue: u16) {
    // SAFETY: as in `rx_queue_release`.
    unsafe {
        let entry = (*(*dev).data).tx_queues.add(queue.into());
        if !(*entry).is_null() {
            drop(Box::from_raw((*entry).cast::<Transmit>()));
            *entry = ptr::null_mut();
        }
    }
}

/// `eth_rx_burst_t`.
unsafe extern "C" fn receive_burst(
    queue: *mut c_void,
    packets: *mut *mut rte_mbuf,
    most: u16,
) -> u16 {
    // SAFETY: DPDK passes a queue of ours that no other thread uses.
    let Receive { traffic, number, port_id, pool, received } = unsafe { &*queue.cast::<Receive>() };
    let (count, mut place) = traffic.waiting(*number, most.into());
    // SAFETY: the pool outlives the queue, and there is room for `most` packets.
    if count == 0 || unsafe { rte_pktmbuf_alloc_bulk(pool.as_ptr(), packets, count as u32) } != 0 {
        return 0;
    }
    for index in 0..count {
        let Some((_, frame, behind)) = traffic.frames.at(place) else { break };
        // SAFETY: the packet was just allocated and is ours alone; behind `data_off` lie `buf_len - data_off` bytes, and
        // of a frame that is longer only so many are copied.
        unsafe {
            let packet = &mut **packets.add(index);
            let length = frame.len().min(packet.buf_len.saturating_sub(packet.data_off).into());
            let to = packet.buf_addr.cast::<u8>().add(packet.data_off.into());
            copy_nonoverlapping(frame.as_ptr(), to, length);
            packet.data_len = length as u16;
            packet.pkt_len = length as u32;
            packet.port = *port_id;
        }
        place = behind;
    }
    received.store(received.load(Ordering::Relaxed) + count as u64, Ordering::Relaxed);
    traffic.pass(count, place);
    count as u16
}

/// `eth_tx_burst_t`.
unsafe extern "C" fn send_burst(
    queue: *mut c_void,
    packets: *mut *mut rte_mbuf,
    count: u16,
) -> u16 {
    // SAFETY: DPDK passes a queue of ours that no other thread uses, and `count` packets that are ours now.
    let Transmit { traffic, sent } = unsafe {
        rte_pktmbuf_free_bulk(packets, count.into());
        &*queue.cast::<Transmit>()
    };
    for counter in [&traffic.sent, sent.as_ref()] {
        counter.store(counter.load(Ordering::Relaxed) + u64::from(count), Ordering::Relaxed);
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_taken_or_refused_whole() {
        let arguments = Arguments::parse("file=/a,port=1,repeat=9,report=/b").unwrap();
        assert_eq!((arguments.file, arguments.port), (Some(Path::new("/a")), 1));
        assert_eq!((arguments.repeat, arguments.report), (Some(9), Some(Path::new("/b"))));
        for wrong in ["file", "port=x", "repeat=", "size=64"] {
            assert!(Arguments::parse(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn each_port_has_its_frames_when_those_before_are_through() {
        let path = std::env::temp_dir().join(format!("penstock-traffic-{}", std::process::id()));
        let mut bytes = Vec::new();
        for port in [0, 0, 1, 0] {
            crate::write_frame(&mut bytes, port, b"frame").unwrap();
        }
        std::fs::write(&path, bytes).unwrap();
        let arguments = Arguments { file: Some(&path), repeat: Some(0), ..Arguments::default() };
        let traffic = Traffic::open(&arguments).unwrap();
        assert!(Arc::ptr_eq(&traffic, &Traffic::open(&arguments).unwrap()));
        let take = |port, most| {
            let (count, mut place) = traffic.waiting(port, most);
            for _ in 0..count {
                place = traffic.frames.at(place).unwrap().2;
            }
            traffic.pass(count, place);
            count
        };
        assert_eq!(take(1, 32), 0);
        assert_eq!(take(0, 1), 1);
        assert_eq!(take(0, 32), 1);
        assert_eq!(take(0, 32), 0);
        assert_eq!(take(1, 32), 1);
        // The last one, and on from the start.
        assert_eq!(take(0, 32), 1);
        assert_eq!(take(0, 32), 2);
        assert_eq!(traffic.received.load(Ordering::Relaxed), 6);
        std::fs::remove_file(path).unwrap();
    }
}
