// What the workloads must return, computed here from their descriptions and not by an EVM: tests
// compare both engines with it.
'use strict';

const { createHash } = require('node:crypto');
const { MASK } = require('./encoding.cjs');

const U64 = (1n << 64n) - 1n;

/// `SoftHash.chain`: node's own BLAKE2s.
function softHash(digest, rounds) {
    let bytes = digest;
    for (let i = 0; i < rounds; ++i) {
        bytes = createHash('blake2s256').update(Buffer.concat([bytes, bytes])).digest();
    }
    return BigInt(`0x${bytes.toString('hex')}`);
}

/// `Pair.trade`: both reserves, packed.
function pairSwap(reserve0, reserve1, rounds, amountIn) {
    const reserves = [reserve0, reserve1];
    for (let i = 0; i < rounds; ++i) {
        const [into, from] = i % 2 === 0 ? [0, 1] : [1, 0];
        const amount = amountIn + BigInt(i);
        const kept = amount * 997n;
        const out = (kept * reserves[from]) / (reserves[into] * 1000n + kept);
        reserves[into] += amount;
        reserves[from] -= out;
    }
    return (reserves[1] << 112n) | reserves[0];
}

/// `Token.payroll`: what the payer has left.
function tokenTransfer(balance, people, rounds, amount) {
    const perRound = people * amount + (people * (people - 1n)) / 2n;
    return balance - rounds * perRound;
}

/// `big_loop.evm`.
function bigLoop(iterations, seed) {
    let sum = 0n;
    let x = seed;
    for (let i = 0; i < iterations; ++i) {
        x = (x ^ (x << 13n)) & U64;
        x ^= x >> 7n;
        x = (x ^ (x << 17n)) & U64;
        sum = (sum * x + x) & MASK;
    }
    return sum;
}

/// `StorageChurn.churn`, with a sorted list for a heap. Priorities that are equal would make the
/// order a matter of the heap's shape, hence the check.
function storageChurn(seed, count) {
    const items = [];
    let fold = 0n;
    const removeLeast = () => {
        items.sort((a, b) => (a.priority < b.priority ? -1 : 1));
        if (items.length > 1 && items[0].priority === items[1].priority) {
            throw new Error('two items of least priority: choose another seed');
        }
        fold = (fold * 31n + items.shift().payload) & MASK;
    };
    for (let i = 0; i < count; ++i) {
        seed = (seed * 6364136223846793005n + 1442695040888963407n) & U64;
        const payload = (seed * BigInt(i + 1)) & ((1n << 192n) - 1n);
        items.push({ priority: seed >> 40n, payload });
        if (i % 2 === 1) removeLeast();
    }
    while (items.length) removeLeast();
    return fold;
}

/// `ProxyImplementation.walk`.
function proxyWalk(count) {
    let total = 0n;
    for (let i = 0n; i < count; ++i) total += (2n * i) % 3n === 0n ? 3n * i : i;
    return total;
}

module.exports = { softHash, pairSwap, tokenTransfer, bigLoop, storageChurn, proxyWalk };
