//! Arithmetic that is too bulky to be compiled inline: division, remainder, exponentiation and sign
//! extension, under the stack-call convention.
//!
//! Each builtin is a safe function on words, and an `extern "C"` shell that finds the words in the
//! EVM stack. The results are those of revm's `instructions::{arithmetic, i256}` for all inputs; a
//! divisor or modulus of zero gives zero.
//!
//! Most operands of real contracts fit in 64 or 128 bits, where the processor's own division (or
//! the compiler's for 128 bits) does; the rest is `ruint`'s. Nothing here panics: `ruint` panics
//! only on a zero divisor, which is tested first.
//!
//! Cost, measured on x86-64: some 5 ns for a division of 64 or 128 bits, 20-50 ns beyond, 30-90 ns
//! for MULMOD in full width, 10 ns for `10^18`.

use revm_primitives::{U256, ruint};

macro_rules! words_builtin {
    ($(#[$doc:meta])* $name:ident($($argument:ident at $position:literal),+) = $function:path) => {
        $(#[$doc])*
        ///
        /// # Safety
        /// `top` must point one past the operands, words of the EVM stack that nobody else uses
        /// during the call: the translator checks the height.
        pub(crate) unsafe extern "C" fn $name(top: *mut U256) {
            $(
                // SAFETY: an operand, by the contract.
                let $argument = unsafe { load(top.sub($position)) };
            )+
            const ARITY: usize = [$($position),+].len();
            // SAFETY: the deepest operand's slot.
            unsafe { *top.sub(ARITY) = $function($($argument),+) };
        }
    };
}

pub(super) use words_builtin;

words_builtin! {
    /// `DIV`: revm's `arithmetic::div`.
    div(a at 1, b at 2) = quotient
}
words_builtin! {
    /// `SDIV`: revm's `i256::i256_div`.
    sdiv(a at 1, b at 2) = signed_quotient
}
words_builtin! {
    /// `MOD`: revm's `arithmetic::rem`.
    rem(a at 1, b at 2) = remainder
}
words_builtin! {
    /// `SMOD`: revm's `i256::i256_mod`.
    smod(a at 1, b at 2) = signed_remainder
}
words_builtin! {
    /// `ADDMOD`: revm's `arithmetic::addmod`. The sum isn't truncated to 256 bits.
    addmod(a at 1, b at 2, modulus at 3) = sum_modulo
}
words_builtin! {
    /// `MULMOD`: revm's `arithmetic::mulmod`. The product isn't truncated to 256 bits.
    mulmod(a at 1, b at 2, modulus at 3) = product_modulo
}
words_builtin! {
    /// `EXP` modulo 2^256, without its gas: revm's `arithmetic::exp`.
    exp(base at 1, exponent at 2) = power
}
words_builtin! {
    /// `SIGNEXTEND`: revm's `arithmetic::signextend`.
    signextend(byte at 1, value at 2) = sign_extended
}

/// Reads a word limb by limb, whatever the compiler would rather do.
///
/// Compiled code stores words as limbs, often just before the call. A vector load of several limbs
/// can't be forwarded from those stores and waits until they have reached the cache; loads of a
/// limb can.
///
/// # Safety
/// `word` must be valid for reads.
#[inline(always)]
pub(super) unsafe fn load(word: *const U256) -> U256 {
    let limbs = word.cast::<u64>();
    // SAFETY: a word is four limbs, so these lie within it; the rest is the caller's promise.
    U256::from_limbs([0, 1, 2, 3].map(|index| unsafe { limbs.add(index).read_volatile() }))
}

/// The word's value if it fits in 64 bits.
#[inline(always)]
fn narrow(word: &U256) -> Option<u64> {
    let [low, a, b, c] = *word.as_limbs();
    (a | b | c == 0).then_some(low)
}

/// The word's value if it fits in 128 bits.
#[inline(always)]
fn half(word: &U256) -> Option<u128> {
    let [low, high, a, b] = *word.as_limbs();
    (a | b == 0).then_some(u128::from(low) | u128::from(high) << 64)
}

/// A word of 128 bits.
#[inline(always)]
fn widen(value: u128) -> U256 {
    U256::from_limbs([value as u64, (value >> 64) as u64, 0, 0])
}

/// Unsigned quotient, rounded down.
#[inline]
fn quotient(a: U256, b: U256) -> U256 {
    if let (Some(a), Some(b)) = (narrow(&a), narrow(&b)) {
        return U256::from_limbs([a.checked_div(b).unwrap_or(0), 0, 0, 0]);
    }
    if let (Some(a), Some(b)) = (half(&a), half(&b)) {
        return widen(a.checked_div(b).unwrap_or(0));
    }
    a.checked_div(b).unwrap_or(U256::ZERO)
}

/// Unsigned remainder.
#[inline]
fn remainder(a: U256, b: U256) -> U256 {
    if let (Some(a), Some(b)) = (narrow(&a), narrow(&b)) {
        return U256::from_limbs([a.checked_rem(b).unwrap_or(0), 0, 0, 0]);
    }
    if let (Some(a), Some(b)) = (half(&a), half(&b)) {
        return widen(a.checked_rem(b).unwrap_or(0));
    }
    if b.is_zero() {
        return U256::ZERO;
    }
    // Measured quicker than `%`: it works on these words and not on copies.
    a.div_rem(b).1
}

/// Absolute value of a signed word, as an unsigned one (so that of `-2^255` is right too), and its
/// sign: all bits set if it is negative, else none.
///
/// Signs of real operands are hard to predict, so neither this nor [`negate_if`] branches.
#[inline(always)]
fn magnitude(word: U256) -> (U256, u64) {
    let sign = (word.as_limbs()[3].cast_signed() >> 63).cast_unsigned();
    (negate_if(sign, word), sign)
}

/// The negated word if all bits of `sign` are set; the word itself if none is.
#[inline(always)]
fn negate_if(sign: u64, word: U256) -> U256 {
    let mut carry = sign & 1;
    U256::from_limbs(word.into_limbs().map(|limb| {
        let (limb, carries) = (limb ^ sign).overflowing_add(carry);
        carry = u64::from(carries);
        limb
    }))
}

/// The signed word's value if it fits in 64 bits.
#[inline(always)]
fn signed_narrow(word: &U256) -> Option<i64> {
    let [low, a, b, c] = *word.as_limbs();
    let sign = (low.cast_signed() >> 63).cast_unsigned();
    ((a ^ sign) | (b ^ sign) | (c ^ sign) == 0).then_some(low.cast_signed())
}

/// The signed word of a value.
#[inline(always)]
fn signed_word(value: i64) -> U256 {
    let sign = (value >> 63).cast_unsigned();
    U256::from_limbs([value.cast_unsigned(), sign, sign, sign])
}

/// Signed quotient, rounded towards zero. The one that overflows, `-2^255 / -1`, wraps to `-2^255`.
fn signed_quotient(a: U256, b: U256) -> U256 {
    if let (Some(a), Some(b)) = (signed_narrow(&a), signed_narrow(&b))
        // Not for zero, nor where the quotient has a bit more than both.
        && let Some(quotient) = a.checked_div(b)
    {
        return signed_word(quotient);
    }
    let ((a, a_sign), (b, b_sign)) = (magnitude(a), magnitude(b));
    negate_if(a_sign ^ b_sign, quotient(a, b))
}

/// Signed remainder: it has the sign of the dividend.
fn signed_remainder(a: U256, b: U256) -> U256 {
    if let (Some(a), Some(b)) = (signed_narrow(&a), signed_narrow(&b))
        && let Some(remainder) = a.checked_rem(b)
    {
        return signed_word(remainder);
    }
    let ((a, sign), (b, _)) = (magnitude(a), magnitude(b));
    negate_if(sign, remainder(a, b))
}

/// `(a + b) mod modulus`, the sum in full width.
fn sum_modulo(a: U256, b: U256, modulus: U256) -> U256 {
    if let (Some(a), Some(b), Some(modulus)) = (half(&a), half(&b), half(&modulus))
        && let Some(sum) = a.checked_add(b)
    {
        return remainder(widen(sum), widen(modulus));
    }
    // Zero for a modulus of zero.
    a.add_mod(b, modulus)
}

/// `a * b mod modulus`, the product in full width.
fn product_modulo(a: U256, b: U256, modulus: U256) -> U256 {
    if let (Some(a), Some(b)) = (narrow(&a), narrow(&b)) {
        return remainder(widen(u128::from(a) * u128::from(b)), modulus);
    }
    if modulus == U256::MAX {
        return product_modulo_max(a, b);
    }
    // Zero for a modulus of zero.
    a.mul_mod(b, modulus)
}

/// `a * b mod 2^256 - 1`: how contracts find the upper half of a product of 512 bits.
///
/// `high * 2^256 + low` is congruent to `high + low`.
fn product_modulo_max(a: U256, b: U256) -> U256 {
    let product: ruint::Uint<512, 8> = a.widening_mul(b);
    let limbs = product.as_limbs();
    let [low, high] =
        [0, 4].map(|start| U256::from_limbs(std::array::from_fn(|index| limbs[start + index])));
    let (sum, carry) = low.overflowing_add(high);
    // No second carry: the halves of such a product add up to less than 2^257 - 1.
    let sum = sum.wrapping_add(U256::from(carry));
    if sum == U256::MAX { U256::ZERO } else { sum }
}

/// `base^exponent` modulo 2^256, by squaring; `0^0` is 1.
///
/// At most 256 rounds. While the value and the square fit, rounds are done in 128 bits: all of them
/// for the powers of ten and the like that contracts scale by.
fn power(base: U256, exponent: U256) -> U256 {
    let Some(mut exponent_left) = narrow(&exponent) else { return base.wrapping_pow(exponent) };
    let Some(mut square) = half(&base) else { return base.wrapping_pow(exponent) };
    if square.is_power_of_two() {
        return power_of_two(square.trailing_zeros(), exponent_left);
    }
    // base^exponent = result * square^exponent_left, in every round.
    let mut result = 1_u128;
    while exponent_left != 0 {
        if exponent_left & 1 == 1 {
            match result.checked_mul(square) {
                Some(product) => result = product,
                None => break,
            }
            exponent_left -= 1;
        }
        if exponent_left == 0 {
            break;
        }
        match square.checked_mul(square) {
            Some(product) => square = product,
            None => break,
        }
        exponent_left >>= 1;
    }
    if exponent_left == 0 {
        return widen(result);
    }
    widen(result).wrapping_mul(widen(square).wrapping_pow(U256::from(exponent_left)))
}

/// `2^(log2 * exponent)` modulo 2^256.
fn power_of_two(log2: u32, exponent: u64) -> U256 {
    match u64::from(log2).checked_mul(exponent) {
        // Shifts of 256 and more give zero.
        Some(shift) if shift < 256 => U256::ONE << shift,
        _ => U256::ZERO,
    }
}

/// `value` with the sign bit of its byte number `byte`, counted from the lowest, copied to all bits
/// above; `value` itself if there is no such byte.
fn sign_extended(byte: U256, value: U256) -> U256 {
    let Some(byte @ 0..31) = narrow(&byte) else { return value };
    let mut limbs = *value.as_limbs();
    let (limb, unused_bits) = ((byte / 8) as usize, 56 - byte % 8 * 8);
    let extended = (limbs[limb] << unused_bits) as i64 >> unused_bits;
    limbs[limb] = extended as u64;
    limbs[limb + 1..].fill((extended >> 63) as u64);
    U256::from_limbs(limbs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use revm_context_interface::host::DummyHost;
    use revm_interpreter::{
        InstructionContext, Interpreter, instructions::arithmetic, interpreter::EthInterpreter,
        interpreter_types::StackTr,
    };
    use revm_primitives::hardfork::SpecId;

    /// `2^255`, the most negative signed word.
    const MIN_SIGNED: U256 = U256::from_limbs([0, 0, 0, 1 << 63]);

    type Word2 = unsafe extern "C" fn(*mut U256);
    type Oracle = fn(
        InstructionContext<'_, DummyHost, EthInterpreter>,
    ) -> Result<(), revm_interpreter::InstructionResult>;

    const BINARY: [(&str, Word2, Oracle); 6] = [
        ("DIV", div, arithmetic::div),
        ("SDIV", sdiv, arithmetic::sdiv),
        ("MOD", rem, arithmetic::rem),
        ("SMOD", smod, arithmetic::smod),
        ("EXP", exp, arithmetic::exp),
        ("SIGNEXTEND", signextend, arithmetic::signextend),
    ];
    const TERNARY: [(&str, Word2, Oracle); 2] =
        [("ADDMOD", addmod, arithmetic::addmod), ("MULMOD", mulmod, arithmetic::mulmod)];

    /// Runs revm's instruction and the builtin on the same stack and compares what they leave.
    struct Comparison {
        interpreter: Interpreter<EthInterpreter>,
        host: DummyHost,
    }

    impl Comparison {
        fn new() -> Self {
            Self { interpreter: Interpreter::default(), host: DummyHost::new(SpecId::CANCUN) }
        }

        /// `operands` from the top of the stack down.
        fn check(&mut self, (name, builtin, oracle): (&str, Word2, Oracle), operands: &[U256]) {
            // A word below the operands must stay as it is.
            let below = U256::from(0x1234_5678);
            let mut words: Vec<U256> = operands.iter().copied().chain([below]).rev().collect();
            self.interpreter.stack.clear();
            self.interpreter.gas = revm_interpreter::Gas::new(u64::MAX);
            words.iter().for_each(|&word| assert!(self.interpreter.stack.push(word)));
            let context =
                InstructionContext { interpreter: &mut self.interpreter, host: &mut self.host };
            oracle(context).unwrap();
            // SAFETY: `words` ends with the operands.
            unsafe { builtin(words.as_mut_ptr().add(words.len())) };
            words.truncate(words.len() - operands.len() + 1);
            assert_eq!(words, *self.interpreter.stack.data(), "{name} {operands:x?}");
        }
    }

    /// Values where carries, signs, widths and alignments change.
    fn edges() -> Vec<U256> {
        let one = U256::ONE;
        let mut edges: Vec<U256> =
            [0_u64, 2, 3, 5, 7, 10, 30, 31, 32, 33, 255, 256, 257, 1_000_003]
                .map(U256::from)
                .to_vec();
        for bit in [0, 1, 7, 8, 31, 32, 63, 64, 65, 127, 128, 129, 191, 192, 193, 254, 255] {
            let power: U256 = one << bit;
            edges.extend([power, power - one, power + one]);
            edges.extend([power.wrapping_neg(), (power + one).wrapping_neg()]);
        }
        edges.extend([U256::MAX, U256::MAX - one, MIN_SIGNED, MIN_SIGNED - one, MIN_SIGNED + one]);
        edges.sort();
        edges.dedup();
        edges
    }

    /// Seeded words of every width, some of them negative.
    struct Words(u64);

    impl Words {
        fn bits(&mut self) -> u64 {
            // SplitMix64.
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut bits = self.0;
            bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
            bits ^ bits >> 31
        }

        fn word(&mut self) -> U256 {
            let word = U256::from_limbs([self.bits(), self.bits(), self.bits(), self.bits()]);
            let narrowed = word >> (self.bits() % 257);
            match self.bits() % 8 {
                0 => narrowed.wrapping_neg(),
                1 => narrowed << (self.bits() % 256),
                2 => U256::from(self.bits() % 40),
                _ => narrowed,
            }
        }
    }

    #[test]
    fn all_pairs_of_edges_equal_revm() {
        let (edges, mut comparison) = (edges(), Comparison::new());
        for case in BINARY {
            for &a in &edges {
                edges.iter().for_each(|&b| comparison.check(case, &[a, b]));
            }
        }
    }

    #[test]
    fn all_triples_of_edges_equal_revm() {
        let (edges, mut comparison) = (edges(), Comparison::new());
        for case in TERNARY {
            for &a in &edges {
                for &b in &edges {
                    // Every third modulus, in turn: all of them are met with every `a`.
                    let start = a.wrapping_add(b).as_limbs()[0] as usize % 3;
                    for &modulus in edges.iter().skip(start).step_by(3) {
                        comparison.check(case, &[a, b, modulus]);
                    }
                }
            }
        }
    }

    #[test]
    fn random_words_equal_revm() {
        let (mut words, mut comparison) = (Words(1), Comparison::new());
        for _ in 0..100_000 {
            let [a, b, c] = [words.word(), words.word(), words.word()];
            BINARY.iter().for_each(|&case| comparison.check(case, &[a, b]));
            TERNARY.iter().for_each(|&case| comparison.check(case, &[a, b, c]));
        }
    }

    #[test]
    fn small_powers_equal_revm() {
        let mut comparison = Comparison::new();
        for base in (0..64_u64).chain([100, 1000, 1 << 20, (1 << 32) - 1, u64::MAX]) {
            for exponent in 0..300_u64 {
                comparison.check(BINARY[4], &[U256::from(base), U256::from(exponent)]);
            }
        }
    }
}
