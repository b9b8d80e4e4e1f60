//! Generates the bindings from the installed DPDK headers.
//!
//! Inline functions of the headers become real functions in a C file that bindgen writes and cc compiles with DPDK's
//! own flags. Constants made with `RTE_BIT32()`/`RTE_BIT64()`, which bindgen cannot see, are collected from the
//! headers and handed to it as `static const` variables, so that their values come from the C compiler too.

use std::collections::BTreeSet;
use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// The marker of the variables that carry constants; stripped from the Rust name.
const CONSTANT_PREFIX: &str = "dpdk_sys_constant_";

/// Functions, types and constants that Rust gets; what they refer to follows by itself.
const API: &[&str] = &[
    // EAL, lcores, errno, log, time
    "rte_eal_(init|cleanup|process_type|has_hugepages|remote_launch|wait_lcore|mp_wait_lcore|get_lcore_state|alarm_set|alarm_cancel)",
    "rte_thread_(register|unregister)",
    "rte_(lcore_id|lcore_count|lcore_to_socket_id|get_main_lcore|get_next_lcore|socket_id)",
    "rte_(strerror|version|log_set_global_level|log_set_level_pattern|log_register_type_and_pick_level|openlog_stream|log)",
    "rte_(rdtsc|get_tsc_hz|pause)",
    "rte_dev_(probe|remove|event_monitor_start|event_monitor_stop|event_callback_register|event_callback_unregister|name|driver|is_probed)",
    "rte_devargs_.*",
    "rte_kvargs_(parse|free|process|get|count)",
    // packets
    "rte_(pktmbuf|mbuf_dynfield|mbuf_dynflag)_.*",
    "rte_mempool_(free|avail_count|in_use_count|lookup)",
    "rte_ring_(create|free|enqueue_burst|dequeue_burst|count|free_count|lookup)",
    // ports
    "rte_eth_(dev|rx|tx|link|stats|xstats|macaddr|macaddrs|promiscuous|allmulticast|find|representor|iterator)_.*",
    "rte_eth_(stats|xstats)_.*",
    "rte_eth_dev_.*",
    // rules and meters
    "rte_flow_.*",
    "rte_mtr_.*",
    "dpdk_sys_.*",
];

/// What only a driver needs.
const DRIVER_API: &[&str] = &[
    "rte_eth_(vdev|switch|devargs|representor|dev)_.*",
    "rte_eth_devices",
    "rte_eth_devargs",
    "rte_(dev|eth)_(allocated|create|destroy)",
    "rte_vdev_.*",
    "rte_vlan_strip",
    "eth_dev_ops",
    "rte_flow_ops",
    "rte_mtr_ops",
    // virtual machines behind vhost-user sockets
    "rte_vhost_.*",
    // what `dpdk-telemetry.py` asks for
    "rte_(telemetry|tel)_.*",
];

const CONSTANTS: &[&str] = &[
    "RTE_(ETH|ETHER|FLOW|MBUF|MTR|LCORE|PKTMBUF|PTYPE|KVARGS|LOG)_.*",
    "RTE_(MAX_ETHPORTS|MAX_LCORE|MAX_QUEUES_PER_PORT|DEV_NAME_MAX_LEN|VER_YEAR|VER_MONTH)",
    "RTE_(PROC|TEL)_.*",
    "SOCKET_ID_ANY",
    "RING_F_.*",
    // not constants, but the place of the metadata in an mbuf, known once it is registered
    "rte_flow_dynf_metadata_(offs|mask)",
    "CALL_MAIN",
    "SKIP_MAIN",
];

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=wrapper.h");
    if let Err(problem) = generate() {
        // One line that says how to mend it: cargo prints the rest of a failed build script verbatim.
        eprintln!("dpdk-sys: {problem}");
        std::process::exit(1);
    }
}

fn generate() -> Result<(), String> {
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set; build with cargo")?);
    let driver = env::var_os("CARGO_FEATURE_DRIVER").is_some();
    let library = pkg_config::Config::new()
        .cargo_metadata(false)
        .env_metadata(false)
        .atleast_version("22.11")
        .probe("libdpdk")
        .map_err(
            |_| "DPDK's headers (libdpdk 22.11 or later) are missing; run `cargo xtask setup`",
        )?;

    let mut flags = cflags()?;
    flags.push("-DALLOW_INTERNAL_API".into());
    flags.push("-DALLOW_EXPERIMENTAL_API".into());
    if driver {
        flags.push("-DPENSTOCK_DRIVER".into());
        flags.push(format!("-I{}", driver_headers()?.display()));
    }

    let constants = out.join("constants.h");
    fs::write(&constants, bit_constants(&library.include_paths)?)
        .map_err(|e| format!("{}: {e}", constants.display()))?;

    let inline_functions = out.join("inline_functions.c");
    let mut builder = bindgen::Builder::default()
        .header("wrapper.h")
        .header(constants.display().to_string())
        .clang_args(&flags)
        .parse_callbacks(Box::new(Names))
        .parse_callbacks(Box::new(ForeignSources { own: out.clone() }))
        .opaque_type("rte_l2tpv2_combined_msg_hdr")
        .derive_debug(false)
        .derive_default(false)
        .prepend_enum_name(false)
        .generate_comments(false)
        // Every one would be a test of its own; tests/abi.rs compares with what the C compiler says.
        .layout_tests(false)
        .wrap_static_fns(true)
        .wrap_static_fns_path(&inline_functions)
        .rust_edition(bindgen::RustEdition::Edition2024);
    for pattern in API.iter().chain(if driver { DRIVER_API } else { &[] }) {
        builder = builder.allowlist_function(pattern).allowlist_type(pattern);
    }
    for pattern in CONSTANTS {
        builder = builder.allowlist_var(pattern);
    }
    builder = builder.allowlist_var(format!("{CONSTANT_PREFIX}.*"));
    if driver {
        builder = builder.allowlist_var("rte_eth_devices");
    }
    let bindings = builder.generate().map_err(|e| {
        format!("bindgen could not read DPDK's headers ({e}); run `cargo xtask setup`")
    })?;
    let file = out.join("bindings.rs");
    bindings.write_to_file(&file).map_err(|e| format!("{}: {e}", file.display()))?;

    let mut compiler = cc::Build::new();
    compiler.file(&inline_functions).include(".").opt_level(3).warnings(false);
    for flag in &flags {
        compiler.flag(flag);
    }
    // Before the libraries below: the linker resolves from left to right.
    compiler.compile("dpdk_inline_functions");

    for path in &library.link_paths {
        println!("cargo:rustc-link-search=native={}", path.display());
    }
    let libraries = ["rte_ethdev", "rte_mbuf", "rte_mempool", "rte_ring", "rte_kvargs", "rte_eal"];
    let for_drivers = ["rte_bus_vdev", "rte_vhost", "rte_telemetry"];
    for name in for_drivers.into_iter().filter(|_| driver).chain(libraries) {
        println!("cargo:rustc-link-lib=dylib={name}");
    }
    Ok(())
}

