//! Files that aren't what was written: none is run.

use crate::{
    common::{calling, long_code, numbered, request, summing},
    world::{OwnStore, aot, backend, blocking, interpreted, run},
};
use cranevm::runtime::{ArtifactRefusals, LookupRequest};

/// A damaged or strange file in an artifact's place, and how it is counted.
struct Fault {
    name: &'static str,
    /// Changes the artifact's bytes. The other argument is another contract's artifact.
    change: fn(&mut Vec<u8>, &[u8]),
    reason: fn(&ArtifactRefusals) -> u64,
}

const FAULTS: [Fault; 13] = [
    Fault { name: "empty", change: |bytes, _| bytes.clear(), reason: |r| r.damaged },
    Fault { name: "one byte", change: |bytes, _| bytes.truncate(1), reason: |r| r.damaged },
    Fault { name: "half a header", change: |bytes, _| bytes.truncate(90), reason: |r| r.damaged },
    Fault {
        name: "half",
        change: |bytes, _| bytes.truncate(bytes.len() / 2),
        reason: |r| r.damaged,
    },
    Fault {
        name: "without the last byte",
        change: |bytes, _| bytes.truncate(bytes.len() - 1),
        reason: |r| r.damaged,
    },
    Fault { name: "longer", change: |bytes, _| bytes.push(0), reason: |r| r.damaged },
    Fault {
        name: "a library",
        change: |bytes, _| *bytes = b"\x7fELF\x02\x01\x01\0".repeat(100),
        reason: |r| r.foreign,
    },
    Fault { name: "a text", change: |bytes, _| *bytes = vec![b'x'; 40], reason: |r| r.foreign },
    Fault { name: "of another version", change: |bytes, _| bytes[8] += 1, reason: |r| r.format },
    Fault { name: "another ABI", change: |bytes, _| bytes[30] ^= 1, reason: |r| r.damaged },
    Fault {
        name: "flipped code",
        change: |bytes, _| {
            let middle = bytes.len() * 2 / 3;
            bytes[middle] ^= 4;
        },
        reason: |r| r.damaged,
    },
    Fault {
        name: "flipped hash",
        change: |bytes, _| *bytes.last_mut().unwrap() ^= 1,
        reason: |r| r.damaged,
    },
    Fault {
        name: "another contract's",
        change: |bytes, other| *bytes = other.to_vec(),
        reason: |r| r.misplaced,
    },
];

/// Whatever is wrong with a file: it isn't run, the reason is counted, the file deleted through the
/// store, and the contract compiled again.
#[test]
fn no_bad_file_is_run() {
    let code = long_code(1500);
    let store = OwnStore::new();
    let good = |request: &LookupRequest| {
        backend(blocking(&store)).prepare_aot_sync(aot(request)).unwrap();
        store.bytes(request)
    };
    let (request, other) = (request(&code), good(&numbered(1)));
    for Fault { name, change, reason } in FAULTS {
        for fits in [false, true] {
            if name == "longer" && !fits {
                // What follows an artifact isn't part of it.
                continue;
            }
            let mut bytes = good(&request);
            change(&mut bytes, &other);
            store.replace(&request, &bytes, fits);
            let deleted = store.calls("delete");
            let second = backend(blocking(&store));
            let stats = second.stats();
            assert_eq!(stats.artifacts_loaded, 1, "{name}: the other one");
            assert_eq!(stats.artifact_refusals.total(), 1, "{name}");
            // A manifest of another length is noticed first.
            let is_told = reason(&stats.artifact_refusals) + stats.artifact_refusals.damaged;
            assert!(is_told > 0 && (!fits || reason(&stats.artifact_refusals) == 1), "{name}");
            assert_eq!(store.calls("delete"), deleted + 1, "{name}");
            assert_eq!(run(&second, &code), interpreted(&code), "{name}");
            assert_eq!(second.stats().artifacts_stored, 1, "{name}: made again");
            assert_eq!(backend(blocking(&store)).stats().artifacts_loaded, 2, "{name}");
        }
    }
}

/// Random damage, with a manifest that fits it: results stay the interpreter's.
#[test]
fn no_random_damage_is_run() {
    let codes = [summing(), calling(), long_code(600)];
    let store = OwnStore::new();
    let mut seed = 0x2545_f491_4f6c_dd1du64;
    let mut random = move |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed % below as u64) as usize
    };
    for round in 0..150 {
        let backend = backend(blocking(&store));
        for code in &codes {
            assert_eq!(run(&backend, code), interpreted(code), "round {round}");
            let mut bytes = store.bytes(&request(code));
            for _ in 0..=random(3) {
                let place = random(bytes.len());
                bytes[place] ^= 1 << random(8);
            }
            if random(3) == 0 {
                bytes.truncate(random(bytes.len()));
            }
            store.replace(&request(code), &bytes, true);
        }
        let refused = backend.stats().artifact_refusals.total();
        assert_eq!(refused, if round == 0 { 0 } else { codes.len() as u64 }, "round {round}");
    }
}
