//! An entry of each shape.

use std::net::{Ipv4Addr, Ipv6Addr};

use model::decision::{Side, Zone};
use model::snapshot::{InterfaceId, TunnelId};
use packet::{Family, Mac, Tuple, Vni, VtepAddr, VxlanHeader, VxlanTunnel};

use crate::entry::{Destination, Entry, EthdevPort, Macs, Transport};

/// At least one entry of every table, action, and combination of headers.
pub(crate) fn samples() -> Vec<Entry> {
    let port = EthdevPort(0);
    let mac = Mac([2, 0, 0, 0, 0, 1]);
    let macs = Macs { source: mac, destination: mac };
    let zone = Zone::new(InterfaceId(1), Side::FromVm);
    let ips = [
        (Family::V4, Ipv4Addr::new(192, 0, 2, 1).into()),
        (Family::V6, Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into()),
    ];
    let vteps = ips.iter().filter_map(|(_, ip)| VtepAddr::try_from(*ip).ok());
    let mut entries: Vec<Entry> = vteps
        .clone()
        .filter_map(|vtep| {
            let tunnel = VxlanTunnel {
                source_mac: mac,
                destination_mac: mac,
                source: vtep,
                destination: vtep,
                vni: Vni::MIN,
                dscp: 0,
            };
            let header = VxlanHeader::new(&tunnel).ok()?.as_bytes().to_vec();
            Some(Entry::Encapsulation { tunnel: TunnelId(1), header, port })
        })
        .collect();
    entries.extend(vteps.clone().map(|vtep| Entry::TunnelDispatch {
        port,
        vtep,
        vni: Vni::MIN,
        destination_mac: mac,
        zone,
    }));
    for (family, ip) in ips {
        entries.extend([Some(mac), None].map(|source_mac| Entry::VmDispatch {
            port,
            source_mac,
            family,
            mtu: 1450,
            zone,
        }));
        for transport in Transport::ALL {
            let tuple = Tuple::new(ip, ip, transport.number(), 1, 1);
            entries.push(Entry::VmChecks { family, transport });
            entries.extend([Family::V4, Family::V6].map(|outer| Entry::TunnelChecks {
                outer,
                family,
                transport,
            }));
            entries.extend([Destination::Port(port), Destination::Tunnel(TunnelId(1))].map(
                |destination| Entry::VmConnection { zone, tuple, transport, macs, destination },
            ));
            entries.extend(vteps.clone().map(|outer_source| Entry::TunnelConnection {
                zone,
                outer_source,
                tuple,
                transport,
                port,
            }));
        }
    }
    entries
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::draft::Shape;

    #[test]
    fn there_is_one_of_every_shape() {
        let shapes: BTreeSet<Shape> = samples().iter().map(Shape::of).collect();
        let (family, outer, transport) = (2, 2, 2);
        let dispatch = 2 * family + outer;
        let checks = family * transport + outer * family * transport;
        let connections = 2 * family * transport + outer * family * transport;
        assert_eq!(shapes.len(), dispatch + checks + connections + outer);
    }
}
