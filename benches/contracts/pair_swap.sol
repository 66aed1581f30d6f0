// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.30;

interface IToken {
    function balanceOf(address owner) external view returns (uint256);
    function transfer(address to, uint256 amount) external returns (bool);
    function transferFrom(address from, address to, uint256 amount) external returns (bool);
}

/// A pool of two tokens that trades one for the other so that the product of its two reserves
/// never falls. 0.3 % of what comes in stays in the pool.
contract Pair {
    uint256 private constant FEE_NUMERATOR = 997;
    uint256 private constant FEE_DENOMINATOR = 1000;

    IToken public token0;
    IToken public token1;
    uint112 private reserve0;
    uint112 private reserve1;
    uint32 private lastTimestamp;
    uint256 public priceSeconds0;
    uint256 private locked;

    event Swap(address indexed trader, bool indexed zeroForOne, uint256 amountIn, uint256 amountOut);

    error Locked();
    error EmptyPool();
    error TransferFailed();
    error ProductFell(uint256 balance0, uint256 balance1);
    error ReserveOverflow(uint256 balance);

    modifier lock() {
        if (locked != 0) revert Locked();
        locked = 1;
        _;
        locked = 0;
    }

    function reserves() external view returns (uint112, uint112, uint32) {
        return (reserve0, reserve1, lastTimestamp);
    }

    /// What `amountIn` buys at the reserves given.
    function quote(uint256 amountIn, uint256 reserveIn, uint256 reserveOut)
        public
        pure
        returns (uint256)
    {
        if (reserveIn == 0 || reserveOut == 0) revert EmptyPool();
        uint256 kept = amountIn * FEE_NUMERATOR;
        return (kept * reserveOut) / (reserveIn * FEE_DENOMINATOR + kept);
    }

    /// Takes `amountIn` of one token from the caller and gives it the other.
    function swap(bool zeroForOne, uint256 amountIn) public lock returns (uint256 amountOut) {
        (uint256 before0, uint256 before1) = (reserve0, reserve1);
        (IToken tokenIn, IToken tokenOut) = zeroForOne ? (token0, token1) : (token1, token0);
        amountOut = zeroForOne
            ? quote(amountIn, before0, before1)
            : quote(amountIn, before1, before0);
        if (!tokenIn.transferFrom(msg.sender, address(this), amountIn)) revert TransferFailed();
        if (!tokenOut.transfer(msg.sender, amountOut)) revert TransferFailed();

        uint256 balance0 = token0.balanceOf(address(this));
        uint256 balance1 = token1.balanceOf(address(this));
        if (balance0 * balance1 < before0 * before1) revert ProductFell(balance0, balance1);
        update(balance0, balance1, before0, before1);
        emit Swap(msg.sender, zeroForOne, amountIn, amountOut);
    }

    /// Swaps `rounds` times, to and fro. Returns the reserves packed in one word.
    function trade(uint256 rounds, uint256 amountIn) external returns (uint256) {
        for (uint256 i = 0; i < rounds; ++i) {
            swap(i % 2 == 0, amountIn + i);
        }
        return (uint256(reserve1) << 112) | reserve0;
    }

    /// Records the balances as reserves, and the price that held since the last update.
    function update(uint256 balance0, uint256 balance1, uint256 before0, uint256 before1) private {
        if (balance0 > type(uint112).max) revert ReserveOverflow(balance0);
        if (balance1 > type(uint112).max) revert ReserveOverflow(balance1);
        uint32 timestamp = uint32(block.timestamp);
        unchecked {
            uint32 elapsed = timestamp - lastTimestamp;
            if (elapsed > 0) priceSeconds0 += ((before1 << 112) / before0) * elapsed;
        }
        reserve0 = uint112(balance0);
        reserve1 = uint112(balance1);
        lastTimestamp = timestamp;
    }
}
