//! Loading, executing and freeing, alone and from many threads, in each way that this system has.

#[cfg(target_os = "linux")]
mod linux;

use super::{CodeMemoryError, CodeRegion, LoadedCode, Way};
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// A multiple of the page size of every supported system.
const PAGES: usize = 64 << 10;

/// A region for each way.
fn regions(bytes: usize) -> [Arc<CodeRegion>; 2] {
    [Way::Any, Way::Private].map(|way| CodeRegion::with_way(bytes, way).unwrap())
}

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
    for region in regions(1 << 20) {
        let functions: Vec<_> = (0..100).map(returning).collect();
        let code = load(&region, &functions).unwrap();
        assert_eq!(code.functions(), 100);
        for (index, function) in functions.iter().enumerate() {
            assert_eq!(call(&code, index), index as u32);
            assert_eq!(code.function(index), Some(function.as_slice()));
        }
        assert_eq!(code.function(100), None);
    }
}

#[test]
fn aligns_and_pads() {
    for region in regions(1 << 20) {
        let functions = [vec![1; 65], vec![2; 1], vec![3; 16], vec![4; 17]];
        // So that the block isn't the first of its page.
        let _other = load(&region, &[vec![5; 1]]).unwrap();
        let code = load(&region, &functions).unwrap();
        let start = code.address(0).addr();
        assert_eq!(start % 64, 0);
        let offsets: Vec<_> = (0..4).map(|index| code.address(index).addr() - start).collect();
        assert_eq!(offsets, [0, 80, 96, 112]);
        let padding = super::staging::PADDING;
        assert!(code.code()[65..80].iter().all(|&byte| byte == padding));
        assert!(code.code()[129..].iter().all(|&byte| byte == padding));
        assert_eq!(code.code().len(), code.len());
        assert!(!code.is_empty());
    }
}

/// Programs lie side by side, where that can be done; what is held are pages.
#[test]
fn programs_are_packed() {
    for region in regions(1 << 20) {
        let granule = load(&region, &[vec![0; 1]]).unwrap().len();
        for (bytes, granules) in [(1, 1), (granule, 1), (granule + 1, 2), (3 * granule, 3)] {
            let code = load(&region, &[vec![0; bytes]]).unwrap();
            assert_eq!((code.len(), region.used_bytes()), (granules * granule, code.len()));
            assert_eq!(region.mapped_bytes() % 4096, 0);
            assert!((code.len()..code.len() + PAGES).contains(&region.mapped_bytes()));
        }
        assert_eq!((region.mapped_bytes(), region.used_bytes()), (0, 0));
        let all: Vec<_> = (0..64).map(|n| load(&region, &[returning(n)]).unwrap()).collect();
        assert_eq!(region.mapped_bytes(), region.used_bytes(), "64 of 64 bytes are a page");
        for (n, code) in all.iter().enumerate() {
            assert_eq!(call(code, 0), n as u32);
            assert_eq!(code.address(0).addr() - all[0].address(0).addr(), n * granule);
        }
    }
}

/// Where a neighbour was, a stray jump traps.
#[test]
fn what_was_freed_beside_code_is_gone() {
    let region = CodeRegion::new(1 << 20).unwrap();
    let held: Vec<_> = (0..4).map(|n| load(&region, &[returning(n)]).unwrap()).collect();
    let [first, second, third, fourth] = held.try_into().unwrap();
    // Of one that is there as a whole, with its neighbours' bytes beside it.
    let bytes = |code: &LoadedCode, at: isize| {
        let address = code.address(0).wrapping_offset(at);
        // SAFETY: the page is mapped as long as `first` and `fourth`, which are on it too.
        unsafe { address.read() }
    };
    let len = second.len() as isize;
    drop(second);
    drop(third);
    let padding = super::staging::PADDING;
    if region.mapped_bytes() != region.used_bytes() {
        assert!((0..2 * len).all(|at| bytes(&first, len + at) == padding));
    }
    assert_eq!((call(&first, 0), call(&fourth, 0)), (0, 3));
}

