//! What workers do: compile a contract, make it better; make an artifact; help a caller.
//!
//! A contract is put together from stencils first (`contract`). Then an upgrade (`upgrade`) compiles
//! it again at the configured level, one chunk at a time, and replaces the program. A program that
//! turns out to leave out what runs is upgraded once more, and so is one for whose better code there
//! was no memory, when there may be some again. An artifact (`artifact`) is compiled
//! whole before its program is published; so is what an EVM's thread has no allowance for, for the
//! first tier (`first`). Between any two chunks the worker may turn to something more urgent, be
//! paused, or end.

mod artifact;
mod begun;
mod contract;
mod first;
mod upgrade;

pub(crate) use artifact::ArtifactJob;
pub(crate) use contract::Contract;
pub(crate) use first::FirstJob;
pub(crate) use upgrade::{Upgrade, queue_upgrade};

use crate::{pool::Station, service::CompileService, teamwork::Teamwork};
use std::sync::{Arc, Weak};

/// Work for a worker.
pub(crate) enum Job {
    Contract(Box<Contract>),
    First(Box<FirstJob>),
    Upgrade(Box<Upgrade>),
    /// Chunks of a contract that a caller compiles.
    Help(Weak<Teamwork>),
    Artifact(Box<ArtifactJob>),
}

/// Does a job, or a part of it: what comes back is to be gone on with.
pub(crate) fn run(service: &Arc<CompileService>, station: &Station<Job>, job: Job) -> Option<Job> {
    match job {
        Job::Contract(contract) => contract.run(service),
        Job::First(first) => first.run(service),
        Job::Artifact(job) => job.run(service, station),
        Job::Upgrade(upgrade) => return upgrade.step(service).map(Job::Upgrade),
        Job::Help(work) => {
            // Gone if the caller is done.
            let is_going_on = work.upgrade().is_some_and(|work| work.step(&service.compilers));
            return is_going_on.then_some(Job::Help(work));
        }
    }
    None
}
