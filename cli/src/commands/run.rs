//! `cranevm run`: one transaction on both engines, side by side.

use super::Opt;
use crate::terminal;
use crate::terminal::say;
use alloy_primitives::{Bytes, U256};
use clap::{Args, ValueEnum};
use cranevm_cli::{
    CommandError, Contract, Engine, EngineRunner, Fixture,
    comparison::{self, Run},
    engine::EngineStore,
    hex,
    measure::{self, Repeat, nanos},
    observation::describe,
    spec,
};
use revm::{context_interface::result::ExecutionResult, primitives::hardfork::SpecId};
use serde::Serialize;
use std::{path::PathBuf, time::Duration};

/// Run a contract on the interpreter and natively, side by side
///
/// Exits with 1 if the engines disagree, or if the contract isn't compiled.
#[derive(Debug, Args)]
pub(crate) struct Command {
    /// Hex, a file (hex, .evm assembly, .json fixture), or the name of a shipped contract
    contract: String,
    /// Calldata in hex, instead of the fixture's
    #[arg(long, value_name = "HEX", value_parser = parse_hex, allow_hyphen_values = true)]
    calldata: Option<Bytes>,
    /// Gas limit of the transaction [default: the fixture's, or 16777216]
    #[arg(long)]
    gas: Option<u64>,
    /// Fork [default: Osaka]
    #[arg(long, value_parser = spec::parse)]
    spec: Option<SpecId>,
    /// Run on this engine only, and compare nothing
    #[arg(long, value_enum)]
    engine: Option<EngineArg>,
    /// Directory of artifacts: native code is loaded from these, and made where there is none
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
    /// Optimization level of native code
    #[arg(long, value_enum, default_value_t)]
    opt: Opt,
    /// Wei sent along, decimal or 0x hex
    #[arg(long)]
    value: Option<U256>,
    /// One line of JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum EngineArg {
    /// revm's interpreter
    Interpreter,
    /// Native code
    Native,
    /// Native code, compiled in a helper process
    Helper,
    /// Code for aarch64 in an emulator, if the program was built with the feature `emulate`
    Aarch64,
}

fn parse_hex(text: &str) -> Result<Bytes, hex::HexError> {
    hex::decode(text)
}

/// Enough for a stable median, and short enough to wait for.
const REPEAT: Repeat = Repeat { min: 3, max: 1000, budget: Duration::from_millis(500) };

impl Command {
    /// Runs the command.
    pub(crate) fn run(self) -> Result<(), CommandError> {
        let fixture = self.fixture()?;
        let spec = self.spec.unwrap_or_else(|| fixture.default_spec());
        let failed = |error: &dyn std::fmt::Display| CommandError::Failed(error.to_string());
        let engines: &[Engine] = match self.engine {
            None => &[Engine::Interpreter, Engine::Native],
            Some(EngineArg::Interpreter) => &[Engine::Interpreter],
            Some(EngineArg::Native) => &[Engine::Native],
            Some(EngineArg::Helper) => &[Engine::Helper],
            Some(EngineArg::Aarch64) => &[Engine::Aarch64],
        };
        let store = self.store.as_deref().map(EngineStore::open).transpose()?;
        let runners = (engines.iter())
            .map(|engine| EngineRunner::with_store(*engine, self.opt.level(), store.as_ref()))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| failed(&error))?;
        let environment = fixture.environment(spec);
        let runners: Vec<&EngineRunner> = runners.iter().collect();
        let runs = comparison::run_interleaved(&runners, &environment, &fixture.database(), REPEAT)
            .map_err(|error| failed(&error))?;
        let report = Report {
            fixture: &fixture,
            spec,
            opt: self.opt,
            runners: &runners,
            differences: match &runs[..] {
                [expected, got] => Some(comparison::differences(expected, got)),
                _ => None,
            },
            runs: &runs,
        };
        if self.json {
            report.print_json()?
        } else {
            report.print_text()
        }
        report.conclude()
    }

    fn fixture(&self) -> Result<Fixture, CommandError> {
        let mut fixture = Contract::resolve(&self.contract)?.into_fixture();
        let tx = &mut fixture.tx;
        if let Some(calldata) = &self.calldata {
            tx.data = calldata.clone();
        }
        tx.gas_limit = self.gas.unwrap_or(tx.gas_limit);
        tx.value = self.value.unwrap_or(tx.value);
        Ok(fixture)
    }
}

struct Report<'a> {
    fixture: &'a Fixture,
    spec: SpecId,
    opt: Opt,
    runners: &'a [&'a EngineRunner],
    runs: &'a [Run],
    /// `None` if only one engine ran.
    differences: Option<Vec<String>>,
}

