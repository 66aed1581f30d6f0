// Writes `large_24k.sol`: a contract just under the limit of 24,576 bytes (EIP-170), of sections
// alike in shape and different in their constants, and the model of its workload.
'use strict';

const { MASK } = require('./encoding.cjs');

const SECTIONS = 14;
const PRIME = (1n << 61n) - 1n;

/// The constants of section `i`.
function constants(i) {
    const n = BigInt(i);
    return {
        coefficients: [3n, 5n, 7n, 11n, 13n].map((p) => (p ** (n + 20n)) % PRIME),
        offset: 1000n + 37n * n,
        feeBips: 5n + 3n * n,
        width: 8n + n,
        base: 2n + n,
    };
}

function section(i) {
    const { coefficients, offset, feeBips, width, base } = constants(i);
    const horner = coefficients
        .map((c) => `        y = addmod(mulmod(y, x, PRIME), ${c}, PRIME);`)
        .join('\n');
    return `
    // Section ${i}.

    /// A polynomial modulo a prime, at \`x + ${offset}\`.
    function curve${i}(uint256 x) public pure returns (uint256 y) {
        x += ${offset};
${horner}
    }

    /// Takes a deposit into vault ${i}, and mints shares for it, less a fee of ${feeBips} / 10,000.
    function deposit${i}(uint256 amount) public returns (uint256 minted) {
        Vault storage vault = vaults[${i}];
        if (amount < ${offset}) revert TooSmall(amount, ${offset});
        uint256 fee = (amount * ${feeBips}) / 10000;
        uint256 net = amount - fee;
        minted = vault.assets == 0 ? net : (net * vault.shares) / vault.assets;
        vault.assets += uint128(amount);
        vault.shares += uint128(minted);
        sharesOf[${i}][msg.sender] += minted;
        emit Deposited(${i}, msg.sender, amount, minted);
    }

    /// Burns shares of vault ${i}, and returns what they were worth.
    function withdraw${i}(uint256 shares) public returns (uint256 paid) {
        Vault storage vault = vaults[${i}];
        uint256 owned = sharesOf[${i}][msg.sender];
        if (owned < shares) revert TooFewShares(owned, shares);
        paid = (shares * vault.assets) / vault.shares;
        sharesOf[${i}][msg.sender] = owned - shares;
        vault.assets -= uint128(paid);
        vault.shares -= uint128(shares);
        emit Withdrawn(${i}, msg.sender, shares, paid);
    }

    /// Sets a byte of board ${i}, ${width} cells wide, and returns the sum of its row's cells.
    function place${i}(uint256 x, uint256 y, uint8 piece) public returns (uint256 rowSum) {
        if (x >= ${width} || y >= 64) revert OffBoard(x, y);
        uint256 row = boards[${i}][y];
        uint256 shift = x * 8;
        row = (row & ~(uint256(255) << shift)) | (uint256(piece) << shift);
        boards[${i}][y] = row;
        for (uint256 cell = 0; cell < ${width}; ++cell) {
            rowSum += (row >> (cell * 8)) & 255;
        }
    }

    /// The digits of \`value\` in base ${base}, as text.
    function digits${i}(uint256 value) public pure returns (bytes memory text) {
        uint256 length = 1;
        for (uint256 rest = value / ${base}; rest > 0; rest /= ${base}) ++length;
        text = new bytes(length);
        while (length > 0) {
            --length;
            text[length] = ALPHABET[value % ${base}];
            value /= ${base};
        }
    }
`;
}

/// The sections that the workload calls: a few of all.
const CALLED = [1, 6, 11];

function source() {
    const calls = CALLED.map(
        (i) => `            fold = fold * 31 + curve${i}(fold % PRIME);
            uint256 minted${i} = deposit${i}(100000 + k);
            fold = fold * 31 + withdraw${i}(minted${i} / 2);
            fold = fold * 31 + place${i}(k % 8, k % 64, uint8(fold));
            fold = fold * 31 + sum(digits${i}(fold));`,
    ).join('\n');
    const sections = Array.from({ length: SECTIONS }, (_, i) => section(i)).join('');
    return `// SPDX-License-Identifier: MIT OR Apache-2.0
// Written by build/large_24k.cjs.
pragma solidity 0.8.30;

/// As much code as a contract may have. The workload runs some of it.
contract Large24k {
    struct Vault {
        uint128 assets;
        uint128 shares;
    }

    uint256 private constant PRIME = ${PRIME};
    bytes16 private constant ALPHABET = "0123456789abcdef";

    mapping(uint256 => Vault) public vaults;
    mapping(uint256 => mapping(address => uint256)) public sharesOf;
    mapping(uint256 => uint256[64]) private boards;

    event Deposited(uint256 indexed vault, address indexed owner, uint256 amount, uint256 shares);
    event Withdrawn(uint256 indexed vault, address indexed owner, uint256 shares, uint256 amount);

    error TooSmall(uint256 amount, uint256 least);
    error TooFewShares(uint256 owned, uint256 needed);
    error OffBoard(uint256 x, uint256 y);

    /// Calls three sections, \`rounds\` times over, and folds what they return.
    function workload(uint256 rounds) external returns (uint256 fold) {
        for (uint256 k = 0; k < rounds; ++k) {
            unchecked {
${calls.replace(/^/gm, '    ')}
            }
        }
    }

    function sum(bytes memory text) private pure returns (uint256 total) {
        for (uint256 i = 0; i < text.length; ++i) total += uint8(text[i]);
    }
${sections}}
`;
}

/// What \`workload\` returns.
function model(rounds) {
    const states = new Map(
        CALLED.map((i) => [i, { assets: 0n, shares: 0n, owned: 0n, board: new Map() }]),
    );
    let fold = 0n;
    const add = (value) => {
        fold = (fold * 31n + value) & MASK;
    };
    for (let k = 0n; k < rounds; ++k) {
        for (const i of CALLED) {
            const { coefficients, offset, feeBips, width, base } = constants(i);
            const state = states.get(i);
            const x = (fold % PRIME) + offset;
            add(coefficients.reduce((y, c) => (y * x + c) % PRIME, 0n));

            const amount = 100000n + k;
            const net = amount - (amount * feeBips) / 10000n;
            const minted = state.assets === 0n ? net : (net * state.shares) / state.assets;
            state.assets += amount;
            state.shares += minted;
            const paid = ((minted / 2n) * state.assets) / state.shares;
            state.assets -= paid;
            state.shares -= minted / 2n;
            add(paid);

            const row = state.board.get(k % 64n) ?? Array(Number(width)).fill(0n);
            row[Number(k % 8n)] = fold & 255n;
            state.board.set(k % 64n, row);
            add(row.reduce((a, b) => a + b));

            add([...fold.toString(Number(base))].reduce((a, c) => a + BigInt(c.charCodeAt(0)), 0n));
        }
    }
    return fold;
}

module.exports = { source, model };
