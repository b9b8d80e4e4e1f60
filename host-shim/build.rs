//! Generates the control API's messages, client and server.

fn main() {
    let proto = "proto/penstock/v1/host.proto";
    println!("cargo:rerun-if-changed={proto}");
    if let Err(problem) = tonic_prost_build::configure().compile_protos(&[proto], &["proto"]) {
        // One line that says how to mend it: cargo prints the rest of a failed build script verbatim.
        eprintln!("host-shim: {proto}: {problem}; is protoc installed? (`cargo xtask setup`)");
        std::process::exit(1);
    }
}
