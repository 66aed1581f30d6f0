//! Reading input without trusting its length: files such as `/dev/zero`, archives that unpack to
//! more than the memory, lines that never end.

use crate::InputError;
use std::{
    fs::File,
    io::{self, BufRead, ErrorKind, Read},
    path::Path,
};

/// Longest file, or file in an archive, that is read whole, in bytes: 1 GiB.
pub const MAX_FILE_BYTES: u64 = 1 << 30;

/// Longest line of a file that is read line by line, in bytes: 256 MiB.
pub const MAX_LINE_BYTES: u64 = 256 << 20;

/// Reads a file of at most [`MAX_FILE_BYTES`].
pub fn file(path: &Path) -> Result<Vec<u8>, InputError> {
    let read = || {
        let file = File::open(path)?;
        // The length of a regular file is known; that of a device or a pipe shows on reading.
        if file.metadata()?.len() > MAX_FILE_BYTES {
            return Err(too_long("file", MAX_FILE_BYTES));
        }
        to_end(file, MAX_FILE_BYTES)
    };
    read().map_err(|error| InputError::io(path, &error))
}

/// Reads the rest of `reader`, which may have at most `limit` bytes.
pub fn to_end(reader: impl Read, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(too_long("file", limit));
    }
    Ok(bytes)
}

/// Reads a line of at most `limit` bytes, its end included, into `line`, whose content is replaced;
/// `false` at the end of the input.
pub fn line(reader: &mut impl BufRead, line: &mut Vec<u8>, limit: u64) -> io::Result<bool> {
    line.clear();
    reader.take(limit.saturating_add(1)).read_until(b'\n', line)?;
    if line.len() as u64 > limit {
        return Err(too_long("line", limit));
    }
    Ok(!line.is_empty())
}

fn too_long(what: &str, limit: u64) -> io::Error {
    io::Error::new(ErrorKind::FileTooLarge, format!("{what} longer than {limit} bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_the_longest_that_is_read() {
        assert_eq!(to_end(&b"1234"[..], 4).unwrap(), b"1234");
        let error = to_end(io::repeat(0), 4).unwrap_err();
        assert_eq!(error.to_string(), "file longer than 4 bytes");
    }

    #[test]
    fn lines_up_to_the_limit() {
        let mut reader = &b"123\n\n12"[..];
        let mut text = b"old".to_vec();
        for expected in [&b"123\n"[..], b"\n", b"12"] {
            assert!(line(&mut reader, &mut text, 4).unwrap());
            assert_eq!(text, expected);
        }
        assert!(!line(&mut reader, &mut text, 4).unwrap());
        let mut endless = io::BufReader::new(io::repeat(b'x'));
        let error = line(&mut endless, &mut text, 100).unwrap_err();
        assert_eq!(error.to_string(), "line longer than 100 bytes");
    }
}
