//! Filling the processor's caches with other data, so that what runs next begins cold.

use std::hint::black_box;

/// Bytes that are walked: more than the caches of a server's core and its share of the last level.
pub(super) const BYTES: usize = 128 << 20;

/// A line of the cache on x86-64 and on aarch64 servers.
const LINE: usize = 64;

/// Other data.
#[derive(Debug)]
pub(super) struct OtherData(Vec<u64>);

impl Default for OtherData {
    fn default() -> Self {
        // Written, so that each page is one of its own.
        Self((0..BYTES as u64 / 8).collect())
    }
}

impl OtherData {
    /// Reads and writes all of it, a line at a time.
    pub(super) fn walk(&mut self) {
        for line in self.0.chunks_exact_mut(LINE / 8) {
            line[0] = line[0].wrapping_add(1);
        }
        black_box(&mut self.0);
    }
}
