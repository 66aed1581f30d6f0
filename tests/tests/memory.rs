//! Memory: growth, huge offsets, overlaps, and calldata that is a view of the caller's memory.

use alloy_primitives::U256;
use cranevm_tests::{
    assembly::Assembly,
    case::{Case, all_specs},
    check::Checker,
    parallel,
    programs::values::{PEERS, edges},
};
use revm::{
    bytecode::opcode::*,
    context::result::{ExecutionResult, HaltReason, OutOfGasError},
    primitives::hardfork::SpecId,
};
use std::sync::LazyLock;

static CHECKER: LazyLock<Checker> = LazyLock::new(Checker::new);

/// Opcodes that touch memory, their operands above the offset, and which operand is the offset.
fn memory_opcodes() -> Vec<(u8, usize, usize)> {
    let copies = [CALLDATACOPY, CODECOPY, RETURNDATACOPY, MCOPY].map(|opcode| (opcode, 3, 0));
    let others = [
        (MLOAD, 1, 0),
        (MSTORE, 2, 0),
        (MSTORE8, 2, 0),
        (KECCAK256, 2, 0),
        (MCOPY, 3, 1),
        (EXTCODECOPY, 4, 1),
        (LOG0, 2, 0),
        (LOG1, 3, 0),
        (RETURN, 2, 0),
        (REVERT, 2, 0),
        (CREATE, 3, 1),
        (CREATE2, 4, 1),
        (CALL, 7, 3),
        (CALL, 7, 5),
        (STATICCALL, 6, 2),
        (STATICCALL, 6, 4),
    ];
    copies.into_iter().chain(others).collect()
}

/// Operands with `length` one above the offset, as the opcodes have them, and zero elsewhere.
fn touch(opcode: u8, operands: usize, at: usize, offset: U256, length: U256) -> Assembly {
    let length_at = match opcode {
        CALLDATACOPY | CODECOPY | RETURNDATACOPY | MCOPY => 2,
        EXTCODECOPY => 3,
        _ => at + 1,
    };
    let mut asm = Assembly::new();
    for operand in (0..operands).rev() {
        asm = match operand {
            _ if operand == at => asm.push(offset),
            _ if operand == length_at => asm.push(length),
            _ => asm.push(0),
        };
    }
    asm.op(opcode)
}

#[test]
fn every_opcode_at_every_offset() {
    let lengths = [U256::ZERO, U256::ONE, U256::from(u64::MAX), U256::MAX];
    let opcodes = memory_opcodes();
    parallel::for_each(opcodes.len(), Checker::new, |checker, job| {
        let (opcode, operands, at) = opcodes[job];
        for offset in edges() {
            for length in lengths {
                let asm = touch(opcode, operands, at, offset, length).op(MSIZE).op(GAS).op(ADD);
                checker.check(&Case::new(SpecId::OSAKA, asm.return_top().code()));
            }
        }
        checker.clear();
    });
}

#[test]
fn growth_to_what_gas_pays() {
    // About 2.1 MB for 10 million gas; the quadratic term counts.
    for (offset, gas) in
        [(724 * 1024u64, 2_000_000u64), (3 << 20, 30_000_000), (1 << 23, 150_000_000)]
    {
        for delta in [-64i64, -1, 0, 1, 31, 32, 33] {
            let offset = offset.wrapping_add_signed(delta);
            let asm = Assembly::new().op(CALLER).push(offset).op(MSTORE).push(offset).op(MLOAD);
            let asm = asm.op(MSIZE).op(ADD).op(GAS).op(ADD).return_top();
            CHECKER.check(&Case::new(SpecId::OSAKA, asm.code()).gas(gas));
        }
    }
}

#[test]
fn size_counts_words() {
    for offset in [0, 1, 31, 32, 33, 63, 64, 95, 1000, 1023, 1024] {
        for opcode in [MSTORE, MSTORE8] {
            let asm = Assembly::new().op(MSIZE).push(0xff).push(offset).op(opcode).op(MSIZE);
            let asm = asm.push(offset).op(MLOAD).op(XOR).op(MSIZE).op(XOR).op(ADD);
            CHECKER.check(&Case::new(SpecId::OSAKA, asm.return_top().code()));
        }
    }
}

/// A zero length touches nothing, wherever it is.
#[test]
fn zero_lengths_do_not_grow() {
    for opcode in [CALLDATACOPY, CODECOPY, MCOPY] {
        let asm = Assembly::new().push(0).push(U256::MAX).push(U256::MAX).op(opcode).op(MSIZE);
        let seen = CHECKER.check(&Case::new(SpecId::OSAKA, asm.return_top().code()));
        assert!(seen.result().is_success(), "{opcode:#x}");
    }
}

#[test]
fn overlapping_mcopy() {
    let pattern: Vec<u8> = (0..96).collect();
    for destination in [0usize, 1, 5, 31, 32, 33, 64, 90] {
        for source in [0usize, 1, 16, 32, 63] {
            for length in [0usize, 1, 31, 32, 33, 64] {
                let asm = Assembly::new().push(96).push(0).push(0).op(CALLDATACOPY);
                let asm = asm.push(length).push(source).push(destination).op(MCOPY);
                let code = asm.push(192).push(0).op(RETURN).code();
                let seen = CHECKER.check(&Case::new(SpecId::OSAKA, code).data(pattern.clone()));
                let mut expected = [pattern.clone(), vec![0; 96]].concat();
                expected.copy_within(source..source + length, destination);
                let output = seen.result().output().map(|output| output.to_vec());
                assert_eq!(output, Some(expected), "{destination} {source} {length}");
            }
        }
    }
}

