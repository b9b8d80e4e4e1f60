//! Derives the NIC's tables from the contract's schema.

mod derive;
#[path = "../src/vocabulary.rs"]
mod vocabulary;

use std::path::Path;

/// Held fresh by a test of `p4`.
const SCHEMA: &str = "../p4/pipeline.schema.json";

fn main() {
    println!("cargo::rerun-if-changed={SCHEMA}");
    println!("cargo::rerun-if-changed=build");
    println!("cargo::rerun-if-changed=src/vocabulary.rs");
    if let Err(problems) = write() {
        for problem in problems {
            println!("cargo::error={problem}");
        }
    }
}

fn write() -> Result<(), Vec<String>> {
    let schema = std::fs::read_to_string(SCHEMA).map_err(|e| vec![format!("{SCHEMA}: {e}")])?;
    let layout = derive::layout(&schema)?;
    let directory = std::env::var_os("OUT_DIR").ok_or_else(|| vec!["no OUT_DIR".to_owned()])?;
    let path = Path::new(&directory).join("layout.rs");
    std::fs::write(&path, layout).map_err(|e| vec![format!("{}: {e}", path.display())])
}
