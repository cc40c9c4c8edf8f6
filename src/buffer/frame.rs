//! How records lie in a file: each in a frame with its length and checksums.
//!
//! A file begins with a random marker, and so does each of its frames; a payload cannot contain it
//! but by guessing, so when a frame is damaged the next one is found by looking for the marker. The
//! length has a checksum of its own. So a frame that the file is too short for was never written
//! whole and nobody was told that it was; every other damage is reported, never passed over. Does
//! no I/O and never panics, whatever the bytes are.

use std::ops::Range;

use memchr::memmem;

const MAGIC: &[u8; 8] = b"QUEENBUF";
const VERSION: u32 = 1;
pub const MARKER_BYTES: usize = 8;
/// Magic, version, marker, checksum of the three.
pub const FILE_HEADER_BYTES: usize = 24;
/// Marker, length of the payload, checksum of both, checksum of the payload.
pub const FRAME_HEADER_BYTES: usize = 20;

/// What the frames of one file begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marker(pub [u8; MARKER_BYTES]);

/// What is wrong with a piece of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    #[error("the head of the file is damaged")]
    FileHeader,
    #[error("the head of a frame is damaged")]
    FrameHeader,
    #[error("the checksum of a record does not match")]
    Checksum,
}

/// A piece of a file. The pieces of a file follow one another without gaps behind its header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// The payload of a whole frame.
    Record(Range<usize>),
    Damaged(Range<usize>, Damage),
    /// The end of a write that did not happen to its end. Nothing of it was acknowledged.
    Torn(Range<usize>),
}

impl Piece {
    /// Where it ends.
    pub fn end(&self) -> usize {
        match self {
            Self::Record(range) | Self::Damaged(range, _) | Self::Torn(range) => range.end,
        }
    }
}

pub fn write_file_header(out: &mut Vec<u8>, marker: Marker) {
    let start = out.len();
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&marker.0);
    let sum = crc32fast::hash(&out[start..]);
    out.extend_from_slice(&sum.to_le_bytes());
}

/// Appends a frame, or nothing when the payload is longer than a length can say.
#[must_use]
pub fn write_frame(out: &mut Vec<u8>, marker: Marker, payload: &[u8]) -> bool {
    let Ok(length) = u32::try_from(payload.len()) else { return false };
    let start = out.len();
    out.extend_from_slice(&marker.0);
    out.extend_from_slice(&length.to_le_bytes());
    let sum = crc32fast::hash(&out[start..]);
    out.extend_from_slice(&sum.to_le_bytes());
    out.extend_from_slice(&crc32fast::hash(payload).to_le_bytes());
    out.extend_from_slice(payload);
    true
}

/// Goes through the bytes of a file.
pub struct Scan<'a> {
    file: &'a [u8],
    at: usize,
    marker: Option<Marker>,
    /// Of the file's header, to be told first.
    damage: Option<Piece>,
}

impl<'a> Scan<'a> {
    pub fn new(file: &'a [u8]) -> Self {
        let scan = Self { file, at: FILE_HEADER_BYTES, marker: None, damage: None };
        let Some(header) = file.get(..FILE_HEADER_BYTES) else {
            // The header is written together with the first record.
            let damage = (!file.is_empty()).then_some(Piece::Torn(0..file.len()));
            return Self { at: file.len(), damage, ..scan };
        };
        let (checked, sum) = header.split_at(FILE_HEADER_BYTES - 4);
        let known = checked.starts_with(MAGIC) && checked[8..12] == VERSION.to_le_bytes();
        if known && crc32fast::hash(checked).to_le_bytes() == sum {
            return Self { marker: marker_at(checked, 12), ..scan };
        }
        if is_zero(file) {
            return Self { at: file.len(), damage: Some(Piece::Torn(0..file.len())), ..scan };
        }
        // The first frame repeats the marker.
        let marker = marker_at(file, FILE_HEADER_BYTES)
            .filter(|marker| frame_header(&file[FILE_HEADER_BYTES..], *marker).is_some());
        let end = if marker.is_some() { FILE_HEADER_BYTES } else { file.len() };
        let damage = Some(Piece::Damaged(0..end, Damage::FileHeader));
        Self { at: end, marker, damage, ..scan }
    }

