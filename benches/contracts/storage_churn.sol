// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.30;

/// A binary min-heap in storage: each operation reads and writes a path of slots, and removing
/// clears one.
contract StorageChurn {
    struct Item {
        uint64 priority;
        uint192 payload;
    }

    Item[] private heap;
    mapping(uint64 => uint256) public timesRemoved;

    error Empty();

    function size() external view returns (uint256) {
        return heap.length;
    }

    /// Inserts `count` items of pseudo-random priority, removing the least after every other one,
    /// then removes all. Returns the fold `h = h * 31 + payload` of what was removed.
    function churn(uint64 seed, uint256 count) external returns (uint256 fold) {
        unchecked {
            for (uint256 i = 0; i < count; ++i) {
                seed = seed * 6364136223846793005 + 1442695040888963407;
                insert(seed >> 40, uint192(seed) * uint192(i + 1));
                if (i % 2 == 1) fold = fold * 31 + removeLeast();
            }
            while (heap.length > 0) fold = fold * 31 + removeLeast();
        }
    }

    function insert(uint64 priority, uint192 payload) public {
        uint256 at = heap.length;
        heap.push();
        while (at > 0) {
            uint256 parent = (at - 1) / 2;
            Item memory above = heap[parent];
            if (above.priority <= priority) break;
            heap[at] = above;
            at = parent;
        }
        heap[at] = Item(priority, payload);
    }

    /// Removes the item of least priority, and returns its payload.
    function removeLeast() public returns (uint192 payload) {
        uint256 last = heap.length;
        if (last == 0) revert Empty();
        last -= 1;
        Item memory least = heap[0];
        Item memory moved = heap[last];
        heap.pop();
        if (last > 0) sink(moved, last);
        timesRemoved[least.priority] += 1;
        return least.payload;
    }

    /// Places `moved` at the root's path, where it belongs, in a heap of `count` items.
    function sink(Item memory moved, uint256 count) private {
        uint256 at = 0;
        while (true) {
            uint256 child = 2 * at + 1;
            if (child >= count) break;
            if (child + 1 < count && heap[child + 1].priority < heap[child].priority) child += 1;
            Item memory below = heap[child];
            if (moved.priority <= below.priority) break;
            heap[at] = below;
            at = child;
        }
        heap[at] = moved;
    }
}
