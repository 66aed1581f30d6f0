//! Loading, executing and freeing, alone and from many threads.

use super::{CodeMemoryError, CodeRegion, LoadedCode};
use std::sync::Arc;

/// A multiple of the page size of every supported system.
const PAGES: usize = 64 << 10;

/// Machine code of a function that returns `value`.
fn returning(value: u16) -> Vec<u8> {
    #[cfg(target_arch = "x86_64")]
    let code = {
        let [low, high] = value.to_le_bytes();
        vec![0xb8, low, high, 0, 0, 0xc3] // mov eax, value; ret
    };
    #[cfg(target_arch = "aarch64")]
    let code = [0x5280_0000 | u32::from(value) << 5, 0xd65f_03c0_u32] // mov w0, #value; ret
        .iter()
        .flat_map(|word| word.to_le_bytes())
        .collect();
    code
}

/// Calls the `index`-th function, made by [`returning`].
fn call(code: &LoadedCode, index: usize) -> u32 {
    // SAFETY: the address is that of a complete function of this signature, alive as long as
    // `code`.
    let function: extern "C" fn() -> u32 = unsafe { std::mem::transmute(code.address(index)) };
    function()
}

fn load(region: &Arc<CodeRegion>, functions: &[Vec<u8>]) -> Result<LoadedCode, CodeMemoryError> {
    region.load(&functions.iter().map(Vec::as_slice).collect::<Vec<_>>())
}

#[test]
fn is_send_and_sync() {
    fn assert<T: Send + Sync>() {}
    assert::<CodeRegion>();
    assert::<LoadedCode>();
    assert::<CodeMemoryError>();
}

#[test]
fn executes_what_it_loads() {
    let region = CodeRegion::new(1 << 20).unwrap();
    let functions: Vec<_> = (0..100).map(returning).collect();
    let code = load(&region, &functions).unwrap();
    assert_eq!(code.functions(), 100);
    for (index, function) in functions.iter().enumerate() {
        assert_eq!(call(&code, index), index as u32);
        assert_eq!(code.function(index), Some(function.as_slice()));
    }
    assert_eq!(code.function(100), None);
}

#[test]
fn aligns_and_pads() {
    let region = CodeRegion::new(1 << 20).unwrap();
    let functions = [vec![1; 65], vec![2; 1], vec![3; 16], vec![4; 17]];
    let code = load(&region, &functions).unwrap();
    let start = code.address(0).addr();
    assert_eq!(start % 4096, 0);
    let offsets: Vec<_> = (0..4).map(|index| code.address(index).addr() - start).collect();
    assert_eq!(offsets, [0, 80, 96, 112]);
    let padding = super::provider::PADDING;
    assert!(code.code()[65..80].iter().all(|&byte| byte == padding));
    assert!(code.code()[129..].iter().all(|&byte| byte == padding));
    assert_eq!(code.code().len(), code.len());
    assert!(!code.is_empty());
}

#[test]
fn fills_whole_pages() {
    let region = CodeRegion::new(1 << 20).unwrap();
    let page = load(&region, &[vec![0; 1]]).unwrap().len();
    for (bytes, pages) in [(1, 1), (page, 1), (page + 1, 2), (3 * page, 3)] {
        let code = load(&region, &[vec![0; bytes]]).unwrap();
        assert_eq!(code.len(), pages * page);
        assert_eq!(region.mapped_bytes(), pages * page);
    }
    assert_eq!(region.mapped_bytes(), 0);
}

#[test]
fn exhaustion_tells_the_sizes_and_holds_nothing() {
    let region = CodeRegion::new(4 * PAGES).unwrap();
    let reserved = region.reserved_bytes();
    let quarter = vec![0; PAGES - 600];
    let held: Vec<_> = (0..3).map(|_| region.load(&[&quarter]).unwrap()).collect();
    let before = region.mapped_bytes();
    let error = load(&region, &[vec![0; 2 * PAGES]]).unwrap_err();
    assert_eq!(region.mapped_bytes(), before);
    match error {
        CodeMemoryError::Exhausted { requested, largest, free, reserved: all } => {
            assert_eq!(requested, 2 * PAGES);
            assert_eq!((largest, free, all), (reserved - before, reserved - before, reserved));
        }
        other => panic!("{other}"),
    }
    drop(held);
    assert_eq!(region.mapped_bytes(), 0);
    load(&region, &[vec![0; 4 * PAGES]]).unwrap();
}

#[test]
fn freed_pages_are_reused() {
    let region = CodeRegion::new(4 * PAGES).unwrap();
    let mut addresses = Vec::new();
    for value in 0..1000 {
        let code = load(&region, &[returning(value)]).unwrap();
        assert_eq!(call(&code, 0), u32::from(value));
        addresses.push(code.address(0).addr());
    }
    addresses.dedup();
    assert_eq!(addresses.len(), 1);
}

#[test]
fn bad_input_is_refused_and_holds_nothing() {
    let region = CodeRegion::new(1 << 20).unwrap();
    assert!(matches!(region.load(&[]), Err(CodeMemoryError::NoFunctions)));
    assert!(matches!(
        region.load(&[&[0xc3], &[], &[0xc3]]),
        Err(CodeMemoryError::EmptyFunction { index: 1 })
    ));
    assert_eq!(region.mapped_bytes(), 0);
    assert!(matches!(CodeRegion::new(0), Err(CodeMemoryError::InvalidReserve { bytes: 0, .. })));
    assert!(matches!(CodeRegion::new(usize::MAX), Err(CodeMemoryError::InvalidReserve { .. })));
    assert!(matches!(
        CodeRegion::new(1 << 60),
        Err(CodeMemoryError::Os { operation: "reserve", .. })
    ));
}

