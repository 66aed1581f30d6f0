//! What a lookup asks and what it answers. Plain data.

use crate::{error::CompileFailure, program::CompiledProgram};
use alloy_primitives::{B256, Bytes};
use revm::primitives::hardfork::SpecId;
use std::{
    hash::{Hash, Hasher},
    sync::Arc,
};

/// Names a program: the contract's code and the fork that it is compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuntimeCacheKey {
    /// Keccak-256 of the bytecode. In a request it is a claim, which may find a program: what is
    /// found is compared with the request's code, and what is compiled is hashed.
    pub code_hash: B256,
    /// The fork. It decides prices and which opcodes exist, so it is part of the name.
    pub spec_id: SpecId,
}

impl Hash for RuntimeCacheKey {
    /// Eight bytes of a Keccak are as good as all: a frame pays for this, and who would make two
    /// codes meet in a table has 2^32 hashes to try for each pair.
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        let [start, ..] = self.code_hash.as_chunks().0 else { return };
        state.write_u64(u64::from_le_bytes(*start) ^ self.spec_id as u64);
    }
}

/// Asks for a program.
#[derive(Clone, Debug)]
pub struct LookupRequest {
    /// The program's name.
    pub key: RuntimeCacheKey,
    /// The contract's bytecode as deployed: without the padding that revm adds for analysis.
    pub code: Bytes,
}

/// Asks for a persistent artifact.
#[derive(Clone, Debug)]
pub struct AotRequest {
    /// Keccak-256 of the bytecode. It is computed again: no artifact is made under a wrong one.
    pub code_hash: B256,
    /// The contract's bytecode as deployed.
    pub code: Bytes,
    /// The fork to compile for.
    pub spec_id: SpecId,
}

impl AotRequest {
    /// The name of the program that the artifact holds.
    pub(crate) fn key(&self) -> RuntimeCacheKey {
        RuntimeCacheKey { code_hash: self.code_hash, spec_id: self.spec_id }
    }
}

/// What a backend knows of a program; see
/// [`JitBackend::status`](crate::runtime::JitBackend::status).
#[derive(Clone, Debug)]
pub enum ProgramStatus {
    /// Nothing: never looked up, or forgotten.
    Unknown,
    /// Looked up, but not often enough.
    Cold {
        /// Misses counted towards the threshold.
        misses: u32,
    },
    /// Waiting for a worker, or being compiled.
    Pending,
    /// Resident as compiled at first; better code may be on its way.
    Baseline,
    /// Resident, as compiled at the configured level.
    Ready,
    /// Compilation failed; the code is interpreted.
    Failed(Arc<CompileFailure>),
}

/// Answers a lookup.
#[derive(Clone, Debug)]
pub enum LookupDecision {
    /// Run this program.
    Compiled(Arc<CompiledProgram>),
    /// Run the interpreter.
    Interpret(InterpretReason),
}

/// Why a frame is interpreted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InterpretReason {
    /// The backend is switched off.
    Disabled,
    /// The code is never compiled: it is empty or longer than
    /// [`jit_max_bytecode_len`](crate::runtime::RuntimeTuning::jit_max_bytecode_len), or
    /// [`gas_params`](crate::runtime::RuntimeConfig::gas_params) isn't the fork's schedule, or this
    /// crate was built without its compiler.
    Ineligible,
    /// There is no program now. There may be one at a later lookup.
    NotReady,
    /// Compilation was tried and failed. Only blocking lookups say so.
    JitFailed,
}
