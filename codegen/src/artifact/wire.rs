//! Little-endian fields in a row, written and read. Reading never goes beyond the end, and copies
//! or allocates nothing.

use super::ArtifactError;
use alloy_primitives::B256;

/// What is left to read.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    /// What is being read, for errors.
    part: &'static str,
}

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8], part: &'static str) -> Self {
        Self { bytes, part }
    }

    pub(super) fn take(&mut self, len: usize) -> Result<&'a [u8], ArtifactError> {
        let (taken, rest) =
            self.bytes.split_at_checked(len).ok_or(ArtifactError::Malformed(self.part))?;
        self.bytes = rest;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], ArtifactError> {
        let (taken, rest) =
            self.bytes.split_first_chunk().ok_or(ArtifactError::Malformed(self.part))?;
        self.bytes = rest;
        Ok(*taken)
    }

    pub(super) fn u16(&mut self) -> Result<u16, ArtifactError> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub(super) fn u32(&mut self) -> Result<u32, ArtifactError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(super) fn u64(&mut self) -> Result<u64, ArtifactError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub(super) fn hash(&mut self) -> Result<B256, ArtifactError> {
        Ok(B256::new(self.array()?))
    }

    /// A text with its length before it.
    pub(super) fn text(&mut self) -> Result<&'a str, ArtifactError> {
        let len = self.u16()?;
        std::str::from_utf8(self.take(usize::from(len))?)
            .map_err(|_| ArtifactError::Malformed(self.part))
    }

    /// `count` items of `size` bytes.
    pub(super) fn items(&mut self, count: u32, size: usize) -> Result<&'a [u8], ArtifactError> {
        let len = (count as usize).checked_mul(size).ok_or(ArtifactError::Malformed(self.part))?;
        self.take(len)
    }

    /// Nothing may be left.
    pub(super) fn finish(self) -> Result<(), ArtifactError> {
        if self.bytes.is_empty() { Ok(()) } else { Err(ArtifactError::Malformed(self.part)) }
    }
}

/// Appends a text with its length before it; one that is longer than the length can tell is cut.
pub(super) fn put_text(out: &mut Vec<u8>, text: &str) {
    let end = text.floor_char_boundary(usize::from(u16::MAX));
    out.extend_from_slice(&(end as u16).to_le_bytes());
    out.extend_from_slice(&text.as_bytes()[..end]);
}