#[test]
fn copies_beyond_the_source_give_zeros() {
    for opcode in [CALLDATACOPY, CODECOPY] {
        for source in edges() {
            let asm = Assembly::new().push(U256::MAX).push(32).op(MSTORE);
            let asm = asm.push(70).push(source).push(0).op(opcode);
            let code = asm.push(96).push(0).op(RETURN).code();
            CHECKER.check(&Case::new(SpecId::OSAKA, code).data([0xaa; 50]));
        }
    }
}

#[test]
fn calldata_words_at_every_offset() {
    let code = Assembly::new().push(0).op(CALLDATALOAD).op(CALLDATALOAD).return_top().code();
    for offset in edges().into_iter().chain((0..70).map(U256::from)) {
        let mut data = offset.to_be_bytes::<32>().to_vec();
        data.extend(1..=20);
        CHECKER.check(&Case::new(SpecId::OSAKA, code.clone()).data(data));
    }
}

/// Calldata of an inner frame lies in the memory of its caller, in a buffer that all frames share.
/// When the inner frame grows its memory the buffer moves, and calldata with it.
#[test]
fn calldata_moves_when_memory_grows() {
    let inner = Assembly::new().push(0).op(CALLDATALOAD).push(0).op(MSTORE);
    // Growth by a lot, natively and through delegated and builtin instructions.
    let inner =
        inner.push(1).push(0x8_0000).op(MSTORE).push(32).op(CALLDATALOAD).push(32).op(MSTORE);
    let inner = inner.push(100).push(0).push(0x18_0000).op(CALLDATACOPY);
    let inner = inner.push(64).op(CALLDATALOAD).push(64).op(MSTORE);
    let inner = inner.push(64).push(0x20_0000).op(KECCAK256).push(96).op(MSTORE);
    let inner = inner.push(96).op(CALLDATALOAD).push(128).op(MSTORE).push(160).push(0).op(RETURN);
    let peer: U256 = PEERS[0].into_word().into();
    let mut outer = Assembly::new();
    for word in 0..4u64 {
        outer = outer.push(U256::from(0x1111_1111) << (word * 40)).push(32 * word).op(MSTORE);
    }
    // Output over the input; then the outer frame grows too and calls once more.
    for round in 0..2u64 {
        let outputs = 0x200 + 0x200 * round;
        outer = outer.push(160).push(outputs).push(128).push(0).push(0).push(peer);
        outer = outer.push(60_000_000).op(CALL).push(0x10_0000 + 0x1000 * round).op(MSTORE);
    }
    let code = outer.push(0x600).push(0).op(RETURN).code();
    for spec in all_specs() {
        let case = Case::new(spec, code.clone()).contract(PEERS[0], inner.code()).gas(200_000_000);
        let seen = CHECKER.check(&case);
        assert!(seen.result().is_success(), "{spec:?}: {:?}", seen.result());
    }
}

/// Initcode has no calldata, but memory that grows.
#[test]
fn memory_of_initcode() {
    let init = Assembly::new().op(CALLDATASIZE).push(0x9000).op(MSTORE).push(0x9020).push(0);
    let init = init.op(RETURN).code();
    let length = init.len();
    let asm = Assembly::new().item(cranevm_tests::assembly::Item::Push(init)).push(0).op(MSTORE);
    let asm = asm.push(length).push(32 - length).push(0).op(CREATE).op(MSIZE).op(ADD);
    CHECKER.check(&Case::new(SpecId::OSAKA, asm.return_top().code()).gas(20_000_000));
}

/// Beyond a limit of memory there is another reason than beyond what gas pays, at any offset.
#[test]
fn a_limit_of_memory_is_looked_at_first() {
    let opcodes = memory_opcodes();
    parallel::for_each(opcodes.len(), Checker::new, |checker, job| {
        let (opcode, operands, at) = opcodes[job];
        for limit in [0_u64, 4096, (1 << 32) - 1] {
            let near = [limit.saturating_sub(64), limit.saturating_sub(33), limit, limit + 1];
            let far = [1_u64 << 41, (1 << 42) - 32, 1 << 42, 1 << 48, 1 << 62];
            // Up to 4 GiB nothing but the limit stands between a frame and memory.
            let offsets = near.into_iter().filter(|offset| *offset < 1 << 20).chain(far);
            for offset in offsets {
                let asm = touch(opcode, operands, at, U256::from(offset), U256::from(32));
                let asm = asm.op(MSIZE).op(GAS).op(ADD);
                let case = Case::new(SpecId::OSAKA, asm.return_top().code());
                checker.check(&case.memory_limit(limit));
            }
        }
        checker.clear();
    });
    let asm = Assembly::new().push((1u64 << 42) - 1).op(MLOAD);
    let seen = CHECKER.check(&Case::new(SpecId::OSAKA, asm.code()));
    let ExecutionResult::Halt { reason, .. } = seen.result() else { panic!("{seen:?}") };
    assert_eq!(*reason, HaltReason::OutOfGas(OutOfGasError::MemoryLimit));
}

#[test]
fn offsets_beyond_all_gas_have_their_own_reason() {
    let asm = Assembly::new().push(1).push(U256::MAX).op(MSTORE);
    let seen = CHECKER.check(&Case::new(SpecId::OSAKA, asm.code()));
    let ExecutionResult::Halt { reason, .. } = seen.result() else { panic!("{seen:?}") };
    assert_eq!(*reason, HaltReason::OutOfGas(OutOfGasError::InvalidOperand));
}
