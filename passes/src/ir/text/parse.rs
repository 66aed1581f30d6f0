//! Text to program.

use crate::ir::entities::{Block, Chunk, Entry, Value};
use crate::ir::opcode::Opcode;
use crate::ir::program::{
    BlockData, ChunkData, EntryData, InstData, JumpTarget, Output, Program, Span, StackEffect,
    Terminator, ValueData, ValueDef,
};
use crate::ir::width::{WORD_BITS, constant_bits};
use alloy_primitives::U256;
use core::str::{FromStr, SplitWhitespace};
use cranelift_entity::{EntityRef, PrimaryMap, packed_option::PackedOption};
use revm_primitives::hardfork::SpecId;

/// Why text isn't a program, and in which line, counted from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {kind}")]
pub struct ParseError {
    /// The line; one past the last when something is missing at the end.
    pub line: usize,
    /// What is wrong.
    pub kind: ParseErrorKind,
}

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseErrorKind {
    /// Something else was expected.
    #[error("expected {expected}, found `{found}`")]
    Unexpected {
        /// What was expected.
        expected: &'static str,
        /// The word there instead; empty at the end of the line.
        found: String,
    },
    /// An entity isn't numbered in order.
    #[error("expected `{expected}`, found `{found}`: numbers go up by one")]
    OutOfOrder {
        /// The name that comes next.
        expected: String,
        /// The name found.
        found: String,
    },
    /// A value is defined twice.
    #[error("`{0}` is defined twice")]
    DefinedTwice(Value),
    /// A value has a higher number, but this one has no definition.
    #[error("`{0}` isn't defined, but a later value is")]
    NotDefined(Value),
    /// A block has no terminator.
    #[error("`{0}` has no terminator")]
    NoTerminator(Block),
}

type Result<T> = core::result::Result<T, ParseErrorKind>;

/// Reads a program from its text form. Empty lines, and what follows a `;`, are ignored.
///
/// # Errors
///
/// [`ParseError`] for the first line that is wrong.
pub fn parse(text: &str) -> core::result::Result<Program, ParseError> {
    let mut lines = text
        .lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line.split(';').next().unwrap_or_default()))
        .filter(|(_, line)| !line.trim().is_empty());
    let end = text.lines().count() + 1;

    let (line, head) = lines.next().unwrap_or((end, ""));
    let program = parse_head(&mut Words::new(head)).map_err(|kind| ParseError { line, kind })?;
    let mut parser = Parser { program, definitions: Vec::new(), line, open: None };
    for (line, text) in lines {
        parser.line = line;
        parser.parse_line(text).map_err(|kind| ParseError { line, kind })?;
    }
    if let Some(block) = parser.open {
        return Err(ParseError { line: end, kind: ParseErrorKind::NoTerminator(block) });
    }
    parser.place_values()?;
    count_uses(&mut parser.program);
    Ok(parser.program)
}

fn parse_head(words: &mut Words<'_>) -> Result<Program> {
    words.literal("program", "`program`")?;
    let name = words.after("spec=", "`spec=` and a fork")?;
    let spec_id = (0..=SpecId::NEXT as u8)
        .filter_map(SpecId::try_from_u8)
        .find(|spec| format!("{spec:?}") == name)
        .ok_or_else(|| unexpected("the name of a fork", name))?;
    let code_len = words.number("code=", "`code=` and the bytes of code")?;
    let opcode_count = words.number("opcodes=", "`opcodes=` and their number")?;
    words.end()?;
    Ok(Program {
        spec_id,
        code_len,
        blocks: PrimaryMap::new(),
        insts: PrimaryMap::new(),
        values: PrimaryMap::new(),
        arg_pool: Vec::new(),
        output_pool: Vec::new(),
        target_pool: Vec::new(),
        entries: PrimaryMap::new(),
        chunks: PrimaryMap::new(),
        opcode_count,
    })
}

struct Parser {
    program: Program,
    /// Definitions of values, with their lines, in the order of the text.
    definitions: Vec<(Value, ValueData, usize)>,
    line: usize,
    /// The block whose terminator is still to come.
    open: Option<Block>,
}

