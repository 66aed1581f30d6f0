//! How a stack is walked that has frames of compiled code on it: for backtraces, debuggers and
//! profilers, which get to the frames of those who called the code.
//!
//! All compiled code keeps frame pointers, and calls others with the frame pointer of its frame. So
//! one rule, told to the unwinder once, is right for a whole region: the caller's frame begins two
//! words above the frame pointer, and the frame pointer and return address of the caller are in
//! these. (Between a function's first instruction and its second, and at its end, it isn't: whoever
//! is interrupted there may be missing from a backtrace.) Nothing is ever thrown through compiled
//! code, so no other register has to be found again.
//!
//! Needs the unwinder of GCC's runtime, which programs for Linux with glibc have: elsewhere
//! backtraces end at compiled code. Costs 100 bytes a region, and compiled code nothing.

use std::ptr::NonNull;

/// What the unwinder calls the return address, and the frame pointer (the ABIs' DWARF numbers).
#[cfg(target_arch = "x86_64")]
const REGISTERS: [u8; 2] = [16, 6];
#[cfg(target_arch = "aarch64")]
const REGISTERS: [u8; 2] = [30, 29];

/// The entry of a table of call frames (`.eh_frame`) for some code; the unwinder knows it for as long
/// as this lives.
#[derive(Debug)]
pub(super) struct UnwindRule {
    table: Box<[u8]>,
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
unsafe extern "C" {
    fn __register_frame(table: *const u8);
    fn __deregister_frame(table: *const u8);
}

/// Nobody to be told: other unwinders take tables in another form, or none.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
const unsafe fn __register_frame(_table: *const u8) {}
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
const unsafe fn __deregister_frame(_table: *const u8) {}

impl UnwindRule {
    /// The rule for so many bytes of code from an address on.
    pub(super) fn new(base: NonNull<u8>, len: usize) -> Self {
        let table = table(base.as_ptr().addr(), len).into_boxed_slice();
        // SAFETY: a whole table, with its end, which stays where it is until it is taken back.
        unsafe { __register_frame(table.as_ptr()) };
        Self { table }
    }
}

impl Drop for UnwindRule {
    fn drop(&mut self) {
        // SAFETY: registered by `new`, and nobody else takes it back.
        unsafe { __deregister_frame(self.table.as_ptr()) };
    }
}

/// A table of one rule, for code at an address: see the Linux Standard Base, "Exception Frames", and
/// DWARF 4, section 6.4.
fn table(base: usize, len: usize) -> Vec<u8> {
    let [return_address, frame_pointer] = REGISTERS;
    let common = [
        1, // version
        b'z',
        b'R',
        0,    // what follows has its length, and says how addresses are written
        1,    // unit of code
        0x78, // unit of data: -8
        return_address,
        1,
        0, // addresses are absolute
        0x0c,
        frame_pointer,
        16, // the frame begins 16 bytes above the frame pointer
        0x80 | frame_pointer,
        2, // saved two units below that
        0x80 | return_address,
        1, // and one
    ];
    let mut table = Vec::new();
    entry(&mut table, 0, &common);
    let to_common = table.len() as u32 + 4;
    let addresses = [base, len].map(usize::to_ne_bytes).concat();
    entry(&mut table, to_common, &[&addresses[..], &[0]].concat());
    table.extend_from_slice(&[0; 4]);
    table
}

/// Adds an entry: its length, where the common one is (0: it is that), and its content, padded.
fn entry(table: &mut Vec<u8>, to_common: u32, content: &[u8]) {
    let len = (4 + content.len()).next_multiple_of(8) + 4;
    table.extend_from_slice(&(len as u32).to_ne_bytes());
    table.extend_from_slice(&to_common.to_ne_bytes());
    table.extend_from_slice(content);
    // Instructions that do nothing.
    table.resize(table.len() + len - 4 - content.len(), 0);
}
