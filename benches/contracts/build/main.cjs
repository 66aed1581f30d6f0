// Compiles the sources beside this folder and writes `<name>.hex` and `<name>.json` of each.
'use strict';

const fs = require('node:fs');
const path = require('node:path');
const solc = require('solc');

const { assemble } = require('./assembler.cjs');
const { word, call, mappingSlot } = require('./encoding.cjs');
const large = require('./large_24k.cjs');
const models = require('./models.cjs');
const { rayMarch } = require('./ray_march_model.cjs');

const FOLDER = path.join(__dirname, '..');
const SENDER = '0x1111111111111111111111111111111111111111';
const CONTRACT = '0xcccccccccccccccccccccccccccccccccccccccc';
const TOKENS = ['0xa0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0', '0xb0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0'];
const IMPLEMENTATION = '0xdddddddddddddddddddddddddddddddddddddddd';
const IMPLEMENTATION_SLOT = '0x360894a13ba1a3210667c828492db98dca3e2076cc3735a920a3ca505d382bbc';

/// The fork that the compiler may use opcodes of.
const EVM_VERSION = 'cancun';

/// How each Solidity source is compiled: `runs` is the optimiser's, `viaIR` its newer pipeline.
const SOLIDITY = {
    token_transfer: { contract: 'Token', runs: 200, viaIR: false },
    pair_swap: { contract: 'Pair', runs: 200, viaIR: false },
    soft_hash: { contract: 'SoftHash', runs: 10000, viaIR: false },
    ray_march: { contract: 'RayMarch', runs: 10000, viaIR: true },
    storage_churn: { contract: 'StorageChurn', runs: 200, viaIR: true },
    proxy_implementation: { contract: 'ProxyImplementation', runs: 200, viaIR: true },
    large_24k: { contract: 'Large24k', runs: 20, viaIR: false },
};
const ASSEMBLY = ['big_loop', 'proxy'];

/// The runtime bytecode of a Solidity source, in hex.
function compile(name) {
    const { contract, runs, viaIR } = SOLIDITY[name];
    const file = `${name}.sol`;
    const input = {
        language: 'Solidity',
        sources: { [file]: { content: fs.readFileSync(path.join(FOLDER, file), 'utf8') } },
        settings: {
            evmVersion: EVM_VERSION,
            optimizer: { enabled: true, runs },
            viaIR,
            metadata: { appendCBOR: false, bytecodeHash: 'none' },
            outputSelection: { '*': { '*': ['evm.deployedBytecode.object'] } },
        },
    };
    const output = JSON.parse(solc.compile(JSON.stringify(input)));
    if (output.errors?.length) {
        throw new Error(output.errors.map((error) => error.formattedMessage).join('\n'));
    }
    return output.contracts[file][contract].evm.deployedBytecode.object;
}

function account(code, storage = {}) {
    return { balance: '0x0', code: `0x${code}`, nonce: '0x1', storage };
}

/// A fixture of one transaction to `CONTRACT`. Its gas is what one transaction may have (EIP-7825).
function fixture(name, comment, data, pre, output) {
    return {
        [name]: {
            _info: { comment, output: `0x${word(output)}` },
            env: {
                currentBaseFee: '0x0',
                currentCoinbase: '0x0000000000000000000000000000000000000000',
                currentGasLimit: '0x7fffffffffffffff',
                currentNumber: '0x1',
                currentTimestamp: '0x64',
            },
            pre: {
                [SENDER]: { balance: '0x3635c9adc5dea00000', code: '0x', nonce: '0x0', storage: {} },
                ...pre,
            },
            transaction: [
                {
                    data,
                    gasLimit: '0x1000000',
                    gasPrice: '0x0',
                    nonce: '0x0',
                    sender: SENDER,
                    to: CONTRACT,
                    value: '0x0',
                },
            ],
        },
    };
}

const quantity = (value) => `0x${BigInt(value).toString(16)}`;

