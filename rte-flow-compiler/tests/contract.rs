//! The words of decisions are those of the contract. (The NIC's tables are derived from it: see `derivation.rs`.)

use std::path::Path;

use model::decision::DropReason;
use p4::program::Program;

fn contract() -> Program {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../p4/pipeline.p4");
    p4::compile(&path).expect("the contract is accepted")
}

#[test]
fn the_words_for_drops_are_those_of_the_contract() {
    let contract = contract();
    let reasons = contract.enumeration("drop_reason_t").expect("the contract has reasons");
    let names: Vec<&str> = reasons.members.iter().map(|(name, _)| name.as_str()).collect();
    let words: Vec<&str> = DropReason::ALL.iter().map(|reason| reason.name()).collect();
    assert_eq!(names[0], "none", "what is not dropped");
    assert_eq!(names[1..], words);
}
