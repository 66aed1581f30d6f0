//! Options of a backend that its configuration has no fields for, and their overrides by
//! environment variables.
//!
//! The fields of [`RuntimeConfig`](crate::config::RuntimeConfig) are fixed, as clients write all of
//! them; what this crate can do besides is here, and may get more.

use crate::{config::parse, error::RuntimeError};
use cranevm_codegen::CompilerOptions;
#[cfg(feature = "cranelift")]
use cranevm_codegen::PassSet;
use std::ffi::OsString;
#[cfg(feature = "cranelift")]
use std::str::FromStr;

const VERIFY: &str = "CRANEVM_VERIFY";
const COMPILE_ALL: &str = "CRANEVM_COMPILE_ALL";
#[cfg(feature = "cranelift")]
const SKIP_PASSES: &str = "CRANEVM_SKIP_PASSES";
const FIRST_TIER: &str = "CRANEVM_FIRST_TIER";

/// Options of a [`JitBackend`](crate::runtime::JitBackend) beyond its configuration. They are for
/// finding the cause where results are doubted; nothing needs them.
///
/// ```
/// use cranevm::runtime::{BackendOptions, JitBackend, RuntimeConfig};
///
/// # fn main() -> cranevm::Result<()> {
/// let options = BackendOptions::default().verify(true);
/// let backend = JitBackend::with_options(RuntimeConfig::default(), options)?;
/// # drop(backend);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BackendOptions {
    verify: bool,
    compile_all: bool,
    no_first_tier: bool,
    #[cfg(feature = "cranelift")]
    skip_passes: PassSet,
}

impl BackendOptions {
    /// Run the verifiers of this crate's passes and of Cranelift at each compilation. One that they
    /// object to fails, and its contract is interpreted. Compilation takes up to twice as long.
    ///
    /// Default: `false`. `CRANEVM_VERIFY` (`true` or `false`) overrides it.
    #[must_use]
    pub const fn verify(mut self, verify: bool) -> Self {
        self.verify = verify;
        self
    }

    /// Compile what is unlikely to run too, at the first compilation, instead of leaving it to the
    /// interpreter until it runs. Contracts take longer to compile, and hand over less.
    ///
    /// Default: `false`. `CRANEVM_COMPILE_ALL` (`true` or `false`) overrides it. Always so in
    /// [`blocking`](crate::runtime::RuntimeConfig::blocking) mode, and for artifacts.
    #[must_use]
    pub const fn compile_all(mut self, compile_all: bool) -> Self {
        self.compile_all = compile_all;
        self
    }

    /// Whether contracts that run are soon compiled by the first tier, on the threads that run them,
    /// before they are worth compiling at the configured level.
    ///
    /// Default: `true`. `CRANEVM_FIRST_TIER` (`true` or `false`) overrides it. There is none in
    /// [`blocking`](crate::runtime::RuntimeConfig::blocking) mode, nor with
    /// [`JitMode::OutOfProcess`](crate::runtime::JitMode::OutOfProcess).
    #[must_use]
    pub const fn first_tier(mut self, first_tier: bool) -> Self {
        self.no_first_tier = !first_tier;
        self
    }

    /// Leave these passes of the analysis out, to find the one that a defect comes from. Artifacts
    /// that were made with other passes aren't loaded.
    ///
    /// Default: none. `CRANEVM_SKIP_PASSES` (names with commas between them) overrides it.
    #[cfg(feature = "cranelift")]
    #[must_use]
    pub const fn skip_passes(mut self, passes: PassSet) -> Self {
        self.skip_passes = passes;
        self
    }

    /// Applies the environment variables that the options name. The environment wins.
    /// [`JitBackend`](crate::runtime::JitBackend)s do so when they are made, with or without
    /// options.
    ///
    /// # Errors
    /// [`RuntimeError::Environment`] if a value can't be parsed.
    pub fn with_env_overrides(self) -> eyre::Result<Self> {
        Ok(self.with_overrides(&|name| std::env::var_os(name))?)
    }

