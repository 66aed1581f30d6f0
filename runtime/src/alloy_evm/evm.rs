//! alloy-evm's [`Evm`] on top of [`revm_evm::JitEvm`](crate::revm_evm::JitEvm).

use super::EthRevmEvm;
use crate::{revm_evm, runtime::JitBackend};
use ::alloy_evm::{
    Database, Evm, EvmEnv,
    eth::EthEvmContext,
    precompiles::PrecompilesMap,
    revm::context_interface::result::{EVMError, HaltReason, ResultAndState},
};
use revm::{
    Context, ExecuteEvm, InspectEvm, Inspector, SystemCallEvm,
    context::{BlockEnv, CfgEnv, TxEnv},
    handler::PrecompileProvider,
    interpreter::InterpreterResult,
    primitives::{Address, Bytes, hardfork::SpecId},
};
use std::{
    fmt,
    ops::{Deref, DerefMut},
};

/// An Ethereum EVM that runs compiled code where the backend has it.
///
/// Dereferences to its context, like alloy-evm's `EthEvm`.
pub struct JitEvm<DB: Database, I, PRECOMPILE = PrecompilesMap> {
    inner: revm_evm::JitEvm<EthRevmEvm<DB, I, PRECOMPILE>>,
    /// Whether the inspector is called; such transactions are interpreted.
    inspect: bool,
}

impl<DB: Database, I, PRECOMPILE> JitEvm<DB, I, PRECOMPILE> {
    /// Wraps a revm EVM. `inspect` says whether its inspector sees the transactions
    /// ([`Evm::set_inspector_enabled`] changes that later).
    pub fn new(inner: EthRevmEvm<DB, I, PRECOMPILE>, inspect: bool, backend: JitBackend) -> Self {
        Self { inner: revm_evm::JitEvm::new(inner, backend).assume_revms(), inspect }
    }

    /// The backend.
    pub const fn backend(&self) -> &JitBackend {
        self.inner.backend()
    }

    /// The wrapped EVM.
    pub const fn inner(&self) -> &revm_evm::JitEvm<EthRevmEvm<DB, I, PRECOMPILE>> {
        &self.inner
    }

    /// The wrapped EVM.
    pub const fn inner_mut(&mut self) -> &mut revm_evm::JitEvm<EthRevmEvm<DB, I, PRECOMPILE>> {
        &mut self.inner
    }

    /// Unwraps the revm EVM.
    pub fn into_inner(self) -> EthRevmEvm<DB, I, PRECOMPILE> {
        self.inner.into_inner()
    }

    /// The EVM's context.
    pub const fn ctx(&self) -> &EthEvmContext<DB> {
        &self.inner.inner().ctx
    }

    /// The EVM's context.
    pub const fn ctx_mut(&mut self) -> &mut EthEvmContext<DB> {
        &mut self.inner.inner_but_tables_mut().ctx
    }
}

impl<DB: Database, I, PRECOMPILE> Deref for JitEvm<DB, I, PRECOMPILE> {
    type Target = EthEvmContext<DB>;

    fn deref(&self) -> &Self::Target {
        self.ctx()
    }
}

impl<DB: Database, I, PRECOMPILE> DerefMut for JitEvm<DB, I, PRECOMPILE> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        self.ctx_mut()
    }
}

impl<DB: Database, I, PRECOMPILE> fmt::Debug for JitEvm<DB, I, PRECOMPILE> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JitEvm")
            .field("inspect", &self.inspect)
            .field("backend", self.backend())
            .finish_non_exhaustive()
    }
}

impl<DB, I, PRECOMPILE> Evm for JitEvm<DB, I, PRECOMPILE>
where
    DB: Database,
    I: Inspector<EthEvmContext<DB>>,
    PRECOMPILE: PrecompileProvider<EthEvmContext<DB>, Output = InterpreterResult>,
{
    type DB = DB;
    type Tx = TxEnv;
    type Error = EVMError<DB::Error>;
    type HaltReason = HaltReason;
    type Spec = SpecId;
    type BlockEnv = BlockEnv;
    type Precompiles = PRECOMPILE;
    type Inspector = I;

    fn block(&self) -> &BlockEnv {
        &self.block
    }

    fn cfg_env(&self) -> &CfgEnv<SpecId> {
        &self.cfg
    }

    fn chain_id(&self) -> u64 {
        self.cfg.chain_id
    }

    fn transact_raw(&mut self, tx: TxEnv) -> Result<ResultAndState<HaltReason>, Self::Error> {
        if self.inspect { self.inner.inspect_tx(tx) } else { self.inner.transact(tx) }
    }

    /// As in alloy-evm's `EthEvm`, system calls aren't inspected.
    fn transact_system_call(
        &mut self,
        caller: Address,
        contract: Address,
        data: Bytes,
    ) -> Result<ResultAndState<HaltReason>, Self::Error> {
        self.inner.system_call_with_caller(caller, contract, data)
    }

    fn finish(self) -> (DB, EvmEnv) {
        let Context { block, cfg, journaled_state, .. } = self.into_inner().ctx;
        (journaled_state.database, EvmEnv { block_env: block, cfg_env: cfg })
    }

    fn set_inspector_enabled(&mut self, enabled: bool) {
        self.inspect = enabled;
    }

    fn components(&self) -> (&DB, &I, &PRECOMPILE) {
        let inner = self.inner.inner();
        (&inner.ctx.journaled_state.database, &inner.inspector, &inner.precompiles)
    }

    fn components_mut(&mut self) -> (&mut DB, &mut I, &mut PRECOMPILE) {
        let inner = self.inner.inner_but_tables_mut();
        (&mut inner.ctx.journaled_state.database, &mut inner.inspector, &mut inner.precompiles)
    }
}
