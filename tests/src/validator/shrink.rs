//! A smaller code and state that fail alike.
//!
//! Parts of the code become zeros, which stop; words of the stack become zero, data empty, memory
//! short. The pc and the gas stay. What remains fails for the same setting, though perhaps
//! differently.

use super::{
    Finding, check,
    machine::Compilers,
    oracle::Oracle,
    state::{Code, State},
    watch::Watch,
};
use std::time::{Duration, Instant};

/// Time for making one finding smaller.
const TIME: Duration = Duration::from_secs(20);

/// Makes a finding smaller.
pub fn shrink(finding: &Finding) -> Finding {
    let Ok(compilers) = Compilers::new() else { return finding.clone() };
    let (best, watch, end) = (finding.clone(), Watch::new(), Instant::now() + TIME);
    let mut shrinker = Shrinker { best, compilers, watch, end };
    shrinker.clear_code();
    shrinker.simplify_state();
    shrinker.best
}

struct Shrinker {
    best: Finding,
    compilers: Compilers,
    watch: Watch,
    end: Instant,
}

impl Shrinker {
    /// Keeps a change if it still fails.
    fn attempt(&mut self, change: impl FnOnce(&mut Code, &mut State)) {
        let mut candidate = self.best.clone();
        change(&mut candidate.code, &mut candidate.state);
        if candidate.code == self.best.code && candidate.state == self.best.state
            || Instant::now() > self.end
        {
            return;
        }
        let subject = candidate.setting.subject(&mut self.compilers, &candidate.code);
        let Ok(tried) = subject else { return };
        let oracle = Oracle::new(&candidate.code);
        let Finding { setting, code, state, .. } = &candidate;
        let run = || check(&oracle, &tried, state);
        if let (_, Err(text)) = self.watch.over((setting, code, state), run) {
            self.best = Finding { text, ..candidate };
        }
    }

    /// Clears runs of bytes, from half the code down to single ones, and cuts zeros off at the end.
    fn clear_code(&mut self) {
        let mut run = self.best.code.bytes.len() / 2;
        while run > 0 {
            for start in (0..self.best.code.bytes.len()).step_by(run) {
                self.attempt(|code, _| {
                    let mut bytes = code.bytes.to_vec();
                    let end = (start + run).min(bytes.len());
                    bytes[start..end].fill(0);
                    code.bytes = bytes.into();
                });
            }
            run /= 2;
        }
        self.attempt(|code, state| {
            let used = code.bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
            code.bytes.truncate(used.max(state.pc + 1));
        });
    }

    fn simplify_state(&mut self) {
        self.attempt(|_, state| state.calldata.clear());
        self.attempt(|_, state| state.return_data.clear());
        self.attempt(|_, state| state.reservoir = 0);
        self.attempt(|_, state| state.is_static = false);
        for words in [0, 1, 2, 3, 4, 8] {
            self.attempt(|_, state| state.memory_words = state.memory_words.min(words));
        }
        for words in [0, 1, 2, 4, 8, 16, 32] {
            self.attempt(|_, state| {
                let unused = state.stack.len().saturating_sub(words);
                state.stack.drain(..unused);
            });
        }
        for slot in 0..self.best.state.stack.len() {
            self.attempt(|_, state| state.stack[slot] = Default::default());
        }
    }
}
