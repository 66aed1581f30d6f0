// The picture of `ray_march.sol`, in BigInts (whose division truncates as the EVM's SDIV does).
'use strict';

const { MASK } = require('./encoding.cjs');

const ONE = 10n ** 18n;
const HIT = ONE / 1000n;
const FAR = 20n * ONE;
const BALLS = [
    [[0n, ONE, 0n], ONE],
    [[-2n * ONE, ONE / 2n, ONE], ONE / 2n],
    [[(3n * ONE) / 2n, ONE / 2n, -ONE], ONE / 2n],
];

const zip = (a, b, f) => a.map((x, i) => f(x, b[i]));
const dot = (a, b) => zip(a, b, (x, y) => x * y).reduce((x, y) => x + y) / ONE;
const min = (a, b) => (a < b ? a : b);

/// The integer square root, bit by bit.
function sqrt(square) {
    let root = 0n;
    for (let bit = 1n << 128n; bit > 0n; bit >>= 1n) {
        if ((root + bit) * (root + bit) <= square) root += bit;
    }
    return root;
}

const length = (a) => sqrt(a.map((x) => x * x).reduce((x, y) => x + y));

function normalize(a) {
    const size = length(a);
    return a.map((x) => (x * ONE) / size);
}

function scene(at) {
    return BALLS.reduce(
        (nearest, [centre, radius]) =>
            min(nearest, length(zip(at, centre, (x, y) => x - y)) - radius),
        at[1],
    );
}

function march(from, ray) {
    let travelled = 0n;
    let at = from;
    for (let i = 0; i < 48; ++i) {
        const distance = scene(at);
        if (distance < HIT) return at;
        travelled += distance;
        if (travelled > FAR) return null;
        at = zip(from, ray, (x, y) => x + (y * travelled) / ONE);
    }
    return null;
}

function shade(at) {
    const here = scene(at);
    const gradient = [0, 1, 2].map((axis) => {
        const moved = [...at];
        moved[axis] += HIT;
        return scene(moved) - here;
    });
    const light = normalize([-2n * ONE, 4n * ONE, -3n * ONE]);
    const lit = dot(normalize(gradient), light);
    return (20n * ONE + 235n * (lit < 0n ? 0n : lit)) / ONE;
}

function pixel(column, row, width, height) {
    const x = ((2n * column + 1n) * ONE) / width - ONE;
    const y = ONE - ((2n * row + 1n) * ONE) / height;
    const ray = normalize([x, y, 2n * ONE]);
    const at = march([0n, ONE, -5n * ONE], ray);
    return at ? shade(at) : (32n * (ONE + ray[1])) / ONE;
}

/// `RayMarch.render`.
function rayMarch(width, height) {
    let fold = 0n;
    for (let row = 0n; row < height; ++row) {
        for (let column = 0n; column < width; ++column) {
            fold = (fold * 31n + pixel(column, row, width, height)) & MASK;
        }
    }
    return fold;
}

module.exports = { rayMarch };
