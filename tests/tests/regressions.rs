//! Programs that once differed from the interpreter, or were suspected to, each with the name of
//! what was wrong.
//!
//! A report of the differential test has all that an entry needs: fork, code, calldata and gas.

use alloy_primitives::{U256, hex};
use cranevm_tests::{
    assembly::Assembly,
    case::{Case, TARGET, Transaction},
    check::Checker,
    parallel,
    programs::values::PEERS,
};
use revm::{bytecode::opcode::*, primitives::hardfork::SpecId};

/// A program that must stay equal to the interpreter.
struct Regression {
    /// What was wrong.
    name: &'static str,
    spec: SpecId,
    code: Vec<u8>,
    data: Vec<u8>,
    gas: u64,
    /// Wei of the contract.
    balance: u64,
}

impl Regression {
    fn new(name: &'static str, spec: SpecId, code: impl Into<Vec<u8>>) -> Self {
        Self { name, spec, code: code.into(), data: vec![], gas: 100_000, balance: 1_000_000 }
    }

    fn case(&self) -> Case {
        let mut case = Case::new(self.spec, self.code.clone()).data(self.data.clone());
        if let Some(account) = case.accounts.get_mut(&TARGET) {
            account.balance = U256::from(self.balance);
        }
        case.gas(self.gas)
    }
}

fn regressions() -> Vec<Regression> {
    let mut list = truncated_push();
    list.extend(loops());
    list.extend(doomed_frames());
    list.extend(deep_loops());
    list.extend(debts());
    list.extend(first_blocks());
    list.extend(merged_blocks());
    list.extend(refilled_gas());
    list
}

/// A jump over nothing, to code whose last instruction lacks a byte.
fn truncated_push() -> Vec<Regression> {
    let name = "a block that ends in a truncated PUSH pushes zeros on the right";
    let data = hex!("0000000000000000000000000000000000000000000000000000000000000004").to_vec();
    vec![Regression { data, ..Regression::new(name, SpecId::OSAKA, hex!("600035565b61ff")) }]
}

/// Words that loops keep in registers.
fn loops() -> Vec<Regression> {
    let no_balance = |list: Regression| Regression { balance: 0, ..list };
    let osaka = |name, code: &[u8]| Regression::new(name, SpecId::OSAKA, code);
    vec![
        osaka(
            "a loop that falls through to the head of another",
            &hex!("600060095b8091019060019003806004575b600101806005186011575b5060005260206000f3"),
        ),
        osaka(
            "a word in a register is one that a SLOAD restored",
            &hex!("6001600560075b905490916001900391826006575060005260206000f3"),
        ),
        osaka(
            "a word in a register is one that a SLOAD restored, in three iterations",
            &hex!("6003600560075b905490916001900391826006575060005260206000f3"),
        ),
        osaka(
            "a word in a register is one that a SDIV restored",
            &hex!("6001600560075b9060640590916001900391826006575060005260206000f3"),
        ),
        osaka(
            "a word in a register is one that a SDIV restored, in three iterations",
            &hex!("6003600560075b9060640590916001900391826006575060005260206000f3"),
        ),
        no_balance(Regression::new(
            "a creation without a frame goes on in a loop",
            SpecId::AMSTERDAM,
            hex!("600060006010f05b6001016003811060075760005260206000f3"),
        )),
        no_balance(Regression::new(
            "a creation of nothing goes on in a loop",
            SpecId::OSAKA,
            hex!("600060006010f05b6001016003811060075760005260206000f3"),
        )),
    ]
}

/// The block's static gas can't be paid, but revm loads a slot and an account before it finds out.
fn doomed_frame() -> Vec<u8> {
    let mut code = vec![PUSH0, SLOAD, POP, PUSH20];
    code.extend(PEERS[0].as_slice());
    code.extend([BALANCE, POP]);
    code.extend([PC, POP].repeat(1000));
    code.push(STOP);
    code
}

fn doomed_frames() -> Vec<Regression> {
    let name = "a frame that must run out of gas loads what it can pay for";
    // Intrinsic gas, and about the 4,709 that the loads and what is before them cost.
    [2_000, 2_099, 2_102, 2_103, 4_700, 4_709, 4_710, 4_711, 5_000, 8_000]
        .map(|left| Regression {
            gas: 21_000 + left,
            ..Regression::new(name, SpecId::CANCUN, doomed_frame())
        })
        .into()
}

/// SLOAD leaves less gas than the rest of its block has been charged.
fn debts() -> Vec<Regression> {
    let name = "a debt that no later instruction of the block settles";
    let code = hex!("60075460051a61000b57005b00");
    (23_095..23_130)
        .map(|gas| Regression { gas, ..Regression::new(name, SpecId::OSAKA, code) })
        .collect()
}