    /// Goes on at `at`, the end of an earlier piece.
    #[must_use]
    pub fn from(self, at: usize) -> Self {
        let damage = if at == 0 { self.damage } else { None };
        Self { at: self.at.max(at), damage, ..self }
    }

    fn step(&mut self, marker: Marker) -> Piece {
        let (start, end) = (self.at, self.file.len());
        let rest = &self.file[start..];
        if let Some((length, sum)) = frame_header(rest, marker) {
            let payload = start + FRAME_HEADER_BYTES;
            return match self.file.get(payload..).and_then(|rest| rest.get(..length)) {
                None => Piece::Torn(start..end),
                Some(bytes) if crc32fast::hash(bytes).to_le_bytes() == sum => {
                    Piece::Record(payload..payload + length)
                }
                Some(_) => Piece::Damaged(start..payload + length, Damage::Checksum),
            };
        }
        if rest.len() < FRAME_HEADER_BYTES || is_zero(rest) {
            return Piece::Torn(start..end);
        }
        let next = next_frame(rest, marker).map_or(end, |next| start + next);
        Piece::Damaged(start..next, Damage::FrameHeader)
    }
}

/// Where behind its first byte the next frame begins.
fn next_frame(bytes: &[u8], marker: Marker) -> Option<usize> {
    let mut from = 1;
    loop {
        // Byte by byte behind each match: what looks like a marker may overlap with one.
        let at = from + memmem::find(bytes.get(from..)?, &marker.0)?;
        if frame_header(&bytes[at..], marker).is_some() {
            return Some(at);
        }
        from = at + 1;
    }
}

impl Iterator for Scan<'_> {
    type Item = Piece;

    fn next(&mut self) -> Option<Piece> {
        if let Some(damage) = self.damage.take() {
            return Some(damage);
        }
        let marker = self.marker?;
        if self.at >= self.file.len() {
            return None;
        }
        let piece = self.step(marker);
        self.at = piece.end();
        Some(piece)
    }
}

fn marker_at(bytes: &[u8], at: usize) -> Option<Marker> {
    Some(Marker(bytes.get(at..at + MARKER_BYTES)?.try_into().ok()?))
}

