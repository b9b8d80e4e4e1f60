//! `penstock vm`: which VF belongs to which VM.

use std::path::PathBuf;

use clap::{ArgAction, Args, Subcommand, ValueEnum};
use host_shim::api::v1::{AttachRequest, DetachRequest, Lease, ListRequest};
use serde_json::{Value, json};

use crate::daemon::{DaemonError, Output};
use crate::host::{HostDaemon, below};
use crate::table;

/// Arguments of `penstock vm`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    daemon: HostDaemon,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Give a VM a VF
    Attach(Box<Attach>),
    /// Take a VF back
    Detach {
        /// The VM
        vm: String,
        /// The VM's interface
        #[arg(long, default_value = "net0")]
        interface: String,
    },
    /// Show which VF belongs to which VM, and how that is
    List {
        /// Form of the output
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
    },
}

#[derive(Debug, Args)]
struct Attach {
    /// The VM
    vm: String,
    /// The VM's interface
    #[arg(long, default_value = "net0")]
    interface: String,
    /// The VM's address: that of its Interface in intent
    #[arg(long)]
    mac: String,
    /// The VF, as SERIAL/PF-MAC/vfN; by default the free one that is nearest to the GPUs
    // Where a card has no serial number, `-` stands for it.
    #[arg(long, allow_hyphen_values = true)]
    vf: Option<String>,
    /// How: vfio, vhost-user or vdpa
    #[arg(long, default_value = "vfio")]
    backend: String,
    /// A GPU of the VM, by its PCI address; may be given more than once
    #[arg(long = "gpu", value_name = "ADDRESS")]
    gpus: Vec<String>,
    /// VLAN that the VM does not see
    #[arg(long)]
    vlan: Option<u16>,
    /// Whether the VM may change what is filtered
    #[arg(long, value_name = "BOOL", action = ArgAction::Set)]
    trust: Option<bool>,
    /// Whether sources of its frames are checked by the card
    #[arg(long, value_name = "BOOL", action = ArgAction::Set)]
    spoof_check: Option<bool>,
    /// Most Mbit/s from the VM
    #[arg(long, value_name = "MBIT")]
    max_rate: Option<u32>,
    /// The link as the VM sees it: auto, enable or disable
    #[arg(long)]
    link: Option<String>,
    /// QMP socket of the VM, when it runs already
    #[arg(long, value_name = "PATH")]
    qmp: Option<PathBuf>,
    /// What QEMU calls the port that takes the device there
    #[arg(long, requires = "qmp")]
    bus: Option<String>,
    /// Form of the output
    #[arg(short, long, value_enum, default_value_t)]
    output: AttachOutput,
}

/// What is printed of an attachment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum AttachOutput {
    /// For people.
    #[default]
    Table,
    /// For programs.
    Json,
    /// An element for libvirt's devices.
    Libvirt,
    /// Arguments for QEMU, one a line.
    Qemu,
}

/// Does what is asked.
///
/// # Errors
/// [`DaemonError`].
pub fn run(arguments: &Arguments) -> Result<String, DaemonError> {
    let daemon = &arguments.daemon;
    match &arguments.command {
        Command::Attach(attach) => run_attach(daemon, attach),
        Command::Detach { vm, interface } => {
            let request = DetachRequest { vm: vm.clone(), interface: interface.clone() };
            daemon.call(async |mut client| Ok(client.detach(request).await?))?;
            Ok(format!("{vm}/{interface} has no VF any more"))
        }
        Command::List { output } => {
            let response = daemon
                .call(async |mut client| Ok(client.list(ListRequest {}).await?.into_inner()))?;
            Ok(match output {
                Output::Json => {
                    format!("{:#}", response.leases.iter().map(json).collect::<Value>())
                }
                Output::Table => below(list(&response.leases), response.dpu.as_ref()),
            })
        }
    }
}

