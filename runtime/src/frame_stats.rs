//! How the frames of a backend's EVMs ran, for clients to read: who ran them, why the others were
//! interpreted, and what gas each burnt.

use std::ops::AddAssign;

/// How frames ran, of all EVMs of a backend: of those that live, idle or not, and of those that
/// were dropped.
///
/// *Frames.* A frame counts once, where it begins: by who ran its first instruction. Where it goes
/// on after a nested call, or elsewhere than it began, doesn't count again. Calls of accounts
/// without code and of precompiles are no frames. A frame that a panic of the host ends while it
/// runs natively isn't counted.
///
/// *Gas* counts by who burnt it. A run's is what a frame has at its start, less what is left at its
/// end, less what a nested frame gets there, the stipend included; a frame that halts burns all it
/// has left, and one that creates a contract also pays for its code. So over all frames of a
/// transaction the sum of all gas here is what its first frame was given less what it gave back,
/// but for what was taken where there was no frame: by precompiles, and by creations at an address
/// that was taken already. Refunds and intrinsic gas have no part in it. It is regular gas; of
/// state gas (EIP-8037) that was paid for by such, what comes back within a run is taken back, and
/// what comes back when the frame has ended isn't. Of a frame that ends by an error of the
/// transaction, the last run's gas isn't counted. Where one [`JitEvm`](crate::revm_evm::JitEvm)
/// wraps another, both count.
///
/// Frames of EVMs whose handle was made by [`JitBackend::disabled`] aren't counted before it is
/// switched on.
///
/// [`JitBackend::disabled`]: crate::runtime::JitBackend::disabled
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FrameStats {
    /// Natively, in code of an optimising level ([`Default`] or [`Aggressive`]): what contracts
    /// come to, and artifacts of such a level.
    ///
    /// [`Default`]: crate::OptimizationLevel::Default
    /// [`Aggressive`]: crate::OptimizationLevel::Aggressive
    pub optimised: RunStats,
    /// Natively, in code of stencils ([`None`] or [`Less`]): as contracts are compiled at
    /// first, by the first tier too, and artifacts of such a level.
    ///
    /// [`None`]: crate::OptimizationLevel::None
    /// [`Less`]: crate::OptimizationLevel::Less
    pub baseline: RunStats,
    /// In revm's interpreter.
    pub interpreted: InterpretedStats,
    /// Times that a frame with a program was left to the interpreter.
    pub hand_overs: HandOverStats,
    /// Times that a frame which the interpreter ran went on natively at a JUMPDEST, at a loop's
    /// head mostly: for its program came meanwhile, or after a hand-over.
    pub entered_on_stack: u64,
    /// Looks for the program of a frame: one each time that it begins or goes on after a nested
    /// call, but for frames of init code outside of blocking mode, inspected ones, and such of a
    /// backend that is switched off; frames of other rules, which have none, are among them. Those
    /// that found a program that may run, and those of eligible code that found none, are part of
    /// [`lookup_hits`](crate::runtime::RuntimeStatsSnapshot::lookup_hits) and
    /// [`lookup_misses`](crate::runtime::RuntimeStatsSnapshot::lookup_misses).
    pub lookups: u64,
}

/// What ran in one way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunStats {
    /// Frames that began so.
    pub frames: u64,
    /// Gas that was burnt so.
    pub gas: u64,
}

/// What the interpreter ran, by why it did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InterpretedStats {
    /// There is no program yet: the code wasn't called often enough, or not often enough to
    /// displace what is resident, or waits to be compiled, or was evicted.
    pub cold: RunStats,
    /// The code is never compiled; see
    /// [`InterpretReason::Ineligible`](crate::runtime::InterpretReason::Ineligible).
    pub ineligible: RunStats,
    /// Compilation failed, or the program alone is beyond the budget, or native code of the
    /// contract was found to break a rule.
    pub failed: RunStats,
    /// Init code. In [`blocking`](crate::runtime::RuntimeConfig::blocking) mode that is compiled as
    /// well, and doesn't count here.
    pub creation: RunStats,
    /// An inspector watched.
    pub inspected: RunStats,
    /// The EVM has other prices than the fork, or other instructions for opcodes that are native,
    /// or for one that the program executes.
    pub other_rules: RunStats,
    /// The backend was switched off.
    pub disabled: RunStats,
    /// There is a program, which couldn't be entered where the frame began (these frames count
    /// here), or handed over; see [`HandOverStats`].
    pub handed_over: RunStats,
    /// Anything else.
    pub other: RunStats,
}

/// Times that a frame with a program was left to the interpreter, by where and why. Opcodes that a
/// chain has its own instructions for, over which native code steps, aren't counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HandOverStats {
    /// The frame's start couldn't be entered: it has more gas than an `i64` holds, or a stack or
    /// calldata that aren't as revm makes them.
    pub at_start: u64,
    /// Nor could the place where a frame goes on after a nested call: for the same reasons, or
    /// because compiled code has no entry point there, or the frame lacks memory that the contract
    /// has from its first block on.
    pub at_resume: u64,
    /// Native code came to code that isn't there, for it was guessed not to run.
    pub absent_code: u64,
    /// Native code came to an instruction that it leaves to the interpreter, or one that may fail:
    /// most often for want of gas.
    pub instruction: u64,
}

impl FrameStats {
    /// What ran natively, at whatever level.
    pub const fn native(&self) -> RunStats {
        self.optimised.plus(self.baseline)
    }

    /// All that ran.
    pub fn total(&self) -> RunStats {
        self.native().plus(self.interpreted.total())
    }
}

impl RunStats {
    const fn plus(self, other: Self) -> Self {
        Self {
            frames: self.frames.wrapping_add(other.frames),
            gas: self.gas.wrapping_add(other.gas),
        }
    }
}

impl AddAssign for RunStats {
    fn add_assign(&mut self, other: Self) {
        *self = self.plus(other);
    }
}

impl InterpretedStats {
    /// Each reason, by its name.
    pub const fn by_reason(&self) -> [(&'static str, RunStats); 9] {
        [
            ("cold", self.cold),
            ("ineligible", self.ineligible),
            ("failed", self.failed),
            ("creation", self.creation),
            ("inspected", self.inspected),
            ("other_rules", self.other_rules),
            ("disabled", self.disabled),
            ("handed_over", self.handed_over),
            ("other", self.other),
        ]
    }

    /// All that the interpreter ran.
    pub fn total(&self) -> RunStats {
        self.by_reason().into_iter().fold(RunStats::default(), |sum, (_, ran)| sum.plus(ran))
    }
}

impl HandOverStats {
    /// Each reason, by its name.
    pub const fn by_reason(&self) -> [(&'static str, u64); 4] {
        [
            ("at_start", self.at_start),
            ("at_resume", self.at_resume),
            ("absent_code", self.absent_code),
            ("instruction", self.instruction),
        ]
    }

    /// All of them.
    pub fn total(&self) -> u64 {
        self.by_reason().into_iter().fold(0, |sum, (_, times)| sum.wrapping_add(times))
    }
}
