//! EVM assembly text to bytecode.
//!
//! ```text
//! ; comments begin with ';', '#' or '//'
//!         PUSH 10          ; the shortest PUSH that holds the number, decimal or 0x hex
//! loop:                    ; a label is a JUMPDEST
//!         PUSH1 1 SWAP1 SUB
//!         DUP1 PUSH @loop JUMPI   ; PUSH @label is PUSH2; PUSH1..PUSH32 @label work too
//!         STOP
//!         .bytes 0xfe00    ; raw bytes
//! ```
//!
//! Mnemonics are revm's names in any case (and `SHA3`, `PREVRANDAO`); opcodes with an immediate
//! byte (`DUPN`, `SWAPN`, `EXCHANGE`) take it as encoded. Two passes, linear in the text.

use alloy_primitives::{Bytes, U256};
use revm::bytecode::opcode::{DIFFICULTY, JUMPDEST, KECCAK256, OpCode, PUSH0, PUSH1, PUSH32};
use std::{collections::HashMap, fmt};

/// The mnemonic `PUSH @label` is a PUSH of this many bytes.
const DEFAULT_LABEL_WIDTH: usize = 2;

/// An error in assembly text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{position}: {kind}")]
pub struct AssemblyError {
    /// Where it is.
    pub position: Position,
    /// What it is.
    pub kind: AssemblyErrorKind,
}

/// A place in the text, counted from 1, the column in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// What is wrong in assembly text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AssemblyErrorKind {
    /// Not a mnemonic, label or directive.
    #[error("unknown mnemonic {0:?}")]
    UnknownMnemonic(String),
    /// The immediate isn't on the line.
    #[error("{0} needs an operand on the same line")]
    MissingOperand(String),
    /// The immediate isn't a number.
    #[error("{0:?} is not a decimal or 0x number of up to 256 bits")]
    BadNumber(String),
    /// The bytes aren't hex.
    #[error("{0}")]
    BadBytes(#[from] crate::hex::HexError),
    /// The immediate is too large.
    #[error("{value} doesn't fit in the {width} byte(s) of {mnemonic}")]
    TooLarge {
        /// The number, or the label's offset.
        value: U256,
        /// The immediate's width.
        width: usize,
        /// The instruction.
        mnemonic: String,
    },
    /// A label without a definition.
    #[error("label {0:?} is not defined")]
    UndefinedLabel(String),
    /// A label defined twice.
    #[error("label {0:?} is already defined on line {1}")]
    DuplicateLabel(String, usize),
    /// A label's name isn't a name.
    #[error("{0:?} is not a label name: letters, digits, '_' and '.', not beginning with a digit")]
    BadLabel(String),
}

/// Assembles `text`.
pub fn assemble(text: &str) -> Result<Bytes, AssemblyError> {
    let mut assembler = Assembler::default();
    for (index, line) in text.lines().enumerate() {
        assembler.line(index + 1, strip_comment(line))?;
    }
    assembler.resolve_labels()
}

fn strip_comment(line: &str) -> &str {
    let end = [";", "#", "//"].iter().filter_map(|mark| line.find(mark)).min();
    &line[..end.unwrap_or(line.len())]
}

/// A word of a line.
#[derive(Clone, Copy)]
struct Token<'a> {
    text: &'a str,
    position: Position,
}

impl Token<'_> {
    fn error(&self, kind: impl Into<AssemblyErrorKind>) -> AssemblyError {
        AssemblyError { position: self.position, kind: kind.into() }
    }
}

fn tokens(number: usize, line: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut start = None;
    let mut column = 0;
    for (offset, character) in line.char_indices() {
        column += 1;
        match (character.is_whitespace(), start) {
            (false, None) => start = Some((offset, column)),
            (true, Some((from, column))) => {
                let position = Position { line: number, column };
                tokens.push(Token { text: &line[from..offset], position });
                start = None;
            }
            _ => {}
        }
    }
    if let Some((from, column)) = start {
        tokens.push(Token { text: &line[from..], position: Position { line: number, column } });
    }
    tokens
}

/// A PUSH whose operand is a label.
struct LabelUse<'a> {
    name: &'a str,
    token: Token<'a>,
    mnemonic: Token<'a>,
    /// Where the immediate is in the code, and its size in bytes.
    offset: usize,
    width: usize,
}

#[derive(Default)]
struct Assembler<'a> {
    code: Vec<u8>,
    /// Name to offset and line of the definition.
    labels: HashMap<&'a str, (usize, usize)>,
    uses: Vec<LabelUse<'a>>,
}

