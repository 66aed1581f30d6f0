//! What only Linux's `/proc` and its calls can tell.

use super::*;
use std::{env, fs, process::Command};

/// The mappings of this process, with the bounds of each.
fn mappings() -> Vec<(std::ops::Range<usize>, String)> {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let parse = |text| usize::from_str_radix(text, 16).unwrap();
    maps.lines()
        .map(|line| {
            let (start, end) = line.split_once(' ').unwrap().0.split_once('-').unwrap();
            (parse(start)..parse(end), line.to_owned())
        })
        .collect()
}

/// Protection of the mapping at an address, as in `r-xp`.
fn protection(address: usize) -> Option<String> {
    let line = mappings().into_iter().find(|(range, _)| range.contains(&address))?.1;
    Some(line.split_once(' ')?.1[..4].to_owned())
}

/// A line of `/proc/self/status` in bytes.
fn status(name: &str) -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() << 10
}

/// Runs a test of this file in a process of its own, which has this variable.
fn in_a_process_of_its_own(test: &str, variable: &str) {
    let output = Command::new(env::current_exe().unwrap())
        .args(["--exact", "--nocapture", &format!("code_memory::tests::linux::{test}")])
        .env(variable, "1")
        .output()
        .unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && stdout.contains("1 passed"), "{stdout}{stderr}");
}

/// The way that this system has, of which the tests below are about.
#[test]
fn code_is_in_a_file() {
    let region = CodeRegion::new(1 << 20).unwrap();
    assert!(region.how().starts_with("a file"), "NOT RUN: only {}", region.how());
}

/// At every moment: whatever is executable isn't writable, and nothing else is mapped of the file.
#[test]
fn never_writable_and_executable() {
    for way in [Way::Any, Way::Private] {
        let region = CodeRegion::with_way(4 << 20, way).unwrap();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for value in 0..3000 {
                    let code = load(&region, &[returning(value), vec![0; 9000]]).unwrap();
                    assert_eq!(call(&code, 0), u32::from(value));
                }
                done.store(true, Ordering::Release);
            });
            let mut looks = 0;
            while !done.load(Ordering::Acquire) || looks < 10 {
                for (_, line) in mappings() {
                    let protection = line.split(' ').nth(1).unwrap();
                    let is_of_the_file = line.contains("/memfd:cranevm");
                    let is_writable = protection.contains('w');
                    assert!(!is_writable || !protection.contains('x'), "{line}");
                    assert!(!is_writable || !is_of_the_file, "{line}");
                }
                looks += 1;
            }
        });
    }
}

#[test]
fn a_file_is_executable_from_the_start() {
    let region = CodeRegion::new(16 << 20).unwrap();
    let code = load(&region, &[returning(1)]).unwrap();
    let base = code.address(0).addr();
    assert_eq!(base % (2 << 20), 0);
    drop(code);
    assert_eq!(protection(base).as_deref(), Some("r-xs"));
    assert_eq!(protection(base + region.reserved_bytes() - 1).as_deref(), Some("r-xs"));
}

#[test]
fn private_pages_are_executable_while_they_hold_code() {
    let region = CodeRegion::with_way(16 << 20, Way::Private).unwrap();
    let code = load(&region, &[returning(1)]).unwrap();
    let base = code.address(0).addr();
    assert_eq!(protection(base).as_deref(), Some("r-xp"));
    assert_eq!(protection(base + code.len()).as_deref(), Some("---p"));
    drop(code);
    assert_eq!(protection(base).as_deref(), Some("---p"));
}

#[test]
fn memory_returns_to_the_system() {
    const BYTES: usize = 64 << 20;
    for region in regions(BYTES) {
        let code = {
            let big = vec![0x90; BYTES];
            region.load(&[&big]).unwrap()
        };
        assert!(code.code().iter().all(|&byte| byte == 0x90));
        let loaded = status("VmRSS:");
        drop(code);
        let dropped = status("VmRSS:");
        assert!(loaded - dropped > BYTES / 2, "{loaded} bytes resident, then {dropped}");
    }
}

#[test]
fn the_last_handle_unmaps_the_region() {
    const BYTES: usize = 64 << 30;
    for region in regions(BYTES) {
        let code = load(&region, &[returning(1)]).unwrap();
        drop(region);
        let held = status("VmSize:");
        drop(code);
        let dropped = status("VmSize:");
        assert!(held - dropped > BYTES / 2, "{held} bytes mapped, then {dropped}");
    }
}

