//! The table of builtins: the sole list of their names, signatures, order, and opcodes.
//!
//! The order is part of the ABI: compiled code calls through an offset.

use super::{assertions, copy, delegate, exponent, keccak, log, math, memory, shift, storage};
use crate::abi::EvmContext;
#[cfg(feature = "cranelift")]
use cranevm_passes::ir::opcode::Opcode;
#[cfg(feature = "cranelift")]
use revm_bytecode::opcode;
use revm_interpreter::Host;
use revm_primitives::U256;

/// What a builtin that charges gas returns: in two registers, on all ABIs that are supported.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct StatusAndGas {
    /// Zero, or how the frame ends.
    pub(crate) status: u64,
    /// Gas left.
    pub(crate) gas: u64,
}

/// What a builtin takes and returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signature {
    /// `(top)`: words in, a word out, no status.
    Words,
    /// `(context, offset, offset_high, gas_after, gas) -> (status, gas)`
    Memory,
    /// `(context, offset, offset_high) -> pointer`
    Calldata,
    /// `(context, top, opcode, gas_after or next pc) -> status`
    Delegate,
}

impl Signature {
    /// Number of signatures.
    pub(crate) const COUNT: usize = Self::Delegate as usize + 1;
}

type WordsFn = unsafe extern "C" fn(*mut U256);
/// See [`Signature::Memory`].
pub(crate) type MemoryFn =
    unsafe extern "C" fn(*mut EvmContext<'_>, u64, u64, u64, u64) -> StatusAndGas;
type CalldataFn = unsafe extern "C" fn(*mut EvmContext<'_>, u64, u64) -> *const u8;
type DelegateFn = unsafe extern "C" fn(*mut EvmContext<'_>, *mut U256, u64, u64) -> u64;

/// What a builtin returned, by register: those that it returned nothing in hold what they like.
#[cfg(feature = "cranelift")]
pub(crate) type BuiltinResults = [Option<u64>; 2];

/// Calling with arguments that are numbers, as registers hold them.
#[cfg(feature = "cranelift")]
trait CallByNumbers {
    /// # Safety
    /// As for the function itself, with the arguments that it takes, in order.
    unsafe fn call(self, arguments: [u64; 5]) -> BuiltinResults;
}

#[cfg(feature = "cranelift")]
impl CallByNumbers for WordsFn {
    unsafe fn call(self, [top, ..]: [u64; 5]) -> BuiltinResults {
        // SAFETY: passed on.
        unsafe { self(top as *mut U256) };
        [None, None]
    }
}

#[cfg(feature = "cranelift")]
impl CallByNumbers for MemoryFn {
    unsafe fn call(self, [context, a, b, c, d]: [u64; 5]) -> BuiltinResults {
        // SAFETY: passed on.
        let StatusAndGas { status, gas } =
            unsafe { self(context as *mut EvmContext<'_>, a, b, c, d) };
        [Some(status), Some(gas)]
    }
}

#[cfg(feature = "cranelift")]
impl CallByNumbers for CalldataFn {
    unsafe fn call(self, [context, offset, offset_high, ..]: [u64; 5]) -> BuiltinResults {
        // SAFETY: passed on.
        let word = unsafe { self(context as *mut EvmContext<'_>, offset, offset_high) };
        [Some(word as u64), None]
    }
}

#[cfg(feature = "cranelift")]
impl CallByNumbers for DelegateFn {
    unsafe fn call(self, [context, top, opcode, last, _]: [u64; 5]) -> BuiltinResults {
        // SAFETY: passed on.
        let status =
            unsafe { self(context as *mut EvmContext<'_>, top as *mut U256, opcode, last) };
        [Some(status), None]
    }
}

macro_rules! builtins {
    ($($(#[$doc:meta])* $variant:ident $(for $opcode:ident)? = $field:ident:
        $signature:ident($ty:ty) => $function:expr;)*) => {
        /// A builtin.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Builtin {
            $($(#[$doc])* $variant,)*
        }

        impl Builtin {
            /// What it takes and returns.
            pub(crate) const fn signature(self) -> Signature {
                match self {
                    $(Self::$variant => Signature::$signature,)*
                }
            }

            /// The builtin of an opcode that has one.
            #[cfg(feature = "cranelift")]
            const fn for_opcode(byte: u8) -> Option<Self> {
                match byte {
                    $($(opcode::$opcode => Some(Self::$variant),)?)*
                    _ => None,
                }
            }

            /// Offset in the table, in bytes.
            pub(crate) const fn offset(self) -> i32 {
                self as i32 * size_of::<usize>() as i32
            }
        }

        /// Addresses of the builtins, for one type of host.
        #[repr(C)]
        #[derive(Debug)]
        pub(crate) struct BuiltinTable {
            $($field: $ty,)*
        }

        $(const _: () = assert!(
            std::mem::offset_of!(BuiltinTable, $field) as i32 == Builtin::$variant.offset()
        );)*

        /// Name, signature and type of each builtin, in order, for the hash of the ABI.
        pub(crate) fn builtin_signatures()
        -> impl Iterator<Item = (&'static str, Signature, &'static str)> {
            [$((
                stringify!($variant),
                Signature::$signature,
                std::any::type_name::<$ty>(),
            ),)*]
            .into_iter()
        }

        #[cfg(feature = "cranelift")]
        impl BuiltinTable {
            /// Calls the builtin at an index in the table, if there is one.
            ///
            /// # Safety
            /// As for a call of it by compiled code, with these arguments in order.
            pub(crate) unsafe fn call(
                &self,
                index: usize,
                arguments: [u64; 5],
            ) -> Option<BuiltinResults> {
                $(if index == Builtin::$variant as usize {
                    // SAFETY: passed on.
                    return Some(unsafe { self.$field.call(arguments) });
                })*
                None
            }
        }

        /// The table for hosts of type `H`.
        #[inline(always)]
        pub(crate) fn builtin_table<H: Host>() -> &'static BuiltinTable {
            const { &BuiltinTable { $($field: $function,)* } }
        }
    };
}

builtins! {
    /// `DIV`
    Div for DIV = div: Words(WordsFn) => math::div;
    /// `SDIV`
    Sdiv for SDIV = sdiv: Words(WordsFn) => math::sdiv;
    /// `MOD`
    Mod for MOD = rem: Words(WordsFn) => math::rem;
    /// `SMOD`
    Smod for SMOD = smod: Words(WordsFn) => math::smod;
    /// `ADDMOD`
    Addmod for ADDMOD = addmod: Words(WordsFn) => math::addmod;
    /// `MULMOD`
    Mulmod for MULMOD = mulmod: Words(WordsFn) => math::mulmod;
    /// `SIGNEXTEND` by an amount that isn't constant
    Signextend for SIGNEXTEND = signextend: Words(WordsFn) => math::signextend;
    /// `SHL` by an amount that isn't constant
    Shl for SHL = shl: Words(WordsFn) => shift::shl;
    /// `SHR` by an amount that isn't constant
    Shr for SHR = shr: Words(WordsFn) => shift::shr;
    /// `SAR` by an amount that isn't constant
    Sar for SAR = sar: Words(WordsFn) => shift::sar;
    /// `EXP`: charges by the exponent's bytes.
    Exp for EXP = exp: Delegate(DelegateFn) => exponent::exp::<H>;
    /// `KECCAK256`
    Keccak256 for KECCAK256 = keccak256: Delegate(DelegateFn) => keccak::keccak256::<H>;
    /// `SLOAD`
    Sload for SLOAD = sload: Delegate(DelegateFn) => storage::sload::<H>;
    /// `SSTORE`
    Sstore for SSTORE = sstore: Delegate(DelegateFn) => storage::sstore::<H>;
    /// `TLOAD`
    Tload for TLOAD = tload: Delegate(DelegateFn) => storage::tload::<H>;
    /// `TSTORE`
    Tstore for TSTORE = tstore: Delegate(DelegateFn) => storage::tstore::<H>;
    /// `LOG0`
    Log0 for LOG0 = log0: Delegate(DelegateFn) => log::log0::<H>;
    /// `LOG1`
    Log1 for LOG1 = log1: Delegate(DelegateFn) => log::log1::<H>;
    /// `LOG2`
    Log2 for LOG2 = log2: Delegate(DelegateFn) => log::log2::<H>;
    /// `LOG3`
    Log3 for LOG3 = log3: Delegate(DelegateFn) => log::log3::<H>;
    /// `LOG4`
    Log4 for LOG4 = log4: Delegate(DelegateFn) => log::log4::<H>;
    /// `CALLDATACOPY`
    Calldatacopy for CALLDATACOPY = calldatacopy: Delegate(DelegateFn) => copy::calldatacopy::<H>;
    /// `CODECOPY`
    Codecopy for CODECOPY = codecopy: Delegate(DelegateFn) => copy::codecopy::<H>;
    /// `RETURNDATACOPY`
    Returndatacopy for RETURNDATACOPY = returndatacopy: Delegate(DelegateFn) => copy::returndatacopy::<H>;
    /// `MCOPY`
    Mcopy for MCOPY = mcopy: Delegate(DelegateFn) => copy::mcopy::<H>;
    /// Grows memory so that a word at an offset lies within.
    GrowWord = grow_word: Memory(MemoryFn) => memory::grow_word::<H>;
    /// Grows memory so that a byte at an offset lies within.
    GrowByte = grow_byte: Memory(MemoryFn) => memory::grow_byte::<H>;
    /// A calldata word that isn't wholly within the calldata.
    CalldataWord = calldata_word: Calldata(CalldataFn) => memory::calldata_word;
    /// Calls revm's own instruction; the block goes on after it.
    Delegate = delegate: Delegate(DelegateFn) => delegate::delegate::<H>;
    /// Calls revm's own instruction at the end of a block, with the pc after it.
    DelegateLast = delegate_last: Delegate(DelegateFn) => delegate::delegate_last::<H>;
    /// Panics if what compiled code relies on doesn't hold: `(context, stack top, gas, pc and code
    /// length, known memory)`.
    CheckInvariants = check_invariants: Memory(MemoryFn) => assertions::check_invariants;
    /// `BYTE` by an index that isn't constant
    Byte for BYTE = byte: Words(WordsFn) => shift::byte;
    /// Panics if an access lies outside: `(context, address, bytes, pc and buffer, unused)`.
    CheckAccess = check_access: Memory(MemoryFn) => assertions::check_access;
}

#[cfg(feature = "cranelift")]
impl Builtin {
    /// The builtin of an opcode that the opcode table gives one.
    ///
    /// # Panics
    /// If there is none: tests ask for all of them.
    pub(crate) fn of(opcode: Opcode) -> Self {
        Self::for_opcode(opcode.get()).unwrap_or_else(|| panic!("{opcode} has no builtin"))
    }
}

impl BuiltinTable {
    /// [`Builtin::GrowWord`].
    #[inline(always)]
    pub(crate) fn grow_word(&self) -> MemoryFn {
        self.grow_word
    }
}

#[cfg(all(test, feature = "cranelift"))]
mod tests {
    use super::*;
    use cranevm_passes::ir::implementation::Implementation;

    #[test]
    fn opcodes_have_the_builtins_that_their_table_says() {
        for opcode in (0..=u8::MAX).map(Opcode::new) {
            let expected = match opcode.implementation() {
                Implementation::Words => Some(Signature::Words),
                Implementation::Charged => Some(Signature::Delegate),
                _ => None,
            };
            let found = Builtin::for_opcode(opcode.get()).map(Builtin::signature);
            assert_eq!(found, expected, "{opcode}");
        }
    }
}
