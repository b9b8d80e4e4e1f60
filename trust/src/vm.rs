//! Names of VMs and of their interfaces. They stand in XML, in QEMU's arguments and in file names: so few characters.

use thiserror::Error;

use crate::name::name;

/// A text that is no such name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "`{0}` is not a name; use 1 to 63 letters, digits, `-`, `_` and `.`, the first a letter or digit"
)]
pub struct NameError(String);

fn is_name(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let first = text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    first && text.len() <= 63 && text.bytes().all(plain)
}

name! {
    /// The name of a VM.
    VmName, is_name, NameError as NameError
}

name! {
    /// The name of an interface of a VM.
    VmInterface, is_name, NameError as NameError
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain() {
        for good in ["vm-1", "4f1c9a52-7d1c-4d0e-9e0c-000000000001", "GPU_node.3"] {
            assert_eq!(good.parse::<VmName>().unwrap().as_str(), good);
        }
        for bad in ["", "-vm", ".", "../x", "a b", "a,b", "a<b", &"x".repeat(64)] {
            assert!(bad.parse::<VmName>().is_err(), "{bad}");
        }
    }
}