/// The compiler flags of DPDK's pkg-config file; the crate pkg-config drops `-include` and `-march`.
fn cflags() -> Result<Vec<String>, String> {
    let output =
        std::process::Command::new(env::var_os("PKG_CONFIG").unwrap_or("pkg-config".into()))
            .args(["--cflags", "libdpdk"])
            .output()
            .map_err(|e| format!("pkg-config does not run ({e}); run `cargo xtask setup`"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.split_whitespace().map(str::to_owned).collect())
}

/// Where the headers for drivers lie: named by the environment or in the workspace's `target`.
fn driver_headers() -> Result<PathBuf, String> {
    const VARIABLE: &str = "PENSTOCK_DPDK_DRIVER_HEADERS";
    println!("cargo:rerun-if-env-changed={VARIABLE}");
    let directory = match env::var_os(VARIABLE) {
        Some(named) => PathBuf::from(named),
        // Not the target directory in use, which may be elsewhere: `cargo xtask setup` knows only the workspace.
        None => Path::new(env!("CARGO_MANIFEST_DIR"))
            .ancestors()
            .nth(2)
            .ok_or("the crate does not lie in its workspace")?
            .join("target/dpdk-driver-headers"),
    };
    println!("cargo:rerun-if-changed={}", directory.display());
    if directory.join("ethdev_driver.h").is_file() {
        Ok(directory)
    } else {
        Err(format!(
            "DPDK's driver headers are not in {}; run `cargo xtask setup`",
            directory.display()
        ))
    }
}

/// A header that gives every macro built from `RTE_BIT32/64()`, directly or through another one, as a variable.
fn bit_constants(include_paths: &[PathBuf]) -> Result<String, String> {
    let find = |name: &str| {
        include_paths
            .iter()
            .map(|directory| directory.join(name))
            .find(|path| path.is_file())
            .ok_or_else(|| format!("{name} is not among DPDK's headers; run `cargo xtask setup`"))
    };
    let mut names = BTreeSet::new();
    let mut header = String::from("#include <stdint.h>\n");
    for file in ["rte_ethdev.h", "rte_flow.h"] {
        let path = find(file)?;
        println!("cargo:rerun-if-changed={}", path.display());
        let text = fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        for line in text.replace("\\\n", " ").lines() {
            let Some((name, body)) =
                line.strip_prefix("#define ").and_then(|rest| rest.split_once(char::is_whitespace))
            else {
                continue;
            };
            let built_from_known = || {
                body.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
                    .any(|word| names.contains(word))
            };
            if name.contains('(') || !(body.contains("RTE_BIT") || built_from_known()) {
                continue;
            }
            let kind = if body.contains("RTE_BIT32(") { "uint32_t" } else { "uint64_t" };
            writeln!(header, "static const {kind} {CONSTANT_PREFIX}{name} = {name};")
                .map_err(|e| e.to_string())?;
            names.insert(name.to_owned());
        }
    }
    Ok(header)
}

/// The names and types that differ from bindgen's defaults.
#[derive(Debug)]
struct Names;

impl bindgen::callbacks::ParseCallbacks for Names {
    fn item_name(&self, item: bindgen::callbacks::ItemInfo<'_>) -> Option<String> {
        item.name.strip_prefix(CONSTANT_PREFIX).map(str::to_owned)
    }

    fn int_macro(&self, name: &str, _value: i64) -> Option<bindgen::callbacks::IntKind> {
        // `ol_flags` is 64 bits wide; by value alone half of its flags would be u32.
        name.starts_with("RTE_MBUF_F_").then_some(bindgen::callbacks::IntKind::U64)
    }
}

/// Asks for a new run when a header changes that this script did not write itself: what it writes is always newer than
/// the run's beginning, so watching that would build everything anew each time.
#[derive(Debug)]
struct ForeignSources {
    /// Where the script writes.
    own: PathBuf,
}

impl bindgen::callbacks::ParseCallbacks for ForeignSources {
    fn header_file(&self, path: &str) {
        self.include_file(path);
    }

    fn include_file(&self, path: &str) {
        if !Path::new(path).starts_with(&self.own) {
            println!("cargo:rerun-if-changed={path}");
        }
    }

    fn read_env_var(&self, name: &str) {
        println!("cargo:rerun-if-env-changed={name}");
    }
}
