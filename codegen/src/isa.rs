//! The machines that code is generated for: this one with all that its CPU has, or another of which
//! nothing is assumed but its kind.

use crate::{CompileError, CompilerOptions, OptimizationLevel, artifact::Machine};
use cranelift_codegen::{
    ir::types,
    isa::{self, CallConv, LookupError, OwnedTargetIsa, TargetIsa},
    settings::{self, Configurable},
};
use std::fmt;
use target_lexicon::{Aarch64Architecture, Architecture, OperatingSystem, Triple};

/// Cranelift's code generator for this machine, with the extensions that its CPU has.
pub(crate) fn host_builder() -> Result<isa::Builder, CompileError> {
    cranelift_native::builder().map_err(|error| CompileError::UnsupportedTarget(error.into()))
}

/// Cranelift's code generator for the machine that options have an emulator of, or for this one.
pub(crate) fn builder_of(options: &CompilerOptions) -> Result<isa::Builder, CompileError> {
    let Some(emulator) = options.emulator else { return host_builder() };
    let unsupported = |error| CompileError::UnsupportedTarget(format!("{error:?}"));
    builder_for(emulator.target.parse().map_err(unsupported)?)
}

/// Cranelift's code generator for another machine, without assumptions on its CPU's extensions.
pub(crate) fn builder_for(target: Triple) -> Result<isa::Builder, CompileError> {
    let is_known = matches!(
        target.architecture,
        Architecture::X86_64 | Architecture::Aarch64(Aarch64Architecture::Aarch64)
    );
    if !is_known {
        // Cranelift takes a big-endian aarch64 for one that it knows, and panics.
        return Err(CompileError::UnsupportedTarget(target.to_string()));
    }
    let unsupported = |error: LookupError| CompileError::UnsupportedTarget(error.to_string());
    let mut builder = isa::lookup(target).map_err(unsupported)?;
    sign_returns(&mut builder)?;
    Ok(builder)
}

/// Has return addresses signed where code that is compiled on the machine itself does so: macOS on
/// aarch64, by key B. Processors without pointer authentication ignore the instructions.
fn sign_returns(builder: &mut isa::Builder) -> Result<(), CompileError> {
    let target = builder.triple();
    let is_macos = matches!(
        (target.architecture, target.operating_system),
        (Architecture::Aarch64(_), OperatingSystem::Darwin(_) | OperatingSystem::MacOSX(_))
    );
    if is_macos {
        for flag in ["sign_return_address", "sign_return_address_with_bkey"] {
            let unsupported = |error| CompileError::UnsupportedTarget(format!("{flag}: {error}"));
            builder.enable(flag).map_err(unsupported)?;
        }
    }
    Ok(())
}

/// Cranelift's code generator for this machine, with the flags of the default options.
pub(crate) fn host_isa() -> Result<OwnedTargetIsa, CompileError> {
    finish_isa(&CompilerOptions::default(), host_builder()?)
}

/// Cranelift's code generator for stencils, for the machine of another one, whatever that one's
/// level. Only what sets up and leaves the frame that stencils run in has return addresses to be
/// signed.
pub(crate) fn stencil_isa(
    machine: &dyn TargetIsa,
    leaves: bool,
) -> Result<OwnedTargetIsa, CompileError> {
    let unsupported = |error: &dyn fmt::Display| CompileError::UnsupportedTarget(error.to_string());
    let mut builder = isa::lookup(machine.triple().clone()).map_err(|error| unsupported(&error))?;
    let of_frames = [
        "sign_return_address",
        "sign_return_address_all",
        "sign_return_address_with_bkey",
        "use_bti",
    ];
    for flag in machine.isa_flags() {
        let is_wanted = leaves || !of_frames.contains(&flag.name);
        if flag.as_bool() == Some(true) && is_wanted {
            builder.enable(flag.name).map_err(|error| unsupported(&error))?;
        }
    }
    let mut flags = settings::builder();
    for (name, value) in [
        ("opt_level", "none"),
        ("regalloc_algorithm", "backtracking"),
        // It takes as long as all else; the same functions are verified by this crate's tests.
        ("enable_verifier", if cfg!(test) { "true" } else { "false" }),
        ("preserve_frame_pointers", "true"),
        ("enable_pinned_reg", "true"),
        ("unwind_info", "false"),
        ("machine_code_cfg_info", "true"),
        ("enable_table_access_spectre_mitigation", "false"),
        ("enable_heap_access_spectre_mitigation", "false"),
    ] {
        flags.set(name, value).map_err(|error| unsupported(&error))?;
    }
    builder.finish(settings::Flags::new(flags)).map_err(|error| unsupported(&error))
}

/// Cranelift's code generator for a machine, with the flags of an optimisation level.
pub(crate) fn finish_isa(
    options: &CompilerOptions,
    builder: isa::Builder,
) -> Result<OwnedTargetIsa, CompileError> {
    let unsupported = |error: &dyn fmt::Display| CompileError::UnsupportedTarget(error.to_string());
    let opt_level = match options.opt_level {
        OptimizationLevel::Aggressive => "speed",
        _ => "none",
    };
    let flag = |is_set| if is_set { "true" } else { "false" };
    let mut flags = settings::builder();
    for (name, value) in [
        ("opt_level", opt_level),
        ("regalloc_algorithm", "backtracking"),
        ("enable_verifier", flag(options.verifies_code())),
        ("regalloc_checker", flag(options.chaos.is_some())),
        // Tail calls between chunks need frame pointers on x86-64.
        ("preserve_frame_pointers", "true"),
        // The pinned register holds the context in all chunks.
        ("enable_pinned_reg", "true"),
        ("unwind_info", "false"),
        // A large frame touches its pages in order, without a call, so that it can't skip a guard
        // page.
        ("enable_probestack", "true"),
        ("probestack_strategy", "inline"),
        // Compiled code has no secrets of its own to leak.
        ("enable_table_access_spectre_mitigation", "false"),
        ("enable_heap_access_spectre_mitigation", "false"),
    ] {
        flags.set(name, value).map_err(|error| unsupported(&error))?;
    }
    let isa = builder.finish(settings::Flags::new(flags)).map_err(|error| unsupported(&error))?;
    match isa.pointer_type() {
        types::I64 if isa.default_call_conv() != CallConv::WindowsFastcall => Ok(isa),
        _ => Err(CompileError::UnsupportedTarget(isa.triple().to_string())),
    }
}

/// What code needs of the machine that runs it.
pub(crate) fn needed_machine(isa: &dyn TargetIsa) -> Machine {
    // The others choose among instructions that all processors have.
    let flags = isa.isa_flags().into_iter().filter(|flag| flag.name.starts_with("has_"));
    let mut features: Vec<_> = flags
        .filter(|flag| flag.as_bool() == Some(true))
        .map(|flag| flag.name.to_owned())
        .collect();
    features.sort_unstable();
    Machine { triple: isa.triple().to_string(), features }
}
