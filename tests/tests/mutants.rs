//! Each wrong entry of the opcode table is found by running code: see [`cranevm_tests::mutants`].
//!
//! Without arguments all of them; `--mutant NUMBER` one of them, in this process.

use cranevm_passes::ir::opcode::{Opcode, overrides::Mutant};
use cranevm_tests::{
    mutants::{equivalent, list, suite},
    parallel,
};
use std::{
    collections::BTreeMap,
    env, io,
    os::unix::process::ExitStatusExt,
    process::{Child, Command, ExitCode, Stdio},
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

/// A process that takes longer executes something without an end.
const LIMIT: Duration = Duration::from_secs(60);

/// How often a process is looked at.
const INTERVAL: Duration = Duration::from_millis(2);

/// Exit codes of the process of a mutant.
const FOUND: u8 = 10;
const SURVIVED: u8 = 11;

/// What became of a mutant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    Found,
    Panicked,
    Crashed,
    WithoutEnd,
    Equivalent,
    Survived,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let mutants = list::mutants(env::var_os("CRANEVM_MUTANTS").is_some_and(|text| text == "all"));
    match arguments.iter().position(|argument| argument == "--mutant") {
        Some(at) => {
            let number: usize = arguments[at + 1].parse().expect("a mutant's number");
            one(mutants[number])
        }
        None if arguments.iter().any(|argument| argument == "--list") => {
            println!("wrong_entries_are_found: test");
            ExitCode::SUCCESS
        }
        None => all(&mutants),
    }
}

/// Runs the suite with a wrong entry.
fn one(mutant: Mutant) -> ExitCode {
    match suite::find(mutant) {
        Some(text) => {
            println!("{mutant}: {text}");
            ExitCode::from(FOUND)
        }
        None => ExitCode::from(SURVIVED),
    }
}

/// Runs a process for each mutant, and fails if one survives that isn't listed as equivalent, or
/// one is found that is.
fn all(mutants: &[Mutant]) -> ExitCode {
    let start = Instant::now();
    nothing_is_found_where_nothing_is_wrong(mutants);
    let fates = Mutex::new(BTreeMap::<Fate, usize>::new());
    let wrong = Mutex::new(Vec::new());
    parallel::for_each(
        mutants.len(),
        || (),
        |(), number| {
            let mutant = &mutants[number];
            let fate = fate(number).expect("a process of this program");
            let reason = equivalent::reason(mutant);
            let fate = match (fate, reason) {
                (Fate::Survived, Some(_)) => Fate::Equivalent,
                _ => fate,
            };
            let is_right =
                if reason.is_some() { Fate::Equivalent == fate } else { Fate::Survived != fate };
            if !is_right {
                wrong
                    .lock()
                    .expect("no panics")
                    .push(format!("--mutant {number}: {mutant}: {fate:?}"));
            }
            *fates.lock().expect("no panics").entry(fate).or_default() += 1;
        },
    );
    let (fates, mut wrong) = (fates.into_inner().unwrap(), wrong.into_inner().unwrap());
    println!("{} wrong entries: {fates:?}, {:.1?}", mutants.len(), start.elapsed());
    wrong.sort();
    wrong.iter().for_each(|line| println!("{line}"));
    println!("test wrong_entries_are_found ... {}", if wrong.is_empty() { "ok" } else { "FAILED" });
    ExitCode::from(u8::from(!wrong.is_empty()))
}

/// The suite agrees with the interpreter on the table as it is.
fn nothing_is_found_where_nothing_is_wrong(mutants: &[Mutant]) {
    let mut opcodes: Vec<Opcode> = mutants.iter().map(|mutant| mutant.opcode).collect();
    opcodes.dedup();
    parallel::for_each(
        opcodes.len(),
        || (),
        |(), index| {
            let opcode = opcodes[index];
            assert_eq!(suite::find_nothing(opcode), None, "{opcode}");
        },
    );
    println!("{} opcodes are as they should be", opcodes.len());
}

/// What becomes of a mutant in a process of its own.
fn fate(number: usize) -> io::Result<Fate> {
    let program = env::current_exe()?;
    let mut child = Command::new(program)
        .args(["--mutant", &number.to_string()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let Some(status) = wait(&mut child)? else { return Ok(Fate::WithoutEnd) };
    Ok(match status.code() {
        Some(code) if code == i32::from(FOUND) => Fate::Found,
        Some(code) if code == i32::from(SURVIVED) => Fate::Survived,
        Some(_) => Fate::Panicked,
        None => {
            assert!(status.signal().is_some());
            Fate::Crashed
        }
    })
}

/// Waits for a process, or ends it.
fn wait(child: &mut Child) -> io::Result<Option<std::process::ExitStatus>> {
    let start = Instant::now();
    while start.elapsed() < LIMIT {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        thread::sleep(INTERVAL);
    }
    child.kill()?;
    child.wait()?;
    Ok(None)
}
