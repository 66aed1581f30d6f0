//! Integration with alloy-evm, for nodes that build their EVMs through an
//! [`EvmFactory`](::alloy_evm::EvmFactory): put [`JitEvmFactory`] where `EthEvmFactory` was.
//!
//! [`JitEvm`] is alloy-evm's `EthEvm` over [`revm_evm::JitEvm`](crate::revm_evm::JitEvm): the same
//! context, instructions, precompiles and errors, and the same rules for inspection. What is said
//! there about which frames run natively holds here. Transactions under an enabled inspector are
//! interpreted throughout, so that it sees every step; those without one cost what the wrapped EVM
//! costs.

mod evm;
mod factory;

pub use evm::JitEvm;
pub use factory::JitEvmFactory;

use ::alloy_evm::eth::EthEvmContext;
use revm::{
    context::Evm as RevmEvm,
    handler::{EthFrame, instructions::EthInstructions},
    interpreter::interpreter::EthInterpreter,
};

/// The revm EVM inside a [`JitEvm`].
type EthRevmEvm<DB, I, PRECOMPILE> = RevmEvm<
    EthEvmContext<DB>,
    I,
    EthInstructions<EthInterpreter, EthEvmContext<DB>>,
    PRECOMPILE,
    EthFrame,
>;
