//! A packet socket on an existing interface (packet(7)): a real NIC, or one end of a veth pair.
//!
//! Frames from a veth peer may arrive as the sending stack left them: without transport checksum and, unless segmentation is
//! off, larger than the MTU. The socket asks for the `virtio_net` header, which tells; a checksum is completed here as a
//! card would have done, an unsegmented frame is refused, because no wire carries one.

use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::batch::{BURST, Batch};
use crate::log;

use super::interface::Interface;
use super::spec::InterfaceName;
use super::{Link, LinkError, Received, Sent, checked};

/// Bytes of `struct virtio_net_hdr` (`linux/virtio_net.h`).
const OFFLOAD_HEADER: usize = 10;
/// `VIRTIO_NET_HDR_F_NEEDS_CSUM`.
const NEEDS_CHECKSUM: u8 = 1;
/// `linux/if_packet.h`; the crate libc does not name it.
const PACKET_VNET_HDR: libc::c_int = 15;
/// `linux/if_packet.h`: do not hand this socket's own sends, or anybody's, back.
const PACKET_IGNORE_OUTGOING: libc::c_int = 23;
/// Receive buffer in bytes, for bursts between two polls.
const RECEIVE_BUFFER: libc::c_int = 4 << 20;

/// A raw packet socket bound to one interface.
pub struct PacketSocket {
    socket: OwnedFd,
    name: InterfaceName,
    /// Whether the user was told of unsegmented frames.
    warned: AtomicBool,
}

impl PacketSocket {
    /// Binds to an interface, promiscuously.
    ///
    /// # Errors
    /// [`LinkError`] without such an interface or without `CAP_NET_RAW`.
    pub fn open(name: &InterfaceName) -> Result<Self, LinkError> {
        let on = |what: &str| LinkError::step(format!("{what} {}", name.as_str()));
        let index = Interface::new(name)
            .and_then(|interface| interface.index())
            .map_err(on("find the interface"))?;
        // Protocol 0 receives nothing until the socket is bound: no frame of another interface slips in.
        // SAFETY: takes no memory of ours.
        let fd = checked(unsafe {
            libc::socket(
                libc::AF_PACKET,
                libc::SOCK_RAW | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC,
                0,
            )
        })
        .map_err(on("open a packet socket for"))?;
        // SAFETY: the descriptor is new and nobody else's.
        let socket = unsafe { OwnedFd::from_raw_fd(fd) };

        set_option(&socket, libc::SOL_PACKET, PACKET_VNET_HDR, &1_i32)
            .map_err(on("ask for offload headers on"))?;
        set_option(&socket, libc::SOL_PACKET, PACKET_IGNORE_OUTGOING, &1_i32)
            .map_err(on("ignore outgoing frames of"))?;
        // As much as the system grants.
        let _ = set_option(&socket, libc::SOL_SOCKET, libc::SO_RCVBUF, &RECEIVE_BUFFER);
        let promiscuous = libc::packet_mreq {
            mr_ifindex: index,
            mr_type: libc::PACKET_MR_PROMISC as u16,
            mr_alen: 0,
            mr_address: [0; 8],
        };
        set_option(&socket, libc::SOL_PACKET, libc::PACKET_ADD_MEMBERSHIP, &promiscuous)
            .map_err(on("receive promiscuously on"))?;

        // SAFETY: `sockaddr_ll` consists of integers: all zero is a value of it.
        let mut address: libc::sockaddr_ll = unsafe { zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
        address.sll_ifindex = index;
        // SAFETY: the address is a `sockaddr_ll`, and its size says so.
        checked(unsafe {
            libc::bind(
                socket.as_raw_fd(),
                (&raw const address).cast(),
                size_of::<libc::sockaddr_ll>() as u32,
            )
        })
        .map_err(on("bind to"))?;
        Ok(Self { socket, name: name.clone(), warned: AtomicBool::new(false) })
    }

    fn warn_unsegmented(&self) {
        if !self.warned.swap(true, Ordering::Relaxed) {
            let name = self.name.as_str();
            log::warning(&format_args!(
                "{name}: frames larger than the MTU arrive unsegmented and are dropped; turn segmentation offload off \
                 where they come from (for a veth: ethtool -K PEER tso off gso off tx-udp-segmentation off)"
            ));
        }
    }
}

/// `setsockopt(2)` with a value of a plain C type.
fn set_option<T: Copy>(
    socket: &OwnedFd,
    level: libc::c_int,
    option: libc::c_int,
    value: &T,
) -> io::Result<()> {
    // SAFETY: pointer and size describe the one value behind the reference.
    checked(unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            (&raw const *value).cast(),
            size_of::<T>() as u32,
        )
    })?;
    Ok(())
}

