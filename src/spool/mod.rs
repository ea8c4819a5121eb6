//! Message bodies on their way: a bounded piece of memory, then an unlinked file under the state directory.

use std::path::PathBuf;

/// Bounds of the spool.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The folder for bodies that do not fit in memory; never the system's temporary folder, which may be RAM.
    pub folder: PathBuf,
    /// Octets of one body that stay in memory.
    pub memory_bytes_max: usize,
    /// Octets of all bodies in files together; beyond: `452 4.3.1`.
    pub total_bytes_max: u64,
}

/// A finished body.
#[derive(Debug)]
pub struct Body;