/// The pre-state and transaction of each workload; sizes are chosen so that revm's interpreter
/// takes 0.2 to 20 ms.
function fixtures(codes) {
    const reserve = 10n ** 24n;
    const seed = 'a5'.repeat(32);
    const one = (name, storage) => ({ [CONTRACT]: account(codes[name], storage) });
    const tokenOf = (owners) =>
        account(codes.token_transfer, {
            '0x0': quantity(owners.reduce((sum, [, balance]) => sum + balance, 0n)),
            ...Object.fromEntries(
                owners.map(([owner, balance]) => [mappingSlot(owner, 1), quantity(balance)]),
            ),
            [mappingSlot(CONTRACT, mappingSlot(SENDER, 2))]: `0x${'f'.repeat(64)}`,
        });
    const traded = tokenOf([[SENDER, reserve], [CONTRACT, reserve]]);
    return {
        token_transfer: fixture(
            'token_transfer',
            'payroll: 10 rounds of transfers to 50 accounts',
            call('payroll(address,uint256,uint256,uint256)', 0x1000, 50, 10, 1000),
            { [CONTRACT]: tokenOf([[SENDER, reserve]]) },
            models.tokenTransfer(reserve, 50n, 10n, 1000n),
        ),
        pair_swap: fixture(
            'pair_swap',
            'trade: 100 swaps to and fro, each calling both tokens',
            call('trade(uint256,uint256)', 100, 10n ** 20n),
            {
                ...one('pair_swap', {
                    '0x0': TOKENS[0],
                    '0x1': TOKENS[1],
                    '0x2': quantity((reserve << 112n) | reserve),
                }),
                [TOKENS[0]]: traded,
                [TOKENS[1]]: traded,
            },
            models.pairSwap(reserve, reserve, 100, 10n ** 20n),
        ),
        soft_hash: fixture(
            'soft_hash',
            'chain: 50 BLAKE2s digests of 64 bytes',
            call('chain(bytes32,uint256)', `0x${seed}`, 50),
            one('soft_hash'),
            models.softHash(Buffer.from(seed, 'hex'), 50),
        ),
        ray_march: fixture(
            'ray_march',
            'render: 8 by 6 pixels',
            call('render(uint256,uint256)', 8, 6),
            one('ray_march'),
            rayMarch(8n, 6n),
        ),
        big_loop: fixture(
            'big_loop',
            '50,000 iterations',
            `0x${word(50000)}${word(0x9e3779b97f4a7c15n)}`,
            one('big_loop'),
            models.bigLoop(50000, 0x9e3779b97f4a7c15n),
        ),
        storage_churn: fixture(
            'storage_churn',
            'churn: a heap of 100 insertions and as many removals',
            call('churn(uint64,uint256)', 42, 100),
            one('storage_churn'),
            models.storageChurn(42n, 100),
        ),
        proxy: fixture(
            'proxy',
            'walk: 300 calls of the implementation through the proxy',
            call('walk(uint256)', 300),
            {
                ...one('proxy', { [IMPLEMENTATION_SLOT]: IMPLEMENTATION }),
                [IMPLEMENTATION]: account(codes.proxy_implementation),
            },
            models.proxyWalk(300n),
        ),
        large_24k: fixture(
            'large_24k',
            'workload: 20 rounds of 3 sections out of 14',
            call('workload(uint256)', 20),
            one('large_24k'),
            large.model(20n),
        ),
    };
}

fs.writeFileSync(path.join(FOLDER, 'large_24k.sol'), large.source());
const codes = {};
for (const name of Object.keys(SOLIDITY)) codes[name] = compile(name);
for (const name of ASSEMBLY) {
    codes[name] = assemble(fs.readFileSync(path.join(FOLDER, `${name}.evm`), 'utf8'));
}
for (const [name, code] of Object.entries(codes)) {
    if (code.length > 2 * 24576) throw new Error(`${name}: ${code.length / 2} bytes: too long`);
    fs.writeFileSync(path.join(FOLDER, `${name}.hex`), `${code}\n`);
    console.log(`${name}: ${code.length / 2} bytes`);
}
for (const [name, content] of Object.entries(fixtures(codes))) {
    fs.writeFileSync(path.join(FOLDER, `${name}.json`), `${JSON.stringify(content, null, 2)}\n`);
}
