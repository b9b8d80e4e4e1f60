//! Counters of packets and bytes.

/// An array of counters.
pub struct Counter {
    cells: Vec<(u64, u64)>,
}

impl Counter {
    /// This many counters at zero.
    pub fn new(cells: u32) -> Self {
        Self { cells: vec![(0, 0); cells as usize] }
    }

    /// Counts one packet.
    pub fn count(&mut self, cell: u32, bytes: u32) -> Result<(), String> {
        let count = self.cells.len();
        let cell = self
            .cells
            .get_mut(cell as usize)
            .ok_or_else(|| format!("there is no cell {cell}, only {count}"))?;
        cell.0 += 1;
        cell.1 += u64::from(bytes);
        Ok(())
    }

    /// Packets and bytes of a cell.
    pub fn read(&self, cell: u32) -> Option<(u64, u64)> {
        self.cells.get(cell as usize).copied()
    }
}
