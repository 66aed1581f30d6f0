//! How a stack is walked that has frames of compiled code on it: for backtraces, debuggers and
//! profilers, which get to the frames of those who called the code.
//!
//! All compiled code keeps frame pointers, and calls others with the frame pointer of its frame. So
//! one rule, told to the unwinder once, is right for a whole region: the caller's frame begins two
//! words above the frame pointer, and the frame pointer and return address of the caller are in
//! these. Where a function is at its first instruction, its second or its last, the frame pointer is
//! still its caller's, which in Rust's code is a register like any other. So who unwinds in a signal
//! handler, as profilers do, mustn't follow it blindly: where it doesn't point to somewhere above the
//! stack pointer, and near, the rule reads what is at the stack pointer, and the backtrace may end
//! there. Nothing is ever thrown through compiled code, so no other register has to be found again.
//!
//! Needs the unwinder of GCC's runtime, which programs for Linux with glibc have: elsewhere
//! backtraces end at compiled code. (Up to GCC 12, it takes a lock for each unwinding once anything
//! is registered.) Costs 120 bytes a region, and compiled code nothing.

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub(super) use told::UnwindRule;
#[cfg(not(all(
    target_os = "linux",
    target_env = "gnu",
    any(target_arch = "x86_64", target_arch = "aarch64")
)))]
pub(super) use untold::UnwindRule;

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod told {
    use std::ptr::NonNull;

    /// The DWARF numbers of the return address, the frame pointer and the stack pointer.
    #[cfg(target_arch = "x86_64")]
    const REGISTERS: [u8; 3] = [16, 6, 7];
    #[cfg(target_arch = "aarch64")]
    const REGISTERS: [u8; 3] = [30, 29, 31];

    /// A frame is smaller than two to this power of bytes, with what is called in it on the native
    /// stack up to a builtin.
    const FRAME_LOG2: u8 = 16;

    /// A table of call frames (`.eh_frame`) for some code, which the unwinder knows.
    #[derive(Debug)]
    pub(in super::super) struct UnwindRule(Box<[u64]>);

    unsafe extern "C" {
        fn __register_frame(table: *const u64);
        fn __deregister_frame(table: *const u64);
    }

    impl UnwindRule {
        /// The rule for so many bytes of code from an address on.
        pub(in super::super) fn new(base: NonNull<u8>, len: usize) -> Self {
            let table = table(base.as_ptr().addr(), len);
            // SAFETY: a whole table, with its end, which stays where it is until it is taken back,
            // or for good.
            unsafe { __register_frame(table.as_ptr()) };
            Self(table)
        }

        /// Takes the rule back. If it isn't `owned`, this is a child of the process that told of it:
        /// then the unwinder may be as another thread has left it, so it keeps the table.
        pub(in super::super) fn take_back(&mut self, owned: bool) {
            let table = std::mem::take(&mut self.0);
            if !owned {
                std::mem::forget(table);
            } else if !table.is_empty() {
                // SAFETY: registered by `new`, and not taken back before: then there is none.
                unsafe { __deregister_frame(table.as_ptr()) };
            }
        }
    }

    /// A table of one rule, for code at an address: see the Linux Standard Base, "Exception Frames",
    /// and DWARF 4, sections 2.5 and 6.4.
    fn table(base: usize, len: usize) -> Box<[u64]> {
        let [return_address, frame_pointer, stack_pointer] = REGISTERS;
        let register = |number: u8| 0x70 + number;
        // The frame begins two words above the frame pointer, if that is near, above the stack
        // pointer; else a word above the stack pointer.
        let expression = [
            register(frame_pointer),
            0,
            register(stack_pointer),
            0,
            0x1c, // the difference
            0x30 + FRAME_LOG2,
            0x25, // without so many low bits
            0x28, // unless that is zero,
            5,    // over what is two lines below
            0,
            register(frame_pointer),
            16,
            0x2f, // over what follows
            2,
            0,
            register(stack_pointer),
            8,
        ];
        let mut common = vec![1, b'z', b'R', 0]; // version, what there is more
        common.extend([1, 0x78, return_address]); // units of code and data (-8)
        common.extend([1, 0]); // addresses are absolute
        common.extend([0x0f, expression.len() as u8]);
        common.extend(expression);
        // Saved two units below, and one.
        common.extend([0x80 | frame_pointer, 2, 0x80 | return_address, 1]);
        let mut table = Vec::new();
        entry(&mut table, 0, &common);
        let to_common = table.len() as u32 + 4;
        let addresses = [base, len].map(usize::to_ne_bytes).concat();
        entry(&mut table, to_common, &[&addresses[..], &[0]].concat());
        table.extend_from_slice(&[0; 8]);
        table.as_chunks().0.iter().map(|&word| u64::from_ne_bytes(word)).collect()
    }

    /// Adds an entry: its length, where the common one is (0: it is that), and its content, padded
    /// with instructions that do nothing. A multiple of eight bytes.
    fn entry(table: &mut Vec<u8>, to_common: u32, content: &[u8]) {
        let len = (4 + content.len()).next_multiple_of(8) + 4;
        table.extend_from_slice(&(len as u32).to_ne_bytes());
        table.extend_from_slice(&to_common.to_ne_bytes());
        table.extend_from_slice(content);
        table.resize(table.len() + len - 4 - content.len(), 0);
    }
}

#[cfg(not(all(
    target_os = "linux",
    target_env = "gnu",
    any(target_arch = "x86_64", target_arch = "aarch64")
)))]
mod untold {
    use std::ptr::NonNull;

    /// Nobody is told: other unwinders take tables in another form, or none.
    #[derive(Debug)]
    pub(in super::super) struct UnwindRule;

    impl UnwindRule {
        pub(in super::super) const fn new(_base: NonNull<u8>, _len: usize) -> Self {
            Self
        }

        pub(in super::super) const fn take_back(&mut self, _owned: bool) {}
    }
}