impl<'a> Assembler<'a> {
    fn line(&mut self, number: usize, line: &'a str) -> Result<(), AssemblyError> {
        let tokens = tokens(number, line);
        let mut tokens = tokens.iter().copied();
        while let Some(token) = tokens.next() {
            if let Some(name) = token.text.strip_suffix(':') {
                self.define(name, token)?;
            } else if token.text.eq_ignore_ascii_case(".bytes") {
                let operand = operand_of(token, tokens.next())?;
                let bytes = crate::hex::decode(operand.text).map_err(|e| operand.error(e))?;
                self.code.extend_from_slice(&bytes);
            } else if token.text.eq_ignore_ascii_case("PUSH") {
                self.push_any_width(token, operand_of(token, tokens.next())?)?;
            } else {
                let opcode = opcode_by_name(token.text).ok_or_else(|| {
                    token.error(AssemblyErrorKind::UnknownMnemonic(token.text.into()))
                })?;
                self.instruction(opcode, token, &mut tokens)?;
            }
        }
        Ok(())
    }

    fn define(&mut self, name: &'a str, token: Token<'a>) -> Result<(), AssemblyError> {
        check_label(name, token)?;
        if let Some((_, line)) = self.labels.get(name) {
            return Err(token.error(AssemblyErrorKind::DuplicateLabel(name.into(), *line)));
        }
        self.labels.insert(name, (self.code.len(), token.position.line));
        self.code.push(JUMPDEST);
        Ok(())
    }

    fn instruction(
        &mut self,
        opcode: OpCode,
        mnemonic: Token<'a>,
        rest: &mut impl Iterator<Item = Token<'a>>,
    ) -> Result<(), AssemblyError> {
        self.code.push(opcode.get());
        let width = usize::from(opcode.info().immediate_size());
        if width > 0 {
            let operand = operand_of(mnemonic, rest.next())?;
            self.immediate(mnemonic, operand, width)?;
        }
        Ok(())
    }

    /// `PUSH number` or `PUSH @label`.
    fn push_any_width(
        &mut self,
        mnemonic: Token<'a>,
        operand: Token<'a>,
    ) -> Result<(), AssemblyError> {
        let width = if operand.text.starts_with('@') {
            DEFAULT_LABEL_WIDTH
        } else {
            // Zero takes a byte, so that the text assembles to what every fork runs.
            number(operand)?.byte_len().max(1)
        };
        self.code.push(PUSH0 + width as u8);
        self.immediate(mnemonic, operand, width)
    }

    fn immediate(
        &mut self,
        mnemonic: Token<'a>,
        operand: Token<'a>,
        width: usize,
    ) -> Result<(), AssemblyError> {
        if let Some(name) = operand.text.strip_prefix('@') {
            check_label(name, operand)?;
            let offset = self.code.len();
            self.uses.push(LabelUse { name, token: operand, mnemonic, offset, width });
            self.code.resize(offset + width, 0);
            return Ok(());
        }
        let bytes = encode(number(operand)?, width, mnemonic, operand)?;
        self.code.extend_from_slice(&bytes[32 - width..]);
        Ok(())
    }

    fn resolve_labels(mut self) -> Result<Bytes, AssemblyError> {
        for label in &self.uses {
            let Some((target, _)) = self.labels.get(label.name) else {
                let kind = AssemblyErrorKind::UndefinedLabel(label.name.into());
                return Err(label.token.error(kind));
            };
            let bytes = encode(U256::from(*target), label.width, label.mnemonic, label.token)?;
            self.code[label.offset..label.offset + label.width]
                .copy_from_slice(&bytes[32 - label.width..]);
        }
        Ok(self.code.into())
    }
}

/// The number as 32 big-endian bytes, all but the last `width` of them zero.
fn encode(
    value: U256,
    width: usize,
    mnemonic: Token<'_>,
    operand: Token<'_>,
) -> Result<[u8; 32], AssemblyError> {
    if value.byte_len() > width {
        let mnemonic = mnemonic.text.to_uppercase();
        return Err(operand.error(AssemblyErrorKind::TooLarge { value, width, mnemonic }));
    }
    Ok(value.to_be_bytes())
}

fn operand_of<'a>(
    mnemonic: Token<'a>,
    operand: Option<Token<'a>>,
) -> Result<Token<'a>, AssemblyError> {
    operand.ok_or_else(|| {
        mnemonic.error(AssemblyErrorKind::MissingOperand(mnemonic.text.to_uppercase()))
    })
}

fn number(token: Token<'_>) -> Result<U256, AssemblyError> {
    let digits = token.text.strip_prefix("0x").or_else(|| token.text.strip_prefix("0X"));
    let (digits, radix) = match digits {
        Some(digits) => (digits, 16),
        None => (token.text, 10),
    };
    let all_digits = !digits.is_empty() && digits.chars().all(|c| c.is_digit(radix as u32));
    all_digits
        .then(|| U256::from_str_radix(digits, radix).ok())
        .flatten()
        .ok_or_else(|| token.error(AssemblyErrorKind::BadNumber(token.text.into())))
}

