//! Programs of random bytes against a stack machine that executes their bytecode one opcode
//! after the other, with nothing lifted, combined or cut. The optional passes are left out, but for
//! whether what they make is valid and can be printed and parsed.

use alloy_primitives::U256;
use cranevm_passes::ir::entities::{Block, Value};
use cranevm_passes::ir::opcode::OpcodeSet;
use cranevm_passes::ir::program::{BlockData, JumpTarget, Program, Terminator, ValueDef};
use cranevm_passes::ir::text::parse;
use cranevm_passes::{PassOptions, PassSet, ThreadLimits, WorkLimit, analyze};
use programs::{Random, specs};
use revm_bytecode::Bytecode;
use revm_bytecode::opcode::{self, OPCODE_INFO};
use revm_interpreter::instructions::gas_table_spec;
use revm_primitives::hardfork::SpecId;
use std::collections::HashMap;

mod programs;

/// A word of the stack machine: as much of its origin as tells words apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    Input(i32),
    Const(U256),
    /// The result of the opcode at a pc.
    Result(u32),
}

/// The state of the stack machine in a block.
struct Machine<'a> {
    program: &'a Program,
    /// The code as revm pads it.
    padded: &'a [u8],
    stack: Vec<Word>,
    /// Words known at entry, by slot.
    known: HashMap<i32, Word>,
    /// Height of `stack` at entry.
    base: i32,
    lowest: i32,
    highest: i32,
    gas: u64,
    is_done: bool,
}