/// The length and the checksum of the payload, where a frame begins.
fn frame_header(bytes: &[u8], marker: Marker) -> Option<(usize, [u8; 4])> {
    let header = bytes.get(..FRAME_HEADER_BYTES)?;
    let (checked, sums) = header.split_at(MARKER_BYTES + 4);
    let matches =
        checked.starts_with(&marker.0) && crc32fast::hash(checked).to_le_bytes() == sums[..4];
    if !matches {
        return None;
    }
    let length = u32::from_le_bytes(checked[MARKER_BYTES..].try_into().ok()?);
    Some((usize::try_from(length).ok()?, sums[4..].try_into().ok()?))
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    const MARKER: Marker = Marker(*b"marker-1");

    fn file(payloads: &[Vec<u8>]) -> Vec<u8> {
        let mut out = Vec::new();
        write_file_header(&mut out, MARKER);
        for payload in payloads {
            assert!(write_frame(&mut out, MARKER, payload));
        }
        out
    }

    fn records(file: &[u8]) -> Vec<Vec<u8>> {
        Scan::new(file)
            .filter_map(|piece| match piece {
                Piece::Record(range) => Some(file[range].to_vec()),
                _ => None,
            })
            .collect()
    }

    #[test]
    fn zeros_that_a_crash_left_behind_are_torn() {
        let whole = file(&[b"one".to_vec()]);
        let mut bytes = whole.clone();
        bytes.resize(whole.len() + 4096, 0);
        let pieces: Vec<Piece> = Scan::new(&bytes).collect();
        assert_eq!(pieces[1..], [Piece::Torn(whole.len()..bytes.len())]);
        assert_eq!(Scan::new(&[0; 64]).collect::<Vec<_>>(), [Piece::Torn(0..64)]);
        assert_eq!(Scan::new(b"").count(), 0);
    }

    #[test]
    fn a_damaged_file_header_costs_no_record() {
        for at in 0..FILE_HEADER_BYTES {
            let mut bytes = file(&[b"one".to_vec(), b"two".to_vec()]);
            bytes[at] ^= 1;
            let first = Piece::Damaged(0..FILE_HEADER_BYTES, Damage::FileHeader);
            assert_eq!(Scan::new(&bytes).next(), Some(first), "byte {at}");
            assert_eq!(records(&bytes), [b"one", b"two"]);
        }
    }

    #[test]
    fn a_frame_of_another_file_is_no_record() {
        let mut forged = Vec::new();
        assert!(write_frame(&mut forged, Marker(*b"marker-2"), b"forged"));
        let mut bytes = file(&[forged, b"next".to_vec()]);
        // The length of the frame around it.
        bytes[FILE_HEADER_BYTES + MARKER_BYTES] ^= 0xff;
        assert_eq!(records(&bytes), [b"next"]);
    }

    #[test]
    fn a_payload_that_ends_like_a_marker_begins_hides_no_frame() {
        let marker = Marker([7; MARKER_BYTES]);
        let mut bytes = Vec::new();
        write_file_header(&mut bytes, marker);
        for payload in [&b"\x5b\x07"[..], b"", b"next"] {
            assert!(write_frame(&mut bytes, marker, payload));
        }
        bytes[FILE_HEADER_BYTES + MARKER_BYTES] ^= 1;
        assert_eq!(records(&bytes), [&b""[..], b"next"]);
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(payloads in vec(vec(any::<u8>(), 0..80), 0..8)) {
            prop_assert_eq!(records(&file(&payloads)), payloads);
        }

        #[test]
        fn a_cut_file_has_every_whole_record_and_no_damage(
            payloads in vec(vec(any::<u8>(), 0..80), 1..8), cut in any::<prop::sample::Index>(),
        ) {
            let bytes = file(&payloads);
            let cut = cut.index(bytes.len());
            let mut end = FILE_HEADER_BYTES;
            let whole = payloads.iter().take_while(|payload| {
                end += FRAME_HEADER_BYTES + payload.len();
                end <= cut
            });
            let whole: Vec<Vec<u8>> = whole.cloned().collect();
            prop_assert_eq!(records(&bytes[..cut]), whole);
            let damaged = Scan::new(&bytes[..cut]).any(|p| matches!(p, Piece::Damaged(..)));
            prop_assert!(!damaged);
        }

        #[test]
        fn a_flipped_bit_costs_one_record_and_is_never_silent(
            payloads in vec(vec(any::<u8>(), 0..80), 1..8),
            at in any::<prop::sample::Index>(), bit in 0..8u8,
        ) {
            let mut bytes = file(&payloads);
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            let read = records(&bytes);
            let in_header = at < FILE_HEADER_BYTES;
            prop_assert_eq!(read.len(), payloads.len() - usize::from(!in_header));
            let mut left = payloads.iter();
            prop_assert!(read.iter().all(|record| left.any(|payload| payload == record)));
            let damaged = Scan::new(&bytes).any(|p| matches!(p, Piece::Damaged(..)));
            prop_assert!(damaged);
        }

        #[test]
        fn the_pieces_of_any_bytes_follow_one_another(bytes in vec(any::<u8>(), 0..300)) {
            let mut file = file(&[b"first".to_vec()]);
            file.extend_from_slice(&bytes);
            let mut end = FILE_HEADER_BYTES;
            for piece in Scan::new(&file) {
                prop_assert!(piece.end() > end);
                end = piece.end();
            }
            prop_assert_eq!(end, file.len());
            // And of bytes that are no file at all.
            prop_assert!(Scan::new(&bytes).all(|piece| piece.end() <= bytes.len()));
        }
    }
}
