//! Packets near to those of connections: each an ordinary one that has one thing changed.

use std::net::IpAddr;

use testbed::notation::packet;
use verify::Packet;
use verify::dump::{Connection, Dump, Serves, Side};

use crate::rig::UPLINK;

/// An IP layer's words.
fn ip(source: IpAddr, destination: IpAddr, more: &str) -> String {
    let layer = if source.is_ipv4() { "ipv4" } else { "ipv6" };
    format!("{layer}(src={source}, dst={destination}{more})")
}

/// A frame of a connection, from the link layer of its own packet on; each argument is what is changed.
fn inner(
    connection: &Connection,
    macs: &str,
    tag: &str,
    more: &str,
    port: u16,
    flags: &str,
) -> String {
    let Connection { source, destination, protocol, source_port, .. } = connection;
    let transport = if *protocol == 6 {
        format!("tcp(sport={source_port}, dport={port}, flags={flags})")
    } else {
        format!("udp(sport={source_port}, dport={port})")
    };
    format!("eth({macs})/{tag}{}/{transport}/zeros(20)", ip(*source, *destination, more))
}

/// The frame of a connection and others like it.
fn frames(dump: &Dump, connection: &Connection) -> Vec<String> {
    let interface = dump.node.interfaces.iter().find(|i| i.name == connection.interface).unwrap();
    let (own, other) = (interface.mac, "02:00:00:00:77:77");
    let sends = connection.side == Side::Vm;
    let (macs, strange) = if sends {
        (format!("dst={other}, src={own}"), format!("dst={own}, src={other}"))
    } else {
        (format!("dst={own}, src={other}"), format!("dst={other}, src={own}"))
    };
    let port = connection.destination_port;
    let is_v4 = connection.source.is_ipv4();
    let fragment = if is_v4 { ", mf" } else { "" };
    let options = if is_v4 { ", options=0x01010101" } else { "" };
    let mut inners = vec![
        inner(connection, &macs, "", "", port, "A"),
        inner(connection, &strange, "", "", port, "A"),
        inner(connection, &macs, "vlan(id=5)/", "", port, "A"),
        inner(connection, &macs, "", fragment, port, "A"),
        inner(connection, &macs, "", options, port, "A"),
        inner(connection, &macs, "", ", ecn=1", port, "A"),
        inner(connection, &macs, "", "", port ^ 1, "A"),
        inner(connection, &macs, "", "", port, "S"),
        inner(connection, &macs, "", "", port, "FA"),
    ];
    if sends {
        return inners;
    }
    let vpc = dump.node.vpcs.iter().find(|vpc| vpc.name == interface.vpc).unwrap();
    let outer = |source: IpAddr, more: &str, vni: u32, flags: u8| {
        format!(
            "eth(dst=02:00:00:00:aa:01, src=02:00:00:00:bb:01)/{}/udp(sport=50000, dport=4789, checksum=0)/vxlan(vni={vni}, flags={flags})/",
            ip(source, dump.node.vtep, more)
        )
    };
    let source = connection.outer_source.unwrap();
    let right = outer(source, "", vpc.vni, 8);
    let base = inners[0].clone();
    for frame in &mut inners {
        *frame = format!("{right}{frame}");
    }
    let elsewhere = if source.is_ipv4() { "192.0.2.9" } else { "2001:db8::9" };
    inners.extend([
        outer(elsewhere.parse().unwrap(), "", vpc.vni, 8) + &base,
        outer(source, ", ecn=1", vpc.vni, 8) + &base,
        outer(source, "", vpc.vni ^ 1, 8) + &base,
        outer(source, "", vpc.vni, 0) + &base,
        base,
    ]);
    inners
}

/// Such packets of all connections of a dump, at every port.
pub fn probes(dump: &Dump) -> Vec<Packet> {
    let ports = || [UPLINK].into_iter().chain(dump.node.vfs.iter().map(|vf| vf.port));
    let mut probes = Vec::new();
    for rule in &dump.rules {
        let Serves::Connection(connection) = &rule.serves else { continue };
        let own = dump.node.interfaces.iter().find(|i| i.name == connection.interface).unwrap().vf;
        for (number, text) in frames(dump, connection).iter().enumerate() {
            let frame = packet(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            for port in ports() {
                // The ordinary packet everywhere, the others where they belong.
                let belongs = port == if connection.side == Side::Vm { own + 1 } else { UPLINK };
                if number == 0 || belongs {
                    probes.push(Packet { port, by_software: false, frame: frame.clone() });
                }
            }
        }
    }
    probes
}
