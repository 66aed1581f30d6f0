// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.30;

/// Renders three balls over a floor by sphere tracing, in signed fixed point with 18 decimals.
contract RayMarch {
    int256 private constant ONE = 1e18;
    int256 private constant HIT = ONE / 1000;
    int256 private constant FAR = 20 * ONE;
    uint256 private constant STEPS = 48;

    struct Vec {
        int256 x;
        int256 y;
        int256 z;
    }

    /// Renders an image of `width` by `height` pixels, row by row, a byte of grey each, and
    /// returns the fold `h = h * 31 + grey` of them.
    function render(uint256 width, uint256 height) external pure returns (uint256 fold) {
        for (uint256 row = 0; row < height; ++row) {
            for (uint256 column = 0; column < width; ++column) {
                uint256 grey = pixel(column, row, width, height);
                unchecked {
                    fold = fold * 31 + grey;
                }
            }
        }
    }

    /// The grey, 0 to 255, of one pixel.
    function pixel(uint256 column, uint256 row, uint256 width, uint256 height)
        public
        pure
        returns (uint256)
    {
        int256 x = ((2 * int256(column) + 1) * ONE) / int256(width) - ONE;
        int256 y = ONE - ((2 * int256(row) + 1) * ONE) / int256(height);
        Vec memory eye = Vec(0, ONE, -5 * ONE);
        Vec memory ray = normalize(Vec(x, y, 2 * ONE));
        (bool hit, Vec memory at) = march(eye, ray);
        if (!hit) return uint256((32 * (ONE + ray.y)) / ONE);
        return shade(at);
    }

    /// Walks along the ray, each time by the distance to the scene, until that is small.
    function march(Vec memory from, Vec memory ray) private pure returns (bool, Vec memory at) {
        int256 travelled = 0;
        at = from;
        for (uint256 i = 0; i < STEPS; ++i) {
            int256 distance = scene(at);
            if (distance < HIT) return (true, at);
            travelled += distance;
            if (travelled > FAR) break;
            at = add(from, scale(ray, travelled));
        }
        return (false, at);
    }

    /// Lambert's law, the normal being the gradient of the scene's distance.
    function shade(Vec memory at) private pure returns (uint256) {
        int256 here = scene(at);
        Vec memory normal = normalize(
            Vec(
                scene(Vec(at.x + HIT, at.y, at.z)) - here,
                scene(Vec(at.x, at.y + HIT, at.z)) - here,
                scene(Vec(at.x, at.y, at.z + HIT)) - here
            )
        );
        Vec memory light = normalize(Vec(-2 * ONE, 4 * ONE, -3 * ONE));
        int256 lit = dot(normal, light);
        if (lit < 0) lit = 0;
        return uint256((20 * ONE + 235 * lit) / ONE);
    }

    /// The distance to the nearest surface.
    function scene(Vec memory at) private pure returns (int256 nearest) {
        nearest = at.y;
        nearest = min(nearest, ball(at, 0, ONE, 0, ONE));
        nearest = min(nearest, ball(at, -2 * ONE, ONE / 2, ONE, ONE / 2));
        nearest = min(nearest, ball(at, (3 * ONE) / 2, ONE / 2, -ONE, ONE / 2));
    }

    function ball(Vec memory at, int256 x, int256 y, int256 z, int256 radius)
        private
        pure
        returns (int256)
    {
        return length(Vec(at.x - x, at.y - y, at.z - z)) - radius;
    }

    function add(Vec memory a, Vec memory b) private pure returns (Vec memory) {
        return Vec(a.x + b.x, a.y + b.y, a.z + b.z);
    }

    function scale(Vec memory a, int256 by) private pure returns (Vec memory) {
        return Vec((a.x * by) / ONE, (a.y * by) / ONE, (a.z * by) / ONE);
    }

    function dot(Vec memory a, Vec memory b) private pure returns (int256) {
        return (a.x * b.x + a.y * b.y + a.z * b.z) / ONE;
    }

    function length(Vec memory a) private pure returns (int256) {
        return int256(sqrt(uint256(a.x * a.x + a.y * a.y + a.z * a.z)));
    }

    function normalize(Vec memory a) private pure returns (Vec memory) {
        int256 size = length(a);
        return Vec((a.x * ONE) / size, (a.y * ONE) / size, (a.z * ONE) / size);
    }

    function min(int256 a, int256 b) private pure returns (int256) {
        return a < b ? a : b;
    }

    /// The integer square root, rounded down, by Newton's method from above.
    function sqrt(uint256 square) private pure returns (uint256 root) {
        if (square == 0) return 0;
        unchecked {
            uint256 bits = 0;
            for (uint256 rest = square; rest > 0; rest >>= 8) bits += 8;
            root = 1 << ((bits + 1) / 2);
            while (true) {
                uint256 next = (root + square / root) >> 1;
                if (next >= root) return root;
                root = next;
            }
        }
    }
}
