//! Systems without files in memory that can be executed: there is no such file.

use super::mapping::Mapping;
use std::{convert::Infallible, io, ops::Range};

/// A file that can't be made: there is no value of it.
#[derive(Debug)]
pub(super) struct CodeFile(Infallible);

impl CodeFile {
    pub(super) fn reserve(_len: usize) -> io::Result<(Mapping, Self)> {
        Err(io::Error::from(io::ErrorKind::Unsupported))
    }

    pub(super) unsafe fn place(
        &self,
        _offset: usize,
        _address: *const u8,
        _code: &[u8],
    ) -> io::Result<()> {
        match self.0 {}
    }

    pub(super) fn write(&self, _offset: usize, _bytes: &[u8]) -> io::Result<()> {
        match self.0 {}
    }

    pub(super) fn bring(&self, _address: *mut u8, _bytes: usize) {
        match self.0 {}
    }

    pub(super) fn merge(&self, _address: *mut u8, _bytes: usize) -> io::Result<()> {
        match self.0 {}
    }

    pub(super) fn discard(&self, _range: Range<usize>) -> io::Result<()> {
        match self.0 {}
    }
}