    /// [`with_env_overrides`](Self::with_env_overrides) with a given environment.
    fn with_overrides(
        mut self,
        env: &dyn Fn(&str) -> Option<OsString>,
    ) -> Result<Self, RuntimeError> {
        if let Some(verify) = parse(env, VERIFY)? {
            self.verify = verify;
        }
        if let Some(compile_all) = parse(env, COMPILE_ALL)? {
            self.compile_all = compile_all;
        }
        if let Some(first_tier) = parse::<bool>(env, FIRST_TIER)? {
            self.no_first_tier = !first_tier;
        }
        #[cfg(feature = "cranelift")]
        if let Some(Passes(passes)) = parse(env, SKIP_PASSES)? {
            self.skip_passes = passes;
        }
        Ok(self)
    }

    /// Whether there may be a first tier.
    pub(crate) const fn has_first_tier(self) -> bool {
        !self.no_first_tier
    }

    /// Sets what the configuration leaves as it is.
    pub(crate) fn apply(self, options: &mut CompilerOptions) {
        options.verify |= self.verify;
        options.compile_all |= self.compile_all;
        #[cfg(feature = "cranelift")]
        {
            options.skip_passes = options.skip_passes.union(self.skip_passes);
        }
    }
}

/// Passes by their names.
#[cfg(feature = "cranelift")]
struct Passes(PassSet);

#[cfg(feature = "cranelift")]
impl FromStr for Passes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
        let pass = |name| PassSet::from_name(name).ok_or_else(|| format!("no pass is `{name}`"));
        names.map(pass).try_fold(PassSet::NONE, |all, pass| Ok(all.union(pass?))).map(Self)
    }
}

#[cfg(all(test, feature = "cranelift"))]
mod tests {
    use super::*;

    fn with(name: &'static str, value: &'static str) -> Result<BackendOptions, RuntimeError> {
        BackendOptions::default()
            .with_overrides(&|asked| (asked == name).then(|| OsString::from(value)))
    }

    #[test]
    fn the_environment_wins() {
        let default = BackendOptions::default();
        assert_eq!(with(VERIFY, "true").unwrap(), default.verify(true));
        assert_eq!(with(COMPILE_ALL, "true").unwrap(), default.compile_all(true));
        assert_eq!(with(FIRST_TIER, "false").unwrap(), default.first_tier(false));
        let passes = PassSet::DEDUP.union(PassSet::DEAD_STORES);
        let text = format!("{}, {}", PassSet::DEDUP, PassSet::DEAD_STORES);
        let parsed = BackendOptions::default()
            .with_overrides(&|asked| (asked == SKIP_PASSES).then(|| text.clone().into()));
        assert_eq!(parsed.unwrap(), default.skip_passes(passes));
        let off =
            default.verify(true).with_overrides(&|name| (name == VERIFY).then(|| "false".into()));
        assert_eq!(off.unwrap(), default);
    }

    #[test]
    fn what_cant_be_parsed_is_named() {
        for (name, value) in
            [(VERIFY, "yes"), (COMPILE_ALL, ""), (FIRST_TIER, "1"), (SKIP_PASSES, "dedup,sleep")]
        {
            let error = with(name, value).unwrap_err();
            assert!(matches!(error, RuntimeError::Environment { name: n, .. } if n == name));
            assert!(error.to_string().contains(value), "{error}");
        }
    }

    #[test]
    fn each_option_reaches_the_compiler() {
        let applied = |backend_options: BackendOptions| {
            let mut options = CompilerOptions::default();
            backend_options.apply(&mut options);
            options
        };
        let (options, default) = (BackendOptions::default(), CompilerOptions::default());
        assert_eq!(applied(options), default);
        assert!(applied(options.verify(true)).verify);
        assert!(applied(options.compile_all(true)).compile_all);
        let passes = applied(options.skip_passes(PassSet::DEDUP)).skip_passes;
        assert_eq!(passes, PassSet::DEDUP);
    }
}