impl Parser {
    fn parse_line(&mut self, text: &str) -> Result<()> {
        let mut words = Words::new(text);
        let head = words.next("a line of the program")?;
        match head {
            "chunk" => self.parse_chunk(&mut words)?,
            "entry" => self.parse_entry(&mut words)?,
            "block" => self.parse_block(&mut words)?,
            _ => self.parse_block_line(head, &mut words)?,
        }
        words.end()
    }

    fn parse_chunk(&mut self, words: &mut Words<'_>) -> Result<()> {
        words.key(self.program.chunks.next_key(), "c")?;
        let opcodes = words.number("opcodes=", "`opcodes=` and their number")?;
        let end = self.program.entries.len() as u32;
        let entries = Span { start: end, end };
        self.program.chunks.push(ChunkData { blocks: Span::default(), entries, opcodes });
        Ok(())
    }

    fn parse_entry(&mut self, words: &mut Words<'_>) -> Result<()> {
        words.key(self.program.entries.next_key(), "e")?;
        let block = words.entity("b", "a block")?;
        let pc = words.number("pc=", "`pc=` and an offset")?;
        let is_jumpdest = words.flag("jumpdest");
        let is_continuation = words.flag("continuation");
        let Some((_, chunk)) = self.program.chunks.last_mut() else {
            return Err(unexpected("a chunk before its entries", "entry"));
        };
        chunk.entries.end += 1;
        self.program.entries.push(EntryData { block, pc, is_jumpdest, is_continuation });
        Ok(())
    }

    fn parse_block(&mut self, words: &mut Words<'_>) -> Result<()> {
        if let Some(block) = self.open {
            return Err(ParseErrorKind::NoTerminator(block));
        }
        let block = self.program.blocks.next_key();
        words.key(block, "b")?;
        let range = words.after("pc=", "`pc=` and a range")?;
        let (pc, end_pc) = range
            .split_once("..")
            .and_then(|(start, end)| Some((start.parse().ok()?, end.parse().ok()?)))
            .ok_or_else(|| unexpected("a range of offsets", range))?;
        let chunk = words.entity("chunk=c", "`chunk=` and a chunk")?;
        let entry: Option<Entry> = match words.peek().starts_with("entry=") {
            true => Some(words.entity("entry=e", "`entry=` and an entry")?),
            false => None,
        };
        let is_jumpdest = words.flag("jumpdest");
        let is_clone = words.flag("clone");
        let is_cold = words.flag("cold");
        let merged_into: Option<Block> = match words.peek().starts_with("merged-into=") {
            true => Some(words.entity("merged-into=b", "`merged-into=` and a block")?),
            false => None,
        };
        let first_inst = self.program.insts.len() as u32;
        let first_target = self.program.target_pool.len() as u32;
        let first_output = self.program.output_pool.len() as u32;
        self.program.blocks.push(BlockData {
            pc,
            end_pc,
            insts: Span { start: first_inst, end: first_inst },
            outputs: Span { start: first_output, end: first_output },
            likely_targets: Span { start: first_target, end: first_target },
            stack: StackEffect::default(),
            gas: 0,
            terminator: Terminator::Stop { pc },
            entry: entry.into(),
            chunk,
            is_jumpdest,
            is_clone,
            is_cold,
            merged_into: merged_into.into(),
        });
        self.add_to_chunk(block, chunk);
        self.open = Some(block);
        Ok(())
    }

    /// Extends the chunk's blocks. One that doesn't exist is left to the verifier.
    fn add_to_chunk(&mut self, block: Block, chunk: Chunk) {
        if let Some(data) = self.program.chunks.get_mut(chunk) {
            if data.blocks.is_empty() {
                data.blocks.start = block.as_u32();
            }
            data.blocks.end = block.as_u32() + 1;
        }
    }

