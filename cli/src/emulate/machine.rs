//! An emulated aarch64 processor over this process's memory, one for each thread.
//!
//! All addresses but the lowest are mapped to themselves; what isn't mapped in this process faults
//! as it would in native code. Emulated code calls builtins through stubs, whose exception has the
//! builtin of this process run before the stub returns.
//!
//! More is checked than results: that the stack is aligned at each call, that registers which
//! belong to the caller come back as they were, that addresses are what was signed, and, by filling
//! the registers that a callee may change with junk at each call, that compiled code expects
//! nothing of them.

use super::{
    registers::{self as register, ARGUMENTS, JUNK, PRESERVED, SCRATCH, marks},
    stubs::{EXIT, stubs},
};
use cranevm_codegen::{
    abi::{
        EvmContext,
        emulation::{self, HostBuiltins},
    },
    code_memory,
};
use std::{
    cell::Cell,
    ffi::c_void,
    ops::Range,
    ptr::NonNull,
    sync::atomic::{AtomicU64, Ordering},
};
use unicorn_engine::{Arch, Arm64CpuModel, Mode, Permission, Unicorn, uc_error};

/// Addresses that are mapped to themselves: all but the lowest, so that null pointers fault.
const MAPPED: Range<usize> = 1 << 16..(1 << 47) - (1 << 16);

/// 16-byte units of an emulated stack: 1 MiB, where compiled code uses a few KiB.
const STACK_UNITS: usize = 1 << 16;

/// QEMU's number of the exception that `svc` raises.
const SUPERVISOR_CALL: u32 = 2;

/// Why a run came to no end: an error of compiled code, or of the emulator.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("{0:?}")]
    Emulator(uc_error),
    #[error("exception {number} at {at:#x}, where {word:#010x} is")]
    Exception { number: u32, at: u64, word: u32 },
    #[error("a call of builtin {0}, which doesn't exist")]
    UnknownBuiltin(u64),
    #[error("the stack pointer is {0:#x} at a call, which isn't aligned to 16 bytes")]
    Misaligned(u64),
    #[error("the stack pointer is {found:#x} at the end and was {expected:#x}")]
    StackPointer { expected: u64, found: u64 },
    #[error("{register:?} is {found:#x} at the end and was {expected:#x}")]
    Clobbered { register: unicorn_engine::RegisterARM64, expected: u64, found: u64 },
    #[error("it stopped for no reason")]
    Stopped,
    #[error("all of the stack was used")]
    StackOverflow,
}

impl From<uc_error> for Fault {
    fn from(error: uc_error) -> Self {
        Self::Emulator(error)
    }
}

/// What the handler of exceptions needs to know of the run at hand, and tells of it.
#[derive(Default)]
struct Run {
    builtins: Option<HostBuiltins>,
    /// Whether the trampoline has returned.
    has_ended: bool,
    fault: Option<Fault>,
}

/// A processor with a stack.
struct Machine {
    processor: Unicorn<'static, Run>,
    /// Written by emulated code only.
    stack: NonNull<[u128]>,
    /// [`code_memory::loads`] when code was last translated.
    loads: u64,
}

thread_local! {
    /// The thread's machine, while no run uses it.
    static IDLE: Cell<Option<Machine>> = const { Cell::new(None) };
}

static RUNS: AtomicU64 = AtomicU64::new(0);

/// Calls of [`enter`] so far.
pub(super) fn runs() -> u64 {
    RUNS.load(Ordering::Relaxed)
}

/// Runs a trampoline on a context: the entry of
/// [`Emulator`](cranevm_codegen::abi::emulation::Emulator).
///
/// # Safety
/// As for [`EnterEmulator`](cranevm_codegen::abi::emulation::EnterEmulator).
pub(super) unsafe extern "C" fn enter(
    context: NonNull<EvmContext<'_>>,
    trampoline: NonNull<u8>,
) -> u64 {
    RUNS.fetch_add(1, Ordering::Relaxed);
    // A run within a run, and one while the thread ends, gets a machine of its own.
    let idle = IDLE.try_with(Cell::take).unwrap_or_default();
    let machine = idle.map_or_else(Machine::new, Ok);
    let result = machine.and_then(|mut machine| {
        // SAFETY: passed on.
        let status = unsafe { machine.run(context, trampoline) }?;
        // One that failed isn't used again. If the thread ends, the machine does.
        let _ = IDLE.try_with(|idle| idle.set(Some(machine)));
        Ok(status)
    });
    // SAFETY: the context is the caller's.
    result.unwrap_or_else(|fault| unsafe {
        emulation::fail(context, format!("emulated aarch64 code failed: {fault}"))
    })
}

impl Machine {
    fn new() -> Result<Self, Fault> {
        let mut processor =
            Unicorn::new_with_data(Arch::ARM64, Mode::LITTLE_ENDIAN, Run::default())?;
        // The model that signs addresses.
        processor.ctl_set_cpu_model(Arm64CpuModel::UC_CPU_ARM64_MAX as i32)?;
        // SAFETY: this maps nothing in this process and touches no memory by itself. What emulated
        // code reads and writes through it is what native code would.
        unsafe {
            let address = MAPPED.start as *mut c_void;
            processor.mem_map_ptr(MAPPED.start as u64, MAPPED.len(), Permission::ALL, address)?;
        }
        processor.reg_write(register::COPROCESSOR_ACCESS, register::NO_TRAPS)?;
        sign_addresses(&mut processor)?;
        processor.add_intr_hook(|processor, exception| {
            if let Err(fault) = handle(processor, exception) {
                processor.get_data_mut().fault = Some(fault);
                // It stops in any case, as no run goes on after a fault.
                let _ = processor.emu_stop();
            }
        })?;
        let stack = NonNull::from(Box::leak(vec![0_u128; STACK_UNITS].into_boxed_slice()));
        Ok(Self { processor, stack, loads: code_memory::loads() })
    }

