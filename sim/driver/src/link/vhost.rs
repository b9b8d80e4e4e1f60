//! A virtual machine's `virtio_net` at the other end of a vhost-user socket (QEMU `docs/interop/vhost-user.rst`), served by
//! DPDK's vhost library.
//!
//! The driver owns the socket; the machine's side connects to it, and may do so again after it went away. One queue pair, and
//! no offloads: what comes from the machine is whole, as on a wire.

use std::ffi::{CStr, CString, c_char, c_int};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use arrayvec::ArrayVec;
use dpdk_sys::{
    RTE_PKTMBUF_HEADROOM, rte_mbuf, rte_mempool, rte_mempool_free, rte_pktmbuf_pool_create,
    rte_vhost_dequeue_burst, rte_vhost_device_ops, rte_vhost_driver_callback_register,
    rte_vhost_driver_disable_features, rte_vhost_driver_register, rte_vhost_driver_start,
    rte_vhost_driver_unregister, rte_vhost_enable_guest_notification, rte_vhost_enqueue_burst,
    rte_vhost_get_ifname,
};

use super::{Link, LinkError, Received, Sent};
use crate::batch::{BURST, Batch};
use crate::lock;
use crate::mbuf::{self, Metadata, Pool};

/// The machine's receive queue: what we write to (virtio 1.2, section 5.1.2).
const TO_MACHINE: u16 = 0;
/// The machine's transmit queue: what we read from.
const FROM_MACHINE: u16 = 1;

/// Features that are not offered (virtio 1.2, section 5.1.3): checksums and segments left to the other side, several queue pairs.
const NOT_OFFERED: u64 = {
    const CSUM: u32 = 0;
    const GUEST_CSUM: u32 = 1;
    const GUEST_TSO4: u32 = 7;
    const GUEST_TSO6: u32 = 8;
    const GUEST_ECN: u32 = 9;
    const GUEST_UFO: u32 = 10;
    const HOST_TSO4: u32 = 11;
    const HOST_TSO6: u32 = 12;
    const HOST_ECN: u32 = 13;
    const HOST_UFO: u32 = 14;
    const MQ: u32 = 22;
    1 << CSUM
        | 1 << GUEST_CSUM
        | 1 << GUEST_TSO4
        | 1 << GUEST_TSO6
        | 1 << GUEST_ECN
        | 1 << GUEST_UFO
        | 1 << HOST_TSO4
        | 1 << HOST_TSO6
        | 1 << HOST_ECN
        | 1 << HOST_UFO
        | 1 << MQ
};

/// Mbufs of a link: a burst of the longest frames in each direction.
const MBUFS: u32 = 512;
/// Data room of an mbuf, without headroom.
const DATA_ROOM: u32 = 2048;

/// The links that are open, by socket: the library's callbacks know a machine by its socket only.
static GUESTS: Mutex<Vec<(CString, Arc<Guest>)>> = Mutex::new(Vec::new());

/// The machine at the other end, by the library's number; `None` while none is ready. Whoever moves frames holds it for reading,
/// so that the library, which waits for us, takes no machine's memory away meanwhile.
#[derive(Default)]
struct Guest(RwLock<Option<c_int>>);

/// The library's callbacks; it reads them, and leaves the reserved pointer alone.
struct Callbacks(rte_vhost_device_ops);

// SAFETY: nobody changes it.
unsafe impl Sync for Callbacks {}

static CALLBACKS: Callbacks = Callbacks(rte_vhost_device_ops {
    new_device: Some(new_device),
    destroy_device: Some(destroy_device),
    vring_state_changed: None,
    features_changed: None,
    new_connection: None,
    destroy_connection: None,
    guest_notified: None,
    reserved: [ptr::null_mut()],
});

