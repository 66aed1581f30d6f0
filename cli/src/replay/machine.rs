//! What processor a measurement was made on.

use std::{fs, num::NonZeroUsize, process::Command, thread};

/// Where Linux tells of the processor.
const CPU_INFO: &str = "/proc/cpuinfo";

/// The processor's model, as the system names it; `unknown` where it doesn't.
pub(super) fn cpu_model() -> String {
    let from_linux = fs::read_to_string(CPU_INFO).ok().and_then(|text| model_of(&text));
    from_linux.or_else(from_sysctl).unwrap_or_else(|| "unknown".into())
}

/// Processors that this process may use.
pub(super) fn cpus() -> usize {
    thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

/// The model in the text of `/proc/cpuinfo`. Processors other than x86 have no name there.
fn model_of(text: &str) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    let (_, model) = line.split_once(':')?;
    Some(model.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// macOS has no `/proc`.
fn from_sysctl() -> Option<String> {
    let output = Command::new("sysctl").args(["-n", "machdep.cpu.brand_string"]).output().ok()?;
    let model = String::from_utf8_lossy(&output.stdout).trim().to_string();
    (output.status.success() && !model.is_empty()).then_some(model)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_is_the_first_of_its_name() {
        let text = "processor\t: 0\nmodel\t\t: 1\nmodel name\t: A  B 7\nmodel name\t: C\n";
        assert_eq!(model_of(text).as_deref(), Some("A B 7"));
        assert_eq!(model_of("processor : 0\n"), None);
    }
}
