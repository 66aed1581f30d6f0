//! `alloy_evm::{JitEvm, JitEvmFactory}` as a node uses them: a factory kept in the node's own
//! types, EVMs made per block, and every result compared with alloy-evm's own EVM.

#![cfg(feature = "alloy-evm")]

mod common;

use ::alloy_evm::{
    EthEvmFactory, Evm, EvmEnv, EvmFactory,
    eth::EthEvmContext,
    precompiles::{DynPrecompile, PrecompileInput},
};
use common::{
    CALLEE, PROBE, SPEC, StepCounter, TARGET, call, calling, database,
    failing::{Failing, NoStorage},
    request, summing,
};
use cranevm::{
    alloy_evm::{JitEvm, JitEvmFactory},
    primitives::{Address, Bytes},
    runtime::{JitBackend, RuntimeConfig},
};
use revm::{
    bytecode::opcode::*,
    context::{
        CfgEnv,
        result::{EVMError, ExecutionResult, HaltReason, ResultAndState},
    },
    database::{CacheDB, EmptyDB},
    inspector::NoOpInspector,
    precompile::PrecompileOutput,
};
use std::fmt::Debug;

fn backend() -> JitBackend {
    JitBackend::new(RuntimeConfig { enabled: true, blocking: true, ..Default::default() }).unwrap()
}

fn env() -> EvmEnv {
    let mut cfg_env = CfgEnv::<cranevm::SpecId>::default().with_spec_and_mainnet_gas_params(SPEC);
    cfg_env.disable_nonce_check = true;
    EvmEnv { cfg_env, ..EvmEnv::default() }
}

/// A node's own factory around ours.
#[derive(Clone, Debug)]
struct NodeFactory {
    inner: JitEvmFactory,
}

impl NodeFactory {
    const fn new(backend: JitBackend) -> Self {
        Self { inner: JitEvmFactory::new(backend) }
    }

    const fn backend(&self) -> &JitBackend {
        self.inner.backend()
    }
}

/// How a node hands the backend to its RPC.
trait Control: Debug + Send + Sync {
    fn is_enabled(&self) -> bool;
}

impl Control for NodeFactory {
    fn is_enabled(&self) -> bool {
        self.backend().enabled()
    }
}

/// What a node's own `const fn` over an EVM relies on.
const fn backend_of<'a, I>(evm: &'a JitEvm<CacheDB<EmptyDB>, I>) -> &'a JitBackend {
    let _context: &EthEvmContext<CacheDB<EmptyDB>> = evm.ctx();
    let _revm: &'a CacheDB<EmptyDB> = &evm.inner().inner().ctx.journaled_state.database;
    evm.backend()
}

const fn assert_shared<T: Clone + Debug + Send + Sync>() {}
const _: () = assert_shared::<JitEvmFactory>();
const _: () = assert_shared::<NodeFactory>();

#[test]
fn a_factory_lives_in_a_nodes_own_types() {
    static DISABLED: NodeFactory = NodeFactory::new(JitBackend::disabled());
    assert!(!DISABLED.is_enabled());
    let factory = NodeFactory::new(backend());
    let control: Box<dyn Control> = Box::new(factory.clone());
    assert!(control.is_enabled());
    let evm = factory.inner.create_evm(database(&[]), env());
    assert!(format!("{evm:?}").starts_with("JitEvm"));
    backend_of(&evm).set_enabled(false).unwrap();
    assert!(!control.is_enabled(), "the factory's backend is the EVM's");
}

/// Runs on whatever factory a node is built with.
fn transact_with<F: EvmFactory<Spec = cranevm::SpecId, BlockEnv = revm::context::BlockEnv>>(
    factory: &F,
    contracts: &[(Address, &[u8])],
) -> (ResultAndState<F::HaltReason>, ResultAndState<F::HaltReason>)
where
    F::Tx: From<revm::context::TxEnv>,
{
    let mut evm = factory.create_evm(database(contracts), env());
    let fail = |_| panic!("the transaction is valid");
    let first = evm.transact_raw(call().into()).unwrap_or_else(fail);
    let system = Address::repeat_byte(0xfe);
    let second = evm.transact_system_call(system, TARGET, Bytes::new()).unwrap_or_else(fail);
    let (database, env) = evm.finish();
    assert_eq!(env.cfg_env.spec, SPEC);
    assert!(database.cache.accounts.contains_key(&TARGET));
    (first, second)
}

#[test]
fn transactions_and_system_calls_equal_alloys() {
    let callee = summing();
    for code in [summing(), calling(), vec![PUSH0, PUSH0, REVERT]] {
        let contracts = [(TARGET, &code[..]), (CALLEE, &callee[..])];
        let expected = transact_with(&EthEvmFactory::default(), &contracts);
        let backend = backend();
        let found = transact_with(&JitEvmFactory::new(backend.clone()), &contracts);
        assert_eq!(found, expected);
        assert!(backend.stats().compilations_succeeded >= 1);
        let disabled = transact_with(&JitEvmFactory::new(JitBackend::disabled()), &contracts);
        assert_eq!(disabled, expected);
    }
}

