//! Bytes on the pipes between a backend and its helpers: frames, and the fields in them.
//!
//! A frame is its length, four bytes little-endian, and that many bytes. Whoever reads one names
//! the longest that it takes, and memory for it is taken as its bytes come in, so a length that is
//! a lie costs nothing. Reading a field never panics and never allocates: it borrows from the
//! frame. Costs are linear in the bytes.

use super::error::WireError;
use std::io::{self, Read};

/// Bytes of a frame's length.
pub(crate) const LENGTH_BYTES: usize = 4;

/// Memory taken at a time for a frame whose bytes have yet to come.
pub(crate) const READ_STEP: usize = 256 << 10;

/// Builds a frame.
#[derive(Debug)]
pub(crate) struct FrameWriter(Vec<u8>);

impl FrameWriter {
    /// An empty frame with room for `capacity` bytes.
    pub(crate) fn new(kind: u8, capacity: usize) -> Self {
        let mut frame = Vec::with_capacity(LENGTH_BYTES + 1 + capacity);
        frame.extend([0; LENGTH_BYTES]);
        frame.push(kind);
        Self(frame)
    }

    pub(crate) fn u8(mut self, value: u8) -> Self {
        self.0.push(value);
        self
    }

    pub(crate) fn bool(self, value: bool) -> Self {
        self.u8(value.into())
    }

    pub(crate) fn u32(mut self, value: u32) -> Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    pub(crate) fn u64(mut self, value: u64) -> Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    /// Bytes whose number both sides know.
    pub(crate) fn array(mut self, bytes: &[u8; 32]) -> Self {
        self.0.extend(bytes);
        self
    }

    /// Bytes with their number.
    pub(crate) fn bytes(mut self, bytes: &[u8]) -> Self {
        self = self.u64(bytes.len() as u64);
        self.0.extend(bytes);
        self
    }

    /// The frame; fails if it is longer than `limit`, or than a length can tell.
    pub(crate) fn finish(mut self, limit: usize) -> Result<Vec<u8>, WireError> {
        let length = self.0.len() - LENGTH_BYTES;
        let told = u32::try_from(length).ok().filter(|_| length <= limit);
        let Some(told) = told else {
            return Err(WireError::TooLong { length: length as u64, limit: limit as u64 });
        };
        self.0[..LENGTH_BYTES].copy_from_slice(&told.to_le_bytes());
        Ok(self.0)
    }
}

/// Reads the fields of a frame.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FrameReader<'a>(&'a [u8]);

impl<'a> FrameReader<'a> {
    /// The fields of a frame's content.
    pub(crate) const fn new(content: &'a [u8]) -> Self {
        Self(content)
    }

    fn take(&mut self, count: usize, field: &'static str) -> Result<&'a [u8], WireError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(WireError::Truncated { field })?;
        self.0 = rest;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(
        &mut self,
        field: &'static str,
    ) -> Result<[u8; N], WireError> {
        self.take(N, field)?.try_into().map_err(|_| WireError::Truncated { field })
    }

    pub(crate) fn u8(&mut self, field: &'static str) -> Result<u8, WireError> {
        Ok(self.array::<1>(field)?[0])
    }

    pub(crate) fn bool(&mut self, field: &'static str) -> Result<bool, WireError> {
        match self.u8(field)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(WireError::BadValue { field }),
        }
    }

    pub(crate) fn u32(&mut self, field: &'static str) -> Result<u32, WireError> {
        Ok(u32::from_le_bytes(self.array(field)?))
    }

    pub(crate) fn u64(&mut self, field: &'static str) -> Result<u64, WireError> {
        Ok(u64::from_le_bytes(self.array(field)?))
    }

