//! How the opcode table says that opcodes are done, beside what revm's instructions do: those that
//! need nothing but the frame, and neither charge gas nor fail, are computed; all others may
//! charge.

use alloy_primitives::{Address, B256, Log, U256};
use cranevm_passes::ir::{implementation::Implementation, opcode::Opcode};
use revm_bytecode::Bytecode;
use revm_interpreter::{
    Host, InstructionContext, Interpreter, SStoreResult, SelfDestructResult, SharedMemory,
    StateLoad,
    context_interface::{cfg::GasParams, host::LoadError, journaled_state::AccountInfoLoad},
    instructions::instruction_table,
    interpreter::{EthInterpreter, ExtBytecode, InputsImpl},
};
use revm_primitives::hardfork::SpecId;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};

/// A host that nobody may ask.
struct NoHost;

macro_rules! asks_nobody {
    ($(fn $name:ident($($argument:ident: $ty:ty),*) $(-> $result:ty)?;)*) => {
        $(fn $name(&self $(, _: $ty)*) $(-> $result)? { panic!("the host was asked") })*
    };
}

macro_rules! changes_nobody {
    ($(fn $name:ident($($argument:ident: $ty:ty),*) $(-> $result:ty)?;)*) => {
        $(fn $name(&mut self $(, _: $ty)*) $(-> $result)? { panic!("the host was asked") })*
    };
}

impl Host for NoHost {
    asks_nobody! {
        fn basefee() -> U256;
        fn blob_gasprice() -> U256;
        fn gas_limit() -> U256;
        fn difficulty() -> U256;
        fn prevrandao() -> Option<U256>;
        fn block_number() -> U256;
        fn timestamp() -> U256;
        fn beneficiary() -> Address;
        fn slot_num() -> U256;
        fn chain_id() -> U256;
        fn effective_gas_price() -> U256;
        fn caller() -> Address;
        fn max_initcode_size() -> usize;
        fn gas_params() -> &GasParams;
        fn is_amsterdam_eip8037_enabled() -> bool;
    }

    fn blob_hash(&self, _: usize) -> Option<U256> {
        panic!("the host was asked")
    }

    changes_nobody! {
        fn block_hash(number: u64) -> Option<B256>;
        fn selfdestruct(
            address: Address, target: Address, skip: bool
        ) -> Result<StateLoad<SelfDestructResult>, LoadError>;
        fn log(log: Log);
        fn sstore_skip_cold_load(
            address: Address, key: U256, value: U256, skip: bool
        ) -> Result<StateLoad<SStoreResult>, LoadError>;
        fn sload_skip_cold_load(
            address: Address, key: U256, skip: bool
        ) -> Result<StateLoad<U256>, LoadError>;
        fn tstore(address: Address, key: U256, value: U256);
        fn tload(address: Address, key: U256) -> U256;
        fn load_account_info_skip_cold_load(
            address: Address, code: bool, skip: bool
        ) -> Result<AccountInfoLoad<'_>, LoadError>;
    }
}

const GAS: u64 = 1_000_000;

/// Whether revm's instruction, with each of some words as all its operands, asks no host, takes no
/// gas beyond its static gas, and doesn't fail.
fn is_computed(opcode: Opcode, spec: SpecId) -> bool {
    let words = [U256::ZERO, U256::from(1), U256::from(33), U256::from(u64::MAX), U256::MAX];
    let instruction = instruction_table::<EthInterpreter, NoHost>()[usize::from(opcode.get())];
    words.into_iter().all(|word| {
        // The byte after it is an immediate that EIP-8024 has.
        let code = Bytecode::new_raw(vec![opcode.get(), 0x80].into());
        let mut interpreter = Interpreter::<EthInterpreter>::new(
            SharedMemory::new(),
            ExtBytecode::new(code),
            InputsImpl::default(),
            false,
            spec,
            GAS,
        );
        interpreter.stack.data_mut().extend([word; 400]);
        let run = catch_unwind(AssertUnwindSafe(|| {
            // As a step leaves it.
            revm_interpreter::interpreter_types::Jumps::relative_jump(&mut interpreter.bytecode, 1);
            instruction
                .execute(InstructionContext { interpreter: &mut interpreter, host: &mut NoHost })
        }));
        matches!(run, Ok(Ok(()))) && interpreter.gas.remaining() == GAS
    })
}

#[test]
fn what_revm_computes_of_the_frame_alone_is_computed_and_nothing_else() {
    let hook = take_hook();
    set_hook(Box::new(|_| {}));
    let mut wrong = Vec::new();
    for spec in (0..=SpecId::NEXT as u8).filter_map(SpecId::try_from_u8) {
        for opcode in (0..=u8::MAX).map(Opcode::new).filter(|opcode| opcode.is_active(spec)) {
            let implementation = opcode.implementation();
            // Where the frame goes on is decided by the block's end.
            if matches!(implementation, Implementation::Jump | Implementation::Branch) {
                continue;
            }
            let computes = implementation.computes();
            if is_computed(opcode, spec) != computes {
                wrong.push(format!("{opcode} in {spec:?}: {implementation}"));
            }
            let ends = [Implementation::Stop, Implementation::HandOver].contains(&implementation);
            assert_eq!(!implementation.charges(), computes || ends, "{opcode}");
        }
    }
    set_hook(hook);
    assert!(wrong.is_empty(), "{wrong:#?}");
}