#[test]
fn exhaustion_tells_the_sizes_and_holds_nothing() {
    for region in regions(4 * PAGES) {
        let reserved = region.reserved_bytes();
        let quarter = vec![0; PAGES - 600];
        let held: Vec<_> = (0..3).map(|_| region.load(&[&quarter]).unwrap()).collect();
        let before = region.used_bytes();
        let error = load(&region, &[vec![0; 2 * PAGES]]).unwrap_err();
        assert_eq!(region.used_bytes(), before);
        match error {
            CodeMemoryError::Exhausted { requested, largest, free, reserved: all } => {
                assert_eq!(requested, 2 * PAGES);
                assert_eq!((largest, free, all), (reserved - before, reserved - before, reserved));
            }
            other => panic!("{other}"),
        }
        drop(held);
        assert_eq!((region.mapped_bytes(), region.used_bytes()), (0, 0));
        load(&region, &[vec![0; 4 * PAGES]]).unwrap();
    }
}

#[test]
fn freed_pages_are_reused() {
    for region in regions(4 * PAGES) {
        let mut addresses = Vec::new();
        for value in 0..1000 {
            let code = load(&region, &[returning(value)]).unwrap();
            assert_eq!(call(&code, 0), u32::from(value));
            addresses.push(code.address(0).addr());
        }
        addresses.dedup();
        assert_eq!(addresses.len(), 1);
    }
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
    for region in regions(1 << 20) {
        let code = load(&region, &[returning(7)]).unwrap();
        let watch = Arc::downgrade(&region);
        drop(region);
        assert_eq!(call(&code, 0), 7);
        assert_eq!(watch.upgrade().map(|region| region.used_bytes()), Some(code.len()));
        drop(code);
        assert!(watch.upgrade().is_none());
    }
}

#[test]
fn threads_load_call_and_drop() {
    for region in regions(16 << 20) {
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
        assert_eq!((region.mapped_bytes(), region.used_bytes()), (0, 0));
        let all = region.reserved_bytes();
        assert_eq!(load(&region, &[vec![0; all]]).unwrap().len(), all);
    }
}

/// Code runs on while its neighbours, in the same pages, come and go.
#[test]
fn neighbours_come_and_go_while_code_runs() {
    let region = CodeRegion::new(1 << 20).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for thread in 0..2_u16 {
            let (region, stop) = (&region, &stop);
            scope.spawn(move || {
                let code: Vec<_> = (0..40)
                    .map(|n| load(region, &[returning(thread * 100 + n)]).unwrap())
                    .collect();
                let mut calls = 0_u64;
                while !stop.load(Ordering::Relaxed) || calls < 1000 {
                    for (n, code) in code.iter().enumerate() {
                        assert_eq!(call(code, 0), u32::from(thread) * 100 + n as u32);
                    }
                    calls += 1;
                }
            });
        }
        let mut held = Vec::new();
        for round in 0..20_000_u32 {
            let value = (round % 60_000) as u16;
            let functions = [returning(value), vec![0; usize::from(value) % 300 + 1]];
            held.push((value, load(&region, &functions).unwrap()));
            if held.len() > 50 {
                drop(held.swap_remove(round as usize * 31 % 50));
            }
            if round % 16 == 0 {
                for (value, code) in &held {
                    assert_eq!(call(code, 0), u32::from(*value));
                }
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!((region.mapped_bytes(), region.used_bytes()), (0, 0));
}

/// Where nothing may be executed, that is what is said, and not that memory is short.
#[test]
fn r11_a_system_without_executable_memory_is_told_from_a_shortage() {
    let error = CodeRegion::with_way(1 << 20, Way::Refused).unwrap_err();
    assert!(matches!(error, CodeMemoryError::NotExecutable { .. }), "{error}");
    assert!(error.to_string().contains("seccomp"), "{error}");
}

#[test]
fn a_handle_may_be_dropped_by_another_thread() {
    for region in regions(1 << 20) {
        let code = Arc::new(load(&region, &[returning(3)]).unwrap());
        let other = Arc::clone(&code);
        let thread = std::thread::spawn(move || call(&other, 0));
        drop(code);
        assert_eq!(thread.join().unwrap(), 3);
        assert_eq!(region.mapped_bytes(), 0);
    }
}
