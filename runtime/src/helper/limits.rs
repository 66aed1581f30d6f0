//! Limits of a helper process: set by itself, first thing in its `main`, from its environment.
//!
//! Nothing runs between fork and exec, so there is nothing that a lock held by another thread of
//! the backend could block there. What the helper does before the limits are set is what its
//! program does before `main` reaches `maybe_run_jit_helper`; no bytecode has reached it by then,
//! because it is sent only to a helper that has said that it is ready.

use super::MARKER;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::{env, ffi::OsStr, process::Command, str::FromStr};

/// Bytes of address space; 0: no limit.
const MEMORY: &str = "REVMC_JIT_HELPER_MEMORY_LIMIT_BYTES";

/// Processors; 0: all.
const PROCESSORS: &str = "REVMC_JIT_HELPER_CPU_COUNT";

/// Process whose end ends the helper, where the system can be asked to see to that.
const PARENT: &str = "REVMC_JIT_HELPER_PARENT";

/// What a helper may use, and how long it may live.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Limits {
    /// Bytes of address space; 0: no limit.
    pub(super) memory_bytes: u64,
    /// Processors: the first so many of those it may run on; 0: all.
    pub(super) processors: usize,
}

impl Limits {
    /// Tells the helper that `command` starts. With `follows`, it ends with the *thread* that
    /// starts it, so that must be one that lives as long as it is wanted.
    pub(super) fn pass_to(self, command: &mut Command, follows: bool) {
        let parent = if follows { std::process::id() } else { 0 };
        command
            .env(MARKER, "1")
            .env(MEMORY, self.memory_bytes.to_string())
            .env(PROCESSORS, self.processors.to_string())
            .env(PARENT, parent.to_string());
    }

    /// What this process was told.
    fn from_env() -> Result<Self, String> {
        Ok(Self { memory_bytes: read(MEMORY)?, processors: read(PROCESSORS)? })
    }

    /// Limits this process.
    fn apply(self) -> Result<(), String> {
        if self.memory_bytes > 0 {
            limit_memory(self.memory_bytes)
                .map_err(|error| format!("{MEMORY}={}: {error}", self.memory_bytes))?;
        }
        if self.processors > 0 {
            limit_processors(self.processors)
                .map_err(|error| format!("{PROCESSORS}={}: {error}", self.processors))?;
        }
        Ok(())
    }
}

/// Limits this process as its environment says. To be called before it has other threads.
///
/// # Errors
/// What couldn't be done, for people.
pub(super) fn apply_from_env() -> Result<(), String> {
    follow_parent(read(PARENT)?)?;
    Limits::from_env()?.apply()
}

/// Reads a number from the environment; 0 if the variable isn't set.
fn read<T: FromStr + Default>(name: &str) -> Result<T, String> {
    parse(name, env::var_os(name).as_deref())
}

fn parse<T: FromStr + Default>(name: &str, value: Option<&OsStr>) -> Result<T, String> {
    let Some(value) = value else { return Ok(T::default()) };
    let number = value.to_str().and_then(|text| text.parse().ok());
    number.ok_or_else(|| format!("{name}={} is no number", value.display()))
}

fn limit_memory(bytes: u64) -> rustix::io::Result<()> {
    // No more than what this process could be given by itself.
    let bytes = getrlimit(Resource::As).maximum.map_or(bytes, |most| most.min(bytes));
    setrlimit(Resource::As, Rlimit { current: Some(bytes), maximum: Some(bytes) })
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn limit_processors(count: usize) -> rustix::io::Result<()> {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
    let allowed = sched_getaffinity(None)?;
    let mut first = CpuSet::new();
    (0..CpuSet::MAX_CPU).filter(|&cpu| allowed.is_set(cpu)).take(count).for_each(|c| first.set(c));
    sched_setaffinity(None, &first)
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn limit_processors(_count: usize) -> rustix::io::Result<()> {
    // No such limit on this system; the knob's documentation says so.
    Ok(())
}

/// Makes the system kill this process when the thread that started it ends. Elsewhere than on Linux
/// the end of standard input is what tells.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn follow_parent(parent: i32) -> Result<(), String> {
    use rustix::process::{Signal, getppid, set_parent_process_death_signal};
    if parent == 0 {
        return Ok(());
    }
    set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|error| format!("{PARENT}={parent}: {error}"))?;
    // It may have ended before it was asked for.
    match getppid().is_some_and(|now| now.as_raw_nonzero().get() == parent) {
        true => Ok(()),
        false => Err(format!("{PARENT}={parent}: that process is gone")),
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn follow_parent(_parent: i32) -> Result<(), String> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_the_environment_are_checked() {
        assert_eq!(parse::<u64>("A", None), Ok(0));
        assert_eq!(parse::<u64>("A", Some(OsStr::new("7"))), Ok(7));
        for bad in ["", "-1", "many", "18446744073709551616"] {
            let error = parse::<u64>("A", Some(OsStr::new(bad))).unwrap_err();
            assert!(error.starts_with("A="), "{error}");
        }
    }

    #[test]
    fn a_helper_is_told_everything() {
        let mut command = Command::new("helper");
        Limits { memory_bytes: 5, processors: 6 }.pass_to(&mut command, true);
        let told: Vec<_> = command.get_envs().map(|(name, value)| (name, value.unwrap())).collect();
        for (name, value) in [(MARKER, "1"), (MEMORY, "5"), (PROCESSORS, "6")] {
            assert!(told.contains(&(OsStr::new(name), OsStr::new(value))), "{told:?}");
        }
        let own = std::process::id().to_string();
        assert!(told.contains(&(OsStr::new(PARENT), OsStr::new(&own))));
        Limits::default().pass_to(&mut command, false);
        assert!(
            command
                .get_envs()
                .any(|(name, value)| { name == PARENT && value == Some(OsStr::new("0")) })
        );
    }
}