/// The link that a machine is connected to.
fn guest(machine: c_int) -> Option<Arc<Guest>> {
    const ROOM: usize = 256;
    let mut path: [c_char; ROOM] = [0; ROOM];
    // SAFETY: the library writes at most as many characters as it is told.
    if unsafe { rte_vhost_get_ifname(machine, path.as_mut_ptr(), path.len() - 1) } != 0 {
        return None;
    }
    // SAFETY: the last character is 0, whatever was written.
    let path = unsafe { CStr::from_ptr(path.as_ptr()) };
    let guests = lock(&GUESTS);
    guests.iter().find(|(name, _)| name.as_c_str() == path).map(|(_, guest)| Arc::clone(guest))
}

/// A machine's queues are ready.
unsafe extern "C" fn new_device(machine: c_int) -> c_int {
    let Some(guest) = guest(machine) else { return -1 };
    let mut present = guest.0.write().unwrap_or_else(PoisonError::into_inner);
    if present.is_some() {
        // One socket is one function's wire: a second machine has to wait until the first one goes.
        return -1;
    }
    for queue in [TO_MACHINE, FROM_MACHINE] {
        // SAFETY: the machine is the library's. We poll: it need not wake us.
        unsafe { rte_vhost_enable_guest_notification(machine, queue, 0) };
    }
    *present = Some(machine);
    0
}

/// A machine goes; when this returns, nobody uses its memory.
unsafe extern "C" fn destroy_device(machine: c_int) {
    if let Some(guest) = guest(machine) {
        let mut present = guest.0.write().unwrap_or_else(PoisonError::into_inner);
        if *present == Some(machine) {
            *present = None;
        }
    }
}

/// The mbufs that frames pass through on their way to and from a machine.
struct Mbufs(NonNull<rte_mempool>);

// SAFETY: DPDK's mempools may be used by all threads of the process.
unsafe impl Send for Mbufs {}
// SAFETY: as above.
unsafe impl Sync for Mbufs {}

impl Mbufs {
    fn new() -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = CString::new(format!("eswitch_vhost_{number}")).ok()?;
        let room = (DATA_ROOM + RTE_PKTMBUF_HEADROOM) as u16;
        // SAFETY: the name is a C string that DPDK copies; no cache, no private data, memory of any node.
        let pool = unsafe { rte_pktmbuf_pool_create(name.as_ptr(), MBUFS, 0, 0, room, -1) };
        NonNull::new(pool).map(Self)
    }
}

impl Drop for Mbufs {
    fn drop(&mut self) {
        // SAFETY: the pool is ours, and all its mbufs came back: none outlives the call that took it.
        unsafe { rte_mempool_free(self.0.as_ptr()) };
    }
}

/// A vhost-user socket and the machine behind it.
pub struct Vhost {
    path: CString,
    guest: Arc<Guest>,
    mbufs: Mbufs,
}

impl Vhost {
    /// Makes the socket and waits for nobody. A socket that a killed process left behind is replaced.
    ///
    /// # Errors
    /// [`LinkError`] when the path is taken by something else, or the library or DPDK's memory cannot serve it.
    pub fn open(path: &Path) -> Result<Self, LinkError> {
        let shown = path.display();
        clear_stale(path).map_err(LinkError::step(format!("make the socket {shown}")))?;
        let refused = |what: &str| {
            let problem = "DPDK's vhost library refuses; its log says why";
            LinkError::step(format!("{what} {shown}"))(io::Error::other(problem))
        };
        let mbufs = Mbufs::new().ok_or_else(|| {
            let problem = "DPDK's memory is short; give EAL more (-m)";
            LinkError::step(format!("make mbufs for {shown}"))(io::Error::other(problem))
        })?;
        let name = CString::new(path.as_os_str().as_bytes())
            .map_err(|e| LinkError::step(format!("name the socket {shown}"))(e.into()))?;
        // SAFETY: the path is a C string that the library copies.
        if unsafe { rte_vhost_driver_register(name.as_ptr(), 0) } != 0 {
            return Err(refused("serve the socket"));
        }
        // From here on, dropping this takes all of it back.
        let vhost = Self { path: name, guest: Arc::default(), mbufs };
        lock(&GUESTS).push((vhost.path.clone(), Arc::clone(&vhost.guest)));
        let path = vhost.path.as_ptr();
        // SAFETY: the path is registered, the callbacks are static.
        let started = unsafe {
            rte_vhost_driver_disable_features(path, NOT_OFFERED) == 0
                && rte_vhost_driver_callback_register(path, &raw const CALLBACKS.0) == 0
                && rte_vhost_driver_start(path) == 0
        };
        if started { Ok(vhost) } else { Err(refused("listen at the socket")) }
    }
}