impl Link for PacketSocket {
    fn receive(&self, batch: &mut Batch) -> Received {
        let mut headers = [[0_u8; OFFLOAD_HEADER]; BURST];
        // SAFETY: both consist of integers and pointers: all zero is a value of them.
        let mut vectors: [[libc::iovec; 2]; BURST] = unsafe { zeroed() };
        // SAFETY: as above.
        let mut messages: [libc::mmsghdr; BURST] = unsafe { zeroed() };
        let mut count: u32 = 0;
        for (((message, vector), header), room) in
            messages.iter_mut().zip(&mut vectors).zip(&mut headers).zip(batch.rooms())
        {
            *vector = [
                libc::iovec { iov_base: header.as_mut_ptr().cast(), iov_len: header.len() },
                libc::iovec { iov_base: room.as_mut_ptr().cast(), iov_len: room.len() },
            ];
            message.msg_hdr.msg_iov = vector.as_mut_ptr();
            message.msg_hdr.msg_iovlen = vector.len();
            count += 1;
        }
        if count == 0 {
            return Received::default();
        }
        // SAFETY: the first `count` messages point to vectors that point to distinct buffers, all alive until the call
        // returns; the batch gave the rooms exclusively and is not used meanwhile.
        let got = unsafe {
            libc::recvmmsg(
                self.socket.as_raw_fd(),
                messages.as_mut_ptr(),
                count,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            )
        };
        let got = usize::try_from(got).unwrap_or(0);

        let mut received = Received { errors: 0, idle: got < count as usize };
        let mut unsegmented = false;
        let mut lengths = [0_usize; BURST];
        for ((((length, message), header), room), _) in
            lengths.iter_mut().zip(&messages).zip(&headers).zip(batch.rooms()).zip(0..got)
        {
            let [flags, segmentation, _, _, _, _, start_low, start_high, offset_low, offset_high] =
                *header;
            let size = (message.msg_len as usize).saturating_sub(OFFLOAD_HEADER);
            let truncated = message.msg_hdr.msg_flags & libc::MSG_TRUNC != 0;
            unsegmented |= segmentation != 0;
            // 0 leaves the frame out.
            if segmentation == 0 && !truncated {
                *length = size;
                if flags & NEEDS_CHECKSUM != 0 {
                    let start = u16::from_le_bytes([start_low, start_high]);
                    let offset = u16::from_le_bytes([offset_low, offset_high]);
                    complete_checksum(room.get_mut(..size).unwrap_or_default(), start, offset);
                }
            }
        }
        received.errors =
            batch.commit_all(lengths.get(..got).unwrap_or_default().iter().copied()) as u64;
        if unsegmented {
            self.warn_unsegmented();
        }
        received
    }

    fn send(&self, frames: &[&[u8]]) -> Sent {
        let mut sent = Sent::default();
        for burst in frames.chunks(BURST) {
            // All zero: a complete frame, no offload asked for.
            let header = [0_u8; OFFLOAD_HEADER];
            // SAFETY: both consist of integers and pointers: all zero is a value of them.
            let mut vectors: [[libc::iovec; 2]; BURST] = unsafe { zeroed() };
            // SAFETY: as above.
            let mut messages: [libc::mmsghdr; BURST] = unsafe { zeroed() };
            for ((message, vector), frame) in messages.iter_mut().zip(&mut vectors).zip(burst) {
                *vector = [
                    libc::iovec {
                        iov_base: header.as_ptr().cast_mut().cast(),
                        iov_len: header.len(),
                    },
                    libc::iovec {
                        iov_base: frame.as_ptr().cast_mut().cast(),
                        iov_len: frame.len(),
                    },
                ];
                message.msg_hdr.msg_iov = vector.as_mut_ptr();
                message.msg_hdr.msg_iovlen = vector.len();
            }
            let mut left = messages.get_mut(..burst.len()).unwrap_or_default();
            let mut frames = burst.iter().copied();
            while !left.is_empty() {
                // SAFETY: every message points to a vector, header and frame that live until the call returns; sending
                // only reads them.
                let took = unsafe {
                    libc::sendmmsg(
                        self.socket.as_raw_fd(),
                        left.as_mut_ptr(),
                        left.len() as u32,
                        libc::MSG_DONTWAIT,
                    )
                };
                let took = usize::try_from(took).unwrap_or(0);
                sent += frames.by_ref().take(took).collect();
                // The frame at which the kernel stopped is lost (too long, no memory, link down); the next may pass.
                frames.next();
                left = left.get_mut(took + 1..).unwrap_or_default();
            }
        }
        sent
    }

    fn is_up(&self) -> bool {
        Interface::new(&self.name).and_then(|interface| interface.is_running()).unwrap_or(false)
    }
}

/// Completes a transport checksum of which the sending stack wrote only the pseudo header's part: the sum over everything
/// from `start`, its complement at `start + offset`.
fn complete_checksum(frame: &mut [u8], start: u16, offset: u16) {
    let covered = frame.get(usize::from(start)..).unwrap_or_default();
    let mut sum: u64 = 0;
    for pair in covered.chunks(2) {
        let high = pair.first().copied().unwrap_or(0);
        let low = pair.get(1).copied().unwrap_or(0);
        sum = sum.wrapping_add(u64::from(u16::from_be_bytes([high, low])));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let folded = !(sum as u16);
    // A computed 0 is sent as all ones: in UDP 0 means "none" (RFC 768); in TCP both mean the same.
    let value = if folded == 0 { 0xffff } else { folded };
    let at = usize::from(start) + usize::from(offset);
    if let Some(field) = frame.get_mut(at..at + 2) {
        field.copy_from_slice(&value.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::complete_checksum;

    /// UDP 10.0.0.1:1 -> 10.0.0.2:2, payload "x": the field holds the pseudo header's sum, as Linux leaves it.
    #[test]
    fn completes_what_the_stack_left_open() {
        let pseudo: u32 = 0x0a00 + 0x0001 + 0x0a00 + 0x0002 + 17 + 9;
        let mut frame = [0, 1, 0, 2, 0, 9, 0, 0, b'x'];
        frame[6..8].copy_from_slice(&(pseudo as u16).to_be_bytes());
        complete_checksum(&mut frame, 0, 6);
        // The receiver's check: pseudo header and datagram sum up to all ones.
        let mut sum = pseudo;
        for pair in frame.chunks(2) {
            sum += u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
        }
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        assert_eq!(sum, 0xffff);
    }

    #[test]
    fn nonsense_from_the_header_changes_nothing() {
        let mut frame = [7; 4];
        complete_checksum(&mut frame, 9, 9);
        complete_checksum(&mut frame, 3, 0);
        assert_eq!(frame, [7; 4]);
    }
}
