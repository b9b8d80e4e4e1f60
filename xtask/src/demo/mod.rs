//! `cargo xtask demo`: two DPUs, two tenants and a Linux VTEP on this machine's kernel, step by step.

mod daemon;
mod directory;
mod interrupt;
mod iperf;
mod ledger;
mod namespace;
mod plan;
mod program;
mod report;
mod steps;
mod topology;
mod vm;

use std::env;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

use clap::Args;
use miette::{IntoDiagnostic, Result, WrapErr, miette};

use self::daemon::Programs;
use self::directory::Directory;
use self::plan::{BLUE_1, DPU_A, RED_1, RED_3, VMS};
use self::report::Report;
use self::topology::World;
use crate::{packages, process, setup};

/// Arguments of `cargo xtask demo`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Leave everything running to play with; say how
    #[arg(long)]
    keep: bool,
    /// Only remove what `--keep` has left
    #[arg(long, conflicts_with = "keep")]
    stop: bool,
    /// Everything is installed and built
    #[arg(long, hide = true)]
    built: bool,
}

/// Runs the demo; whether everything was as expected.
///
/// # Errors
/// When it cannot be run to its end.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let programs = Programs { directory: release_directory()? };
    if !arguments.stop && !arguments.built {
        setup::run()?;
        packages::install(packages::DEMO)?;
        let build = ["build", "--release", "-p", "penstock-eswitch", "-p", "dpu-app", "-p", "cli"];
        process::run(&mut process::cargo(&build))?;
    }
    if !rustix::process::geteuid().is_root() {
        return as_root(arguments);
    }
    interrupt::catch()?;
    let left = Directory::has_leftovers();
    let directory = Directory::claim()?;
    if left {
        println!("Removing what an earlier demo left.");
    }
    topology::remove_leftovers();
    if arguments.stop {
        return Ok(ExitCode::SUCCESS);
    }
    introduce();
    let mut report = Report::new();
    let mut world = World::new(directory, &programs)?;
    let result = steps::run(&mut world, &programs, &mut report);
    let is_good = result.is_ok() && report.finish();
    if !is_good && interrupt::check().is_ok() {
        for dpu in &world.dpus {
            eprintln!("\nThe last words of {}:\n{}", dpu.node().name, dpu.last_words());
        }
    }
    if arguments.keep && interrupt::check().is_ok() {
        world.leave();
        explain(&programs);
    }
    result?;
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Where cargo puts release builds: beside the profile that this program was built with.
fn release_directory() -> Result<std::path::PathBuf> {
    let own = env::current_exe().into_diagnostic()?;
    let target = own.parent().and_then(Path::parent);
    Ok(target
        .ok_or_else(|| miette!("{} is not in a target directory", own.display()))?
        .join("release"))
}

/// Goes on as root, in place of this process.
fn as_root(arguments: &Arguments) -> Result<ExitCode> {
    eprintln!("Network namespaces and interfaces need root; going on with sudo.");
    let mut command = Command::new("sudo");
    command.arg(env::current_exe().into_diagnostic()?).args(["demo", "--built"]);
    command.args(arguments.keep.then_some("--keep")).args(arguments.stop.then_some("--stop"));
    Err(command.exec()).into_diagnostic().wrap_err("sudo does not start; run the demo as root")
}

fn introduce() {
    println!(
        "
  red-1  red-2  blue-1            red-3  blue-3             red-4     VMs: namespaces with a
    |      |      |                 |      |                  |       Linux stack each
  +-vf0---vf1----vf2-+            +-vf0---vf1-+         +-----------+
  | dpu-a: penstock- |            | dpu-b     |         |  node-c:  |
  | dpud + simulated |            |           |         |   Linux   |
  | BlueField-3      |            |           |         |   vxlan   |
  +--uplink 192.0.2.1+            +-192.0.2.2-+         +-192.0.2.3-+
          |                             |                     |
          +---------- underlay: IPv4, VXLAN ------------------+

Both tenants use 10.1.0.0/24 and fd00:10:0:1::/64; red-1 and blue-1 have the same addresses and MAC."
    );
}

/// What one can do with what was left running.
fn explain(programs: &Programs) {
    let penstock = programs.path("penstock");
    let penstock = penstock.display();
    let socket = daemon::socket(&DPU_A);
    let socket = socket.display();
    let names: Vec<&str> = VMS.iter().map(|vm| vm.namespace).collect();
    println!("\nEverything is left running.\n");
    println!("VMs are the namespaces {}. In them:", names.join(", "));
    println!("  {}", topology::in_vm(&RED_1, &format!("ping {}", RED_3.v4)));
    println!("  {}", topology::in_vm(&RED_1, &format!("iperf3 -c {}", RED_3.v4)));
    println!("  {}", topology::in_vm(&BLUE_1, &format!("curl http://{}/", RED_3.v4)));
    println!("DPUs have their sockets, logs and configurations in {}:", plan::DIRECTORY);
    println!("  {penstock} status --socket {socket}");
    println!("  {penstock} flows --socket {socket}");
    println!("  {penstock} get interface --socket {socket}");
    let (network, policy) = (directory::file("network.yaml"), directory::file("policy.yaml"));
    println!(
        "  {penstock} apply -f {} -f {} --socket {socket}",
        network.display(),
        policy.display()
    );
    println!("  tail -f {}", daemon::log(&DPU_A).display());
    println!("  ip netns exec {} curl http://127.0.0.1:9100/metrics", DPU_A.namespace);
    println!("  ip netns exec {} tcpdump -ni bridge udp port 4789", plan::UNDERLAY);
    println!("To end it: cargo xtask demo --stop");
}
