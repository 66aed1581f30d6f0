//! What code needs of the machine that runs it.
//!
//! The compiler says which extensions of the processor its code may use; which of them this
//! processor has is asked here, so that code can be loaded without the compiler.

use crate::CompilerOptions;
use std::{borrow::Cow, sync::LazyLock};

/// A kind of machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Its target triple.
    pub triple: String,
    /// The extensions of its processor, by Cranelift's names, sorted.
    pub features: Vec<String>,
}

/// Cranelift's name of each extension, and whether this processor has it.
macro_rules! detect {
    ($detected:ident: $($name:literal = $feature:tt,)*) => {
        [$(($name, std::arch::$detected!($feature)),)*]
    };
}

impl Machine {
    /// This machine.
    pub fn host() -> &'static Self {
        static HOST: LazyLock<Machine> = LazyLock::new(|| {
            let present = host_features().into_iter().filter(|&(_, is_present)| is_present);
            let mut features: Vec<_> = present.map(|(name, _)| name.to_owned()).collect();
            features.sort_unstable();
            Machine { triple: host_triple(), features }
        });
        &HOST
    }

    /// The machine that runs what is compiled with `options`: this one, or an emulated one, of
    /// which nothing is known but its kind.
    pub(super) fn running(options: &CompilerOptions) -> Cow<'static, Self> {
        #[cfg(feature = "cranelift")]
        if let Some(emulator) = options.emulator {
            let (triple, features) = (emulator.target.to_owned(), Vec::new());
            return Cow::Owned(Self { triple, features });
        }
        let _ = options;
        Cow::Borrowed(Self::host())
    }

    /// The first extension of `needed` that this machine doesn't have.
    pub fn lacks<'a>(&self, needed: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
        needed.into_iter().find(|&name| self.features.iter().all(|present| present != name))
    }
}

#[cfg(feature = "cranelift")]
fn host_triple() -> String {
    target_lexicon::Triple::host().to_string()
}

/// Nothing is loaded without code memory.
#[cfg(not(feature = "cranelift"))]
fn host_triple() -> String {
    "none".to_owned()
}

#[cfg(target_arch = "x86_64")]
fn host_features() -> impl IntoIterator<Item = (&'static str, bool)> {
    detect! { is_x86_feature_detected:
        "has_avx" = "avx",
        "has_avx2" = "avx2",
        "has_avx512bitalg" = "avx512bitalg",
        "has_avx512dq" = "avx512dq",
        "has_avx512f" = "avx512f",
        "has_avx512vbmi" = "avx512vbmi",
        "has_avx512vl" = "avx512vl",
        "has_avx512vnni" = "avx512vnni",
        "has_avx_vnni" = "avxvnni",
        "has_bmi1" = "bmi1",
        "has_bmi2" = "bmi2",
        "has_cmpxchg16b" = "cmpxchg16b",
        "has_fma" = "fma",
        "has_lzcnt" = "lzcnt",
        "has_popcnt" = "popcnt",
        "has_sse3" = "sse3",
        "has_sse41" = "sse4.1",
        "has_sse42" = "sse4.2",
        "has_ssse3" = "ssse3",
    }
}

#[cfg(target_arch = "aarch64")]
fn host_features() -> impl IntoIterator<Item = (&'static str, bool)> {
    detect! { is_aarch64_feature_detected:
        "has_dotprod" = "dotprod",
        "has_fp16" = "fp16",
        "has_i8mm" = "i8mm",
        "has_lse" = "lse",
        "has_pauth" = "paca",
    }
}

/// No code is generated for other machines.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn host_features() -> impl IntoIterator<Item = (&'static str, bool)> {
    []
}