impl Machine<'_> {
    fn height(&self) -> i32 {
        self.stack.len() as i32 - self.base
    }

    fn need(&mut self, words: usize) {
        self.lowest = self.lowest.min(self.height() - words as i32);
    }

    fn push(&mut self, word: Word) {
        self.stack.push(word);
        self.highest = self.highest.max(self.height());
    }

    fn at(&mut self, depth: usize) -> &mut Word {
        self.need(depth + 1);
        let index = self.stack.len() - 1 - depth;
        &mut self.stack[index]
    }

    fn pop(&mut self, count: usize) -> Vec<Word> {
        self.need(count);
        (0..count).map(|_| self.stack.pop().expect("a deep stack")).collect()
    }

    /// Executes the stack part of the opcode at `pc` if it is a stack opcode, and returns the
    /// bytes after it that belong to it.
    fn shuffle(&mut self, pc: u32) -> Option<u32> {
        let immediate = |len: usize| &self.padded[pc as usize + 1..pc as usize + 1 + len];
        match self.padded[pc as usize] {
            opcode::JUMPDEST => {}
            opcode::POP => drop(self.pop(1)),
            opcode::PC => self.push(Word::Const(U256::from(pc))),
            opcode::CODESIZE => self.push(Word::Const(U256::from(self.program.code_len))),
            byte @ opcode::PUSH0..=opcode::PUSH32 => {
                let len = usize::from(byte - opcode::PUSH0);
                self.push(Word::Const(U256::from_be_slice(immediate(len))));
                return Some(len as u32);
            }
            byte @ opcode::DUP1..=opcode::DUP16 => {
                let word = *self.at(usize::from(byte - opcode::DUP1));
                self.push(word);
            }
            byte @ opcode::SWAP1..=opcode::SWAP16 => {
                self.exchange(0, usize::from(byte - opcode::SWAP1) + 1);
            }
            opcode::DUPN => {
                let depth = (usize::from(immediate(1)[0]) + 145) % 256;
                let word = *self.at(depth - 1);
                self.push(word);
                return Some(1);
            }
            opcode::SWAPN => {
                self.exchange(0, (usize::from(immediate(1)[0]) + 145) % 256);
                return Some(1);
            }
            opcode::EXCHANGE => {
                let mixed = usize::from(immediate(1)[0] ^ 143);
                let (high, low) = (mixed / 16, mixed % 16);
                let (n, m) = if high < low { (high + 1, low + 1) } else { (low + 1, 29 - high) };
                self.exchange(n, m);
                return Some(1);
            }
            _ => return None,
        }
        Some(0)
    }

    fn exchange(&mut self, upper: usize, lower: usize) {
        let lower_word = *self.at(lower);
        let upper_word = core::mem::replace(self.at(upper), lower_word);
        *self.at(lower) = upper_word;
    }

    fn word(&self, value: Value) -> Word {
        match self.program.values[value].def {
            ValueDef::Input(slot) => Word::Input(slot.into()),
            ValueDef::Const(word) => Word::Const(word),
            ValueDef::Result(inst) => Word::Result(self.program.insts[inst].pc),
            ValueDef::Unused => panic!("{value} is used"),
        }
    }

    fn is_at_end(&self, data: &BlockData, pc: u32, hand_over: Option<u32>) -> bool {
        self.is_done
            || pc >= self.program.code_len
            || (self.gas == data.gas && Some(pc) == hand_over)
            || matches!(data.terminator, Terminator::FallThrough(next)
                if self.gas == data.gas && self.program.blocks[next].pc == pc)
    }

    /// Executes a block and compares everything that the program says of it.
    fn run(&mut self, block: Block, data: &BlockData, table: &[u16; 256], jumps: &Bytecode) {
        let mut insts = self.program.block_insts(block);
        let mut pc = data.pc;
        let hand_over = match data.terminator {
            Terminator::HandOver { pc, .. } => Some(pc),
            _ => None,
        };
        while !self.is_at_end(data, pc, hand_over) {
            let byte = self.padded[pc as usize];
            self.gas += u64::from(table[usize::from(byte)]);
            if let Some(immediate) = self.shuffle(pc) {
                pc += 1 + immediate;
                continue;
            }
            match byte {
                opcode::JUMP | opcode::JUMPI => {
                    let count = usize::from(byte - opcode::JUMP) + 1;
                    let words = self.pop(count);
                    if let (opcode::JUMP, Word::Const(target), true) =
                        (byte, words[0], self.gas < data.gas)
                    {
                        // From one segment to the next.
                        pc = target.to();
                        continue;
                    }
                    self.check_jump(data, &words, jumps);
                    self.is_done = true;
                }
                opcode::STOP => {
                    assert_eq!(data.terminator, Terminator::Stop { pc });
                    self.is_done = true;
                }
                _ => {
                    let inst = insts.next().expect("an instruction for each opcode left");
                    let inst_data = &self.program.insts[inst];
                    assert_eq!((inst_data.pc, inst_data.opcode.get()), (pc, byte));
                    assert_eq!(i32::from(inst_data.height), self.height());
                    assert_eq!(data.gas - inst_data.gas_after, self.gas);
                    let info = OPCODE_INFO[usize::from(byte)].expect("an assigned opcode");
                    let before = self.stack.clone();
                    let args = self.pop(info.inputs().into());
                    let found: Vec<_> =
                        self.program.args(inst).iter().map(|&arg| self.word(arg)).collect();
                    assert_eq!(found, args);
                    match data.terminator {
                        Terminator::Suspend { inst: last, .. } | Terminator::Exit(last)
                            if last == inst =>
                        {
                            self.stack = before;
                            self.is_done = true;
                        }
                        _ if info.outputs() != 0 => self.push(Word::Result(pc)),
                        _ => {}
                    }
                }
            }
            pc += 1;
        }
        assert_eq!(insts.next(), None);
        assert_eq!(data.gas, self.gas);
        self.check_stack(block, data);
    }

    /// What a clone may rely on: the offsets of JUMPDESTs on the stack, by slot from its top.
    fn offsets_on_stack(&self, jumps: &Bytecode) -> HashMap<i32, Word> {
        let table = jumps.legacy_jump_table().expect("a legacy bytecode");
        let is_target = |word: U256| usize::try_from(word).is_ok_and(|pc| table.is_valid(pc));
        let slots = self.stack.iter().rev().take(32).enumerate();
        slots
            .filter(|(_, word)| matches!(word, Word::Const(word) if is_target(*word)))
            .map(|(depth, &word)| (-(depth as i32) - 1, word))
            .collect()
    }

    fn check_jump(&self, data: &BlockData, words: &[Word], jumps: &Bytecode) {
        let (target, condition) = match data.terminator {
            Terminator::Jump(target) => (target, None),
            Terminator::Branch { condition, target, .. } => (target, Some(self.word(condition))),
            _ => panic!("a jump inside a block: {data:?}"),
        };
        assert_eq!(words.get(1).copied(), condition);
        match (target, words[0]) {
            (JumpTarget::Block(target), Word::Const(pc)) => {
                assert_eq!(U256::from(self.program.blocks[target].pc), pc);
            }
            (JumpTarget::Invalid, Word::Const(pc)) => {
                let table = jumps.legacy_jump_table().expect("a legacy bytecode");
                assert!(!table.is_valid(usize::try_from(pc).unwrap_or(usize::MAX)));
            }
            (JumpTarget::Dynamic(value), word) => assert_eq!(self.word(value), word),
            (target, word) => panic!("{target} for {word:?}"),
        }
    }

    fn check_stack(&self, block: Block, data: &BlockData) {
        assert_eq!(i32::from(data.stack.needed), -self.lowest);
        assert_eq!(i32::from(data.stack.growth), self.highest);
        assert_eq!(i32::from(data.stack.delta), self.height());
        let mut changed = self.stack.iter().enumerate().filter_map(|(index, &word)| {
            let slot = index as i32 - self.base;
            let at_start = self.known.get(&slot).copied().unwrap_or(Word::Input(slot));
            (word != at_start).then_some((slot, word))
        });
        for output in self.program.outputs(block) {
            let found = (i32::from(output.slot), self.word(output.value));
            assert_eq!(Some(found), changed.next());
        }
        assert_eq!(changed.next(), None);
    }
}

