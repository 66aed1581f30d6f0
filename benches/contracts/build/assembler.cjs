// Assembles the `.evm` files: a mnemonic a line, `;` before a comment, `name:` for a label (which is
// a JUMPDEST) and `PUSH @name` for its offset, always two bytes (PUSH2). The syntax is a part of the
// one that `cranevm` reads; a test compares what both make of the files.
'use strict';

const NAMED = {
    ADD: 0x01, MUL: 0x02, SUB: 0x03, ISZERO: 0x15, AND: 0x16, XOR: 0x18, SHL: 0x1b, SHR: 0x1c,
    CALLDATALOAD: 0x35, CALLDATASIZE: 0x36, CALLDATACOPY: 0x37, RETURNDATASIZE: 0x3d,
    RETURNDATACOPY: 0x3e, POP: 0x50, MSTORE: 0x52, SLOAD: 0x54, JUMP: 0x56, JUMPI: 0x57, GAS: 0x5a,
    PUSH0: 0x5f, RETURN: 0xf3, DELEGATECALL: 0xf4, REVERT: 0xfd,
};

function assemble(text) {
    const bytes = [];
    const labels = new Map();
    const references = [];
    text.split('\n').forEach((line, index) => {
        const [word, operand, ...rest] = line.split(';')[0].trim().split(/\s+/);
        if (!word) return;
        const fail = (what) => {
            throw new Error(`line ${index + 1}: ${what}: ${line.trim()}`);
        };
        if (rest.length) fail('more than one operand');
        if (word.endsWith(':')) {
            labels.set(word.slice(0, -1), bytes.length);
            bytes.push(0x5b);
            return;
        }
        if (word === 'PUSH' && operand?.startsWith('@')) {
            references.push({ at: bytes.length + 1, label: operand.slice(1), fail });
            bytes.push(0x61, 0, 0);
            return;
        }
        const numbered = /^(PUSH|DUP|SWAP)([1-9][0-9]*)$/.exec(word);
        if (numbered) {
            const count = Number(numbered[2]);
            if (count > (numbered[1] === 'PUSH' ? 32 : 16)) fail('no such opcode');
            bytes.push({ PUSH: 0x5f, DUP: 0x7f, SWAP: 0x8f }[numbered[1]] + count);
            if (numbered[1] !== 'PUSH') return;
            const digits = BigInt(operand ?? fail('no operand')).toString(16);
            if (digits.length > 2 * count) fail('operand too long');
            bytes.push(...Buffer.from(digits.padStart(2 * count, '0'), 'hex'));
            return;
        }
        if (!(word in NAMED)) fail('unknown mnemonic');
        bytes.push(NAMED[word]);
    });
    for (const { at, label, fail } of references) {
        const target = labels.get(label) ?? fail('unknown label');
        bytes[at] = target >> 8;
        bytes[at + 1] = target & 0xff;
    }
    return Buffer.from(bytes).toString('hex');
}

module.exports = { assemble };
