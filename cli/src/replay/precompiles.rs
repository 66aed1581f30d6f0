//! How much of a block is precompiled contracts, which native code doesn't make faster.
//!
//! Measured by running the block in the interpreter with a clock around each of their calls. The
//! clock is the system's, not the thread's: that one takes as long to read as a small call.

use super::{
    block::ReplayBlock,
    execute::{self, BlockContext, ExecuteError},
};
use revm::{
    context::{Cfg, ContextTr, Evm},
    handler::{EthPrecompiles, PrecompileProvider},
    interpreter::{CallInputs, InterpreterResult},
    primitives::{Address, AddressSet, hardfork::SpecId},
};
use std::{
    cell::Cell,
    rc::Rc,
    time::{Duration, Instant},
};

/// Runs that are measured; the one that took least counts, for it was interrupted least.
const RUNS: usize = 5;

/// revm's own, with a clock.
struct Timed {
    inner: EthPrecompiles,
    time: Rc<Cell<Duration>>,
}

impl<CTX: ContextTr<Cfg: Cfg<Spec = SpecId>>> PrecompileProvider<CTX> for Timed {
    type Output = InterpreterResult;

    fn set_spec(&mut self, spec: SpecId) -> bool {
        PrecompileProvider::<CTX>::set_spec(&mut self.inner, spec)
    }

    fn run(
        &mut self,
        context: &mut CTX,
        inputs: &CallInputs,
    ) -> Result<Option<InterpreterResult>, String> {
        if !self.inner.contains(&inputs.bytecode_address) {
            return Ok(None);
        }
        let start = Instant::now();
        let result = PrecompileProvider::<CTX>::run(&mut self.inner, context, inputs);
        self.time.set(self.time.get() + start.elapsed());
        result
    }

    fn warm_addresses(&self) -> &AddressSet {
        self.inner.warm_addresses()
    }

    fn contains(&self, address: &Address) -> bool {
        self.inner.contains(address)
    }
}

/// The share of a block's time, interpreted, that precompiled contracts take: 0 to 1.
///
/// # Errors
/// If the block can't be executed.
pub(super) fn share(block: &ReplayBlock) -> Result<f64, ExecuteError> {
    let mut least = (Duration::MAX, Duration::ZERO);
    for _ in 0..RUNS {
        least = least.min(measure(block)?);
    }
    let (whole, part) = least;
    Ok(part.as_secs_f64() / whole.as_secs_f64().max(f64::MIN_POSITIVE))
}

/// The time of a run, and that of precompiled contracts in it.
fn measure(block: &ReplayBlock) -> Result<(Duration, Duration), ExecuteError> {
    let time = Rc::new(Cell::new(Duration::ZERO));
    let plain = execute::evm(block);
    let timed = Timed { inner: EthPrecompiles::new(block.cfg.spec), time: Rc::clone(&time) };
    let evm: Evm<BlockContext, _, _, _, _> = Evm::new(plain.ctx, plain.instruction, timed);
    let mut start = Instant::now();
    let executed = execute::execute(evm, block, &mut || start = Instant::now())?;
    let whole = start.elapsed();
    drop(executed);
    Ok((whole, time.get()))
}
