//! `penstock validate`: is this intent good?

use std::path::PathBuf;

use clap::Args;
use model::intent::Intent;

use crate::intent_files::{self, IntentError};

/// Arguments of `penstock validate`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// File with intent, a directory of such files, or `-` for standard input; repeatable
    #[arg(short = 'f', long = "file", value_name = "INTENT", required = true)]
    pub files: Vec<PathBuf>,
}

/// Checks the intent of all files together; says in a line what is in it.
///
/// # Errors
/// [`IntentError`]: of wrong intent, everything that is wrong.
pub fn run(arguments: &Arguments) -> Result<String, IntentError> {
    Ok(summary(&intent_files::read(&arguments.files)?))
}

fn summary(intent: &Intent) -> String {
    let counts = [
        (intent.nodes().len(), "node"),
        (intent.vpcs().len(), "VPC"),
        (intent.subnets().len(), "subnet"),
        (intent.interfaces().len(), "interface"),
        (intent.security_groups().len(), "security group"),
        (intent.route_tables().len(), "route table"),
    ];
    let parts: Vec<String> = counts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, name)| format!("{count} {name}{}", if *count == 1 { "" } else { "s" }))
        .collect();
    if parts.is_empty() {
        "valid, and empty".to_owned()
    } else {
        format!("valid: {}", parts.join(", "))
    }
}