/// What the kernel says under a name of the mapping at an address.
fn mapping_fact(address: usize, name: &str) -> Vec<String> {
    let maps = fs::read_to_string("/proc/self/smaps").unwrap();
    let mut is_here = false;
    for line in maps.lines() {
        let range = line.split_once(' ').and_then(|(range, _)| range.split_once('-'));
        let bound = |text| usize::from_str_radix(text, 16).ok();
        if let Some((start, end)) = range.and_then(|(a, b)| Some((bound(a)?, bound(b)?))) {
            is_here = (start..end).contains(&address);
        } else if is_here && let Some(fact) = line.strip_prefix(name) {
            return fact.split_whitespace().map(str::to_owned).collect();
        }
    }
    panic!("nothing is mapped there")
}

/// Huge pages of the mapping at an address that this process has in its tables.
fn huge_pages(address: usize) -> usize {
    mapping_fact(address, "ShmemPmdMapped:")[0].parse::<usize>().unwrap() / 2048
}

/// Code that stays gets huge pages, others don't; none makes a difference to what is executed, by
/// threads that don't wait for it.
#[test]
fn memory_that_stays_full_becomes_huge_pages() {
    const UNITS: usize = 8;
    let region = CodeRegion::new((UNITS + 2) << 21).unwrap();
    let half = |value| load(&region, &[returning(value), vec![0; (1 << 20) - 64]]).unwrap();
    let mut held: Vec<_> = (0..2 * UNITS as u16).map(half).collect();
    let address = held[0].address(0).addr();
    let merge = |turns| (0..turns).map(|_| region.merge_pages(3)).sum::<usize>();
    assert_eq!((merge(2), huge_pages(address)), (0, 0), "it has to stay for longer");
    let (first, done) = (merge(1), AtomicBool::new(false));
    if first == 0 {
        return eprintln!("NOT RUN: this kernel makes no huge pages on demand");
    }
    let worst = std::thread::scope(|scope| {
        let executing = scope.spawn(|| {
            let mut worst = std::time::Duration::ZERO;
            while !done.load(Ordering::Acquire) {
                for (value, code) in held.iter().enumerate() {
                    let start = std::time::Instant::now();
                    assert_eq!(call(code, 0), value as u32);
                    worst = worst.max(start.elapsed());
                }
            }
            worst
        });
        let start = std::time::Instant::now();
        let rest = merge(9);
        println!("{rest} huge pages in {:?}", start.elapsed());
        done.store(true, Ordering::Release);
        assert_eq!((first, rest), (3, UNITS - 3));
        executing.join().unwrap()
    });
    println!("the longest wait of who executed them: {worst:?}");
    assert_eq!((huge_pages(address), region.mapped_bytes()), (UNITS, UNITS << 21));
    // A hole takes one apart; what comes there is executed as any other, and is merged again.
    held.remove(5);
    assert_eq!(huge_pages(address), UNITS - 1);
    assert_eq!(merge(20), 0, "not all of it holds code");
    held.insert(5, half(5));
    assert_eq!((merge(4), merge(1), huge_pages(address)), (0, 1, UNITS));
    for (value, code) in held.iter().enumerate() {
        assert_eq!(call(code, 0), value as u32);
    }
}

/// Either would give the whole reservation memory, or have a child execute what its parent writes.
#[test]
fn code_is_neither_dumped_nor_inherited() {
    let region = CodeRegion::new(1 << 20).unwrap();
    let code = load(&region, &[returning(1)]).unwrap();
    let flags = mapping_fact(code.address(0).addr(), "VmFlags:");
    assert!(flags.contains(&"dd".into()) && flags.contains(&"dc".into()), "{flags:?}");
}

/// A process that locks all its memory has what it uses, not all that it reserves.
#[test]
fn a_reservation_is_no_memory_even_if_that_is_locked() {
    const CHILD: &str = "CRANEVM_TEST_LOCKED";
    if env::var_os(CHILD).is_none() {
        return in_a_process_of_its_own("a_reservation_is_no_memory_even_if_that_is_locked", CHILD);
    }
    // SAFETY: changes what memory of this process is, and nothing in it.
    if unsafe { libc::mlockall(libc::MCL_FUTURE) } != 0 {
        return eprintln!("NOT RUN: {}", std::io::Error::last_os_error());
    }
    let region = CodeRegion::new(64 << 20).unwrap();
    assert_eq!(call(&load(&region, &[returning(5)]).unwrap(), 0), 5);
    assert!(status("RssShmem:") < 8 << 20, "{} bytes", status("RssShmem:"));
}

