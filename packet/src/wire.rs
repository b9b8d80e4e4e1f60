//! Headers as they stand on the wire: zero-copy views, all fields in network byte order, any alignment.
//!
//! A view says nothing about validity; [`parse`](crate::parse) does.

pub mod arp;
pub mod dhcpv4;
pub mod dhcpv6;
pub mod ethernet;
pub mod icmp;
pub mod ipv4;
pub mod ipv6;
pub mod nd;
pub mod protocol;
pub mod tcp;
pub mod udp;
pub mod vxlan;
