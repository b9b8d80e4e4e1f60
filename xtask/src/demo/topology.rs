//! What the demo consists of: an underlay, DPUs, a Linux VTEP, VMs; all of it is removed with its value.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;

use miette::{IntoDiagnostic, Result, WrapErr, miette};

use super::daemon::{Dpu, Programs};
use super::directory::{self, Directory};
use super::interrupt;
use super::namespace::Namespace;
use super::plan::{
    DPU_A, DPU_B, NODE_C, NODES, Node, RED_4, RED_VNI, UNDERLAY, UNDERLAY_PREFIX, VMS, Vm,
};
use super::program::{Running, succeed};

/// The files of `xtask/demo`.
const FILES: [(&str, &str); 5] = [
    ("network.yaml", include_str!("../../demo/network.yaml")),
    ("policy.yaml", include_str!("../../demo/policy.yaml")),
    ("policy-without-5202.yaml", include_str!("../../demo/policy-without-5202.yaml")),
    ("dhclient.conf", include_str!("../../demo/dhclient.conf")),
    ("dhclient-script", include_str!("../../demo/dhclient-script")),
];

/// How long configuring the kernel may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Everything that exists. What is declared first is removed first.
pub struct World {
    /// Programs in VMs.
    pub beside: Vec<Running>,
    /// The DPUs' daemons.
    pub dpus: Vec<Dpu>,
    namespaces: Vec<Namespace>,
    directory: Directory,
}

