//! What stands for helpers where the compiler isn't built: none, ever.

use super::{Client, Work};
use crate::{config::RuntimeConfig, error::CompileFailure, ledger::Ledger};
use cranevm_codegen::CompiledCode;
use std::{convert::Infallible, sync::Arc};

/// No helpers.
pub(crate) struct Helpers(Infallible);

impl Helpers {
    /// None: nothing is compiled.
    pub(crate) const fn new(_config: &RuntimeConfig, _ledger: &Arc<Ledger>) -> Option<Self> {
        None
    }

    /// Never called.
    pub(crate) const fn compile(
        &self,
        _work: &Work<'_>,
        _client: Client,
    ) -> Result<CompiledCode, CompileFailure> {
        match self.0 {}
    }

    /// Never called.
    pub(crate) const fn dump(
        &self,
        _work: &Work<'_>,
        _client: Client,
    ) -> Result<(), CompileFailure> {
        match self.0 {}
    }

    /// Never called.
    pub(crate) const fn is_resting(&self) -> bool {
        match self.0 {}
    }

    /// Never called.
    pub(crate) const fn has_idle(&self) -> bool {
        match self.0 {}
    }

    /// Never called.
    pub(crate) const fn tend(&self) {
        match self.0 {}
    }

    /// Never called.
    pub(crate) const fn stop(&self) {
        match self.0 {}
    }
}