fn check_program(code: &[u8], options: &PassOptions) {
    for skip in PassSet::ALL.iter().chain([PassSet::NONE]) {
        let options = PassOptions { skip, ..options.clone() };
        check_text(&analyze(code, &options).unwrap_or_else(|error| panic!("{error}, {options:?}")));
    }
    let skip = PassSet::ALL.iter().filter(|&pass| pass != PassSet::THREAD_JUMPS);
    let skip = skip.fold(PassSet::NONE, PassSet::union);
    let options = PassOptions { skip, ..options.clone() };
    let program = analyze(code, &options).unwrap_or_else(|error| panic!("{error}"));
    let bytecode = Bytecode::new_raw(code.to_vec().into());
    let table = gas_table_spec(options.spec_id);
    let mut next_pc = 0;
    let mut known_at_clones: HashMap<Block, HashMap<i32, Word>> = HashMap::new();
    for (block, data) in program.blocks.iter() {
        // Nothing between blocks can be jumped to.
        let jump_table = bytecode.legacy_jump_table().expect("a legacy bytecode");
        assert!(data.is_clone || (next_pc..data.pc).all(|pc| !jump_table.is_valid(pc as usize)));
        next_pc = if data.is_clone { next_pc } else { data.end_pc };
        let base = 8 * code.len() as i32 + 300;
        let known = known_at_clones.remove(&block).unwrap_or_default();
        let word_at = |slot| known.get(&slot).copied().unwrap_or(Word::Input(slot));
        let mut machine = Machine {
            program: &program,
            padded: bytecode.bytes_slice(),
            stack: (-base..0).map(word_at).collect(),
            known,
            base,
            lowest: 0,
            highest: 0,
            gas: 0,
            is_done: false,
        };
        machine.run(block, data, &table, &bytecode);
        for successor in [data.terminator.next_block(), data.terminator.static_target()] {
            let clone = successor.filter(|&successor| program.blocks[successor].is_clone);
            known_at_clones.extend(clone.map(|clone| (clone, machine.offsets_on_stack(&bytecode))));
        }
    }
    check_text(&program);
}

fn check_text(program: &Program) {
    let text = program.to_string();
    assert_eq!(&parse(&text).expect("what was printed can be parsed"), program, "{text}");
}

/// Mostly none; or some of the opcodes, also of those that end blocks.
fn foreign(random: &mut Random) -> OpcodeSet {
    match random.below(3) {
        0 => {
            let bytes = random.bytes(40).into_iter().chain([0x54, 0xf3, 0xf1, 0xe6]);
            let with = |set, byte| set | OpcodeSet::from(1) << usize::from(byte);
            bytes.fold(OpcodeSet::ZERO, with)
        }
        _ => OpcodeSet::ZERO,
    }
}

/// Checks a number of codes in every fork with chunks of several sizes.
fn check_all(seed: u64, count: u64, make: impl Fn(&mut Random) -> Vec<u8>) {
    for number in 0..count {
        let mut random = Random::new(seed ^ number << 8);
        let code = make(&mut random);
        for spec_id in specs() {
            let chunk_limit = [1, 2, 7, 40, 500, u32::MAX][random.below(6)];
            let one_block_per_chunk = random.below(4) == 0;
            let compile_all = random.below(2) == 0;
            let options = PassOptions {
                spec_id,
                chunk_limit,
                work_limit: [
                    WorkLimit::default(),
                    WorkLimit {
                        contract: random.below(300) as u32,
                        per_byte: random.below(4) as u32,
                    },
                ][random.below(2)],
                one_block_per_chunk,
                compile_all,
                thread_limits: [
                    ThreadLimits::NONE,
                    ThreadLimits::MOVE_ONLY,
                    ThreadLimits::default(),
                ][random.below(3)],
                verify: true,
                skip: PassSet::NONE,
                foreign: foreign(&mut random),
            };
            let result = std::panic::catch_unwind(|| check_program(&code, &options));
            assert!(
                result.is_ok(),
                "code {} with {options:?}",
                alloy_primitives::hex::encode(&code)
            );
        }
    }
}

#[test]
fn any_bytes() {
    check_all(1, 300, |random| {
        let len = random.below(400);
        random.bytes(len)
    });
}

#[test]
fn likely_instructions() {
    check_all(2, 300, |random| {
        let len = random.below(600);
        random.instructions(len)
    });
}

#[test]
fn every_byte_at_every_place_of_a_small_program() {
    let code = alloy_primitives::hex!("5b6001e680600057e88e5f355af1805b61000056");
    for place in 0..code.len() {
        for byte in 0..=u8::MAX {
            let mut code = code;
            code[place] = byte;
            for spec_id in [SpecId::FRONTIER, SpecId::OSAKA, SpecId::AMSTERDAM] {
                let options = PassOptions { spec_id, verify: true, ..PassOptions::default() };
                check_program(&code, &options);
            }
        }
    }
}

/// A chain's own JUMPDEST is handed over, and jumped to like any other.
#[test]
fn a_foreign_jumpdest_begins_a_block() {
    let foreign = OpcodeSet::from(1) << usize::from(opcode::JUMPDEST);
    let codes = ["6004565b5b00", "5b5b", "5f35565b5b", "60045f575b00", "60015b5660035b56005b"];
    for code in codes {
        let code = alloy_primitives::hex::decode(code).expect("hexadecimal");
        for compile_all in [false, true] {
            let options =
                PassOptions { foreign, compile_all, verify: true, ..PassOptions::default() };
            check_program(&code, &options);
        }
    }
}
