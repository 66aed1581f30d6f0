//! Systems without the calls that code memory needs: there is no reservation.

use super::super::CodeMemoryError;
use cranelift_jit::BranchProtection;
use std::{convert::Infallible, ops::Range, ptr::NonNull};

/// A reservation that can't be made: there is no value of it.
#[derive(Debug)]
pub(in super::super) struct Reservation(Infallible);

impl Reservation {
    pub(in super::super) fn new(_bytes: usize) -> Result<Self, CodeMemoryError> {
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

    pub(in super::super) unsafe fn make_writable(
        &self,
        _range: Range<usize>,
    ) -> Result<(), CodeMemoryError> {
        match self.0 {}
    }

    pub(in super::super) unsafe fn make_executable(
        &self,
        _range: Range<usize>,
        _branch_protection: BranchProtection,
    ) -> Result<(), CodeMemoryError> {
        match self.0 {}
    }

    pub(in super::super) unsafe fn discard(
        &self,
        _range: Range<usize>,
    ) -> Result<(), CodeMemoryError> {
        match self.0 {}
    }
}
