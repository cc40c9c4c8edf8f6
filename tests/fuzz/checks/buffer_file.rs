//! Files of the buffer: arbitrary bytes, and a valid file that was damaged.

use queen::buffer::Record;
use queen::buffer::frame::{
    FILE_HEADER_BYTES, FRAME_HEADER_BYTES, MARKER_BYTES, Marker, Piece, Scan, write_file_header,
    write_frame,
};

/// Reads everything that can be read; what is read as a record is written as it was.
fn records(file: &[u8]) -> Vec<Vec<u8>> {
    let mut records = Vec::new();
    let mut end = 0;
    for piece in Scan::new(file) {
        assert!(piece.end() > end && piece.end() <= file.len());
        end = piece.end();
        if let Piece::Record(range) = piece {
            let bytes = &file[range];
            if let Ok(record) = Record::decode(bytes) {
                let mut again = Vec::new();
                record.encode(&mut again);
                assert_eq!(again, bytes);
            }
            records.push(bytes.to_vec());
        }
    }
    records
}

/// Pieces of the input between zeros are payloads; the first two bytes say what is damaged.
pub fn check(bytes: &[u8]) {
    records(bytes);
    let [high, low, rest @ ..] = bytes else { return };
    let marker = Marker([7; MARKER_BYTES]);
    let mut file = Vec::new();
    write_file_header(&mut file, marker);
    let payloads: Vec<&[u8]> = rest.split(|byte| *byte == 0).collect();
    // A file's own marker is random, so that no payload has it.
    if payloads.iter().any(|payload| payload.windows(MARKER_BYTES).any(|run| run == marker.0)) {
        return;
    }
    for payload in &payloads {
        assert!(write_frame(&mut file, marker, payload));
    }
    assert_eq!(records(&file), payloads);
    let at = usize::from(u16::from_be_bytes([*high, *low])) % file.len();
    file[at] ^= 1 << (low % 8);
    let lost = usize::from(at >= FILE_HEADER_BYTES);
    let read = records(&file);
    assert_eq!(read.len(), payloads.len() - lost);
    let mut left = payloads.iter();
    assert!(read.iter().all(|record| left.any(|payload| payload == record)));
    assert!(file.len() >= FILE_HEADER_BYTES + FRAME_HEADER_BYTES * payloads.len());
}