    /// A line inside a block.
    fn parse_block_line(&mut self, head: &str, words: &mut Words<'_>) -> Result<()> {
        let Some(block) = self.open else {
            return Err(unexpected("`chunk`, `entry` or `block`", head));
        };
        match head {
            "stack" => {
                self.program.blocks[block].stack = StackEffect {
                    needed: words.number("needed=", "`needed=` and a number of words")?,
                    growth: words.number("growth=", "`growth=` and a number of words")?,
                    delta: words.number("delta=", "`delta=` and a number of words")?,
                };
            }
            "gas" => self.program.blocks[block].gas = words.number("", "an amount of gas")?,
            "output" => {
                let slot = words.number("", "a slot")?;
                let value = words.entity("v", "a value")?;
                self.program.output_pool.push(Output { slot, value });
                self.program.blocks[block].outputs.end += 1;
            }
            "likely" => {
                while !words.peek().is_empty() {
                    self.program.target_pool.push(words.entity("b", "a block")?);
                    self.program.blocks[block].likely_targets.end += 1;
                }
            }
            _ if head.starts_with('i') => {
                self.parse_inst(head, words)?;
                self.program.blocks[block].insts.end += 1;
            }
            _ if head.starts_with('v') => self.parse_definition(head, words)?,
            _ => {
                self.program.blocks[block].terminator = parse_terminator(head, words)?;
                self.open = None;
            }
        }
        Ok(())
    }

    /// `v1 = input -1`, `v1 = const 0x2` or `v1 = unused`.
    fn parse_definition(&mut self, head: &str, words: &mut Words<'_>) -> Result<()> {
        let (value, mut bits) = parse_typed(head)?;
        words.literal("=", "`=`")?;
        let def = match words.next("`input` or `const`")? {
            "input" => ValueDef::Input(words.number("", "a slot")?),
            "const" => {
                let word = words.next("a word in hexadecimal")?;
                let digits = word.strip_prefix("0x").filter(|digits| !digits.is_empty());
                let word = digits
                    .and_then(|digits| U256::from_str_radix(digits, 16).ok())
                    .ok_or_else(|| unexpected("a word in hexadecimal", word))?;
                bits = constant_bits(word);
                ValueDef::Const(word)
            }
            "unused" => {
                bits = 0;
                ValueDef::Unused
            }
            other => return Err(unexpected("`input` or `const`", other)),
        };
        self.definitions.push((value, ValueData { def, uses: 0, bits }, self.line));
        Ok(())
    }

    /// `i0 pc=2 height=1 after=11: v2 = ADD v0, v1`.
    fn parse_inst(&mut self, head: &str, words: &mut Words<'_>) -> Result<()> {
        let inst = self.program.insts.next_key();
        check_order(head, inst, "i")?;
        let pc = words.number("pc=", "`pc=` and an offset")?;
        let height = words.number("height=", "`height=` and a height")?;
        let after = words.after("after=", "`after=` and an amount of gas")?;
        let gas_after = after
            .strip_suffix(':')
            .and_then(|gas| gas.parse().ok())
            .ok_or_else(|| unexpected("an amount of gas and `:`", after))?;
        let mut result = PackedOption::default();
        if words.peek().starts_with('v') {
            let (value, bits) = parse_typed(words.next("a value")?)?;
            words.literal("=", "`=`")?;
            let def = ValueDef::Result(inst);
            self.definitions.push((value, ValueData { def, uses: 0, bits }, self.line));
            result = value.into();
        }
        let opcode = parse_opcode(words.next("an opcode")?)?;
        let start = self.program.arg_pool.len() as u32;
        while !words.peek().is_empty() {
            let word = words.next("a value")?;
            let word = word.strip_suffix(',').filter(|_| !words.peek().is_empty()).unwrap_or(word);
            self.program.arg_pool.push(entity(word, "v", "a value")?);
        }
        let args = Span { start, end: self.program.arg_pool.len() as u32 };
        self.program.insts.push(InstData { opcode, pc, args, result, height, gas_after });
        Ok(())
    }

