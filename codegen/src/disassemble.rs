//! Machine code as text, annotated with the EVM pcs it comes from.
//!
//! For people: `cranevm explain`, dumps, and whoever chases a miscompile. Behind the feature
//! `disassemble`, as compiling needs no disassembler. Each line is plain data ([`Line`]), so that
//! it can be shown beside other forms of the program; [`listing`] prints them alone.
//!
//! Needs the code and its source locations from the compiler: pairs of code offset and pc, where
//! each holds from its offset to the next one's. Both supported machines are known on both, as code
//! may have been compiled for another machine. Constants and jump tables that Cranelift puts
//! between or behind instructions are shown as if they were instructions; they may look odd, but
//! only up to the next mark, where decoding starts anew. Cost: linear, some 0.2 us an instruction,
//! and sorting the marks.

use iced_x86::Formatter as _;
use std::fmt::Write as _;
use target_lexicon::{Architecture, Triple};
use yaxpeax_arch::{Decoder as _, U8Reader};

/// The pc of code that comes from no EVM instruction: that of Cranelift's default source location.
pub const NO_PC: u32 = u32::MAX;

/// Why code can't be disassembled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DisassembleError {
    /// There is no disassembler for this machine.
    #[error("no disassembler for {0}; there are for x86-64 and aarch64")]
    UnsupportedMachine(String),
    /// Offsets have 32 bits.
    #[error("{0} bytes of code are too many to disassemble: the limit is 4 GiB")]
    TooLong(usize),
}

/// An instruction set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Machine {
    /// AMD64, Intel 64. Shown in Intel's syntax.
    X86_64,
    /// The 64-bit instructions of ARMv8 and later.
    Aarch64,
}

impl Machine {
    /// The machine of a target triple.
    ///
    /// # Errors
    /// If it is neither x86-64 nor aarch64.
    pub fn of(target: &Triple) -> Result<Self, DisassembleError> {
        match target.architecture {
            Architecture::X86_64 | Architecture::X86_64h => Ok(Self::X86_64),
            Architecture::Aarch64(_) => Ok(Self::Aarch64),
            other => Err(DisassembleError::UnsupportedMachine(other.to_string())),
        }
    }
}

/// One machine instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Bytes from the start of the code.
    pub offset: u32,
    /// Its encoding.
    pub bytes: Vec<u8>,
    /// Mnemonic and operands.
    pub text: String,
    /// Offset of the EVM instruction it comes from; `None` for prologues and the like.
    pub pc: Option<u32>,
}

/// Disassembles `code` of `machine`, placed at address `base`.
///
/// `marks` are pairs (code offset, pc): the code from that offset on comes from the EVM instruction
/// at `pc`, or from none if that is [`NO_PC`]. They may be in any order; of several at one offset
/// the last holds. Instructions must begin at marks: decoding starts anew at each, so that data
/// before it, such as a jump table, can't swallow its beginning. Bytes that are no instruction give
/// a line that says so.
///
/// # Errors
/// If the code is longer than 4 GiB.
pub fn disassemble(
    machine: Machine,
    code: &[u8],
    base: u64,
    marks: &[(u32, u32)],
) -> Result<Vec<Line>, DisassembleError> {
    if u32::try_from(code.len()).is_err() {
        return Err(DisassembleError::TooLong(code.len()));
    }
    let mut marks = marks.to_vec();
    marks.sort_by_key(|&(offset, _)| offset);
    let mut lines = match machine {
        Machine::X86_64 => disassemble_x86_64(code, base, &marks),
        Machine::Aarch64 => disassemble_aarch64(code, base),
    };
    assign_pcs(&mut lines, &marks);
    Ok(lines)
}

/// Lines as text, those of one EVM instruction under a heading like `; pc 0x0012 ADD`.
///
/// `opcode` names the instruction at a pc; it may be empty.
pub fn listing<S: AsRef<str>>(lines: &[Line], mut opcode: impl FnMut(u32) -> S) -> String {
    let mut text = String::new();
    for run in lines.chunk_by(|a, b| a.pc == b.pc) {
        let heading = match run[0].pc {
            Some(pc) => format!("; pc {pc:#06x} {}", opcode(pc).as_ref()),
            None => "; no pc".to_owned(),
        };
        text.push_str(heading.trim_end());
        text.push('\n');
        for line in run {
            let bytes: String = line.bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            // Writing to a string can't fail.
            let _ = writeln!(text, "{:6x}  {bytes:<20}  {}", line.offset, line.text);
        }
    }
    text
}

