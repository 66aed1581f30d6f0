//! Bad helpers: what this program does instead of helping, by an environment variable.
//!
//! Most of them are a good helper with somebody between it and the backend, who passes on what they
//! say to each other until it is time to misbehave.

use std::{
    env,
    io::{self, Read, Write},
    process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio},
    thread,
    time::Duration,
};

/// Names what to do.
pub(crate) const MODE: &str = "CRANEVM_TEST_FAKE_HELPER";

/// What a helper's output begins with.
const MAGIC: &[u8] = b"\xffcranevm-helper\xfe";

/// Where fields of messages are, after the four bytes of the length.
const PROTOCOL: usize = 5;
const ABI: usize = 9;
const BUILD: usize = 49;
const ID: usize = 5;
const CODE_HASH: usize = 13;
const SPEC: usize = 45;

pub(crate) fn run(mode: &str) -> ExitCode {
    // Whatever fails here fails because the backend is gone.
    let _ended = misbehave(mode);
    ExitCode::FAILURE
}

fn misbehave(mode: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    no_helper(mode, &mut out)?;
    let mut good = Good::start()?;
    let mut hello = good.hello()?;
    let changed = match mode {
        "other-protocol" => Some(PROTOCOL),
        "other-abi" => Some(ABI),
        "other-build" => Some(BUILD),
        _ => None,
    };
    if let Some(at) = changed {
        hello[at] ^= 1;
    }
    out.write_all(MAGIC)?;
    write(&mut out, &hello)?;
    let mut input = io::stdin().lock();
    good.ask(&read(&mut input)?)?;
    let ready = good.answer()?;
    match mode {
        "silent-at-setup" => sleep(),
        "exits-at-setup" => return Err(ended()),
        _ => write(&mut out, &ready)?,
    }
    if mode == "reads-nothing" {
        sleep();
    }
    let mut request = read(&mut input)?;
    at_a_request(mode, &mut request)?;
    good.ask(&request)?;
    let mut reply = good.answer()?;
    if mode == "greets-again" {
        reply = hello;
    }
    at_a_reply(mode, &mut out, reply)?;
    // `good-for-one-job`: the next is its death.
    read(&mut input).map(drop)
}

/// Before any greeting.
fn no_helper(mode: &str, out: &mut impl Write) -> io::Result<()> {
    match mode {
        "exits" => Err(ended()),
        "silent" => sleep(),
        "chatters" => loop {
            out.write_all(b"Greetings! I am no helper.\n")?;
            out.flush()?;
        },
        "drips" => loop {
            out.write_all(b"x")?;
            out.flush()?;
            thread::sleep(Duration::from_millis(20));
        },
        _ => Ok(()),
    }
}

/// With a job at hand.
fn at_a_request(mode: &str, request: &mut [u8]) -> io::Result<()> {
    match mode {
        "hangs" => sleep(),
        "dies" => return Err(ended()),
        "kills-itself" => {
            Command::new("kill").args(["-ABRT", &std::process::id().to_string()]).status()?;
            sleep()
        }
        "other-contract" => request[CODE_HASH] ^= 1,
        "other-spec" => request[SPEC] -= 1,
        _ => {}
    }
    Ok(())
}

/// Sends what a good helper would reply, or makes something else of it.
fn at_a_reply(mode: &str, out: &mut impl Write, mut reply: Vec<u8>) -> io::Result<()> {
    let half = reply.len() / 2;
    match mode {
        "hangs-in-a-reply" => {
            write(out, &reply[..half])?;
            sleep()
        }
        "dies-in-a-reply" => {
            write(out, &reply[..half])?;
            return Err(ended());
        }
        "replies-slowly" => {
            for byte in reply {
                write(out, &[byte])?;
                thread::sleep(Duration::from_millis(20));
            }
            return Err(ended());
        }
        "replies-without-end" => {
            write(out, &[0xff; 4])?;
            loop {
                write(out, &[0x5a; 4096])?;
            }
        }
        "garbles" => reply[half] ^= 0x10,
        "other-id" => reply[ID] ^= 1,
        _ => {}
    }
    write(out, &reply)
}

/// It is over, on purpose.
fn ended() -> io::Error {
    io::ErrorKind::Other.into()
}

fn sleep() -> ! {
    loop {
        thread::sleep(Duration::from_secs(3600));
    }
}

/// The helper behind the fake one.
struct Good {
    _child: Child,
    input: ChildStdin,
    output: ChildStdout,
}

impl Good {
    fn start() -> io::Result<Self> {
        let mut command = Command::new(env::current_exe()?);
        command.env_remove(MODE).env("REVMC_JIT_HELPER_PARENT", "0");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (input, output) = pipes.ok_or(io::ErrorKind::BrokenPipe)?;
        Ok(Self { _child: child, input, output })
    }

    fn hello(&mut self) -> io::Result<Vec<u8>> {
        let mut seen = Vec::new();
        while !seen.ends_with(MAGIC) {
            let mut byte = [0];
            self.output.read_exact(&mut byte)?;
            seen.extend(byte);
        }
        self.answer()
    }

    fn ask(&mut self, frame: &[u8]) -> io::Result<()> {
        write(&mut self.input, frame)
    }

    fn answer(&mut self) -> io::Result<Vec<u8>> {
        read(&mut self.output)
    }
}

/// A frame with its length.
fn read(pipe: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut frame = vec![0; 4];
    pipe.read_exact(&mut frame)?;
    let length = u32::from_le_bytes([frame[0], frame[1], frame[2], frame[3]]) as usize;
    frame.resize(4 + length, 0);
    pipe.read_exact(&mut frame[4..])?;
    Ok(frame)
}

fn write(pipe: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    pipe.write_all(bytes)?;
    pipe.flush()
}
