//! Systems without the calls that code memory needs: there is no reservation.

use super::{super::CodeMemoryError, Way};
use std::{convert::Infallible, io, ops::Range, ptr::NonNull};

/// A reservation that can't be made: there is no value of it.
#[derive(Debug)]
pub(in super::super) struct Reservation(Infallible);

impl Reservation {
    pub(in super::super) fn new(_bytes: usize, _way: Way) -> Result<Self, CodeMemoryError> {
        Err(CodeMemoryError::UnsupportedSystem)
    }

    pub(in super::super) fn base(&self) -> NonNull<u8> {
        match self.0 {}
    }

    pub(in super::super) fn len(&self) -> usize {
        match self.0 {}
    }

    pub(in super::super) fn page(&self) -> usize {
        match self.0 {}
    }

    pub(in super::super) fn granule(&self) -> usize {
        match self.0 {}
    }

    pub(in super::super) fn how(&self) -> &str {
        match self.0 {}
    }

    pub(in super::super) fn is_owned(&self) -> bool {
        match self.0 {}
    }

    pub(in super::super) unsafe fn place(
        &self,
        _range: Range<usize>,
        _code: &[u8],
    ) -> Result<(), CodeMemoryError> {
        match self.0 {}
    }

    pub(in super::super) unsafe fn erase(
        &self,
        _range: Range<usize>,
        _by: &[u8],
    ) -> io::Result<()> {
        match self.0 {}
    }

    pub(in super::super) fn bring(&self, _range: Range<usize>) {
        match self.0 {}
    }

    pub(in super::super) fn merge(&self, _range: Range<usize>) -> io::Result<()> {
        match self.0 {}
    }

    pub(in super::super) unsafe fn discard(&self, _range: Range<usize>) -> io::Result<()> {
        match self.0 {}
    }
}
