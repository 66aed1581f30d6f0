//! EVMs and factories in clients' own types, and what they reach through the crate.

use crate::{
    common::{self, SPEC, TARGET, call, database, evm, summing},
    node::{JitControl, Node, arguments},
};
use cranevm as revmc;
use revm::{
    ExecuteEvm,
    context::{Evm, TxEnv},
    database::{CacheDB, EmptyDB},
    handler::{EthFrame, EthPrecompiles, instructions::EthInstructions},
    interpreter::interpreter::EthInterpreter,
    primitives::hardfork::SpecId,
};
use revmc::{revm_evm::JitEvm, runtime::JitBackend};

/// One EVM for all transactions, in a type of the node's own.
type NodeEvm = JitEvm<
    Evm<
        common::TestContext<CacheDB<EmptyDB>>,
        (),
        EthInstructions<EthInterpreter, common::TestContext<CacheDB<EmptyDB>>>,
        EthPrecompiles,
        EthFrame<EthInterpreter>,
    >,
>;

#[derive(Debug)]
struct Executor {
    evm: NodeEvm,
}

impl Executor {
    /// `const fn`s over the wrapper's.
    const fn backend(&self) -> &JitBackend {
        self.evm.backend()
    }

    const fn chain_spec(&self) -> SpecId {
        self.evm.inner().ctx.cfg.spec
    }

    fn execute(&mut self, transaction: TxEnv) -> revmc::Result<u64> {
        Ok(self.evm.transact(transaction)?.result.tx_gas_used())
    }
}

#[test]
fn an_executor_keeps_one_evm_for_ever() -> revmc::Result<()> {
    let node = Node::new(&arguments())?;
    let inner = evm(database(&[(TARGET, &summing()[..])]), SPEC);
    let mut executor = Executor { evm: JitEvm::new(inner, node.backend.clone()) };
    assert_eq!(executor.chain_spec(), SPEC);
    let first = executor.execute(call())?;
    for _ in 0..20 {
        assert_eq!(executor.execute(call())?, first);
    }
    assert!(executor.backend().wait_idle(common::LONG));
    assert_eq!(node.resident(), 1);
    executor.evm.set_backend(JitBackend::disabled());
    assert!(!executor.backend().enabled());
    *executor.evm.backend_mut() = node.backend;
    executor.evm.inner_mut().ctx.block.number = revmc::U256::from(7);
    // Dereferences to the wrapped EVM.
    assert_eq!(executor.evm.ctx.block.number, revmc::U256::from(7));
    let plain = JitEvm::disabled(executor.evm.into_inner()).into_inner();
    assert_eq!(plain.ctx.cfg.spec, revmc::SpecId::CANCUN);
    Ok(())
}

/// The crates that clients reach through this one.
#[test]
fn revm_is_reached_through_the_crate() {
    use revmc::{
        context_interface::Cfg, handler::EvmTr, inspector::NoOpInspector, interpreter::Gas,
        primitives::Address, revm_bytecode::opcode::STOP,
    };
    fn is_an_evm<T: EvmTr>() {}
    fn is_a_cfg<T: Cfg>() {}
    is_an_evm::<NodeEvm>();
    is_a_cfg::<revm::context::CfgEnv>();
    let _inspector = NoOpInspector {};
    assert_eq!((Gas::new(7).limit(), STOP, Address::ZERO[0]), (7, 0, 0));
    let error: revmc::Error = revmc::eyre::eyre!("{}", 1);
    assert_eq!(error.to_string(), "1");
}

/// Factories of nodes: `const fn`s over ours, in types that derive what it has.
mod factory {
    use super::JitBackend;
    use crate::node::{Arguments, Node, arguments};
    use cranevm::alloy_evm::{JitEvm, JitEvmFactory};

    #[derive(Debug, Clone)]
    struct NodeFactory {
        inner: JitEvmFactory,
    }

    impl NodeFactory {
        const fn new(backend: JitBackend) -> Self {
            Self { inner: JitEvmFactory::new(backend) }
        }

        const fn disabled() -> Self {
            Self::new(JitBackend::disabled())
        }

        const fn backend(&self) -> &JitBackend {
            self.inner.backend()
        }
    }

    #[test]
    fn a_factory_is_wrapped_by_const_functions() {
        use ::alloy_evm::{EvmEnv, EvmFactory};
        static OFF: NodeFactory = NodeFactory::disabled();
        assert!(!OFF.backend().enabled());
        let node = Node::new(&Arguments { blocking: true, ..arguments() }).unwrap();
        let factory = NodeFactory::new(node.backend);
        let evm: JitEvm<_, _> =
            factory.clone().inner.create_evm(super::database(&[]), EvmEnv::default());
        assert!(evm.backend().enabled() && factory.backend().enabled());
        let _all: fn(JitBackend) -> NodeFactory = NodeFactory::new;
    }
}
