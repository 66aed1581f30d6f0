//! Reading a part of a Merkle-Patricia trie.

use alloy_primitives::{B256, keccak256};
use alloy_rlp::Decodable;
use alloy_trie::{
    EMPTY_ROOT_HASH, Nibbles,
    nodes::{RlpNode, TrieNode},
};
use std::collections::HashMap;

/// Nibbles of a hashed key.
const PATH_NIBBLES: usize = 64;

/// Most nodes of all tries that are walked over: as equal parts of tries are one node, a small
/// witness can stand for tries without end.
const MAX_NODES: usize = 1 << 22;

/// A trie that isn't one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrieError {
    /// The root's node isn't there.
    #[error("the node of the root {0} is missing")]
    MissingRoot(B256),
    /// A node can't be read.
    #[error("a node can't be decoded: {0}")]
    Node(alloy_rlp::Error),
    /// A leaf isn't at the end of a key's path.
    #[error("a leaf is at a path of {0} nibbles, not 64")]
    Path(usize),
    /// There are more nodes than any witness has.
    #[error("the tries have more than {MAX_NODES} nodes")]
    TooLarge,
}

/// The nodes of a witness.
pub(super) struct Nodes<'a> {
    by_hash: HashMap<B256, &'a [u8]>,
    /// How many may still be walked over.
    left: usize,
}

impl<'a> Nodes<'a> {
    /// Of RLP.
    pub(super) fn new(nodes: impl Iterator<Item = &'a [u8]>) -> Self {
        Self { by_hash: nodes.map(|node| (keccak256(node), node)).collect(), left: MAX_NODES }
    }

    /// Whether a node is there.
    pub(super) fn has(&self, hash: B256) -> bool {
        self.by_hash.contains_key(&hash)
    }
}

/// The leaves below a root that can be reached over the nodes that are there: hashed keys and
/// values. Nodes are found by their hashes, so what they say is what the root stands for.
pub(super) fn leaves(root: B256, nodes: &mut Nodes<'_>) -> Result<Vec<(B256, Vec<u8>)>, TrieError> {
    let mut leaves = Vec::new();
    if root == EMPTY_ROOT_HASH {
        return Ok(leaves);
    }
    let root = nodes.by_hash.get(&root).ok_or(TrieError::MissingRoot(root))?;
    let mut left = vec![(Nibbles::new(), decode(root)?)];
    while let Some((path, node)) = left.pop() {
        nodes.left = nodes.left.checked_sub(1).ok_or(TrieError::TooLarge)?;
        match node {
            TrieNode::EmptyRoot => {}
            TrieNode::Leaf(leaf) => leaves.push((key(&path.join(&leaf.key))?, leaf.value)),
            TrieNode::Extension(extension) => {
                follow(&mut left, path.join(&extension.key), &extension.child, nodes)?;
            }
            TrieNode::Branch(branch) => {
                for (nibble, child) in branch.as_ref().children() {
                    if let Some(child) = child {
                        let path = path.join(&Nibbles::from_nibbles([nibble]));
                        follow(&mut left, path, child, nodes)?;
                    }
                }
            }
        }
    }
    Ok(leaves)
}

/// Adds a child, if it is there: one that nobody read isn't.
fn follow(
    left: &mut Vec<(Nibbles, TrieNode)>,
    path: Nibbles,
    child: &RlpNode,
    nodes: &Nodes<'_>,
) -> Result<(), TrieError> {
    if path.len() > PATH_NIBBLES {
        return Err(TrieError::Path(path.len()));
    }
    let bytes = match child.as_hash() {
        // Short ones stand in the parent.
        None => Some(child.as_slice()),
        Some(hash) => nodes.by_hash.get(&hash).copied(),
    };
    if let Some(bytes) = bytes {
        left.push((path, decode(bytes)?));
    }
    Ok(())
}

fn decode(mut bytes: &[u8]) -> Result<TrieNode, TrieError> {
    TrieNode::decode(&mut bytes).map_err(TrieError::Node)
}

fn key(path: &Nibbles) -> Result<B256, TrieError> {
    if path.len() != PATH_NIBBLES {
        return Err(TrieError::Path(path.len()));
    }
    Ok(B256::from_slice(&path.pack()))
}
