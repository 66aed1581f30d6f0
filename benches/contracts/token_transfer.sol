// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.30;

/// A fungible token with the usual interface, and a loop of transfers as its workload.
contract Token {
    uint256 public totalSupply;
    mapping(address => uint256) public balanceOf;
    mapping(address => mapping(address => uint256)) public allowance;

    event Transfer(address indexed from, address indexed to, uint256 amount);
    event Approval(address indexed owner, address indexed spender, uint256 amount);

    error InsufficientBalance(address owner, uint256 balance, uint256 needed);
    error InsufficientAllowance(address spender, uint256 allowed, uint256 needed);

    function transfer(address to, uint256 amount) external returns (bool) {
        move(msg.sender, to, amount);
        return true;
    }

    function approve(address spender, uint256 amount) external returns (bool) {
        allowance[msg.sender][spender] = amount;
        emit Approval(msg.sender, spender, amount);
        return true;
    }

    function transferFrom(address from, address to, uint256 amount) external returns (bool) {
        uint256 allowed = allowance[from][msg.sender];
        if (allowed != type(uint256).max) {
            if (allowed < amount) revert InsufficientAllowance(msg.sender, allowed, amount);
            allowance[from][msg.sender] = allowed - amount;
        }
        move(from, to, amount);
        return true;
    }

    /// Pays `amount + i` to the i-th of `people` accounts from `first` on, `rounds` times over.
    /// Returns what the caller has left.
    function payroll(address first, uint256 people, uint256 rounds, uint256 amount)
        external
        returns (uint256)
    {
        for (uint256 round = 0; round < rounds; ++round) {
            for (uint256 i = 0; i < people; ++i) {
                move(msg.sender, address(uint160(first) + uint160(i)), amount + i);
            }
        }
        return balanceOf[msg.sender];
    }

    function move(address from, address to, uint256 amount) internal {
        uint256 balance = balanceOf[from];
        if (balance < amount) revert InsufficientBalance(from, balance, amount);
        unchecked {
            balanceOf[from] = balance - amount;
        }
        balanceOf[to] += amount;
        emit Transfer(from, to, amount);
    }
}