#[test]
fn hot_code_runs_natively() {
    let factory = JitEvmFactory::new(backend());
    let mut evm = factory.create_evm(database(&[(TARGET, PROBE)]), env());
    let reason = |evm: &mut JitEvm<_, _>| match evm.transact(call()).unwrap().result {
        ExecutionResult::Halt { reason, .. } => reason,
        other => panic!("must halt: {other:?}"),
    };
    // `single_error` makes the reason tell who ran it.
    assert!(matches!(reason(&mut evm), HaltReason::OutOfGas(_)));
    factory.backend().set_enabled(false).unwrap();
    assert_eq!(reason(&mut evm), HaltReason::InvalidFEOpcode);
}

#[test]
fn an_inspector_sees_every_step_of_hot_code() {
    let code = summing();
    let contracts = [(TARGET, &code[..])];
    let mut expected = StepCounter::default();
    EthEvmFactory::default()
        .create_evm_with_inspector(database(&contracts), env(), &mut expected)
        .transact(call())
        .unwrap();
    assert!(expected.0 > 1000);

    let factory = JitEvmFactory::new(backend());
    factory.backend().compile_jit_sync(request(&code)).unwrap();
    let mut counter = StepCounter::default();
    let mut evm = factory.create_evm_with_inspector(database(&contracts), env(), &mut counter);
    evm.transact(call()).unwrap();
    assert_eq!(evm.inspector().0, expected.0);
    // Switched off, it is not called, and the code runs natively.
    evm.disable_inspector();
    evm.transact(call()).unwrap();
    assert_eq!(evm.inspector().0, expected.0);
    evm.enable_inspector();
    evm.transact(call()).unwrap();
    assert_eq!(evm.inspector_mut().0, 2 * expected.0);
    let hits = factory.backend().stats().lookup_hits;
    assert!(hits >= 1, "the code was hot");
}

/// Calls the precompile at address 0x99 and returns what it returns.
fn calling_precompile() -> Vec<u8> {
    let mut code = vec![PUSH1, 32, PUSH0, PUSH0, PUSH0, PUSH0, PUSH1, 0x99];
    code.extend([PUSH2, 0xff, 0xff, CALL, POP, PUSH1, 32, PUSH0, RETURN]);
    code
}

#[test]
fn custom_precompiles_are_called_from_native_code() {
    let factory = JitEvmFactory::new(backend());
    let code = calling_precompile();
    let mut evm = factory.create_evm(database(&[(TARGET, &code[..])]), env());
    let address = Address::with_last_byte(0x99);
    let answer = DynPrecompile::from(|_: PrecompileInput<'_>| {
        Ok(PrecompileOutput::new(15, Bytes::from(vec![7; 32]), 0))
    });
    evm.precompiles_mut().apply_precompile(&address, |_| Some(answer));
    assert!(evm.precompiles().addresses().any(|known| *known == address));
    let result = evm.transact(call()).unwrap().result;
    assert_eq!(result.output(), Some(&Bytes::from(vec![7; 32])));
    assert_eq!(factory.backend().stats().compilations_succeeded, 1);
}

#[test]
fn database_errors_reach_the_caller() {
    let code = [PUSH0, SLOAD, STOP];
    let factory = JitEvmFactory::new(backend());
    let mut evm = factory.create_evm(Failing(database(&[(TARGET, &code[..])])), env());
    for _ in 0..2 {
        let error = evm.transact(call()).unwrap_err();
        assert!(matches!(error, EVMError::Database(NoStorage)), "{error:?}");
    }
    assert_eq!(factory.backend().stats().compilations_succeeded, 1);
}

#[test]
fn an_evm_wraps_one_that_a_node_has_built() {
    let built = EthEvmFactory::default()
        .create_evm_with_inspector(database(&[(TARGET, &summing()[..])]), env(), NoOpInspector)
        .into_inner();
    let backend = backend();
    let mut evm = JitEvm::new(built, false, backend.clone());
    assert_eq!(evm.chain_id(), 1);
    assert_eq!(evm.cfg.spec, SPEC);
    evm.block.number = revm::primitives::U256::from(5);
    assert_eq!(evm.block().number, revm::primitives::U256::from(5));
    assert!(evm.transact(call()).unwrap().result.is_success());
    assert_eq!(backend.stats().compilations_succeeded, 1);
    assert_eq!(evm.into_inner().ctx.block.number, revm::primitives::U256::from(5));
}
