//! The options of GENEVE that the device's rules match. A card has few matching units for them: further ones are refused
//! while rules use the others.

use rte_flow::{ENOTSUP, ErrorKind, FlowError, GeneveOptionId, Item, Limits};

/// The options in use.
#[derive(Debug, Default)]
pub struct Options(Vec<Used>);

#[derive(Debug)]
struct Used {
    option: GeneveOptionId,
    /// How many rules use it.
    rules: usize,
}

impl Options {
    /// The options that a pattern asks for, if the device knows them or has room for them.
    pub fn of(
        &self,
        pattern: &[Item],
        limits: &Limits,
    ) -> Result<Box<[GeneveOptionId]>, FlowError> {
        let mut known: Vec<GeneveOptionId> = self.0.iter().map(|used| used.option).collect();
        let mut asked = Vec::new();
        for (index, item) in pattern.iter().enumerate() {
            let Item::GeneveOpt(item) = item else { continue };
            let Some(option) = item.spec.map(|spec| spec.id()) else { continue };
            asked.push(option);
            if known.contains(&option) {
                continue;
            }
            known.push(option);
            limits
                .admit_options(&known)
                .map_err(|message| FlowError::item(index, ErrorKind::Item, ENOTSUP, message))?;
        }
        Ok(asked.into())
    }

    /// Notes that a rule uses these.
    pub fn acquire(&mut self, options: &[GeneveOptionId]) {
        for option in options {
            match self.0.iter_mut().find(|used| used.option == *option) {
                Some(used) => used.rules += 1,
                None => self.0.push(Used { option: *option, rules: 1 }),
            }
        }
    }

    /// Notes that a rule that used these is gone.
    pub fn release(&mut self, options: &[GeneveOptionId]) {
        for option in options {
            if let Some(used) = self.0.iter_mut().find(|used| used.option == *option) {
                used.rules = used.rules.saturating_sub(1);
            }
        }
        self.0.retain(|used| used.rules > 0);
    }
}