fn check_label(name: &str, token: Token<'_>) -> Result<(), AssemblyError> {
    let good = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
    if name.chars().all(good) && name.chars().next().is_some_and(|c| !c.is_ascii_digit()) {
        return Ok(());
    }
    Err(token.error(AssemblyErrorKind::BadLabel(name.into())))
}

fn opcode_by_name(name: &str) -> Option<OpCode> {
    let name = name.to_ascii_uppercase();
    let alias = match name.as_str() {
        "SHA3" => Some(KECCAK256),
        "PREVRANDAO" => Some(DIFFICULTY),
        _ => None,
    };
    if let Some(opcode) = alias {
        return OpCode::new(opcode);
    }
    // A PUSHn's byte follows from its name: the commonest mnemonic needs no search.
    if let Some(width) = name.strip_prefix("PUSH").and_then(|n| n.parse::<u8>().ok()) {
        return (width <= PUSH32 - PUSH0).then(|| OpCode::new(PUSH1 - 1 + width)).flatten();
    }
    (0..=u8::MAX).filter_map(OpCode::new).find(|opcode| opcode.as_str() == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        assemble(text).unwrap_err().to_string()
    }

    #[test]
    fn assembles_every_defined_opcode_by_name() {
        for opcode in (0..=u8::MAX).filter_map(OpCode::new) {
            let width = usize::from(opcode.info().immediate_size());
            let text = if width == 0 { opcode.as_str().into() } else { format!("{opcode} 7") };
            let code = assemble(&text).unwrap();
            assert_eq!(code[0], opcode.get());
            assert_eq!(code.len(), 1 + width);
            assert!(width == 0 || code[width] == 7);
        }
    }

    #[test]
    fn resolves_labels_forwards_and_backwards() {
        let code = assemble(
            "start: ; the beginning\n push @end jump // over\n .bytes 0xfe5b # data\nend:\nPUSH1 @start JUMP",
        )
        .unwrap();
        assert_eq!(code.as_ref(), [0x5b, 0x61, 0, 7, 0x56, 0xfe, 0x5b, 0x5b, 0x60, 0, 0x56]);
    }

    #[test]
    fn push_takes_the_shortest_width() {
        assert_eq!(assemble("PUSH 0").unwrap().as_ref(), [0x60, 0]);
        assert_eq!(assemble("PUSH 256").unwrap().as_ref(), [0x61, 1, 0]);
        assert_eq!(assemble("PUSH4 0xff").unwrap().as_ref(), [0x63, 0, 0, 0, 0xff]);
        assert_eq!(assemble(&format!("PUSH {}", U256::MAX)).unwrap().len(), 33);
        assert_eq!(assemble("PUSH0 SHA3 prevrandao").unwrap().as_ref(), [0x5f, 0x20, 0x44]);
    }

    #[test]
    fn errors_name_line_and_column() {
        assert_eq!(error("ADD\n  BOGUS"), "2:3: unknown mnemonic \"BOGUS\"");
        assert_eq!(error("ADD PUSH1 ; 5"), "1:5: PUSH1 needs an operand on the same line");
        assert_eq!(error("PUSH1 256"), "1:7: 256 doesn't fit in the 1 byte(s) of PUSH1");
        assert_eq!(error("PUSH @nowhere"), "1:6: label \"nowhere\" is not defined");
        assert_eq!(error("a:\na:"), "2:1: label \"a\" is already defined on line 1");
        assert!(error("1a:").starts_with("1:1: \"1a\" is not a label name"));
        assert!(error("PUSH1 0xg").starts_with("1:7: \"0xg\" is not a decimal"));
        assert!(error("PUSH1 -1").starts_with("1:7: \"-1\" is not"));
        assert!(error(&format!("PUSH32 0x1{}", "0".repeat(64))).contains("256 bits"));
        assert_eq!(error(".bytes 0x123"), "1:8: not hex: odd number of digits (3)");
        assert!(error("PUSH33 1").contains("unknown mnemonic"));
    }

    #[test]
    fn a_label_beyond_its_width_is_an_error() {
        let text = format!("PUSH1 @far JUMP .bytes 0x{}\nfar:", "00".repeat(300));
        assert_eq!(error(&text), "1:7: 303 doesn't fit in the 1 byte(s) of PUSH1");
    }

    #[test]
    fn any_text_gives_a_result() {
        for text in ["é: @ü", ":", "@", "PUSH", "PUSH @", ".bytes", "\u{0}", "PUSH0x1", "PUSH 0x"]
        {
            let _: Result<_, AssemblyError> = assemble(text);
        }
        assert!(assemble("").unwrap().is_empty());
    }
}
