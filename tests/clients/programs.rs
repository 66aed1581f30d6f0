//! Lookups, and what they answer.

use crate::{
    common::{self, numbered, request, summing},
    node::{Arguments, Node, arguments},
};
use cranevm as revmc;
use revm::primitives::{B256, Bytes, hardfork::SpecId};
use revmc::runtime::{
    AotRequest, CompiledProgram, InterpretReason, LookupDecision, LookupRequest, ProgramKind,
    RuntimeCacheKey,
};
use std::{collections::HashMap, sync::Arc};

/// How a client shows a decision: exhaustively.
fn label(decision: &LookupDecision) -> &'static str {
    match decision {
        LookupDecision::Compiled(program) => match program.kind {
            ProgramKind::Jit => "jit",
            ProgramKind::Aot => "aot",
        },
        LookupDecision::Interpret(reason) => match reason {
            InterpretReason::Disabled => "disabled",
            InterpretReason::Ineligible => "ineligible",
            InterpretReason::NotReady => "not ready",
            InterpretReason::JitFailed => "failed",
        },
    }
}

#[test]
fn decisions_are_matched_and_programs_looked_into() {
    let node = Node::new(&Arguments { enabled: false, ..arguments() }).unwrap();
    let request = request(&summing());
    assert_eq!(label(&node.backend.lookup(request.clone())), "disabled");
    assert_eq!(label(&node.backend.lookup_blocking(request.clone())), "jit");
    node.backend.set_enabled(true).unwrap();
    assert_eq!(label(&node.backend.lookup(common::request(&[]))), "ineligible");
    assert_eq!(label(&node.backend.lookup(numbered(1))), "not ready");
    let RuntimeCacheKey { code_hash, spec_id } = request.key;
    let program: Arc<CompiledProgram> = node.backend.get_compiled(code_hash, spec_id).unwrap();
    let func: revmc::EvmCompilerFn = program.func;
    let raw: revmc::RawEvmCompilerFn = func.into_inner();
    assert_eq!(revmc::EvmCompilerFn::new(raw).into_inner() as usize, raw as usize);
    assert_eq!(program.key, request.key);
    assert!(node.backend.get_compiled_tracked(B256::ZERO, SpecId::CANCUN).is_none());
    // Keys are what clients put into maps.
    let map: HashMap<RuntimeCacheKey, LookupRequest> = [(request.key, request)].into();
    assert_eq!(map.len(), 1);
    let aot = AotRequest { code_hash, code: Bytes::from(summing()), spec_id };
    assert_eq!(aot.clone().code_hash, code_hash);
    // Never waits; what becomes of it is the store's tests' concern.
    node.backend.prepare_aot(aot);
    node.backend.prepare_aot_batch(Vec::new());
}
