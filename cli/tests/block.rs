//! `cranevm block`: from the answers of a node to a file that `cranevm replay` agrees with.

use alloy_primitives::{B256, Bytes, KECCAK256_EMPTY, U256, hex, keccak256};
use alloy_rlp::{BufMut, Encodable, Header};
use alloy_trie::{EMPTY_ROOT_HASH, HashBuilder, Nibbles, TrieAccount, proof::ProofRetainer};
use cranevm_cli::replay::{AccountJson, BlockFile, synthetic_blocks};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::{Command, Output},
};
use tempfile::TempDir;

fn cranevm(arguments: &[&str], directory: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_cranevm"))
        .args(arguments)
        .current_dir(directory)
        .output()
        .unwrap()
}

fn text(output: &Output) -> String {
    let [out, err] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    format!("{out}{err}")
}

/// A shipped block.
fn block() -> BlockFile {
    let (_, mut block) = synthetic_blocks().unwrap().pop().unwrap();
    for account in block.accounts.values_mut() {
        account.storage.retain(|_, value| !value.is_zero());
    }
    block
}

/// As `eth_getBlockByNumber` answers.
fn answer_of(block: &BlockFile) -> Value {
    let mut result = serde_json::to_value(&block.header).unwrap();
    result["transactions"] = serde_json::to_value(&block.txs).unwrap();
    result["withdrawals"] = json!([]);
    json!({"jsonrpc": "2.0", "id": 1, "result": result})
}

/// A trie's root, and its nodes.
fn trie(leaves: &BTreeMap<B256, Vec<u8>>) -> (B256, Vec<Bytes>) {
    let targets = leaves.keys().map(Nibbles::unpack).collect();
    let mut builder = HashBuilder::default().with_proof_retainer(ProofRetainer::new(targets));
    for (key, value) in leaves {
        builder.add_leaf(Nibbles::unpack(key), value);
    }
    let root = builder.root();
    (root, builder.take_proof_nodes().into_inner().into_values().collect())
}

fn rlp(value: &impl Encodable) -> Vec<u8> {
    let mut bytes = Vec::new();
    value.encode(&mut bytes);
    bytes
}

/// A header with a state root and a number.
fn header(state_root: B256, number: u64) -> Vec<u8> {
    let mut fields = Vec::new();
    (0..3).for_each(|_| B256::repeat_byte(7).encode(&mut fields));
    state_root.encode(&mut fields);
    (4..6).for_each(|_| B256::repeat_byte(7).encode(&mut fields));
    [0_u8; 256][..].encode(&mut fields);
    U256::ZERO.encode(&mut fields);
    number.encode(&mut fields);
    (9..20).for_each(|_| 1_u64.encode(&mut fields));
    let mut bytes = Vec::new();
    Header { list: true, payload_length: fields.len() }.encode(&mut bytes);
    bytes.put_slice(&fields);
    bytes
}

/// The trie's account, and the nodes of its storage.
fn account_of(account: &AccountJson) -> (TrieAccount, Vec<Bytes>) {
    let slots =
        account.storage.iter().map(|(slot, value)| (keccak256(B256::from(*slot)), rlp(value)));
    let (storage_root, nodes) = match account.storage.is_empty() {
        true => (EMPTY_ROOT_HASH, Vec::new()),
        false => trie(&slots.collect()),
    };
    let code_hash = account.code_hash.unwrap_or(KECCAK256_EMPTY);
    let (nonce, balance) = (account.nonce.to(), account.balance);
    (TrieAccount { nonce, balance, storage_root, code_hash }, nodes)
}

/// The witness of a block, which is given a parent whose state it is.
fn witness_of(block: &mut BlockFile) -> Value {
    let (mut nodes, mut leaves, mut keys) = (Vec::new(), BTreeMap::new(), Vec::new());
    for (address, account) in &block.accounts {
        let (leaf, storage) = account_of(account);
        leaves.insert(keccak256(address), rlp(&leaf));
        nodes.extend(storage);
        keys.push(Bytes::copy_from_slice(address.as_slice()));
        keys.extend(account.storage.keys().map(|slot| Bytes::from(B256::from(*slot))));
    }
    let (root, state) = trie(&leaves);
    nodes.extend(state);
    let number = block.header.number.to::<u64>() - 1;
    let parent = header(root, number);
    block.header.parent_hash = keccak256(&parent);
    block.hashes = [(number, block.header.parent_hash)].into();
    let codes: Vec<_> = block.codes.values().map(|code| code.0.clone()).collect();
    json!({"state": nodes, "codes": codes, "keys": keys, "headers": [hex::encode_prefixed(parent)]})
}

/// As the prestate tracer answers: each transaction tells of all, the later ones of other values.
fn prestate_of(block: &BlockFile) -> Value {
    let trace = |later: u64| {
        let accounts = block.accounts.iter().map(|(address, account)| {
            let mut traced = json!({"balance": account.balance + U256::from(later)});
            if !account.nonce.is_zero() {
                traced["nonce"] = (account.nonce.to::<u64>() + later).into();
            }
            if let Some(hash) = account.code_hash {
                traced["code"] = json!(block.codes[&hash]);
            }
            let storage = account.storage.iter().map(|(slot, value)| {
                (B256::from(*slot).to_string(), B256::from(*value + U256::from(later)))
            });
            traced["storage"] = json!(storage.collect::<BTreeMap<_, _>>());
            (address.to_string(), traced)
        });
        json!({"txHash": B256::ZERO, "result": accounts.collect::<BTreeMap<_, _>>()})
    };
    let traces: Vec<_> = (0..block.txs.len() as u64).map(trace).collect();
    json!({"jsonrpc": "2.0", "id": 7, "result": traces})
}

