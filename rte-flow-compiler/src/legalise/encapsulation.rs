//! Tunnels whose headers are longer than the card can write are software's.

use crate::draft::{Act, Draft};
use crate::entry::Entry;
use crate::layout::Operation;

use super::{Refusal, Subject};

pub fn pass(drafts: Vec<Draft>, subject: Subject<'_>) -> Result<Vec<Draft>, Refusal> {
    let encapsulates = |draft: &Draft| draft.acts.contains(&Act::Operation(Operation::Encapsulate));
    if let (Some(most), Entry::Encapsulation { header, .. }) =
        (subject.profile.encap.max_bytes, subject.entry)
        && drafts.iter().any(encapsulates)
        && header.len() > most
    {
        return Err(Refusal::Encapsulation { bytes: header.len(), most });
    }
    Ok(drafts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::Table;
    use crate::legalise::tests::{changed, subject};
    use crate::samples::samples;

    #[test]
    fn headers_that_are_too_long_are_refused() {
        let profile = changed("bluefield3-sws-22.11", "max_bytes = 132", "max_bytes = 60");
        let mut lengths = Vec::new();
        for entry in samples().iter().filter(|entry| entry.table() == Table::Tunnels) {
            let drafts = vec![Draft::of(entry)];
            lengths.push(match pass(drafts.clone(), subject(entry, &profile)) {
                Ok(same) => {
                    assert_eq!(same, drafts);
                    None
                }
                Err(refusal) => Some(refusal),
            });
        }
        assert_eq!(lengths, [None, Some(Refusal::Encapsulation { bytes: 70, most: 60 })]);
    }
}
