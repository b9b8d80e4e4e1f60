//! Runs a program packet by packet, in virtual time.

mod architecture;
mod block;
mod call;
mod evaluate;
pub mod event;
mod externs;
mod packet;
pub mod table;

use crate::conntrack::Conntrack;
use crate::neighbors::Neighbors;
use crate::program::{Instance, InstanceOf, Program};
use architecture::Architecture;
pub use architecture::{Outcome, Verdict};
use block::BlockState;
pub use externs::meter::Rates;
use externs::{Extern, LoadError};
use table::{EntryError, TableState};

/// Time since the beginning, in nanoseconds.
pub type Time = u64;

/// Why a packet's way could not be followed: the program did what P4 leaves undefined. A program with a fault is wrong.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Fault {
    /// A field of a header that is not valid was read.
    #[error("`{0}` is read, but its header is not valid")]
    ReadOfInvalidHeader(String),
    /// A field of a header that is not valid was written.
    #[error("`{0}` is written, but its header is not valid")]
    WriteToInvalidHeader(String),
    /// An extern was called in a way that it does not define.
    #[error("{object}.{method}: {reason}")]
    Extern {
        /// The object or function.
        object: String,
        /// The method.
        method: String,
        /// What is wrong.
        reason: String,
    },
    /// The parser stopped inside of a byte, or the deparser wrote no whole bytes.
    #[error("the packet does not consist of whole bytes")]
    NotWholeBytes,
}

/// A program with the state of its tables and externs.
pub struct Machine<'p> {
    program: &'p Program,
    architecture: Architecture,
    globals: Vec<Extern>,
    blocks: Vec<BlockState<'p>>,
}

impl<'p> Machine<'p> {
    /// A machine with tables that hold what the program itself puts there.
    ///
    /// # Errors
    /// The program has no `main`, its package is unknown, or it makes an extern that is unknown here.
    pub fn new(program: &'p Program) -> Result<Self, LoadError> {
        let main = program.main.as_ref().ok_or(LoadError::NoMain)?;
        let architecture = Architecture::of(program, &main.package)?;
        let globals = program
            .instances
            .iter()
            .map(|instance| match &instance.of {
                InstanceOf::Extern(id, arguments) => {
                    Extern::new(&program.externs[*id].name, arguments, program)
                }
                InstanceOf::Block(_) => unreachable!("blocks are instances in blocks only"),
            })
            .collect::<Result<_, _>>()?;
        let blocks = main
            .blocks
            .iter()
            .map(|block| BlockState::new(program, *block, &program.blocks[*block].name))
            .collect::<Result<_, _>>()?;
        Ok(Self { program, architecture, globals, blocks })
    }

    /// The program.
    #[must_use]
    pub fn program(&self) -> &'p Program {
        self.program
    }

    /// A table by its path, or by the end of its path if only one has it.
    ///
    /// # Errors
    /// No table has this name, or several have.
    pub fn table(&mut self, name: &str) -> Result<&mut TableState<'p>, EntryError> {
        let mut all = Vec::new();
        self.blocks.iter_mut().for_each(|block| block.collect_tables(&mut all));
        let ending = format!(".{name}");
        let exact = all.iter().any(|table| table.path == name);
        all.retain(|table| table.path == name || (!exact && table.path.ends_with(&ending)));
        if all.len() > 1 {
            let paths: Vec<_> = all.iter().map(|table| table.path.as_str()).collect();
            return Err(EntryError::Ambiguous(name.to_owned(), paths.join(", ")));
        }
        all.pop().ok_or_else(|| EntryError::NoTable(name.to_owned()))
    }

    /// Sets the rates of a meter's cell.
    ///
    /// # Errors
    /// No meter has this name, or it has no such cell.
    pub fn set_meter(&mut self, name: &str, cell: u32, rates: Rates) -> Result<(), EntryError> {
        self.external(name)
            .and_then(|found| match found {
                Extern::Meter(meter) => meter.set(cell, rates),
                _ => None,
            })
            .ok_or_else(|| EntryError::NoMeter(name.to_owned(), cell))
    }

    /// Packets and bytes that a counter's cell has counted; none when there is no such counter or cell.
    pub fn counter(&mut self, name: &str, cell: u32) -> Option<(u64, u64)> {
        match self.external(name)? {
            Extern::Counter(counter) => counter.read(cell),
            _ => None,
        }
    }

    /// Connection tracking, if the program has it.
    pub fn conntrack(&mut self) -> Option<&mut Conntrack> {
        self.globals.iter_mut().find_map(|external| match external {
            Extern::Conntrack(tracker) => Some(&mut **tracker),
            _ => None,
        })
    }

    /// The underlay's neighbours, if the program has them.
    pub fn neighbors(&mut self) -> Option<&mut Neighbors> {
        self.globals.iter_mut().find_map(|external| match external {
            Extern::Neighbors(neighbors) => Some(neighbors),
            _ => None,
        })
    }

    fn external(&mut self, name: &str) -> Option<&mut Extern> {
        let instances: &[Instance] = &self.program.instances;
        if let Some(place) = instances.iter().position(|instance| instance.name == name) {
            return self.globals.get_mut(place);
        }
        self.blocks.iter_mut().find_map(|block| block.external(name))
    }
}