/// Removes a socket at which nobody listens any more.
fn clear_stale(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e),
        Ok(found) if !found.file_type().is_socket() => {
            Err(io::Error::new(io::ErrorKind::AlreadyExists, "something else has that name"))
        }
        Ok(_) => match UnixStream::connect(path) {
            Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path),
            Err(e) => Err(e),
            Ok(_) => Err(io::Error::new(io::ErrorKind::AddrInUse, "another process listens there")),
        },
    }
}

impl Drop for Vhost {
    fn drop(&mut self) {
        // SAFETY: the path is registered. This disconnects the machine, with our callback, and removes the socket.
        unsafe { rte_vhost_driver_unregister(self.path.as_ptr()) };
        lock(&GUESTS).retain(|(path, _)| *path != self.path);
    }
}

impl Link for Vhost {
    fn receive(&self, batch: &mut Batch) -> Received {
        let present = self.guest.0.read().unwrap_or_else(PoisonError::into_inner);
        let Some(machine) = *present else { return Received { errors: 0, idle: true } };
        let room = batch.rooms().count().min(BURST);
        let mut packets: [*mut rte_mbuf; BURST] = [ptr::null_mut(); BURST];
        // SAFETY: the machine stays while it is held for reading; the array has room for as many pointers.
        let got = unsafe {
            rte_vhost_dequeue_burst(
                machine,
                FROM_MACHINE,
                self.mbufs.0.as_ptr(),
                packets.as_mut_ptr(),
                room as u16,
            )
        };
        let packets = packets.get_mut(..usize::from(got)).unwrap_or_default();
        let mut received = Received { errors: 0, idle: packets.len() < room };
        for &mut packet in &mut *packets {
            let Some(room) = batch.next_room() else { break };
            // SAFETY: the library gave us a valid packet.
            let length = unsafe { mbuf::copy_out(packet, room) };
            received.errors += u64::from(!length.is_some_and(|length| batch.commit(length)));
        }
        // SAFETY: the packets are ours.
        unsafe { mbuf::free(packets) };
        received
    }

    fn send(&self, frames: &[&[u8]]) -> Sent {
        let present = self.guest.0.read().unwrap_or_else(PoisonError::into_inner);
        let Some(machine) = *present else { return Sent::default() };
        // SAFETY: the pool is a packet pool and outlives this call.
        let pool = unsafe { Pool::new(self.mbufs.0, true) };
        let mut sent = Sent::default();
        for burst in frames.chunks(BURST) {
            let mut packets: ArrayVec<*mut rte_mbuf, BURST> = burst
                .iter()
                // The port is for applications; this packet never reaches one.
                .map_while(|frame| pool.packet(frame, 0, Metadata::default()).ok())
                .map(mbuf::Packet::into_raw)
                .collect();
            // SAFETY: the machine stays while it is held for reading; the packets are valid, and copied.
            let taken = unsafe {
                rte_vhost_enqueue_burst(
                    machine,
                    TO_MACHINE,
                    packets.as_mut_ptr(),
                    packets.len() as u16,
                )
            };
            sent += burst.iter().copied().take(taken.into()).collect();
            // SAFETY: the packets are ours.
            unsafe { mbuf::free(&mut packets) };
        }
        sent
    }

    fn is_up(&self) -> bool {
        self.guest.0.read().unwrap_or_else(PoisonError::into_inner).is_some()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn only_a_socket_without_listener_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        clear_stale(&path).unwrap();
        let listener = UnixListener::bind(&path).unwrap();
        assert_eq!(clear_stale(&path).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(listener);
        clear_stale(&path).unwrap();
        assert!(!path.exists());
        std::fs::write(&path, "no socket").unwrap();
        assert_eq!(clear_stale(&path).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert!(path.exists());
    }
}
