//! Generates the bindings from the installed rdma-core headers, as a table of functions that a program fills by loading
//! the library when it runs.

use std::env;
use std::path::PathBuf;

/// What identifies a device.
const FUNCTIONS: &[&str] = &[
    "ibv_(get_device_list|free_device_list|get_device_name|open_device|close_device|query_device)",
    "mlx5dv_(is_supported|query_device)",
    "_mlx5dv_query_port",
];

/// Flags of what was asked and answered.
const CONSTANTS: &[&str] = &["MLX5DV_CONTEXT_FLAGS_.*"];

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=wrapper.h");
    if let Err(problem) = generate() {
        // One line that says how to mend it: cargo prints the rest of a failed build script verbatim.
        eprintln!("mlx5-sys: {problem}");
        std::process::exit(1);
    }
}

fn generate() -> Result<(), String> {
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set; build with cargo")?);
    let mut builder = bindgen::Builder::default()
        .header("wrapper.h")
        .parse_callbacks(Box::new(bindgen::CargoCallbacks::new()))
        .dynamic_library_name("Mlx5")
        // An older rdma-core has fewer functions: each is looked for when it is called.
        .dynamic_link_require_all(false)
        .derive_debug(false)
        .prepend_enum_name(false)
        .generate_comments(false)
        .layout_tests(false)
        .rust_edition(bindgen::RustEdition::Edition2024);
    for pattern in FUNCTIONS {
        builder = builder.allowlist_function(pattern);
    }
    for pattern in CONSTANTS {
        builder = builder.allowlist_var(pattern);
    }
    // The flags are enumerators.
    builder = builder.allowlist_type("mlx5dv_context_flags|mlx5_ib_uapi_query_port_flags");
    let bindings = builder.generate().map_err(|error| {
        format!("rdma-core's headers cannot be read ({error}); run `cargo xtask setup`")
    })?;
    let file = out.join("bindings.rs");
    bindings.write_to_file(&file).map_err(|error| format!("{}: {error}", file.display()))
}