    /// Puts the definitions in order of value, of which none may be missing.
    fn place_values(&mut self) -> core::result::Result<(), ParseError> {
        self.definitions.sort_by_key(|&(value, _, line)| (value, line));
        for (value, data, line) in self.definitions.drain(..) {
            let next = self.program.values.next_key();
            if value < next {
                return Err(ParseError { line, kind: ParseErrorKind::DefinedTwice(value) });
            }
            if value > next {
                return Err(ParseError { line, kind: ParseErrorKind::NotDefined(next) });
            }
            self.program.values.push(data);
        }
        Ok(())
    }
}

/// A value where it is defined: `v1`, or `v1:64` if its bits are bounded.
fn parse_typed(word: &str) -> Result<(Value, u16)> {
    const EXPECTED: &str = "a value, or a value, `:` and its bits";
    let Some((name, bits)) = word.split_once(':') else {
        return Ok((entity(word, "v", EXPECTED)?, WORD_BITS));
    };
    let bits = bits.parse().map_err(|_| unexpected(EXPECTED, word))?;
    Ok((entity(name, "v", EXPECTED)?, bits))
}

fn parse_terminator(head: &str, words: &mut Words<'_>) -> Result<Terminator> {
    Ok(match head {
        "fallthrough" => Terminator::FallThrough(words.entity("b", "a block")?),
        "jump" => Terminator::Jump(parse_target(words)?),
        "branch" => Terminator::Branch {
            condition: words.entity("v", "a value")?,
            target: parse_target(words)?,
            otherwise: words.entity("b", "a block")?,
        },
        "stop" => Terminator::Stop { pc: words.number("", "an offset")? },
        "exit" => Terminator::Exit(words.entity("i", "an instruction")?),
        "suspend" => Terminator::Suspend {
            inst: words.entity("i", "an instruction")?,
            continuation: words.entity("b", "a block")?,
        },
        "handover" => Terminator::HandOver {
            pc: words.number("", "an offset")?,
            continuation: match words.peek() {
                "" => None.into(),
                _ => words.entity::<Block>("b", "a block")?.into(),
            },
        },
        _ => return Err(unexpected("a value, an instruction, an output or a terminator", head)),
    })
}

fn parse_target(words: &mut Words<'_>) -> Result<JumpTarget> {
    const EXPECTED: &str = "a block, a value or `invalid`";
    match words.next(EXPECTED)? {
        "invalid" => Ok(JumpTarget::Invalid),
        word if word.starts_with('b') => entity(word, "b", EXPECTED).map(JumpTarget::Block),
        word => entity(word, "v", EXPECTED).map(JumpTarget::Dynamic),
    }
}

fn parse_opcode(word: &str) -> Result<Opcode> {
    Opcode::from_name(word).ok_or_else(|| unexpected("an opcode", word))
}

/// Counts the uses of all values that exist.
fn count_uses(program: &mut Program) {
    let Program { blocks, values, arg_pool, output_pool, .. } = program;
    let outputs = output_pool.iter().map(|output| output.value);
    let ends = blocks.values().flat_map(|data| data.terminator.values());
    for value in arg_pool.iter().copied().chain(outputs).chain(ends) {
        if let Some(data) = values.get_mut(value) {
            data.uses += 1;
        }
    }
}

/// The words of a line.
struct Words<'a>(core::iter::Peekable<SplitWhitespace<'a>>);

impl<'a> Words<'a> {
    fn new(line: &'a str) -> Self {
        Self(line.split_whitespace().peekable())
    }

