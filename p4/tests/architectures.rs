//! The contract is one program on two architectures, with the same tables.

use std::path::Path;

use p4::program::Program;
use p4::schema::{self, TableSchema};

fn compiled(path: &str) -> Program {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    p4::compile(&path).unwrap_or_else(|error| panic!("{:?}", miette::Report::new(error)))
}

/// The tables, their paths from the control `Pipeline` on.
fn tables(program: &Program, pipeline: &str) -> Vec<TableSchema> {
    let mut tables = schema::of(program).tables;
    for table in &mut tables {
        let path = table.path.strip_prefix(pipeline);
        table.path = path.expect("all tables are the pipeline's").to_owned();
    }
    tables
}

#[test]
fn the_shim_has_the_tables_of_the_contract() {
    let contract = compiled("pipeline.p4");
    let shim = compiled("arch/v1model_shim.p4");
    assert_eq!(contract.main.as_ref().map(|main| main.package.as_str()), Some("DpuNic"));
    assert_eq!(shim.main.as_ref().map(|main| main.package.as_str()), Some("V1Switch"));
    assert_eq!(tables(&contract, "Pipeline."), tables(&shim, "V1Ingress.pipeline."));
}

#[test]
fn every_table_names_its_size_or_has_all_its_entries() {
    for table in schema::of(&compiled("pipeline.p4")).tables {
        let bounded =
            table.size.is_some() || table.constant_entries.is_some() || table.keys.is_empty();
        assert!(bounded, "{} has no size", table.path);
    }
}