fn write(directory: &TempDir, name: &str, value: &Value) {
    fs::write(directory.path().join(name), value.to_string()).unwrap();
}

/// What `cranevm block` makes of a block and of its state, and what `cranevm replay` says to it.
fn make(block: &BlockFile, option: &str, state: &Value) -> BlockFile {
    let directory = tempfile::tempdir().unwrap();
    write(&directory, "block.json", &answer_of(block));
    write(&directory, "state.json", state);
    let arguments = ["block", "block.json", option, "state.json", "-o", "made.json"];
    let output = cranevm(&arguments, directory.path());
    assert!(output.status.success(), "{}", text(&output));
    let output = cranevm(
        &["replay", "made.json", "--mode", "hot", "--engine", "native", "--rounds", "1"],
        directory.path(),
    );
    assert!(output.status.success(), "{}", text(&output));
    serde_json::from_slice(&fs::read(directory.path().join("made.json")).unwrap()).unwrap()
}

fn assert_same(made: &BlockFile, block: &BlockFile) {
    let json = |file: &BlockFile| serde_json::to_value(file).unwrap();
    assert_eq!(json(made), json(block));
}

#[test]
fn a_witness_makes_the_block() {
    let mut block = block();
    let witness = witness_of(&mut block);
    assert_same(&make(&block, "--witness", &witness), &block);
    // Who isn't named by a key isn't read, and older nodes answer with maps.
    let mut by_hash = witness;
    let codes = by_hash["codes"].as_array().unwrap().clone();
    let hashes = block.codes.keys().map(B256::to_string);
    by_hash["codes"] = hashes.zip(codes).collect::<serde_json::Map<_, _>>().into();
    assert_same(&make(&block, "--witness", &by_hash), &block);
}

#[test]
fn traces_make_the_block() {
    let block = block();
    assert_same(&make(&block, "--prestate", &prestate_of(&block)), &block);
}

/// A compressed file is read as well as a plain one.
#[test]
fn output_is_compressed_by_its_name() {
    let directory = tempfile::tempdir().unwrap();
    let block = block();
    write(&directory, "block.json", &answer_of(&block));
    write(&directory, "state.json", &prestate_of(&block));
    let arguments =
        ["block", "block.json", "--prestate", "state.json", "-o", "made.json.xz", "--json"];
    let output = cranevm(&arguments, directory.path());
    assert!(output.status.success(), "{}", text(&output));
    let made: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(made["transactions"], block.txs.len());
    assert_eq!(made["accounts"], block.accounts.len());
    assert_eq!(fs::read(directory.path().join("made.json.xz")).unwrap()[..5], *b"\xfd7zXZ");
    let output = cranevm(
        &["replay", "made.json.xz", "--mode", "hot", "--engine", "native", "--rounds", "1"],
        directory.path(),
    );
    assert!(output.status.success(), "{}", text(&output));
}

#[test]
fn what_is_not_of_the_block_is_told() {
    let mut block = block();
    let witness = witness_of(&mut block);
    let without = |part: &str| {
        let mut witness = witness.clone();
        witness[part] = json!([]);
        witness
    };
    let node_changed = {
        let mut witness = witness.clone();
        let node = witness["state"][0].as_str().unwrap().replace('1', "2");
        witness["state"] = json!([node]);
        witness
    };
    let error = json!({"jsonrpc": "2.0", "id": 1, "error": {"code": -32601, "message": "no such"}});
    for (state, expected) in [
        (without("headers"), "none has the hash of the block's parent"),
        (without("keys"), "keys: there are none"),
        (without("state"), "the node of the root"),
        (node_changed, "the node of the root"),
        (error, "no such"),
        (json!({"state": 7}), "state: "),
        (json!({"jsonrpc": "2.0", "result": null}), "has no result"),
    ] {
        let directory = tempfile::tempdir().unwrap();
        write(&directory, "block.json", &answer_of(&block));
        write(&directory, "state.json", &state);
        let arguments = ["block", "block.json", "--witness", "state.json", "-o", "made.json"];
        let output = cranevm(&arguments, directory.path());
        assert_eq!(output.status.code(), Some(2), "{}", text(&output));
        assert!(text(&output).contains(expected), "{expected}: {}", text(&output));
        assert!(!directory.path().join("made.json").exists());
    }
}

/// A trace for each transaction, or the block isn't the one that was traced.
#[test]
fn traces_are_as_many_as_transactions() {
    let directory = tempfile::tempdir().unwrap();
    let block = block();
    let mut traces = prestate_of(&block);
    traces["result"].as_array_mut().unwrap().pop();
    write(&directory, "block.json", &answer_of(&block));
    write(&directory, "state.json", &traces);
    let arguments = ["block", "block.json", "--prestate", "state.json", "-o", "made.json"];
    let output = cranevm(&arguments, directory.path());
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output).contains("of a block with 42 transactions"), "{}", text(&output));
}

/// Transactions by their hashes alone don't make a block.
#[test]
fn hashes_are_no_transactions() {
    let directory = tempfile::tempdir().unwrap();
    let block = block();
    let mut answer = answer_of(&block);
    answer["result"]["transactions"] = json!([B256::ZERO]);
    write(&directory, "block.json", &answer);
    write(&directory, "state.json", &prestate_of(&block));
    let arguments = ["block", "block.json", "--prestate", "state.json", "-o", "made.json"];
    let output = cranevm(&arguments, directory.path());
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output).contains("transactions[0]"), "{}", text(&output));
}