impl Report<'_> {
    fn print_text(&self) {
        let bytes = self.fixture.entry_code().len() as u64;
        say!(
            "contract   {}, {} bytes, fork {}",
            self.fixture.name,
            measure::count(bytes),
            self.spec
        );
        if let Some(run) = self.runs.first() {
            print_result(&run.outcome.result);
        }
        say!("");
        self.print_times();
        match &self.differences {
            None => {}
            Some(lines) if lines.is_empty() => {
                let what = "result, gas, refund, output, logs and state";
                say!("\n{}: {what} are equal", terminal::green("the engines agree"));
            }
            Some(lines) => {
                say!("\n{}", terminal::red("the engines disagree"));
                lines.iter().for_each(|line| say!("  {line}"));
            }
        }
    }

    fn print_times(&self) {
        let mut table = terminal::table(&["engine", "first run", "warm run", "speed", "compiled"]);
        let base = self.runs.first().map_or(Duration::ZERO, |run| run.median);
        for (runner, run) in self.runners.iter().zip(self.runs) {
            let speed = base.as_secs_f64() / run.median.as_secs_f64().max(1e-9);
            table.add_row([
                runner.engine().to_string(),
                measure::time(run.first),
                measure::time(run.median),
                format!("{speed:.2}x"),
                match runner.engine() {
                    Engine::Interpreter => "-".into(),
                    _ => format!("{} contract(s)", runner.compilations().succeeded),
                },
            ]);
        }
        say!("{}", table.trim_fmt());
        say!("(the first native run includes compilation, at --opt {})", self.opt.name());
    }

    fn print_json(&self) -> Result<(), CommandError> {
        let engines = (self.runners.iter().zip(self.runs))
            .map(|(runner, run)| EngineJson::new(runner, run))
            .collect();
        let line = ReportJson {
            name: &self.fixture.name,
            spec: self.spec.into(),
            opt: self.opt.name(),
            bytecode_len: self.fixture.entry_code().len(),
            engines,
            r#match: self.differences.as_ref().map(Vec::is_empty),
            differences: self.differences.as_deref().unwrap_or_default(),
        };
        say!("{}", terminal::json(&line)?);
        Ok(())
    }

    fn conclude(&self) -> Result<(), CommandError> {
        if self.differences.as_ref().is_some_and(|lines| !lines.is_empty()) {
            return Err(CommandError::Failed("the engines disagree".into()));
        }
        let problem = self.runners.iter().find_map(|runner| runner.problem());
        problem.map_or(Ok(()), |problem| Err(CommandError::Failed(problem)))
    }
}

#[derive(Serialize)]
struct ReportJson<'a> {
    name: &'a str,
    spec: &'static str,
    opt: &'static str,
    bytecode_len: usize,
    engines: Vec<EngineJson>,
    /// `null` if only one engine ran.
    r#match: Option<bool>,
    differences: &'a [String],
}

#[derive(Serialize)]
struct EngineJson {
    engine: String,
    result: String,
    gas_used: u64,
    refund: u64,
    output: Bytes,
    logs: usize,
    first_ns: u64,
    warm_ns: u64,
}

impl EngineJson {
    fn new(runner: &EngineRunner, run: &Run) -> Self {
        let result = &run.outcome.result;
        Self {
            engine: runner.engine().to_string(),
            result: describe(result),
            gas_used: result.tx_gas_used(),
            refund: result.gas().final_refunded(),
            output: result.output().cloned().unwrap_or_default(),
            logs: result.logs().len(),
            first_ns: nanos(run.first),
            warm_ns: nanos(run.median),
        }
    }
}

fn print_result(result: &ExecutionResult) {
    let described = describe(result);
    let coloured = match result.is_success() {
        true => terminal::green(described),
        false => terminal::red(described),
    };
    say!("result     {coloured}");
    let (gas, refund) = (result.tx_gas_used(), result.gas().final_refunded());
    say!("gas used   {} (refund {})", measure::count(gas), measure::count(refund));
    say!("output     {}", result.output().cloned().unwrap_or_default());
    if let Some(address) = result.created_address() {
        say!("created    {address}");
    }
    if result.logs().is_empty() {
        say!("logs       none");
    }
    for (index, log) in result.logs().iter().enumerate() {
        say!("log {index:<6} {}: {}", log.address, log.data.data);
        for topic in log.data.topics() {
            say!("  topic    {topic}");
        }
    }
}
