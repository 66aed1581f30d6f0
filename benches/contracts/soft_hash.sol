// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.30;

/// BLAKE2s-256 (RFC 7693) without a key, in software: 32-bit additions, xors and rotations.
contract SoftHash {
    /// The message permutations of RFC 7693, section 2.7, a nibble for each index, a row of 16
    /// nibbles for each round, four rounds to a word.
    uint256 private constant ROUNDS_0_3 =
        0x0123456789abcdefea489fd61c02b753b8c052fdae3671947931dcbe265a40f8;
    uint256 private constant ROUNDS_4_7 =
        0x905724afe1bc683d2c6a0b834d75fe19c51fed4a0763928bdb7ec13950f4862a;
    uint256 private constant ROUNDS_8_9 =
        0x6fe9b308c2d714a5a2847615fb9e3cd000000000000000000000000000000000;

    /// Hashes `digest` with itself, `rounds` times over.
    function chain(bytes32 digest, uint256 rounds) external pure returns (bytes32) {
        for (uint256 i = 0; i < rounds; ++i) {
            digest = hash(abi.encodePacked(digest, digest));
        }
        return digest;
    }

    /// The digest of a message.
    function hash(bytes memory message) public pure returns (bytes32) {
        uint32[8] memory h = initial();
        h[0] ^= 0x01010020; // no key, 32 bytes of digest, one leaf
        uint256 length = message.length;
        uint256 offset = 0;
        while (length - offset > 64) {
            compress(h, block64(message, offset), offset + 64, false);
            offset += 64;
        }
        compress(h, block64(message, offset), length, true);
        uint256 digest = 0;
        for (uint256 i = 0; i < 8; ++i) {
            digest = (digest << 32) | reverse(h[i]);
        }
        return bytes32(digest);
    }

    function initial() private pure returns (uint32[8] memory) {
        return [
            uint32(0x6a09e667),
            0xbb67ae85,
            0x3c6ef372,
            0xa54ff53a,
            0x510e527f,
            0x9b05688c,
            0x1f83d9ab,
            0x5be0cd19
        ];
    }

    /// The 16 little-endian words of the message at `offset`; what is beyond its end is zero.
    function block64(bytes memory message, uint256 offset)
        private
        pure
        returns (uint32[16] memory words)
    {
        uint256 length = message.length;
        for (uint256 i = 0; i < 16; ++i) {
            uint32 word = 0;
            for (uint256 j = 0; j < 4; ++j) {
                uint256 at = offset + i * 4 + j;
                if (at < length) word |= uint32(uint8(message[at])) << uint32(j * 8);
            }
            words[i] = word;
        }
    }

    function compress(uint32[8] memory h, uint32[16] memory m, uint256 counter, bool last)
        private
        pure
    {
        uint32[16] memory v;
        uint32[8] memory iv = initial();
        for (uint256 i = 0; i < 8; ++i) {
            v[i] = h[i];
            v[i + 8] = iv[i];
        }
        v[12] ^= uint32(counter);
        v[13] ^= uint32(counter >> 32);
        if (last) v[14] = ~v[14];
        for (uint256 round = 0; round < 10; ++round) {
            uint256 row = schedule(round);
            mix(v, m, 0, 4, 8, 12, row >> 56);
            mix(v, m, 1, 5, 9, 13, row >> 48);
            mix(v, m, 2, 6, 10, 14, row >> 40);
            mix(v, m, 3, 7, 11, 15, row >> 32);
            mix(v, m, 0, 5, 10, 15, row >> 24);
            mix(v, m, 1, 6, 11, 12, row >> 16);
            mix(v, m, 2, 7, 8, 13, row >> 8);
            mix(v, m, 3, 4, 9, 14, row);
        }
        for (uint256 i = 0; i < 8; ++i) {
            h[i] ^= v[i] ^ v[i + 8];
        }
    }

    /// The 16 nibbles of a round's permutation.
    function schedule(uint256 round) private pure returns (uint256) {
        uint256 word = round < 4 ? ROUNDS_0_3 : round < 8 ? ROUNDS_4_7 : ROUNDS_8_9;
        return (word >> (192 - (round % 4) * 64)) & type(uint64).max;
    }

    /// Mixes two message words, named by the two low nibbles of `pair`, into a column or diagonal.
    function mix(
        uint32[16] memory v,
        uint32[16] memory m,
        uint256 a,
        uint256 b,
        uint256 c,
        uint256 d,
        uint256 pair
    ) private pure {
        unchecked {
            uint32 va = v[a] + v[b] + m[(pair >> 4) & 15];
            uint32 vd = rotate(v[d] ^ va, 16);
            uint32 vc = v[c] + vd;
            uint32 vb = rotate(v[b] ^ vc, 12);
            va += vb + m[pair & 15];
            vd = rotate(vd ^ va, 8);
            vc += vd;
            v[a] = va;
            v[b] = rotate(vb ^ vc, 7);
            v[c] = vc;
            v[d] = vd;
        }
    }

    function rotate(uint32 word, uint32 right) private pure returns (uint32) {
        return (word >> right) | (word << (32 - right));
    }

    function reverse(uint32 word) private pure returns (uint32) {
        word = ((word & 0x00ff00ff) << 8) | ((word >> 8) & 0x00ff00ff);
        return (word << 16) | (word >> 16);
    }
}
