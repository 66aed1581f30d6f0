//! Hexadecimal input, with errors that say what is wrong at which digit.

use alloy_primitives::Bytes;

/// Why a text isn't hex.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HexError {
    /// A character that isn't a digit.
    #[error("not hex: character {character:?} at position {position}")]
    Digit {
        /// The character.
        character: char,
        /// Counted in characters of the trimmed text, from 1, any `0x` included.
        position: usize,
    },
    /// Half a byte is missing.
    #[error("not hex: odd number of digits ({digits})")]
    Odd {
        /// How many there are.
        digits: usize,
    },
}

/// Decodes hex with or without `0x`. White space around it and between its digits (line ends of a
/// file) is ignored.
pub fn decode(text: &str) -> Result<Bytes, HexError> {
    let text = text.trim();
    let (body, skipped) = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(body) => (body, 2),
        None => (text, 0),
    };
    let mut bytes = Vec::with_capacity(body.len() / 2);
    let mut high = None;
    for (index, character) in body.chars().enumerate() {
        if character.is_whitespace() {
            continue;
        }
        let Some(digit) = character.to_digit(16) else {
            return Err(HexError::Digit { character, position: index + skipped + 1 });
        };
        // A digit of radix 16 is below 16.
        let digit = digit as u8;
        match high.take() {
            None => high = Some(digit << 4),
            Some(high) => bytes.push(high | digit),
        }
    }
    if high.is_some() {
        return Err(HexError::Odd { digits: bytes.len() * 2 + 1 });
    }
    Ok(bytes.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_with_and_without_prefix() {
        assert_eq!(decode("0x6001\n00 ff").unwrap().as_ref(), [0x60, 1, 0, 0xff]);
        assert_eq!(decode(" 6001").unwrap().as_ref(), [0x60, 1]);
        assert!(decode("").unwrap().is_empty());
        assert!(decode("0x").unwrap().is_empty());
    }

    #[test]
    fn says_what_is_wrong() {
        assert_eq!(decode("0x600"), Err(HexError::Odd { digits: 3 }));
        assert_eq!(decode("0x60zz"), Err(HexError::Digit { character: 'z', position: 5 }));
        assert_eq!(decode("6é"), Err(HexError::Digit { character: 'é', position: 2 }));
    }
}
