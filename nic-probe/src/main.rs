//! `penstock-nic-probe`: finds a NIC's profile by trial, and prints it. `penstock nic probe` runs it.

mod actions;
mod behaviour;
mod company;
mod device;
mod frames;
mod items;
mod limits;
mod meters;
mod nic;
mod objects;
mod probe;
mod rules;
mod shown;
mod tables;
mod trial;

use std::error::Error;
use std::ffi::CStr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use rte_flow::Steering;
use toml::{Table, Value};

use device::Device;
use nic::{Eal, Nic};
use probe::{Found, NOT_FOUND};

/// Find a NIC's profile by trial inserts, and print it
#[derive(Debug, Parser)]
#[command(name = "penstock-nic-probe", version)]
struct Arguments {
    /// The card: its PCI address, which DPDK's device arguments may follow; the only one if absent
    #[arg(long, value_name = "ADDR[,ARGUMENTS]", conflicts_with = "simulated")]
    pci: Option<String>,
    /// The simulated NIC with this profile
    #[arg(long, value_name = "PROFILE")]
    simulated: Option<String>,
    /// The simulated NIC's driver, if it is not beside this program
    #[arg(long, value_name = "LIBRARY", requires = "simulated")]
    driver: Option<PathBuf>,
    /// More arguments for DPDK
    #[arg(last = true, value_name = "EAL")]
    eal: Vec<String>,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(profile) => {
            print!("{profile}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<String, Box<dyn Error>> {
    let device = match &arguments.simulated {
        Some(profile) => Device::simulated(profile, arguments.driver.as_deref())?,
        None => Device::card(arguments.pci.as_deref())?,
    };
    let eal = Eal::start(&device.eal_arguments(&arguments.eal))?;
    let found = probe::probe(&mut Nic::open(&eal)?)?;
    Ok(text(&device, found)?)
}

/// The profile as its file has it, and what is not in it.
fn text(device: &Device, found: Found) -> Result<String, toml::ser::Error> {
    // SAFETY: a text that the library holds.
    let version = unsafe { CStr::from_ptr(dpdk_sys::rte_version()) }.to_string_lossy();
    let steering = match found.steering {
        Steering::None => ("none", "none"),
        Steering::Software => ("software", "sws"),
        Steering::Hardware => ("hardware", "hws"),
    };
    let short: Vec<&str> = version.trim_start_matches("DPDK ").split('.').take(2).collect();
    let name = format!("{}-{}-{}", device.hardware(), steering.1, short.join("."));
    let mut lines = vec!["Found by trial with penstock nic probe".to_owned(), version.into_owned()];
    lines.extend(device.description());
    lines.push("Not found, as trials do not tell:".to_owned());
    lines.extend(NOT_FOUND.iter().map(|(key, why)| format!("  {key} ({why})")));
    let comment = lines.join("\n# ");
    let mut profile = Table::new();
    profile.insert("name".to_owned(), Value::from(name));
    profile.insert("steering".to_owned(), Value::from(steering.0));
    profile.extend(found.table);
    Ok(format!("# {comment}\n{}", toml::to_string(&profile)?))
}