    /// Runs a trampoline to its end; its status.
    ///
    /// # Safety
    /// As for [`enter`].
    unsafe fn run(
        &mut self,
        context: NonNull<EvmContext<'_>>,
        trampoline: NonNull<u8>,
    ) -> Result<u64, Fault> {
        let loads = code_memory::loads();
        if loads != self.loads {
            self.processor.ctl_flush_tb()?;
            self.loads = loads;
        }
        let stubs = stubs();
        // SAFETY: the context hasn't run yet, and only emulated code will run on it.
        let builtins = unsafe { emulation::replace_builtins(context, &stubs.builtins) };
        *self.processor.get_data_mut() = Run { builtins: Some(builtins), ..Run::default() };
        let stack_top = self.stack.cast::<u128>().as_ptr().wrapping_add(STACK_UNITS) as u64;
        write_batch(&self.processor, &SCRATCH, &[JUNK; SCRATCH.len()])?;
        write_batch(&self.processor, &PRESERVED, &marks())?;
        self.processor.reg_write(ARGUMENTS[0], context.as_ptr() as u64)?;
        self.processor.reg_write(register::STACK, stack_top)?;
        self.processor.reg_write(register::LINK, stubs.exit)?;
        let ran = self.processor.emu_start(trampoline.as_ptr() as u64, 0, 0, 0);
        let run = self.processor.get_data_mut();
        if let Some(fault) = run.fault.take() {
            return Err(fault);
        }
        let has_ended = run.has_ended;
        ran?;
        if !has_ended {
            return Err(Fault::Stopped);
        }
        self.check_preserved(stack_top)?;
        Ok(self.processor.reg_read(ARGUMENTS[0])?)
    }

    /// That a run has left what belongs to its caller as it was.
    fn check_preserved(&self, stack_top: u64) -> Result<(), Fault> {
        let found = self.processor.reg_read(register::STACK)?;
        if found != stack_top {
            return Err(Fault::StackPointer { expected: stack_top, found });
        }
        let all = self.processor.reg_read_batch(&PRESERVED, PRESERVED.len() as i32)?;
        for ((register, expected), found) in PRESERVED.into_iter().zip(marks()).zip(all) {
            if found != expected {
                return Err(Fault::Clobbered { register, expected, found });
            }
        }
        // SAFETY: the stack is the machine's, and emulated code no longer runs.
        if unsafe { self.stack.cast::<u128>().read() } != 0 {
            return Err(Fault::StackOverflow);
        }
        Ok(())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // SAFETY: leaked by `new`, which gave it to nobody else, and emulated code no longer runs.
        drop(unsafe { Box::from_raw(self.stack.as_ptr()) });
    }
}

/// Turns the signing of addresses on, with a key: instructions for it do nothing otherwise.
fn sign_addresses(processor: &mut Unicorn<'_, Run>) -> Result<(), Fault> {
    for (register, value) in [
        (register::SECURE_CONFIGURATION, register::NOT_TRAPPED_SECURELY),
        (register::HYPERVISOR_CONFIGURATION, register::NOT_TRAPPED),
        (register::KEY_B_LOW, JUNK),
        (register::KEY_B_HIGH, !JUNK),
        (register::SYSTEM_CONTROL, register::SIGNING),
    ] {
        processor.reg_write_long(register::BY_NUMBER, &register.with(value).0)?;
    }
    Ok(())
}

/// What a stub asks for: a builtin, or the end of the run.
fn handle(processor: &mut Unicorn<'_, Run>, exception: u32) -> Result<(), Fault> {
    if exception != SUPERVISOR_CALL {
        let at = processor.reg_read(register::COUNTER)?;
        let mut word = [0; 4];
        processor.mem_read(at, &mut word)?;
        let word = u32::from_le_bytes(word);
        return Err(Fault::Exception { number: exception, at, word });
    }
    let number = processor.reg_read(register::STUB)?;
    if number == EXIT {
        processor.get_data_mut().has_ended = true;
        return Ok(processor.emu_stop()?);
    }
    let stack = processor.reg_read(register::STACK)?;
    if !stack.is_multiple_of(16) {
        return Err(Fault::Misaligned(stack));
    }
    let unknown = || Fault::UnknownBuiltin(number);
    let builtins = processor.get_data().builtins.ok_or_else(unknown)?;
    let mut arguments = [0; ARGUMENTS.len()];
    let words = processor.reg_read_batch(&ARGUMENTS, ARGUMENTS.len() as i32)?;
    arguments.copy_from_slice(&words);
    // SAFETY: the builtins are of the context that runs, and compiled code calls this one.
    let results = unsafe { builtins.call(number as usize, arguments) }.ok_or_else(unknown)?;
    let mut values = [JUNK; SCRATCH.len()];
    for (value, result) in values.iter_mut().zip(results) {
        *value = result.unwrap_or(JUNK);
    }
    write_batch(processor, &SCRATCH, &values)
}

fn write_batch(
    processor: &Unicorn<'_, Run>,
    registers: &[unicorn_engine::RegisterARM64],
    values: &[u64],
) -> Result<(), Fault> {
    Ok(processor.reg_write_batch(registers, values, registers.len() as i32)?)
}