/// Decodes from mark to mark, which are in order.
fn disassemble_x86_64(code: &[u8], base: u64, marks: &[(u32, u32)]) -> Vec<Line> {
    let mut formatter = iced_x86::IntelFormatter::new();
    let options = formatter.options_mut();
    options.set_hex_prefix("0x");
    options.set_hex_suffix("");
    options.set_uppercase_hex(false);
    options.set_space_after_operand_separator(true);
    options.set_branch_leading_zeros(false);
    let mut lines = Vec::new();
    let mut offset = 0;
    let ends = marks.iter().map(|&(end, _)| (end as usize).min(code.len()));
    for end in ends.chain([code.len()]) {
        let (ip, options) = (base.wrapping_add(offset as u64), iced_x86::DecoderOptions::NONE);
        for instruction in iced_x86::Decoder::with_ip(64, &code[offset..end], ip, options) {
            let bytes = code[offset..][..instruction.len()].to_vec();
            let mut text = String::new();
            formatter.format(&instruction, &mut text);
            lines.push(Line { offset: offset as u32, bytes, text, pc: None });
            offset += instruction.len();
        }
    }
    lines
}

fn disassemble_aarch64(code: &[u8], base: u64) -> Vec<Line> {
    let decoder = yaxpeax_arm::armv8::a64::InstDecoder::default();
    code.chunks(4)
        .enumerate()
        .map(|(index, bytes)| {
            let offset = 4 * index as u32;
            let text = match decoder.decode(&mut U8Reader::new(bytes)) {
                Ok(instruction) => {
                    absolute(&instruction.to_string(), base.wrapping_add(offset.into()))
                }
                Err(_) => "(bad)".to_owned(),
            };
            Line { offset, bytes: bytes.to_vec(), text, pc: None }
        })
        .collect()
}

/// Replaces a relative address (`$+0x8`, `$-0x8`) by the address it means, as x86-64's lines have
/// it.
fn absolute(text: &str, address: u64) -> String {
    let Some((before, distance)) = text.split_once('$') else { return text.to_owned() };
    let (backwards, distance) = match distance.split_at_checked(1) {
        Some(("+", rest)) => (false, rest),
        Some(("-", rest)) => (true, rest),
        _ => return text.to_owned(),
    };
    let Some(digits) = distance.strip_prefix("0x") else { return text.to_owned() };
    let end = digits.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(digits.len());
    let Ok(distance) = u64::from_str_radix(&digits[..end], 16) else { return text.to_owned() };
    let target =
        if backwards { address.wrapping_sub(distance) } else { address.wrapping_add(distance) };
    format!("{before}{target:#x}{}", &digits[end..])
}

