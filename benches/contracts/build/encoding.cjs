// Calldata and storage slots, as Solidity lays them out. Words are BigInts.
'use strict';

const { keccak256 } = require('js-sha3');

const MASK = (1n << 256n) - 1n;

/// A word as 64 hex digits.
function word(value) {
    return (BigInt(value) & MASK).toString(16).padStart(64, '0');
}

/// A call of `signature`, whose arguments are words.
function call(signature, ...args) {
    return `0x${keccak256(signature).slice(0, 8)}${args.map(word).join('')}`;
}

/// The slot of `mapping[key]`, for a mapping that is at `slot`.
function mappingSlot(key, slot) {
    return `0x${keccak256(Buffer.from(word(key) + word(slot), 'hex'))}`;
}

module.exports = { MASK, word, call, mappingSlot };
