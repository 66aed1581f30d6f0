//! The helper's side: serves a backend over standard input and output, until the input ends.
//!
//! The thread that calls [`serve`] reads; another one compiles, with a stack that Cranelift can
//! recurse on. So the end of the backend, which closes the input, is seen at once, also in the
//! middle of a compilation. A panic of the compiler is a reply like any other.
//!
//! Standard output is for replies alone. It is moved out of the way first, so that whatever else
//! this program prints from then on goes to standard error; what it printed before, the backend
//! skips.

use super::{
    error::WireError,
    limits,
    protocol::{
        Fault, MAGIC, MAX_REQUEST, Reply, Request, SHORT, Setup, Task, encode_ready, max_reply,
    },
    supervisor::hello,
    wire::read_frame,
};
use crate::{CompileTimings, dump::write_files, error::CompileFailure, panics::contain_panic};
use cranevm_codegen::{
    COMPILER_STACK, CompileError, Compiler, CompilerOptions, artifact, mark_deep_stack,
};
use std::{
    fs::File,
    io::{self, Write},
    os::fd::AsFd,
    sync::mpsc::{Receiver, sync_channel},
    thread,
};

/// Compilers kept: one for each way that a backend compiles.
const MAX_COMPILERS: usize = 3;

/// Serves until the input ends.
///
/// # Errors
/// If a pipe fails, or the backend says what isn't understood.
pub(crate) fn serve() -> io::Result<()> {
    let limited = limits::apply_from_env();
    let (mut requests, mut replies) = own_pipes()?;
    replies.write_all(&MAGIC)?;
    replies.write_all(&hello().encode().map_err(io::Error::other)?)?;
    let Some(setup) = read_frame(&mut requests, SHORT)? else { return Ok(()) };
    let setup = Setup::decode(&setup).map_err(io::Error::other)?;
    // One request waits at most: a backend sends the next when it has the reply to the last.
    let (sender, receiver) = sync_channel(1);
    let begun = limited.and_then(|()| {
        let replies = replies.try_clone().map_err(|error| error.to_string())?;
        let work = move || {
            mark_deep_stack();
            Workshop { setup, compilers: Vec::new() }.run(&receiver, replies)
        };
        let builder = thread::Builder::new().name("compiler".into()).stack_size(COMPILER_STACK);
        builder.spawn(work).map_err(|error| format!("no thread: {error}"))
    });
    let problem = begun.as_ref().err().map(String::as_str);
    replies.write_all(&encode_ready(problem).map_err(io::Error::other)?)?;
    let Ok(worker) = begun else { return Ok(()) };
    while let Some(request) = read_frame(&mut requests, MAX_REQUEST)? {
        if sender.send(request).is_err() {
            // It says why it ended.
            return worker.join().unwrap_or_else(|_| Err(io::Error::other("the compiler ended")));
        }
    }
    // What is being compiled now nobody waits for: the process ends with its main thread.
    Ok(())
}

/// The pipes from and to the backend; what is printed from now on goes to standard error.
fn own_pipes() -> io::Result<(File, File)> {
    let requests = io::stdin().as_fd().try_clone_to_owned()?;
    let replies = io::stdout().as_fd().try_clone_to_owned()?;
    rustix::stdio::dup2_stdout(io::stderr())?;
    Ok((requests.into(), replies.into()))
}

/// What compiles.
struct Workshop {
    setup: Setup,
    /// The most recently used last.
    compilers: Vec<Lent>,
}

struct Lent {
    compiler: Compiler,
    compilations: u64,
}

impl Workshop {
    /// Replies to requests until there are no more, or the backend is gone.
    fn run(mut self, requests: &Receiver<Vec<u8>>, mut replies: File) -> io::Result<()> {
        for request in requests {
            let reply = self.reply(&request).map_err(io::Error::other)?;
            replies.write_all(&reply)?;
        }
        Ok(())
    }

    fn reply(&mut self, request: &[u8]) -> Result<Vec<u8>, WireError> {
        let request = Request::decode(request)?;
        let id = request.id;
        let done = match request.task {
            Task::Compile => self.compile(&request),
            Task::Dump => self.dump(&request).map(|()| (CompileTimings::default(), Vec::new())),
        };
        let reply = match &done {
            Err((fault, message)) => Reply::Failed { id, fault: *fault, message: message.clone() },
            Ok(_) if request.task == Task::Dump => Reply::Dumped { id },
            Ok((timings, artifact)) => Reply::Compiled { id, timings: *timings, artifact },
        };
        let limit = max_reply(request.code.len());
        reply.encode(limit).or_else(|error| {
            // Too long, and so of no use to anyone.
            Reply::Failed { id, fault: Fault::Compiler, message: error.to_string() }.encode(limit)
        })
    }

    fn compile(&mut self, request: &Request<'_>) -> Result<(CompileTimings, Vec<u8>), Problem> {
        let Request { key, options, code, .. } = *request;
        // A compiler that panicked is dropped by the unwinding.
        contain_panic(|| {
            let mut lent = self.borrow(options)?;
            let compiled = lent.compiler.compile(code, key.spec_id);
            lent.compilations += 1;
            let identity = lent.compiler.identity(key.code_hash);
            self.give_back(lent);
            let compiled = compiled?;
            Ok((compiled.timings, artifact::encode(&compiled, &identity)))
        })
        .map_err(|failure| match failure {
            CompileFailure::Panic { message } => (Fault::Panic, message),
            failure => (Fault::Compiler, failure.to_string()),
        })
    }

    fn dump(&self, request: &Request<'_>) -> Result<(), Problem> {
        let Some(directory) = &self.setup.dump_dir else {
            return Err((Fault::Files, "no directory is configured".into()));
        };
        write_files(directory, request.key, request.code, request.options)
            .map_err(|error| (Fault::Files, error.to_string()))
    }

    fn borrow(&mut self, options: CompilerOptions) -> Result<Lent, CompileError> {
        let kept = self.compilers.iter().position(|lent| *lent.compiler.options() == options);
        match kept {
            Some(index) => Ok(self.compilers.remove(index)),
            None => Ok(Lent { compiler: Compiler::new(options)?, compilations: 0 }),
        }
    }

    fn give_back(&mut self, lent: Lent) {
        let threshold = self.setup.recycle_threshold;
        if threshold > 0 && lent.compilations >= threshold {
            return;
        }
        if self.compilers.len() >= MAX_COMPILERS {
            self.compilers.remove(0);
        }
        self.compilers.push(lent);
    }
}

/// What kind of failure, and what to tell people.
type Problem = (Fault, String);