impl World {
    /// Namespaces and the network between them; no daemon runs yet.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn new(directory: Directory, programs: &Programs) -> Result<Self> {
        for (name, text) in FILES {
            directory::write(&directory::file(name), text)?;
        }
        fs::set_permissions(directory::file("dhclient-script"), Permissions::from_mode(0o755))
            .into_diagnostic()?;
        fs::copy(programs.path(Programs::DRIVER), directory::file(Programs::DRIVER))
            .into_diagnostic()
            .wrap_err("the driver")?;
        let mut world =
            Self { beside: Vec::new(), dpus: Vec::new(), namespaces: Vec::new(), directory };
        let underlay = Namespace::new(UNDERLAY, false)?;
        underlay.ip("link add bridge type bridge forward_delay 0")?;
        underlay.ip("link set bridge up")?;
        for node in NODES {
            let namespace = Namespace::new(node.namespace, false)?;
            cable(&underlay, &namespace, node)?;
            world.namespaces.push(namespace);
        }
        world.namespaces.push(underlay);
        for vm in VMS {
            let namespace = Namespace::new(vm.namespace, true)?;
            fs::create_dir_all(vm.file("")).into_diagnostic()?;
            world.namespaces.push(namespace);
        }
        world.linux_vtep()?;
        Ok(world)
    }

    fn namespace(&self, name: &str) -> Result<&Namespace> {
        let found = self.namespaces.iter().find(|namespace| namespace.name() == name);
        found.ok_or_else(|| miette!("there is no namespace {name}"))
    }

    /// The VTEP without a daemon of ours: a vxlan device of the Linux machine's, which is its VM's interface. Who is
    /// where in the tenant's network stands in static entries.
    fn linux_vtep(&self) -> Result<()> {
        let machine = self.namespace(NODE_C.namespace)?;
        let Node { vtep, .. } = NODE_C;
        machine.ip(&format!("address add {vtep}/{UNDERLAY_PREFIX} dev uplink"))?;
        machine.ip(&format!(
            "link add red type vxlan id {RED_VNI} local {vtep} dstport 4789 nolearning"
        ))?;
        let vm = self.namespace(RED_4.namespace)?;
        self.hand_over(machine, "red", &RED_4)?;
        // Its DHCP server would be a daemon of ours.
        vm.ip(&format!("address add {}/24 dev eth0", RED_4.v4))?;
        vm.ip(&format!("address add {}/64 dev eth0 nodad", RED_4.v6))?;
        for other in VMS.iter().filter(|vm| vm.dns == RED_4.dns && vm.name != RED_4.name) {
            for address in other.addresses() {
                vm.ip(&format!("neighbor add {address} lladdr {} dev eth0", other.mac))?;
            }
            let mut fdb = vm.command("bridge");
            fdb.args(["fdb", "append", other.mac, "dev", "eth0", "dst"]);
            succeed(fdb.arg(other.node.vtep.to_string()), PATIENCE)?;
        }
        Ok(())
    }

    /// Starts the DPUs' daemons.
    ///
    /// # Errors
    /// When one does not start.
    pub fn start_daemons(&mut self, programs: &Programs) -> Result<()> {
        for node in [&DPU_A, &DPU_B] {
            self.dpus.push(Dpu::start(node, programs)?);
        }
        self.dpus.iter_mut().try_for_each(Dpu::wait)
    }

    /// Moves the VFs into their VMs, as a hypervisor would hand them over.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn attach_vms(&self) -> Result<()> {
        for vm in VMS.iter().filter(|vm| vm.node.vfs > 0) {
            let dpu = self.namespace(vm.node.namespace)?;
            self.hand_over(dpu, &format!("vf{}", vm.vf), vm)?;
        }
        Ok(())
    }

    /// Moves an interface into a VM, as its `eth0`.
    fn hand_over(&self, from: &Namespace, interface: &str, vm: &Vm) -> Result<()> {
        from.ip(&format!("link set {interface} down"))?;
        from.ip(&format!("link set {interface} address {}", vm.mac))?;
        from.ip(&format!("link set {interface} netns {} name eth0", vm.namespace))?;
        let namespace = self.namespace(vm.namespace)?;
        namespace.without_offloads("eth0")?;
        namespace.ip("link set eth0 up").map(|_| ())
    }

    /// The DPU a VM is attached to.
    ///
    /// # Errors
    /// When that is none of ours.
    pub fn dpu(&self, vm: &Vm) -> Result<&Dpu> {
        let found = self.dpus.iter().find(|dpu| dpu.node().name == vm.node.name);
        found.ok_or_else(|| miette!("{}: {} has no daemon of ours", vm.name, vm.node.name))
    }

    /// Waits until an interface's addresses may be used: duplicate address detection (RFC 4862) takes a second.
    ///
    /// # Errors
    /// When they are tentative for too long.
    pub fn wait_for_addresses(&self, vm: &Vm) -> Result<()> {
        let namespace = self.namespace(vm.namespace)?;
        let usable = interrupt::wait_for(PATIENCE, || {
            let all = namespace.ip("-6 address show dev eth0 scope link")?;
            let tentative = namespace.ip("-6 address show dev eth0 tentative")?;
            Ok((all.contains("fe80:") && tentative.trim().is_empty()).then_some(()))
        })?;
        usable.ok_or_else(|| miette!("{}: IPv6 addresses stay tentative", vm.name))
    }

    /// Leaves everything for good.
    pub fn leave(self) {
        self.beside.into_iter().for_each(Running::leave);
        self.dpus.into_iter().for_each(Dpu::leave);
        self.namespaces.into_iter().for_each(Namespace::leave);
        self.directory.leave();
    }
}

/// Connects a node's `uplink` to the underlay's bridge.
fn cable(underlay: &Namespace, node: &Namespace, plan: &Node) -> Result<()> {
    underlay.ip(&format!(
        "link add {name} type veth peer name uplink address {mac} netns {namespace}",
        name = plan.name,
        mac = plan.mac,
        namespace = plan.namespace
    ))?;
    underlay.ip(&format!("link set {} master bridge up", plan.name))?;
    underlay.without_offloads(plan.name)?;
    node.without_offloads("uplink")?;
    node.ip("link set uplink up").map(|_| ())
}

/// Removes what a demo that was killed, or told to stay, has left.
pub fn remove_leftovers() {
    for name in super::plan::namespaces().filter(|name| super::namespace::exists(name)) {
        super::namespace::remove(name);
    }
}

/// A shell line that runs `program` in a VM, for people.
pub fn in_vm(vm: &Vm, program: &str) -> String {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", vm.namespace, program]);
    crate::process::show(&command)
}