/// The contract's first bytes are run as the start and, once more, as part of a path. A frame that
/// enters the path in its middle hasn't grown memory where the path's own first part would have.
fn first_blocks() -> Vec<Regression> {
    let name = "memory that the contract's first block grows, in a copy of that block";
    let mut start = Assembly::new();
    let (head, path) = (start.new_label(), start.new_label());
    // Reads word 0, which grows memory, and stores where that word says.
    let start = start.label(head).push_label(path).push(0).op(DUP2).push(1).push(0).op(MLOAD);
    let start = start.op(MSTORE).op(JUMP).raw(vec![STOP; 244]).label(path);
    // Makes that word one of an offset far away, and goes to the start's code by a constant.
    let code = |offset: u32| {
        let asm = start.clone().push(7).push(offset).op(MSTORE);
        asm.push(offset + 32).push(0).op(MSTORE).op(JUMP).code()
    };
    [0x80, 0x1000, 0x3f00_0000]
        .into_iter()
        .flat_map(|offset| (21_000..21_700).step_by(3).map(move |gas| (offset, gas)))
        .map(|(offset, gas)| Regression {
            gas,
            ..Regression::new(name, SpecId::OSAKA, code(offset))
        })
        .collect()
}

/// Two blocks that need one word and do the same with it, but not in the same order: the
/// interpreter loads the slot before it finds the stack empty, or doesn't.
fn merged_blocks() -> Vec<Regression> {
    let name = "blocks of equal effect that fail at different places";
    let mut asm = Assembly::new();
    let (early, late) = (asm.new_label(), asm.new_label());
    let asm = asm.push_label(early).op(ISZERO).op(POP).push_label(late).op(CALLDATASIZE).op(ADD);
    let asm = asm.op(JUMP).raw(vec![STOP; 244]);
    let asm = asm.label(early).ops(&[POP, CALLER, PUSH0, SLOAD, POP, POP, STOP]);
    let code = asm.label(late).ops(&[CALLER, POP, PUSH0, SLOAD, POP, POP, STOP]).code();
    (21_000..23_400)
        .step_by(7)
        .map(|gas| Regression { gas, ..Regression::new(name, SpecId::OSAKA, code.clone()) })
        .collect()
}

/// State gas that was paid from regular gas comes back (EIP-8037), and there is more than is signed.
fn refilled_gas() -> Vec<Regression> {
    let name = "gas that crosses the largest signed number within a stretch of native code";
    let code = hex!("60015f555f5f5f5f5f60995af1505f5f5560025f5260205ff3");
    (0..40)
        .map(|step| i64::MAX as u64 + 1_000 * step)
        .map(|gas| Regression { gas, ..Regression::new(name, SpecId::AMSTERDAM, code) })
        .collect()
}

/// Stack heights that differ by 900 words within a loop.
fn deep_loops() -> Vec<Regression> {
    let name = "a loop far below the height it begins at";
    let body = |head: u16| {
        let mut code = vec![JUMPDEST];
        code.extend([POP; 900]);
        code.push(ISZERO);
        code.extend([PUSH0; 900]);
        code.extend([PUSH1, 1, PUSH2]);
        code.extend(head.to_be_bytes());
        code.extend([JUMPI, STOP]);
        code
    };
    let mut underflow = vec![JUMPDEST];
    underflow.extend([POP; 900]);
    underflow.push(ISZERO);
    underflow.extend([PUSH0; 900]);
    underflow.extend([PUSH1, 1, PUSH1, 0, JUMPI, STOP]);
    let entered = |words: u16| [vec![PUSH0; usize::from(words)], body(words)].concat();
    [underflow, entered(899), entered(900), entered(901), entered(1021), entered(1023)]
        .map(|code| Regression::new(name, SpecId::OSAKA, code))
        .into()
}

#[test]
fn all_stay_equal() {
    let regressions = regressions();
    parallel::for_each(regressions.len(), Checker::new, |checker, index| {
        println!("{}", regressions[index].name);
        checker.check(&regressions[index].case());
    });
}

/// The doomed frame is called: the transaction succeeds, and its state has what the frame loaded.
#[test]
fn doomed_inner_frames_load() {
    let checker = Checker::new();
    for gas in [2_103, 4_709, 4_711, 5_000] {
        let mut caller = vec![PUSH0, PUSH0, PUSH0, PUSH0, PUSH0, PUSH20];
        caller.extend(PEERS[1].as_slice());
        caller.extend([PUSH2, (gas >> 8) as u8, gas as u8, CALL, STOP]);
        let mut case = Case::new(SpecId::CANCUN, caller).contract(PEERS[1], doomed_frame());
        case.transactions = vec![Transaction::new(vec![])];
        let seen = checker.check(&case);
        assert!(seen.result().is_success());
    }
}