/// Gives each line the pc of the last mark at or before it. `marks` are in order.
fn assign_pcs(lines: &mut [Line], marks: &[(u32, u32)]) {
    let mut marks = marks.iter().peekable();
    let mut pc = None;
    for line in lines {
        while let Some(&(_, marked)) = marks.next_if(|&&(offset, _)| offset <= line.offset) {
            pc = (marked != NO_PC).then_some(marked);
        }
        line.pc = pc;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `push rbp; mov rbp, rsp; add rax, qword ptr [rdi+16]; jmp 0x1000; ret`
    const X86_64: [u8; 15] = [
        0x55, // push
        0x48, 0x89, 0xe5, // mov
        0x48, 0x03, 0x47, 0x10, // add
        0xe9, 0xf3, 0xff, 0xff, 0xff, // jmp
        0xc3, 0x90,
    ];

    /// `add x0, x1, x2; ldr x3, [x4, #16]; b -8; ret; a truncated word`
    const AARCH64: [u8; 18] = [
        0x20, 0x00, 0x02, 0x8b, // add
        0x83, 0x08, 0x40, 0xf9, // ldr
        0xfe, 0xff, 0xff, 0x17, // b
        0xc0, 0x03, 0x5f, 0xd6, // ret
        0x20, 0x00,
    ];

    fn texts(lines: &[Line]) -> Vec<&str> {
        lines.iter().map(|line| line.text.as_str()).collect()
    }

    #[test]
    fn x86_64_instructions() {
        let lines = disassemble(Machine::X86_64, &X86_64, 0x1000, &[]).unwrap();
        assert_eq!(
            texts(&lines),
            ["push rbp", "mov rbp, rsp", "add rax, [rdi+0x10]", "jmp 0x1000", "ret", "nop"]
        );
        assert_eq!(lines.iter().map(|line| line.offset).collect::<Vec<_>>(), [0, 1, 4, 8, 13, 14]);
        assert!(lines.iter().all(|line| line.pc.is_none()));
        assert_eq!(lines.into_iter().flat_map(|line| line.bytes).collect::<Vec<_>>(), X86_64);
    }

    #[test]
    fn aarch64_instructions() {
        let lines = disassemble(Machine::Aarch64, &AARCH64, 0x1000, &[]).unwrap();
        assert_eq!(
            texts(&lines),
            ["add x0, x1, x2", "ldr x3, [x4, #0x10]", "b 0x1000", "ret", "(bad)"]
        );
        assert_eq!(lines.into_iter().flat_map(|line| line.bytes).collect::<Vec<_>>(), AARCH64);
    }

    #[test]
    fn bytes_that_are_no_instruction() {
        // An opcode that 64-bit mode doesn't have, and an instruction that is cut off.
        for code in [[0x90, 0x06], [0x90, 0x48]] {
            let lines = disassemble(Machine::X86_64, &code, 0, &[]).unwrap();
            assert_eq!(texts(&lines), ["nop", "(bad)"]);
        }
        assert_eq!(disassemble(Machine::X86_64, &[], 0, &[(0, 1)]), Ok(vec![]));
    }

    #[test]
    fn all_bytes_are_kept_whatever_they_are() {
        let mut state = 1_u32;
        let mut random = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        let code: Vec<u8> = (0..100_000).map(|_| random()).collect();
        for machine in [Machine::X86_64, Machine::Aarch64] {
            let lines = disassemble(machine, &code, u64::MAX - 1000, &[]).unwrap();
            assert_eq!(lines.into_iter().flat_map(|line| line.bytes).collect::<Vec<_>>(), code);
        }
    }

    #[test]
    fn marks_hold_until_the_next() {
        // In any order, and beyond the end.
        let marks = [(8, 7), (1, 5), (4, 6), (4, 0x12), (13, NO_PC), (14, 0x10000), (99, 1)];
        let lines = disassemble(Machine::X86_64, &X86_64, 0, &marks).unwrap();
        let pcs: Vec<_> = lines.iter().map(|line| line.pc).collect();
        assert_eq!(pcs, [None, Some(5), Some(0x12), Some(7), None, Some(0x10000)]);
    }

    #[test]
    fn decoding_starts_anew_at_marks() {
        // A byte of data that begins a five-byte instruction, before `push rbp; mov rbp, rsp`.
        let code = [0xe9, 0x55, 0x48, 0x89, 0xe5];
        let lines = disassemble(Machine::X86_64, &code, 0x1000, &[(1, 3)]).unwrap();
        assert_eq!(texts(&lines), ["(bad)", "push rbp", "mov rbp, rsp"]);
        assert_eq!(lines.iter().map(|line| line.pc).collect::<Vec<_>>(), [None, Some(3), Some(3)]);
        // Relative addresses are those of the whole code.
        let lines = disassemble(Machine::X86_64, &X86_64, 0x1000, &[(8, 1)]).unwrap();
        assert_eq!(lines[3].text, "jmp 0x1000");
        assert_eq!(lines.into_iter().flat_map(|line| line.bytes).collect::<Vec<_>>(), X86_64);
    }

    #[test]
    fn listing_groups_by_pc() {
        let marks = [(1, 0x12), (8, 0x13), (13, NO_PC)];
        let lines = disassemble(Machine::X86_64, &X86_64, 0x1000, &marks).unwrap();
        let text = listing(&lines, |pc| if pc == 0x12 { "ADD" } else { "" });
        assert_eq!(
            text,
            "; no pc\n     0  55                    push rbp\n\
             ; pc 0x0012 ADD\n     1  4889e5                mov rbp, rsp\n     \
             4  48034710              add rax, [rdi+0x10]\n\
             ; pc 0x0013\n     8  e9f3ffffff            jmp 0x1000\n\
             ; no pc\n     d  c3                    ret\n     e  90                    nop\n"
        );
    }

    #[test]
    fn the_host_is_known() {
        let code: &[u8] =
            if cfg!(target_arch = "x86_64") { &[0xc3] } else { &[0xc0, 0x03, 0x5f, 0xd6] };
        let lines = disassemble(Machine::of(&Triple::host()).unwrap(), code, 0, &[]).unwrap();
        assert_eq!(texts(&lines), ["ret"]);
    }
}
