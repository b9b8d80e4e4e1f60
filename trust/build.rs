//! Generates the messages, client and server of what a DPU offers its hosts.

fn main() {
    let proto = "proto/penstock/v1/host_access.proto";
    println!("cargo:rerun-if-changed={proto}");
    if let Err(problem) = tonic_prost_build::configure().compile_protos(&[proto], &["proto"]) {
        // One line that says how to mend it: cargo prints the rest of a failed build script verbatim.
        eprintln!("trust: {proto}: {problem}; is protoc installed? (`cargo xtask setup`)");
        std::process::exit(1);
    }
}
