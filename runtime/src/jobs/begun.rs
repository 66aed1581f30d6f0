//! A contract as a worker compiles it: one chunk at a time, so that the worker may turn to something
//! more urgent in between.
//!
//! Where helper processes compile, it comes whole: chunks don't travel alone.

use crate::{
    compiler_pool::{CompilerPool, Tier},
    error::CompileFailure,
    helper::Client,
    service::CompileService,
    source::Source,
    teamwork::chunks_to_come,
};
use cranevm_codegen::{Analysed, Chunk, CompiledCode};

/// A contract of which at least the first chunk is compiled.
pub(super) struct Begun {
    pub(super) tier: Tier,
    /// `None` if no chunks are to come.
    pub(super) analysed: Option<Analysed>,
    pub(super) compiled: CompiledCode,
    /// Chunks to come, the next one last.
    pub(super) to_come: Vec<Chunk>,
}

impl Begun {
    /// Compiles what a contract starts in, or, in a helper, all of it.
    pub(super) fn new(
        service: &CompileService,
        tier: Tier,
        source: &Source,
    ) -> Result<Self, CompileFailure> {
        if let Some(helpers) = &service.helpers {
            // As where it is compiled here.
            service.compilers.space.reserve()?;
            let compiled = helpers.compile(&service.work(tier, source), Client::Worker)?;
            return Ok(Self::whole(tier, compiled));
        }
        let (analysed, compiled) = service.compilers.begin(tier, source)?;
        let to_come = chunks_to_come(&analysed);
        Ok(Self { tier, analysed: Some(analysed), compiled, to_come })
    }

    /// A contract of which nothing is to come.
    pub(super) const fn whole(tier: Tier, compiled: CompiledCode) -> Self {
        Self { tier, analysed: None, compiled, to_come: Vec::new() }
    }

    /// A contract whole, of stencils; where these can't be put together to that, as may be with code
    /// that is larger than the machine's branches reach, at the configured level.
    pub(super) fn first(service: &CompileService, source: &Source) -> Result<Self, CompileFailure> {
        match service.compilers.first_tier() {
            Tier::Baseline => {
                let begun = Self::new(service, Tier::Baseline, source);
                if !begun.as_ref().is_err_and(CompileFailure::is_unfit_for_stencils) {
                    return begun;
                }
                let mut begun = Self::new(service, Tier::Full, source)?;
                while !begun.is_whole() {
                    begun.go_on(&service.compilers)?;
                }
                Ok(begun)
            }
            tier => Self::new(service, tier, source),
        }
    }

    /// Compiles the next chunk, if one is to come.
    pub(super) fn go_on(&mut self, compilers: &CompilerPool) -> Result<(), CompileFailure> {
        if let (Some(analysed), Some(chunk)) = (&self.analysed, self.to_come.pop()) {
            let timings = &mut self.compiled.timings;
            let code = compilers.chunk(self.tier, analysed, chunk, timings)?;
            self.compiled.place_chunk(code)?;
        }
        Ok(())
    }

    /// Whether all chunks are there.
    pub(super) fn is_whole(&self) -> bool {
        self.to_come.is_empty()
    }
}
