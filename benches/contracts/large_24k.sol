// SPDX-License-Identifier: MIT OR Apache-2.0
// Written by build/large_24k.cjs.
pragma solidity 0.8.30;

/// As much code as a contract may have. The workload runs some of it.
contract Large24k {
    struct Vault {
        uint128 assets;
        uint128 shares;
    }

    uint256 private constant PRIME = 2305843009213693951;
    bytes16 private constant ALPHABET = "0123456789abcdef";

    mapping(uint256 => Vault) public vaults;
    mapping(uint256 => mapping(address => uint256)) public sharesOf;
    mapping(uint256 => uint256[64]) private boards;

    event Deposited(uint256 indexed vault, address indexed owner, uint256 amount, uint256 shares);
    event Withdrawn(uint256 indexed vault, address indexed owner, uint256 shares, uint256 amount);

    error TooSmall(uint256 amount, uint256 least);
    error TooFewShares(uint256 owned, uint256 needed);
    error OffBoard(uint256 x, uint256 y);

    /// Calls three sections, `rounds` times over, and folds what they return.
    function workload(uint256 rounds) external returns (uint256 fold) {
        for (uint256 k = 0; k < rounds; ++k) {
            unchecked {
                fold = fold * 31 + curve1(fold % PRIME);
                uint256 minted1 = deposit1(100000 + k);
                fold = fold * 31 + withdraw1(minted1 / 2);
                fold = fold * 31 + place1(k % 8, k % 64, uint8(fold));
                fold = fold * 31 + sum(digits1(fold));
                fold = fold * 31 + curve6(fold % PRIME);
                uint256 minted6 = deposit6(100000 + k);
                fold = fold * 31 + withdraw6(minted6 / 2);
                fold = fold * 31 + place6(k % 8, k % 64, uint8(fold));
                fold = fold * 31 + sum(digits6(fold));
                fold = fold * 31 + curve11(fold % PRIME);
                uint256 minted11 = deposit11(100000 + k);
                fold = fold * 31 + withdraw11(minted11 / 2);
                fold = fold * 31 + place11(k % 8, k % 64, uint8(fold));
                fold = fold * 31 + sum(digits11(fold));
            }
        }
    }

    function sum(bytes memory text) private pure returns (uint256 total) {
        for (uint256 i = 0; i < text.length; ++i) total += uint8(text[i]);
    }

    // Section 0.

    /// A polynomial modulo a prime, at `x + 1000`.
    function curve0(uint256 x) public pure returns (uint256 y) {
        x += 1000;
        y = addmod(mulmod(y, x, PRIME), 3486784401, PRIME);
        y = addmod(mulmod(y, x, PRIME), 95367431640625, PRIME);
        y = addmod(mulmod(y, x, PRIME), 79792266297612001, PRIME);
        y = addmod(mulmod(y, x, PRIME), 1749679251375069460, PRIME);
        y = addmod(mulmod(y, x, PRIME), 205692941533894659, PRIME);
    }

    /// Takes a deposit into vault 0, and mints shares for it, less a fee of 5 / 10,000.
    function deposit0(uint256 amount) public returns (uint256 minted) {
        Vault storage vault = vaults[0];
        if (amount < 1000) revert TooSmall(amount, 1000);
        uint256 fee = (amount * 5) / 10000;
        uint256 net = amount - fee;
        minted = vault.assets == 0 ? net : (net * vault.shares) / vault.assets;
        vault.assets += uint128(amount);
        vault.shares += uint128(minted);
        sharesOf[0][msg.sender] += minted;
        emit Deposited(0, msg.sender, amount, minted);
    }

    /// Burns shares of vault 0, and returns what they were worth.
    function withdraw0(uint256 shares) public returns (uint256 paid) {
        Vault storage vault = vaults[0];
        uint256 owned = sharesOf[0][msg.sender];
        if (owned < shares) revert TooFewShares(owned, shares);
        paid = (shares * vault.assets) / vault.shares;
        sharesOf[0][msg.sender] = owned - shares;
        vault.assets -= uint128(paid);
        vault.shares -= uint128(shares);
        emit Withdrawn(0, msg.sender, shares, paid);
    }

    /// Sets a byte of board 0, 8 cells wide, and returns the sum of its row's cells.
    function place0(uint256 x, uint256 y, uint8 piece) public returns (uint256 rowSum) {
        if (x >= 8 || y >= 64) revert OffBoard(x, y);
        uint256 row = boards[0][y];
        uint256 shift = x * 8;
        row = (row & ~(uint256(255) << shift)) | (uint256(piece) << shift);
        boards[0][y] = row;
        for (uint256 cell = 0; cell < 8; ++cell) {
            rowSum += (row >> (cell * 8)) & 255;
        }
    }

    /// The digits of `value` in base 2, as text.
    function digits0(uint256 value) public pure returns (bytes memory text) {
        uint256 length = 1;
        for (uint256 rest = value / 2; rest > 0; rest /= 2) ++length;
        text = new bytes(length);
        while (length > 0) {
            --length;
            text[length] = ALPHABET[value % 2];
            value /= 2;
        }
    }

    // Section 1.

    /// A polynomial modulo a prime, at `x + 1037`.
    function curve1(uint256 x) public pure returns (uint256 y) {
        x += 1037;
        y = addmod(mulmod(y, x, PRIME), 10460353203, PRIME);
        y = addmod(mulmod(y, x, PRIME), 476837158203125, PRIME);
        y = addmod(mulmod(y, x, PRIME), 558545864083284007, PRIME);
        y = addmod(mulmod(y, x, PRIME), 799727691416212452, PRIME);
        y = addmod(mulmod(y, x, PRIME), 368165230726936616, PRIME);
    }

    /// Takes a deposit into vault 1, and mints shares for it, less a fee of 8 / 10,000.
    function deposit1(uint256 amount) public returns (uint256 minted) {
        Vault storage vault = vaults[1];
        if (amount < 1037) revert TooSmall(amount, 1037);
        uint256 fee = (amount * 8) / 10000;
        uint256 net = amount - fee;
        minted = vault.assets == 0 ? net : (net * vault.shares) / vault.assets;
        vault.assets += uint128(amount);
        vault.shares += uint128(minted);
        sharesOf[1][msg.sender] += minted;
        emit Deposited(1, msg.sender, amount, minted);
    }

    /// Burns shares of vault 1, and returns what they were worth.
    function withdraw1(uint256 shares) public returns (uint256 paid) {
        Vault storage vault = vaults[1];
        uint256 owned = sharesOf[1][msg.sender];
        if (owned < shares) revert TooFewShares(owned, shares);
        paid = (shares * vault.assets) / vault.shares;
        sharesOf[1][msg.sender] = owned - shares;
        vault.assets -= uint128(paid);
        vault.shares -= uint128(shares);
        emit Withdrawn(1, msg.sender, shares, paid);
    }

    /// Sets a byte of board 1, 9 cells wide, and returns the sum of its row's cells.
    function place1(uint256 x, uint256 y, uint8 piece) public returns (uint256 rowSum) {
        if (x >= 9 || y >= 64) revert OffBoard(x, y);
        uint256 row = boards[1][y];
        uint256 shift = x * 8;
        row = (row & ~(uint256(255) << shift)) | (uint256(piece) << shift);
        boards[1][y] = row;
        for (uint256 cell = 0; cell < 9; ++cell) {
            rowSum += (row >> (cell * 8)) & 255;
        }
    }

    /// The digits of `value` in base 3, as text.
    function digits1(uint256 value) public pure returns (bytes memory text) {
        uint256 length = 1;
        for (uint256 rest = value / 3; rest > 0; rest /= 3) ++length;
        text = new bytes(length);
        while (length > 0) {
            --length;
            text[length] = ALPHABET[value % 3];
            value /= 3;
        }
    }

    // Section 2.

    /// A polynomial modulo a prime, at `x + 1074`.
    function curve2(uint256 x) public pure returns (uint256 y) {
        x += 1074;
        y = addmod(mulmod(y, x, PRIME), 31381059609, PRIME);
        y = addmod(mulmod(y, x, PRIME), 2384185791015625, PRIME);
        y = addmod(mulmod(y, x, PRIME), 1603978039369294098, PRIME);
        y = addmod(mulmod(y, x, PRIME), 1879475577937255119, PRIME);
        y = addmod(mulmod(y, x, PRIME), 174461981022788106, PRIME);
    }

    /// Takes a deposit into vault 2, and mints shares for it, less a fee of 11 / 10,000.
    function deposit2(uint256 amount) public returns (uint256 minted) {
        Vault storage vault = vaults[2];
        if (amount < 1074) revert TooSmall(amount, 1074);
        uint256 fee = (amount * 11) / 10000;
        uint256 net = amount - fee;
        minted = vault.assets == 0 ? net : (net * vault.shares) / vault.assets;
        vault.assets += uint128(amount);
        vault.shares += uint128(minted);
        sharesOf[2][msg.sender] += minted;
        emit Deposited(2, msg.sender, amount, minted);
    }

    /// Burns shares of vault 2, and returns what they were worth.
    function withdraw2(uint256 shares) public returns (uint256 paid) {
        Vault storage vault = vaults[2];
        uint256 owned = sharesOf[2][msg.sender];
        if (owned < shares) revert TooFewShares(owned, shares);
        paid = (shares * vault.assets) / vault.shares;
        sharesOf[2][msg.sender] = owned - shares;
        vault.assets -= uint128(paid);
        vault.shares -= uint128(shares);
        emit Withdrawn(2, msg.sender, shares, paid);
    }

    /// Sets a byte of board 2, 10 cells wide, and returns the sum of its row's cells.
    function place2(uint256 x, uint256 y, uint8 piece) public returns (uint256 rowSum) {
        if (x >= 10 || y >= 64) revert OffBoard(x, y);
        uint256 row = boards[2][y];
        uint256 shift = x * 8;
        row = (row & ~(uint256(255) << shift)) | (uint256(piece) << shift);
        boards[2][y] = row;
        for (uint256 cell = 0; cell < 10; ++cell) {
            rowSum += (row >> (cell * 8)) & 255;
        }
    }

    /// The digits of `value` in base 4, as text.
    function digits2(uint256 value) public pure returns (bytes memory text) {
        uint256 length = 1;
        for (uint256 rest = value / 4; rest > 0; rest /= 4) ++length;
        text = new bytes(length);
        while (length > 0) {
            --length;
            text[length] = ALPHABET[value % 4];
            value /= 4;
        }
    }

    // Section 3.

    /// A polynomial modulo a prime, at `x + 1111`.
    function curve3(uint256 x) public pure returns (uint256 y) {
        x += 1111;
        y = addmod(mulmod(y, x, PRIME), 94143178827, PRIME);
        y = addmod(mulmod(y, x, PRIME), 11920928955078125, PRIME);
        y = addmod(mulmod(y, x, PRIME), 2004474238730282882, PRIME);
        y = addmod(mulmod(y, x, PRIME), 2227487283600254701, PRIME);
        y = addmod(mulmod(y, x, PRIME), 2268005753296245378, PRIME);
    }

    /// Takes a deposit into vault 3, and mints shares for it, less a fee of 14 / 10,000.
    function deposit3(uint256 amount) public returns (uint256 minted) {
        Vault storage vault = vaults[3];
        if (amount < 1111) revert TooSmall(amount, 1111);
        uint256 fee = (amount * 14) / 10000;
        uint256 net = amount - fee;
        minted = vault.assets == 0 ? net : (net * vault.shares) / vault.assets;
        vault.assets += uint128(amount);
        vault.shares += uint128(minted);
        sharesOf[3][msg.sender] += minted;
        emit Deposited(3, msg.sender, amount, minted);
    }

    /// Burns shares of vault 3, and returns what they were worth.
    function withdraw3(uint256 shares) public returns (uint256 paid) {
        Vault storage vault = vaults[3];
        uint256 owned = sharesOf[3][msg.sender];
        if (owned < shares) revert TooFewShares(owned, shares);
        paid = (shares * vault.assets) / vault.shares;
        sharesOf[3][msg.sender] = owned - shares;
        vault.assets -= uint128(paid);
        vault.shares -= uint128(shares);
        emit Withdrawn(3, msg.sender, shares, paid);
    }

    /// Sets a byte of board 3, 11 cells wide, and returns the sum of its row's cells.
    function place3(uint256 x, uint256 y, uint8 piece) public returns (uint256 rowSum) {
        if (x >= 11 || y >= 64) revert OffBoard(x, y);
        uint256 row = boards[3][y];
        uint256 shift = x * 8;
        row = (row & ~(uint256(255) << shift)) | (uint256(piece) << shift);
        boards[3][y] = row;
        for (uint256 cell = 0; cell < 11; ++cell) {
            rowSum += (row >> (cell * 8)) & 255;
        }
    }

    /// The digits of `value` in base 5, as text.
    function digits3(uint256 value) public pure returns (bytes memory text) {
        uint256 length = 1;
        for (uint256 rest = value / 5; rest > 0; rest /= 5) ++length;
        text = new bytes(length);
        while (length > 0) {
            --length;
            text[length] = ALPHABET[value % 5];
            value /= 5;
        }
    }

    // Section 4.

    /// A polynomial modulo a prime, at `x + 1148`.
    function curve4(uint256 x) public pure returns (uint256 y) {
        x += 1148;
        y = addmod(mulmod(y, x, PRIME), 282429536481, PRIME);
        y = addmod(mulmod(y, x, PRIME), 59604644775390625, PRIME);
        y = addmod(mulmod(y, x, PRIME), 196261615829816468, PRIME);
        y = addmod(mulmod(y, x, PRIME), 1443930027465862201, PRIME);
        y = addmod(mulmod(y, x, PRIME), 1813958682286862502, PRIME);
    }

    /// Takes a deposit into vault 4, and mints shares for it, less a fee of 17 / 10,000.
    function deposit4(uint256 amount) public returns (uint256 minted) {
        Vault storage vault = vaults[4];
        if (amount < 1148) revert TooSmall(amount, 1148);
        uint256 fee = (amount * 17) / 10000;
        uint256 net = amount - fee;
        minted = vault.assets == 0 ? net : (net * vault.shares) / vault.assets;
        vault.assets += uint128(amount);
        vault.shares += uint128(minted);
        sharesOf[4][msg.sender] += minted;
        emit Deposited(4, msg.sender, amount, minted);
    }

    /// Burns shares of vault 4, and returns what they were worth.
    function withdraw4(uint256 shares) public returns (uint256 paid) {
        Vault storage vault = vaults[4];
        uint256 owned = sharesOf[4][msg.sender];
        if (owned < shares) revert TooFewShares(owned, shares);
        paid = (shares * vault.assets) / vault.shares;
        sharesOf[4][msg.sender] = owned - shares;
        vault.assets -= uint128(paid);
        vault.shares -= uint128(shares);
        emit Withdrawn(4, msg.sender, shares, paid);
    }

    /// Sets a byte of board 4, 12 cells wide, and returns the sum of its row's cells.
    function place4(uint256 x, uint256 y, uint8 piece) public returns (uint256 rowSum) {
        if (x >= 12 || y >= 64) revert OffBoard(x, y);
        uint256 row = boards[4][y];
        uint256 shift = x * 8;
        row = (row & ~(uint256(255) << shift)) | (uint256(piece) << shift);
        boards[4][y] = row;
        for (uint256 cell = 0; cell < 12; ++cell) {
            rowSum += (row >> (cell * 8)) & 255;
        }
    }

    /// The digits of `value` in base 6, as text.
    function digits4(uint256 value) public pure returns (bytes memory text) {
        uint256 length = 1;
        for (uint256 rest = value / 6; rest > 0; rest /= 6) ++length;
        text = new bytes(length);
        while (length > 0) {
            --length;
            text[length] = ALPHABET[value % 6];
            value /= 6;
        }
    }

    // Section 5.

    /// A polynomial modulo a prime, at `x + 1185`.
    function curve5(uint256 x) public pure returns (uint256 y) {
        x += 1185;
        y = addmod(mulmod(y, x, PRIME), 847288609443, PRIME);
        y = addmod(mulmod(y, x, PRIME), 298023223876953125, PRIME);
        y = addmod(mulmod(y, x, PRIME), 1373831310808715276, PRIME);
        y = addmod(mulmod(y, x, PRIME), 2048172246842320505, PRIME);
        y = addmod(mulmod(y, x, PRIME), 523032777592273016, PRIME);
    }

    /// Takes a deposit into vault 5, and mints shares for it, less a fee of 20 / 10,000.
    function deposit5(uint256 amount) public returns (uint256 minted) {
        Vault storage vault = vaults[5];
        if (amount < 1185) revert TooSmall(amount, 1185);
        uint256 fee = (amount * 20) / 10000;
        uint256 net = amount - fee;
        minted = vault.assets == 0 ? net : (net * vault.shares) / vault.assets;
        vault.assets += uint128(amount);
        vault.shares += uint128(minted);
        sharesOf[5][msg.sender] += minted;
        emit Deposited(5, msg.sender, amount, minted);
    }

    /// Burns shares of vault 5, and returns what they were worth.
    function withdraw5(uint256 shares) public returns (uint256 paid) {
        Vault storage vault = vaults[5];
        uint256 owned = sharesOf[5][msg.sender];
        if (owned < shares) revert TooFewShares(owned, shares);
        paid = (shares * vault.assets) / vault.shares;
        sharesOf[5][msg.sender] = owned - shares;
        vault.assets -= uint128(paid);
        vault.shares -= uint128(shares);
        emit Withdrawn(5, msg.sender, shares, paid);
    }

    /// Sets a byte of board 5, 13 cells wide, and returns the sum of its row's cells.
    function place5(uint256 x, uint256 y, uint8 piece) public returns (uint256 rowSum) {
        if (x >= 13 || y >= 64) revert OffBoard(x, y);
        uint256 row = boards[5][y];
        uint256 shift = x * 8;
        row = (row & ~(uint256(255) << shift)) | (uint256(piece) << shift);
        boards[5][y] = row;
        for (uint256 cell = 0; cell < 13; ++cell) {
            rowSum += (row >> (cell * 8)) & 255;
        }
    }

    /// The digits of `value` in base 7, as text.
    function digits5(uint256 value) public pure returns (bytes memory text) {
        uint256 length = 1;
        for (uint256 rest = value / 7; rest > 0; rest /= 7) ++length;
        text = new bytes(length);
        while (length > 0) {
            --length;
            text[length] = ALPHABET[value % 7];
            value /= 7;
        }
    }

    // Section 6.

    /// A polynomial modulo a prime, at `x + 1222`.
    function curve6(uint256 x) public pure returns (uint256 y) {
        x += 1222;
        y = addmod(mulmod(y, x, PRIME), 2541865828329, PRIME);
        y = addmod(mulmod(y, x, PRIME), 1490116119384765625, PRIME);
        y = addmod(mulmod(y, x, PRIME), 393447138806231128, PRIME);
        y = addmod(mulmod(y, x, PRIME), 1777307632342279996, PRIME);
        y = addmod(mulmod(y, x, PRIME), 2187740090272161306, PRIME);
    }

    /// Takes a deposit into vault 6, and mints shares for it, less a fee of 23 / 10,000.
    function deposit6(uint256 amount) public returns (uint256 minted) {
        Vault storage vault = vaults[6];
        if (amount < 1222) revert TooSmall(amount, 1222);
        uint256 fee = (amount * 23) / 10000;
        uint256 net = amount - fee;
        minted = vault.assets == 0 ? net : (net * vault.shares) / vault.assets;
        vault.assets += uint128(amount);
        vault.shares += uint128(minted);
        sharesOf[6][msg.sender] += minted;
        emit Deposited(6, msg.sender, amount, minted);
    }

    /// Burns shares of vault 6, and returns what they were worth.
    function withdraw6(uint256 shares) public returns (uint256 paid) {
        Vault storage vault = vaults[6];
        uint256 owned = sharesOf[6][msg.sender];
        if (owned < shares) revert TooFewShares(owned, shares);
        paid = (shares * vault.assets) / vault.shares;
        sharesOf[6][msg.sender] = owned - shares;
        vault.assets -= uint128(paid);
        vault.shares -= uint128(shares);
        emit Withdrawn(6, msg.sender, shares, paid);
    }

    /// Sets a byte of board 6, 14 cells wide, and returns the sum of its row's cells.
    function place6(uint256 x, uint256 y, uint8 piece) public returns (uint256 rowSum) {
        if (x >= 14 || y >= 64) revert OffBoard(x, y);
        uint256 row = boards[6][y];
        uint256 shift = x * 8;
        row = (row & ~(uint256(255) << shift)) | (uint256(piece) << shift);
        boards[6][y] = row;
        for (uint256 cell = 0; cell < 14; ++cell) {
            rowSum += (row >> (cell * 8)) & 255;
        }
    }

    /// The digits of `value` in base 8, as text.
    function digits6(uint256 value) public pure returns (bytes memory text) {
        uint256 length = 1;
        for (uint256 rest = value / 8; rest > 0; rest /= 8) ++length;
        text = new bytes(length);
        while (length > 0) {
            --length;
            text[length] = ALPHABET[value % 8];
            value /= 8;
        }
    }

    // Section 7.

    /// A polynomial modulo a prime, at `x + 1259`.
    function curve7(uint256 x) public pure returns (uint256 y) {
        x += 1259;
        y = addmod(mulmod(y, x, PRIME), 7625597484987, PRIME);
        y = addmod(mulmod(y, x, PRIME), 533051569282746272, PRIME);
        y = addmod(mulmod(y, x, PRIME), 448286962429923945, PRIME);
        y = addmod(mulmod(y, x, PRIME), 1103639882055528348, PRIME);
        y = addmod(mulmod(y, x, PRIME), 770505062973769566, PRIME);
    }

    /// Takes a deposit into vault 7, and mints shares for it, less a fee of 26 / 10,000.
    function deposit7(uint256 amount) public returns (uint256 minted) {
        Vault storage vault = vaults[7];
        if (amount < 1259) revert TooSmall(amount, 1259);
        uint256 fee = (amount * 26) / 10000;
        uint256 net = amount - fee;
        minted = vault.assets == 0 ? net : (net * vault.shares) / vault.assets;
        vault.assets += uint128(amount);
        vault.shares += uint128(minted);
        sharesOf[7][msg.sender] += minted;
        emit Deposited(7, msg.sender, amount, minted);
    }

    /// Burns shares of vault 7, and returns what they were worth.
    function withdraw7(uint256 shares) public returns (uint256 paid) {
        Vault storage vault = vaults[7];
        uint256 owned = sharesOf[7][msg.sender];
        if (owned < shares) revert TooFewShares(owned, shares);
        paid = (shares * vault.assets) / vault.shares;
        sharesOf[7][msg.sender] = owned - shares;
        vault.assets -= uint128(paid);
        vault.shares -= uint128(shares);
        emit Withdrawn(7, msg.sender, shares, paid);
    }

    /// Sets a byte of board 7, 15 cells wide, and returns the sum of its row's cells.
    function place7(uint256 x, uint256 y, uint8 piece) public returns (uint256 rowSum) {
        if (x >= 15 || y >= 64) revert OffBoard(x, y);
        uint256 row = boards[7][y];
        uint256 shift = x * 8;
        row = (row & ~(uint256(255) << shift)) | (uint256(piece) << shift);
        boards[7][y] = row;
        for (uint256 cell = 0; cell < 15; ++cell) {
            rowSum += (row >> (cell * 8)) & 255;
        }
    }

    /// The digits of `value` in base 9, as text.
    function digits7(uint256 value) public pure returns (bytes memory text) {
        uint256 length = 1;
        for (uint256 rest = value / 9; rest > 0; rest /= 9) ++length;
        text = new bytes(length);
        while (length > 0) {
            --length;
            text[length] = ALPHABET[value % 9];
            value /= 9;
        }
    }

    // Section 8.

    /// A polynomial modulo a prime, at `x + 1296`.
    function curve8(uint256 x) public pure returns (uint256 y) {
        x += 1296;
        y = addmod(mulmod(y, x, PRIME), 22876792454961, PRIME);
        y = addmod(mulmod(y, x, PRIME), 359414837200037409, PRIME);
        y = addmod(mulmod(y, x, PRIME), 832165727795773664, PRIME);
        y = addmod(mulmod(y, x, PRIME), 610823656542342073, PRIME);
        y = addmod(mulmod(y, x, PRIME), 793193781804228554, PRIME);
    }

    /// Takes a deposit into vault 8, and mints shares for it, less a fee of 29 / 10,000.
    function deposit8(uint256 amount) public returns (uint256 minted) {
        Vault storage vault = vaults[8];
        if (amount < 1296) revert TooSmall(amount, 1296);
        uint256 fee = (amount * 29) / 10000;
        uint256 net = amount - fee;
        minted = vault.assets == 0 ? net : (net * vault.shares) / vault.assets;
        vault.assets += uint128(amount);
        vault.shares += uint128(minted);
        sharesOf[8][msg.sender] += minted;
        emit Deposited(8, msg.sender, amount, minted);
    }

    /// Burns shares of vault 8, and returns what they were worth.
    function withdraw8(uint256 shares) public returns (uint256 paid) {
        Vault storage vault = vaults[8];
        uint256 owned = sharesOf[8][msg.sender];
        if (owned < shares) revert TooFewShares(owned, shares);
        paid = (shares * vault.assets) / vault.shares;
        sharesOf[8][msg.sender] = owned - shares;
        vault.assets -= uint128(paid);
        vault.shares -= uint128(shares);
        emit Withdrawn(8, msg.sender, shares, paid);
    }

    /// Sets a byte of board 8, 16 cells wide, and returns the sum of its row's cells.
    function place8(uint256 x, uint256 y, uint8 piece) public returns (uint256 rowSum) {
        if (x >= 16 || y >= 64) revert OffBoard(x, y);
        uint256 row = boards[8][y];
        uint256 shift = x * 8;
        row = (row & ~(uint256(255) << shift)) | (uint256(piece) << shift);
        boards[8][y] = row;
        for (uint256 cell = 0; cell < 16; ++cell) {
            rowSum += (row >> (cell * 8)) & 255;
        }
    }

    /// The digits of `value` in base 10, as text.
    function digits8(uint256 value) public pure returns (bytes memory text) {
        uint256 length = 1;
        for (uint256 rest = value / 10; rest > 0; rest /= 10) ++length;
        text = new bytes(length);
        while (length > 0) {
            --length;
            text[length] = ALPHABET[value % 10];
            value /= 10;
        }
    }

    // Section 9.

    /// A polynomial modulo a prime, at `x + 1333`.
    function curve9(uint256 x) public pure returns (uint256 y) {
        x += 1333;
        y = addmod(mulmod(y, x, PRIME), 68630377364883, PRIME);
        y = addmod(mulmod(y, x, PRIME), 1797074186000187045, PRIME);
        y = addmod(mulmod(y, x, PRIME), 1213474076143027746, PRIME);
        y = addmod(mulmod(y, x, PRIME), 2107374203538374901, PRIME);
        y = addmod(mulmod(y, x, PRIME), 1088147126600195398, PRIME);
    }

    /// Takes a deposit into vault 9, and mints shares for it, less a fee of 32 / 10,000.
    function deposit9(uint256 amount) public returns (uint256 minted) {
        Vault storage vault = vaults[9];
        if (amount < 1333) revert TooSmall(amount, 1333);
        uint256 fee = (amount * 32) / 10000;
        uint256 net = amount - fee;
        minted = vault.assets == 0 ? net : (net * vault.shares) / vault.assets;
        vault.assets += uint128(amount);
        vault.shares += uint128(minted);
        sharesOf[9][msg.sender] += minted;
        emit Deposited(9, msg.sender, amount, minted);
    }

    /// Burns shares of vault 9, and returns what they were worth.
    function withdraw9(uint256 shares) public returns (uint256 paid) {
        Vault storage vault = vaults[9];
        uint256 owned = sharesOf[9][msg.sender];
        if (owned < shares) revert TooFewShares(owned, shares);
        paid = (shares * vault.assets) / vault.shares;
        sharesOf[9][msg.sender] = owned - shares;
        vault.assets -= uint128(paid);
        vault.shares -= uint128(shares);
        emit Withdrawn(9, msg.sender, shares, paid);
    }

    /// Sets a byte of board 9, 17 cells wide, and returns the sum of its row's cells.
    function place9(uint256 x, uint256 y, uint8 piece) public returns (uint256 rowSum) {
        if (x >= 17 || y >= 64) revert OffBoard(x, y);
        uint256 row = boards[9][y];
        uint256 shift = x * 8;
        row = (row & ~(uint256(255) << shift)) | (uint256(piece) << shift);
        boards[9][y] = row;
        for (uint256 cell = 0; cell < 17; ++cell) {
            rowSum += (row >> (cell * 8)) & 255;
        }
    }

    /// The digits of `value` in base 11, as text.
    function digits9(uint256 value) public pure returns (bytes memory text) {
        uint256 length = 1;
        for (uint256 rest = value / 11; rest > 0; rest /= 11) ++length;
        text = new bytes(length);
        while (length > 0) {
            --length;
            text[length] = ALPHABET[value % 11];
            value /= 11;
        }
    }

    // Section 10.

    /// A polynomial modulo a prime, at `x + 1370`.
    function curve10(uint256 x) public pure returns (uint256 y) {
        x += 1370;
        y = addmod(mulmod(y, x, PRIME), 205891132094649, PRIME);
        y = addmod(mulmod(y, x, PRIME), 2067841902359853372, PRIME);
        y = addmod(mulmod(y, x, PRIME), 1576789505360112369, PRIME);
        y = addmod(mulmod(y, x, PRIME), 122686146785184401, PRIME);
        y = addmod(mulmod(y, x, PRIME), 310854590520376468, PRIME);
    }

    /// Takes a deposit into vault 10, and mints shares for it, less a fee of 35 / 10,000.
    function deposit10(uint256 amount) public returns (uint256 minted) {
        Vault storage vault = vaults[10];
        if (amount < 1370) revert TooSmall(amount, 1370);
        uint256 fee = (amount * 35) / 10000;
        uint256 net = amount - fee;
        minted = vault.assets == 0 ? net : (net * vault.shares) / vault.assets;
        vault.assets += uint128(amount);
        vault.shares += uint128(minted);
        sharesOf[10][msg.sender] += minted;
        emit Deposited(10, msg.sender, amount, minted);
    }

    /// Burns shares of vault 10, and returns what they were worth.
    function withdraw10(uint256 shares) public returns (uint256 paid) {
        Vault storage vault = vaults[10];
        uint256 owned = sharesOf[10][msg.sender];
        if (owned < shares) revert TooFewShares(owned, shares);
        paid = (shares * vault.assets) / vault.shares;
        sharesOf[10][msg.sender] = owned - shares;
        vault.assets -= uint128(paid);
        vault.shares -= uint128(shares);
        emit Withdrawn(10, msg.sender, shares, paid);
    }

    /// Sets a byte of board 10, 18 cells wide, and returns the sum of its row's cells.
    function place10(uint256 x, uint256 y, uint8 piece) public returns (uint256 rowSum) {
        if (x >= 18 || y >= 64) revert OffBoard(x, y);
        uint256 row = boards[10][y];
        uint256 shift = x * 8;
        row = (row & ~(uint256(255) << shift)) | (uint256(piece) << shift);
        boards[10][y] = row;
        for (uint256 cell = 0; cell < 18; ++cell) {
            rowSum += (row >> (cell * 8)) & 255;
        }
    }

    /// The digits of `value` in base 12, as text.
    function digits10(uint256 value) public pure returns (bytes memory text) {
        uint256 length = 1;
        for (uint256 rest = value / 12; rest > 0; rest /= 12) ++length;
        text = new bytes(length);
        while (length > 0) {
            --length;
            text[length] = ALPHABET[value % 12];
            value /= 12;
        }
    }

    // Section 11.

    /// A polynomial modulo a prime, at `x + 1407`.
    function curve11(uint256 x) public pure returns (uint256 y) {
        x += 1407;
        y = addmod(mulmod(y, x, PRIME), 617673396283947, PRIME);
        y = addmod(mulmod(y, x, PRIME), 1115837474944491056, PRIME);
        y = addmod(mulmod(y, x, PRIME), 1814154500666010779, PRIME);
        y = addmod(mulmod(y, x, PRIME), 1349547614637028411, PRIME);
        y = addmod(mulmod(y, x, PRIME), 1735266667551200133, PRIME);
    }

    /// Takes a deposit into vault 11, and mints shares for it, less a fee of 38 / 10,000.
    function deposit11(uint256 amount) public returns (uint256 minted) {
        Vault storage vault = vaults[11];
        if (amount < 1407) revert TooSmall(amount, 1407);
        uint256 fee = (amount * 38) / 10000;
        uint256 net = amount - fee;
        minted = vault.assets == 0 ? net : (net * vault.shares) / vault.assets;
        vault.assets += uint128(amount);
        vault.shares += uint128(minted);
        sharesOf[11][msg.sender] += minted;
        emit Deposited(11, msg.sender, amount, minted);
    }

    /// Burns shares of vault 11, and returns what they were worth.
    function withdraw11(uint256 shares) public returns (uint256 paid) {
        Vault storage vault = vaults[11];
        uint256 owned = sharesOf[11][msg.sender];
        if (owned < shares) revert TooFewShares(owned, shares);
        paid = (shares * vault.assets) / vault.shares;
        sharesOf[11][msg.sender] = owned - shares;
        vault.assets -= uint128(paid);
        vault.shares -= uint128(shares);
        emit Withdrawn(11, msg.sender, shares, paid);
    }

    /// Sets a byte of board 11, 19 cells wide, and returns the sum of its row's cells.
    function place11(uint256 x, uint256 y, uint8 piece) public returns (uint256 rowSum) {
        if (x >= 19 || y >= 64) revert OffBoard(x, y);
        uint256 row = boards[11][y];
        uint256 shift = x * 8;
        row = (row & ~(uint256(255) << shift)) | (uint256(piece) << shift);
        boards[11][y] = row;
        for (uint256 cell = 0; cell < 19; ++cell) {
            rowSum += (row >> (cell * 8)) & 255;
        }
    }

    /// The digits of `value` in base 13, as text.
    function digits11(uint256 value) public pure returns (bytes memory text) {
        uint256 length = 1;
        for (uint256 rest = value / 13; rest > 0; rest /= 13) ++length;
        text = new bytes(length);
        while (length > 0) {
            --length;
            text[length] = ALPHABET[value % 13];
            value /= 13;
        }
    }

    // Section 12.

    /// A polynomial modulo a prime, at `x + 1444`.
    function curve12(uint256 x) public pure returns (uint256 y) {
        x += 1444;
        y = addmod(mulmod(y, x, PRIME), 1853020188851841, PRIME);
        y = addmod(mulmod(y, x, PRIME), 967501356295067378, PRIME);
        y = addmod(mulmod(y, x, PRIME), 1169866458593605698, PRIME);
        y = addmod(mulmod(y, x, PRIME), 1009965705725148815, PRIME);
        y = addmod(mulmod(y, x, PRIME), 1805879595242356170, PRIME);
    }

    /// Takes a deposit into vault 12, and mints shares for it, less a fee of 41 / 10,000.
    function deposit12(uint256 amount) public returns (uint256 minted) {
        Vault storage vault = vaults[12];
        if (amount < 1444) revert TooSmall(amount, 1444);
        uint256 fee = (amount * 41) / 10000;
        uint256 net = amount - fee;
        minted = vault.assets == 0 ? net : (net * vault.shares) / vault.assets;
        vault.assets += uint128(amount);
        vault.shares += uint128(minted);
        sharesOf[12][msg.sender] += minted;
        emit Deposited(12, msg.sender, amount, minted);
    }

    /// Burns shares of vault 12, and returns what they were worth.
    function withdraw12(uint256 shares) public returns (uint256 paid) {
        Vault storage vault = vaults[12];
        uint256 owned = sharesOf[12][msg.sender];
        if (owned < shares) revert TooFewShares(owned, shares);
        paid = (shares * vault.assets) / vault.shares;
        sharesOf[12][msg.sender] = owned - shares;
        vault.assets -= uint128(paid);
        vault.shares -= uint128(shares);
        emit Withdrawn(12, msg.sender, shares, paid);
    }

    /// Sets a byte of board 12, 20 cells wide, and returns the sum of its row's cells.
    function place12(uint256 x, uint256 y, uint8 piece) public returns (uint256 rowSum) {
        if (x >= 20 || y >= 64) revert OffBoard(x, y);
        uint256 row = boards[12][y];
        uint256 shift = x * 8;
        row = (row & ~(uint256(255) << shift)) | (uint256(piece) << shift);
        boards[12][y] = row;
        for (uint256 cell = 0; cell < 20; ++cell) {
            rowSum += (row >> (cell * 8)) & 255;
        }
    }

    /// The digits of `value` in base 14, as text.
    function digits12(uint256 value) public pure returns (bytes memory text) {
        uint256 length = 1;
        for (uint256 rest = value / 14; rest > 0; rest /= 14) ++length;
        text = new bytes(length);
        while (length > 0) {
            --length;
            text[length] = ALPHABET[value % 14];
            value /= 14;
        }
    }

    // Section 13.

    /// A polynomial modulo a prime, at `x + 1481`.
    function curve13(uint256 x) public pure returns (uint256 y) {
        x += 1481;
        y = addmod(mulmod(y, x, PRIME), 5559060566555523, PRIME);
        y = addmod(mulmod(y, x, PRIME), 225820763047948988, PRIME);
        y = addmod(mulmod(y, x, PRIME), 1271536182514158033, PRIME);
        y = addmod(mulmod(y, x, PRIME), 1886250726121861161, PRIME);
        y = addmod(mulmod(y, x, PRIME), 418004646013690700, PRIME);
    }

    /// Takes a deposit into vault 13, and mints shares for it, less a fee of 44 / 10,000.
    function deposit13(uint256 amount) public returns (uint256 minted) {
        Vault storage vault = vaults[13];
        if (amount < 1481) revert TooSmall(amount, 1481);
        uint256 fee = (amount * 44) / 10000;
        uint256 net = amount - fee;
        minted = vault.assets == 0 ? net : (net * vault.shares) / vault.assets;
        vault.assets += uint128(amount);
        vault.shares += uint128(minted);
        sharesOf[13][msg.sender] += minted;
        emit Deposited(13, msg.sender, amount, minted);
    }

    /// Burns shares of vault 13, and returns what they were worth.
    function withdraw13(uint256 shares) public returns (uint256 paid) {
        Vault storage vault = vaults[13];
        uint256 owned = sharesOf[13][msg.sender];
        if (owned < shares) revert TooFewShares(owned, shares);
        paid = (shares * vault.assets) / vault.shares;
        sharesOf[13][msg.sender] = owned - shares;
        vault.assets -= uint128(paid);
        vault.shares -= uint128(shares);
        emit Withdrawn(13, msg.sender, shares, paid);
    }

    /// Sets a byte of board 13, 21 cells wide, and returns the sum of its row's cells.
    function place13(uint256 x, uint256 y, uint8 piece) public returns (uint256 rowSum) {
        if (x >= 21 || y >= 64) revert OffBoard(x, y);
        uint256 row = boards[13][y];
        uint256 shift = x * 8;
        row = (row & ~(uint256(255) << shift)) | (uint256(piece) << shift);
        boards[13][y] = row;
        for (uint256 cell = 0; cell < 21; ++cell) {
            rowSum += (row >> (cell * 8)) & 255;
        }
    }

    /// The digits of `value` in base 15, as text.
    function digits13(uint256 value) public pure returns (bytes memory text) {
        uint256 length = 1;
        for (uint256 rest = value / 15; rest > 0; rest /= 15) ++length;
        text = new bytes(length);
        while (length > 0) {
            --length;
            text[length] = ALPHABET[value % 15];
            value /= 15;
        }
    }
}