/// The kernel limits a process to some 65,000 mappings.
#[test]
fn r10_small_programs_are_one_mapping() {
    const CHILD: &str = "CRANEVM_TEST_MAPPINGS";
    if env::var_os(CHILD).is_none() {
        return in_a_process_of_its_own("r10_small_programs_are_one_mapping", CHILD);
    }
    const PROGRAMS: u32 = 20_000;
    let region = CodeRegion::new(128 << 20).unwrap();
    let before = mappings().len();
    let mut held: Vec<_> = (0..PROGRAMS)
        .map(|n| load(&region, &[returning(n as u16), vec![0; n as usize % 900 + 1]]).unwrap())
        .collect();
    let during = mappings().len();
    // Every other one, so that neighbours differ.
    let mut n = 0;
    held.retain(|_| {
        n += 1;
        n % 2 == 0
    });
    let after = mappings().len();
    assert!(during.max(after) < before + 20, "{before} mappings, then {during} and {after}");
    assert!(held.iter().enumerate().all(|(n, code)| call(code, 0) == 2 * n as u32 + 1));
}

/// Whole pages for each program: neighbours must merge.
#[test]
fn neighbouring_private_pages_share_a_mapping() {
    const PROGRAMS: u16 = 2000;
    let region = CodeRegion::with_way(64 << 20, Way::Private).unwrap();
    let before = mappings().len();
    let held: Vec<_> =
        (0..PROGRAMS).map(|value| load(&region, &[returning(value)]).unwrap()).collect();
    let during = mappings().len();
    assert!(during < before + usize::from(PROGRAMS) / 4, "{before} mappings, then {during}");
    drop(held);
}

/// Going beyond a limit on files would end the process by a signal.
#[test]
fn a_limit_on_files_ends_no_process() {
    const CHILD: &str = "CRANEVM_TEST_FILE_LIMIT";
    if env::var_os(CHILD).is_none() {
        return in_a_process_of_its_own("a_limit_on_files_ends_no_process", CHILD);
    }
    let limit = |bytes| {
        let limit = libc::rlimit { rlim_cur: bytes, rlim_max: libc::RLIM_INFINITY };
        // SAFETY: reads `limit`.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit) }, 0);
    };
    let before = CodeRegion::new(1 << 20).unwrap();
    let held = load(&before, &[returning(1)]).unwrap();
    limit(4096);
    assert_eq!(call(&held, 0), 1);
    let error = before.load(&[&vec![0; 8192]]).unwrap_err();
    assert!(matches!(error, CodeMemoryError::Os { .. }), "{error}");
    assert_eq!(before.used_bytes(), held.len());
    let after = CodeRegion::new(1 << 20).unwrap();
    assert!(after.how().starts_with("private"), "{}", after.how());
    assert_eq!(call(&load(&after, &[returning(2)]).unwrap(), 0), 2);
    limit(libc::RLIM_INFINITY);
}

/// What systemd's `MemoryDenyWriteExecute` and this flag forbid isn't done to a file.
#[test]
fn r11_a_process_that_may_make_nothing_executable_has_a_file() {
    const CHILD: &str = "CRANEVM_TEST_MDWE";
    let name = "r11_a_process_that_may_make_nothing_executable_has_a_file";
    if env::var_os(CHILD).is_none() {
        return in_a_process_of_its_own(name, CHILD);
    }
    /// `PR_MDWE_REFUSE_EXEC_GAIN`
    const REFUSE_EXEC_GAIN: libc::c_ulong = 1;
    let none: libc::c_ulong = 0;
    // SAFETY: takes a privilege away from this process.
    let result = unsafe { libc::prctl(libc::PR_SET_MDWE, REFUSE_EXEC_GAIN, none, none, none) };
    if result != 0 {
        // A kernel before 6.3.
        return eprintln!("NOT RUN: {}", std::io::Error::last_os_error());
    }
    let region = CodeRegion::new(1 << 20).unwrap();
    assert!(region.how().starts_with("a file"), "{}", region.how());
    assert_eq!(call(&load(&region, &[returning(5)]).unwrap(), 0), 5);
    let error = CodeRegion::with_way(1 << 20, Way::Private).unwrap_err();
    assert!(matches!(error, CodeMemoryError::NotExecutable { .. }), "{error}");
}