fn run_attach(daemon: &HostDaemon, attach: &Attach) -> Result<String, DaemonError> {
    let path = |path: &PathBuf| std::path::absolute(path).map(|path| path.display().to_string());
    let request = AttachRequest {
        vm: attach.vm.clone(),
        interface: attach.interface.clone(),
        vf: attach.vf.clone().unwrap_or_default(),
        backend: attach.backend.clone(),
        mac: attach.mac.clone(),
        vlan: attach.vlan.map(Into::into),
        trust: attach.trust,
        spoof_check: attach.spoof_check,
        max_rate: attach.max_rate,
        link: attach.link.clone().unwrap_or_default(),
        gpus: attach.gpus.clone(),
        qmp: attach.qmp.as_ref().map(path).transpose()?.unwrap_or_default(),
        bus: attach.bus.clone().unwrap_or_default(),
    };
    let response =
        daemon.call(async |mut client| Ok(client.attach(request).await?.into_inner()))?;
    let lease = response.lease.ok_or_else(|| DaemonError::Nonsense("no lease".into()))?;
    Ok(match attach.output {
        AttachOutput::Json => {
            let mut value = json(&lease);
            value["warnings"] = response.warnings.into();
            format!("{value:#}")
        }
        AttachOutput::Libvirt => lease.libvirt_xml.trim_end().to_owned(),
        AttachOutput::Qemu => lease.qemu_arguments.join("\n"),
        AttachOutput::Table => {
            let mut lines = vec![
                format!("{}/{} has {} by {}", lease.vm, lease.interface, lease.vf, lease.backend),
                format!(
                    "migration: {}; {}",
                    if lease.can_migrate { "yes" } else { "no" },
                    lease.migration
                ),
            ];
            lines.extend(response.warnings.iter().map(|warning| format!("warning: {warning}")));
            lines.join("\n")
        }
    })
}

fn json(lease: &Lease) -> Value {
    json!({
        "number": lease.number,
        "vm": lease.vm,
        "interface": lease.interface,
        "vf": lease.vf,
        "backend": lease.backend,
        "mac": lease.mac,
        "address": lease.address,
        "gpus": lease.gpus,
        "state": lease.state,
        "consent": lease.consent,
        "trouble": lease.trouble,
        "canMigrate": lease.can_migrate,
        "migration": lease.migration,
        "libvirtXml": lease.libvirt_xml,
        "qemuArguments": lease.qemu_arguments,
    })
}

fn list(leases: &[Lease]) -> String {
    let mut table = table::table(&[
        "vm",
        "interface",
        "mac",
        "vf",
        "backend",
        "address",
        "state",
        "dpu",
        "trouble",
    ]);
    for lease in leases {
        let or_dash = |text: &String| if text.is_empty() { "-".to_owned() } else { text.clone() };
        table.add_row([
            lease.vm.clone(),
            lease.interface.clone(),
            lease.mac.clone(),
            lease.vf.clone(),
            lease.backend.clone(),
            or_dash(&lease.address),
            lease.state.clone(),
            lease.consent.clone(),
            or_dash(&lease.trouble),
        ]);
    }
    table::text(&table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leases_as_a_table_and_as_json() {
        let lease = Lease {
            number: 7,
            vm: "vm-1".into(),
            interface: "net0".into(),
            vf: "S1/b8:3f:d2:00:00:01/vf3".into(),
            backend: "vfio".into(),
            mac: "02:00:00:00:00:01".into(),
            state: "attached".into(),
            consent: "given".into(),
            trouble: "the VF is gone".into(),
            ..Lease::default()
        };
        let text = list(std::slice::from_ref(&lease));
        let row: Vec<&str> = text.lines().nth(1).unwrap().split_whitespace().collect();
        let mac = "02:00:00:00:00:01";
        let start = [
            "vm-1",
            "net0",
            mac,
            "S1/b8:3f:d2:00:00:01/vf3",
            "vfio",
            "-",
            "attached",
            "given",
            "the",
        ];
        assert_eq!(row[..9], start);
        assert_eq!(json(&lease)["canMigrate"], false);
        assert_eq!(json(&lease)["number"], 7);
    }
}