#[test]
fn handles_outlive_the_region() {
    let region = CodeRegion::new(1 << 20).unwrap();
    let code = load(&region, &[returning(7)]).unwrap();
    let watch = Arc::downgrade(&region);
    drop(region);
    assert_eq!(call(&code, 0), 7);
    assert_eq!(watch.upgrade().map(|region| region.mapped_bytes()), Some(code.len()));
    drop(code);
    assert!(watch.upgrade().is_none());
}

#[test]
fn threads_load_call_and_drop() {
    let region = CodeRegion::new(16 << 20).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4_u16 {
            let region = &region;
            scope.spawn(move || {
                let mut held: Vec<(u16, LoadedCode)> = Vec::new();
                for round in 0..500_u16 {
                    let value = thread * 1000 + round;
                    let mut functions = vec![returning(value); 1 + usize::from(round % 7)];
                    functions.push(vec![0; usize::from(round % 5) * 5000 + 1]);
                    held.push((value, load(region, &functions).unwrap()));
                    if held.len() > 20 {
                        held.swap_remove(usize::from(value * 7 % 20));
                    }
                    for (value, code) in &held {
                        assert_eq!(call(code, code.functions() - 2), u32::from(*value));
                    }
                }
            });
        }
    });
    assert_eq!(region.mapped_bytes(), 0);
    let all = region.reserved_bytes();
    assert_eq!(load(&region, &[vec![0; all]]).unwrap().len(), all);
}

#[test]
fn a_handle_may_be_dropped_by_another_thread() {
    let region = CodeRegion::new(1 << 20).unwrap();
    let code = Arc::new(load(&region, &[returning(3)]).unwrap());
    let other = Arc::clone(&code);
    let thread = std::thread::spawn(move || call(&other, 0));
    drop(code);
    assert_eq!(thread.join().unwrap(), 3);
    assert_eq!(region.mapped_bytes(), 0);
}

/// What only Linux's `/proc` can tell.
#[cfg(target_os = "linux")]
mod linux {
    use super::*;

    /// Protection of the mapping at an address, as in `r-xp`.
    fn protection(address: usize) -> Option<String> {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        maps.lines().find_map(|line| {
            let (range, rest) = line.split_once(' ')?;
            let (start, end) = range.split_once('-')?;
            let parse = |text| usize::from_str_radix(text, 16).unwrap();
            (parse(start)..parse(end)).contains(&address).then(|| rest[..4].to_owned())
        })
    }

    /// A line of `/proc/self/status` in bytes.
    fn status(name: &str) -> usize {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() << 10
    }

    #[test]
    fn never_writable_and_executable() {
        let region = CodeRegion::new(16 << 20).unwrap();
        let block = region.allocate(1).unwrap();
        let base = block.base().as_ptr().addr();
        assert_eq!(protection(base).as_deref(), Some("rw-p"));
        assert_eq!(protection(base + block.len()).as_deref(), Some("---p"));
        drop(block);
        assert_eq!(protection(base).as_deref(), Some("---p"));

        let code = load(&region, &[returning(1)]).unwrap();
        assert_eq!(code.address(0).addr(), base);
        assert_eq!(protection(base).as_deref(), Some("r-xp"));
        assert_eq!(protection(base + code.len()).as_deref(), Some("---p"));
        drop(code);
        assert_eq!(protection(base).as_deref(), Some("---p"));
    }

    #[test]
    fn memory_returns_to_the_system() {
        const BYTES: usize = 64 << 20;
        let region = CodeRegion::new(BYTES).unwrap();
        let code = {
            let big = vec![0x90; BYTES];
            region.load(&[&big]).unwrap()
        };
        let loaded = status("VmRSS:");
        drop(code);
        let dropped = status("VmRSS:");
        assert!(loaded - dropped > BYTES / 2, "{loaded} bytes resident, then {dropped}");
    }

    #[test]
    fn the_last_handle_unmaps_the_region() {
        const BYTES: usize = 64 << 30;
        let region = CodeRegion::new(BYTES).unwrap();
        let code = load(&region, &[returning(1)]).unwrap();
        drop(region);
        let held = status("VmSize:");
        drop(code);
        let dropped = status("VmSize:");
        assert!(held - dropped > BYTES / 2, "{held} bytes mapped, then {dropped}");
    }

    /// The kernel limits a process to some 65,000 mappings, so that neighbours must merge.
    #[test]
    fn neighbouring_contracts_share_a_mapping() {
        const CONTRACTS: u16 = 2000;
        let mappings = || std::fs::read_to_string("/proc/self/maps").unwrap().lines().count();
        let region = CodeRegion::new(64 << 20).unwrap();
        let before = mappings();
        let held: Vec<_> =
            (0..CONTRACTS).map(|value| load(&region, &[returning(value)]).unwrap()).collect();
        let during = mappings();
        assert!(during < before + usize::from(CONTRACTS) / 4, "{before} mappings, then {during}");
        drop(held);
    }
}
