// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.30;

/// A counter behind a proxy. Its workload calls itself through the proxy.
contract ProxyImplementation {
    uint256 public total;
    mapping(uint256 => uint256) public steps;

    /// Adds `i`, and `2 * i` if that is a multiple of three. Returns the new total.
    function step(uint256 i) external returns (uint256) {
        uint256 amount = (2 * i) % 3 == 0 ? 3 * i : i;
        total += amount;
        steps[i % 8] += 1;
        return total;
    }

    /// Takes the steps 0 to `count - 1`, each by a call of the proxy. Returns the total.
    function walk(uint256 count) external returns (uint256 reached) {
        for (uint256 i = 0; i < count; ++i) {
            reached = ProxyImplementation(address(this)).step(i);
        }
    }
}