    /// The next word, or nothing at the end.
    fn peek(&mut self) -> &'a str {
        self.0.peek().copied().unwrap_or_default()
    }

    fn next(&mut self, expected: &'static str) -> Result<&'a str> {
        self.0.next().ok_or_else(|| unexpected(expected, ""))
    }

    fn literal(&mut self, literal: &str, expected: &'static str) -> Result<()> {
        let word = self.next(expected)?;
        if word == literal { Ok(()) } else { Err(unexpected(expected, word)) }
    }

    /// The rest of a word after a prefix.
    fn after(&mut self, prefix: &str, expected: &'static str) -> Result<&'a str> {
        let word = self.next(expected)?;
        word.strip_prefix(prefix).ok_or_else(|| unexpected(expected, word))
    }

    fn number<T: FromStr>(&mut self, prefix: &str, expected: &'static str) -> Result<T> {
        let word = self.after(prefix, expected)?;
        word.parse().map_err(|_| unexpected(expected, word))
    }

    fn entity<K: EntityRef>(&mut self, prefix: &str, expected: &'static str) -> Result<K> {
        entity(self.next(expected)?, prefix, expected)
    }

    /// The name of the entity that comes next.
    fn key<K: EntityRef>(&mut self, next: K, prefix: &str) -> Result<()> {
        check_order(self.next("a name")?, next, prefix)
    }

    /// Skips a word if it is the next.
    fn flag(&mut self, word: &str) -> bool {
        self.0.next_if_eq(&word).is_some()
    }

    fn end(&mut self) -> Result<()> {
        match self.peek() {
            "" => Ok(()),
            word => Err(unexpected("the end of the line", word)),
        }
    }
}

/// The key of a name such as `v12`, whose prefix is `v`. `u32::MAX` is no key.
fn entity<K: EntityRef>(word: &str, prefix: &str, expected: &'static str) -> Result<K> {
    word.strip_prefix(prefix)
        .and_then(|number| number.parse::<u32>().ok())
        .filter(|&index| index != u32::MAX)
        .map(|index| K::new(index as usize))
        .ok_or_else(|| unexpected(expected, word))
}

fn check_order<K: EntityRef>(found: &str, next: K, prefix: &str) -> Result<()> {
    let expected = format!("{prefix}{}", next.index());
    if found == expected {
        Ok(())
    } else {
        Err(ParseErrorKind::OutOfOrder { expected, found: found.to_owned() })
    }
}

fn unexpected(expected: &'static str, found: &str) -> ParseErrorKind {
    ParseErrorKind::Unexpected { expected, found: found.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "program spec=OSAKA code=3 opcodes=2\n";

    fn error(text: &str) -> ParseError {
        parse(text).expect_err("the text is wrong")
    }

    fn message(body: &str) -> String {
        error(&format!("{HEAD}{body}")).to_string()
    }

    #[test]
    fn errors_tell_line_and_word() {
        assert_eq!(error("").to_string(), "line 1: expected `program`, found ``");
        assert_eq!(
            error("program spec=NEVER code=0 opcodes=0").to_string(),
            "line 1: expected the name of a fork, found `NEVER`"
        );
        assert_eq!(
            message("chunk c1 opcodes=2"),
            "line 2: expected `c0`, found `c1`: numbers go up by one"
        );
        assert_eq!(
            message("block b0 pc=0..x chunk=c0"),
            "line 2: expected a range of offsets, found `0..x`"
        );
        assert_eq!(
            message("stack needed=0"),
            "line 2: expected `chunk`, `entry` or `block`, found `stack`"
        );
        assert_eq!(
            message("; a comment\n\nchunk c0 opcodes=2 more"),
            "line 4: expected the end of the line, found `more`"
        );
    }

    #[test]
    fn errors_inside_a_block() {
        let in_block = |line: &str| message(&format!("block b0 pc=0..3 chunk=c0\n{line}\n"));
        assert_eq!(in_block(""), "line 4: `b0` has no terminator");
        assert_eq!(
            in_block("i0 pc=0 height=0 after=0: ADDD"),
            "line 3: expected an opcode, found `ADDD`"
        );
        assert_eq!(in_block("v0 = const 0x"), "line 3: expected a word in hexadecimal, found `0x`");
        assert_eq!(in_block("output 40000 v0"), "line 3: expected a slot, found `40000`");
        assert_eq!(
            in_block("jump v4294967295"),
            "line 3: expected a block, a value or `invalid`, found `v4294967295`"
        );
        assert_eq!(
            in_block("v0 = input -1\nv0 = input -2\nstop 0"),
            "line 4: `v0` is defined twice"
        );
        assert_eq!(
            in_block("v4000000000 = input -1\nstop 0"),
            "line 3: `v0` isn't defined, but a later value is"
        );
    }
}
