//! How the NIC will take rules: found out and prepared while its ports are stopped, carried out once they run.

use std::collections::BTreeMap;
use std::sync::Arc;

use dpu_app::datapath::Port as PortName;
use model::snapshot::VfIndex;
use rte_flow::{Api, Profile};
use rte_flow_compiler::{EthdevPort, Nic, Ports};

use crate::config::OffloadConfig;
use crate::dpdk::{
    Device, FlowQueue, Port, Representation, Rules, StoppedPort, SynchronousRules, TemplateRules,
    transfer_proxy,
};

/// See the module.
pub struct OffloadPlan {
    nic: Arc<Nic>,
    /// The number of the port that manages transfer rules.
    proxy: u16,
    interface: Interface,
}

/// The interface to rules.
enum Interface {
    Synchronous,
    Templates(FlowQueue),
}

impl OffloadPlan {
    /// A plan for the NIC that the uplink belongs to, or why there is no offload.
    pub fn new(
        config: &OffloadConfig,
        ports: &[(PortName, StoppedPort<'_>)],
    ) -> Result<Self, String> {
        if !config.enabled {
            return Err("[offload] enabled = false".into());
        }
        let uplink = ports.iter().find(|(name, _)| *name == PortName::Uplink);
        let (_, uplink) = uplink.ok_or("there is no uplink")?;
        let uplink_name = &uplink.device().name;
        let vfs = representors(uplink, ports);
        if vfs.is_empty() {
            return Err(format!("{uplink_name} has no representors: it is no switch of VFs"));
        }
        let profile = Profile::named(&config.profile).map_err(|error| error.to_string())?;
        let ports_of_nic = Ports { uplink: EthdevPort(uplink.device().id), vfs };
        let nic = Arc::new(Nic::new(Arc::new(profile), ports_of_nic));
        let proxy = transfer_proxy(uplink)
            .map_err(|error| format!("{uplink_name} takes no transfer rules: {error}"))?;
        let (_, proxy) =
            ports.iter().find(|(_, port)| port.device().id == proxy).ok_or_else(|| {
                format!("port {proxy} manages the rules of {uplink_name}; name it in [ports.names]")
            })?;
        let interface = match nic.api() {
            Api::Synchronous => Interface::Synchronous,
            Api::Template => {
                let refused = |port: &StoppedPort<'_>, error| {
                    let (name, profile) = (&port.device().name, &config.profile);
                    format!(
                        "{name} takes no rules through templates, as profile {profile} wants: {error}"
                    )
                };
                let queue =
                    FlowQueue::configure(proxy, &nic).map_err(|error| refused(proxy, error))?;
                for port in others(proxy, ports) {
                    FlowQueue::configure_idle(port).map_err(|error| refused(port, error))?;
                }
                Interface::Templates(queue)
            }
        };
        Ok(Self { nic, proxy: proxy.device().id, interface })
    }

    /// The profile that rules will be made for.
    pub fn profile(&self) -> &Profile {
        self.nic.profile()
    }

    /// The NIC's rules and what they are made for, now that `ports` run; or why there is no offload.
    pub fn carry_out<'p>(
        self,
        mut ports: impl Iterator<Item = &'p Port<'p>>,
    ) -> Result<(Rules<'p>, Arc<Nic>), String> {
        let Self { nic, proxy, interface } = self;
        let proxy = ports
            .find(|port| port.device().id == proxy)
            .ok_or("the port that manages rules is gone")?;
        let rules = match interface {
            Interface::Synchronous => Rules::Synchronous(SynchronousRules::new(proxy)),
            Interface::Templates(queue) => {
                Rules::Templates(TemplateRules::new(&queue, proxy, &nic))
            }
        };
        Ok((rules, nic))
    }
}

/// The other ports of a port's NIC.
fn others<'p, 'd>(
    port: &'p StoppedPort<'d>,
    ports: &'p [(PortName, StoppedPort<'d>)],
) -> impl Iterator<Item = &'p StoppedPort<'d>> {
    let Device { id, domain, .. } = port.device();
    let ports = ports.iter().map(|(_, other)| other);
    ports.filter(move |other| other.device().domain == *domain && other.device().id != *id)
}

/// The representors of VFs that belong to the uplink's NIC.
fn representors(
    uplink: &StoppedPort<'_>,
    ports: &[(PortName, StoppedPort<'_>)],
) -> BTreeMap<VfIndex, EthdevPort> {
    let domain = uplink.device().domain;
    let of_this_nic = ports.iter().filter(|(_, port)| {
        domain.is_some()
            && port.device().domain == domain
            && matches!(port.device().representation, Representation::Vf(_))
    });
    let by_vf = of_this_nic.filter_map(|(name, port)| match name {
        PortName::Vf(vf) => Some((*vf, EthdevPort(port.device().id))),
        PortName::Uplink | PortName::Kernel => None,
    });
    by_vf.collect()
}