    pub(crate) fn bytes(&mut self, field: &'static str) -> Result<&'a [u8], WireError> {
        let count =
            usize::try_from(self.u64(field)?).map_err(|_| WireError::Truncated { field })?;
        self.take(count, field)
    }

    pub(crate) fn text(&mut self, field: &'static str) -> Result<&'a str, WireError> {
        std::str::from_utf8(self.bytes(field)?).map_err(|_| WireError::BadValue { field })
    }

    /// Nothing may be left.
    pub(crate) fn finish(self) -> Result<(), WireError> {
        match self.0.len() {
            0 => Ok(()),
            extra => Err(WireError::Trailing { extra }),
        }
    }
}

/// The length that a frame begins with, once it is there; at most `limit`.
pub(crate) fn announced(received: &[u8], limit: usize) -> Result<Option<usize>, WireError> {
    let Some(length) = received.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
    let length = u32::from_le_bytes(*length) as usize;
    match length <= limit {
        true => Ok(Some(length)),
        false => Err(WireError::TooLong { length: length as u64, limit: limit as u64 }),
    }
}

/// Reads a frame's content from a pipe, waiting for it; `None` if the pipe ends before it.
///
/// # Errors
/// Those of the pipe, one that ends within the frame, and, as
/// [`InvalidData`](io::ErrorKind::InvalidData), a frame beyond `limit`.
pub(crate) fn read_frame(pipe: &mut impl Read, limit: usize) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; LENGTH_BYTES];
    let begun = loop {
        match pipe.read(&mut length) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => break result?,
        }
    };
    if begun == 0 {
        return Ok(None);
    }
    pipe.read_exact(&mut length[begun..])?;
    let length = announced(&length, limit)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?
        .unwrap_or(0);
    let mut content = Vec::new();
    while content.len() < length {
        let filled = content.len();
        content.resize(length.min(filled + READ_STEP), 0);
        pipe.read_exact(&mut content[filled..])?;
    }
    Ok(Some(content))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_comes_back_as_it_was() {
        let frame = FrameWriter::new(7, 0).bool(true).u32(8).u64(9).array(&[3; 32]).bytes(b"ab");
        let frame = frame.finish(1000).unwrap();
        let bytes = [&frame[..], &frame[..3]].concat();
        let mut pipe = &bytes[..];
        let content = read_frame(&mut pipe, 1000).unwrap().unwrap();
        let mut fields = FrameReader::new(&content);
        assert_eq!(fields.u8("kind"), Ok(7));
        assert_eq!(fields.bool("flag"), Ok(true));
        assert_eq!(fields.u32("small"), Ok(8));
        assert_eq!(fields.u64("large"), Ok(9));
        assert_eq!(fields.array("array"), Ok([3; 32]));
        assert_eq!(fields.finish(), Err(WireError::Trailing { extra: 10 }));
        assert_eq!(fields.text("text"), Ok("ab"));
        assert_eq!(fields.finish(), Ok(()));
        assert_eq!(fields.u8("more"), Err(WireError::Truncated { field: "more" }));
        let error = read_frame(&mut pipe, 1000).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        assert!(read_frame(&mut pipe, 1000).unwrap().is_none());
    }

    #[test]
    fn a_lying_length_takes_no_memory() {
        let mut field = FrameReader::new(&[0xff; 8]);
        assert_eq!(field.bytes("field"), Err(WireError::Truncated { field: "field" }));
        // A frame that says 4 GiB, and one of a byte more than allowed.
        let refused = |bytes: &[u8]| read_frame(&mut &*bytes, 8).unwrap_err().kind();
        assert_eq!(refused(&[0xff; 64]), io::ErrorKind::InvalidData);
        assert_eq!(refused(&[9, 0, 0, 0]), io::ErrorKind::InvalidData);
        let long = FrameWriter::new(1, 0).bytes(&[0; 100]).finish(108);
        assert_eq!(long, Err(WireError::TooLong { length: 109, limit: 108 }));
    }

    #[test]
    fn text_and_flags_are_checked() {
        let frame = FrameWriter::new(2, 0).bytes(&[0xff]).finish(100).unwrap();
        let mut fields = FrameReader::new(&frame[LENGTH_BYTES..]);
        assert_eq!(fields.bool("flag"), Err(WireError::BadValue { field: "flag" }));
        assert_eq!(fields.text("text"), Err(WireError::BadValue { field: "text" }));
    }
}
