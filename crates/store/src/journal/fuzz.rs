//! What holds for any bytes taken for a journal entry. For the fuzz target `journal`, and for the test that replays its
//! seeds.

use bytes::{Bytes, BytesMut};

use super::entry::{self, Frame, HEADER_BYTES};
use crate::format::crc32c;
use crate::ids::JournalPosition;

/// Decodes `bytes` as one entry, its checksum made right first so that what lies behind it is looked at, and checks that
/// an entry that is taken is encoded to the same bytes again.
///
/// # Panics
///
/// When that does not hold.
pub fn check_entry(bytes: &[u8]) {
    if bytes.len() < HEADER_BYTES {
        assert!(entry::decode_header(bytes, 0, JournalPosition(0)).is_err());
        return;
    }
    let mut bytes = bytes.to_vec();
    let number = |at: usize| u64::from_be_bytes(bytes[at..at + 8].try_into().expect("8 bytes"));
    let (slot, at) = (number(8), JournalPosition(number(16)));
    let framing_length = u32::from_be_bytes(bytes[44..48].try_into().expect("4 bytes")) as usize;
    if (HEADER_BYTES..=bytes.len()).contains(&framing_length) {
        let crc = crc32c(&bytes[8..framing_length]);
        bytes[4..8].copy_from_slice(&crc.to_be_bytes());
    }
    let Ok(header) = entry::decode_header(&bytes, slot, at) else {
        return;
    };
    let bytes = Bytes::from(bytes);
    let Ok(frame) = Frame::decode(&bytes.slice(..header.framing_length as usize)) else {
        return;
    };
    let Ok(batches) = entry::batches(&bytes, &header, &frame) else {
        return;
    };
    let mut again = BytesMut::new();
    let ranges = entry::encode(
        &mut again,
        &header,
        &frame,
        batches.iter().map(|(_, batch)| batch),
    );
    // Checksum, flags and version apart, which may hold bits that mean nothing.
    let framing = header.framing_length as usize;
    assert_eq!(again[8..52], bytes[8..52]);
    assert_eq!(again[56..framing], bytes[56..framing]);
    for (range, (_, batch)) in ranges.into_iter().zip(&batches) {
        assert_eq!(again[range], batch[..]);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use millstream_record::{BatchBuilder, Codec, LeaderEpoch, NewRecord, Offset, TimestampMs};
    use smallvec::smallvec;

    use super::*;
    use crate::ids::PartitionId;
    use crate::journal::entry::{AppendFrame, EntryHeader, Kind};
    use crate::policy::Durability;

    fn seeds() -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds/journal")
    }

    #[test]
    fn seeds_survive_the_decoder() {
        let mut count = 0;
        for seed in fs::read_dir(seeds()).unwrap() {
            let bytes = fs::read(seed.unwrap().path()).unwrap();
            check_entry(&bytes);
            // And whatever a single changed byte makes of it.
            for at in 0..bytes.len() {
                let mut changed = bytes.clone();
                changed[at] ^= 0x55;
                check_entry(&changed);
            }
            check_entry(&bytes[..bytes.len() / 2]);
            count += 1;
        }
        assert!(
            count >= 3,
            "run `cargo test -p millstream-store -- --ignored write_seeds`"
        );
    }

    #[test]
    #[ignore = "writes the seeds: for after the format has changed"]
    fn write_seeds() {
        let full = Frame {
            opens: vec![
                (PartitionId(1), Durability::Fsync),
                (PartitionId(2), Durability::Memory),
            ],
            appends: smallvec![append(0, 3), append(77, 1)],
            trims: vec![(PartitionId(1), Offset(2))],
            drops: vec![PartitionId(9)],
            reserves: vec![(PartitionId(2), Offset(1 << 20))],
            puts: vec![(Bytes::from_static(b"key"), Bytes::from_static(b"value"))],
            deletes: vec![Bytes::from_static(b"gone")],
        };
        let one = Frame {
            appends: smallvec![append(5, 2)],
            ..Frame::default()
        };
        for (name, kind, frame) in [
            ("start", Kind::Start, Frame::default()),
            ("seal", Kind::Seal, Frame::default()),
            ("one-batch", Kind::Commit, one),
            ("everything", Kind::Commit, full),
        ] {
            fs::create_dir_all(seeds()).unwrap();
            fs::write(seeds().join(name), encoded(kind, &frame)).unwrap();
        }
    }

    fn append(base: i64, records: u32) -> AppendFrame {
        let batch = batch(records);
        AppendFrame {
            batch_bytes: batch.len() as u32,
            last_offset_delta: records - 1,
            max_timestamp: TimestampMs(1000),
            targets: smallvec![
                (PartitionId(1), Offset(base)),
                (PartitionId(3), Offset(base + 1))
            ],
            foreign_producer: false,
        }
    }

    fn batch(records: u32) -> Bytes {
        let mut builder = BatchBuilder::new(Codec::None);
        for n in 0..records {
            builder.append(&NewRecord {
                timestamp: TimestampMs(1000),
                key: Some(&n.to_be_bytes()),
                value: Some(b"value"),
                headers: &[],
            });
        }
        builder.build().unwrap().bytes
    }

    fn encoded(kind: Kind, frame: &Frame) -> BytesMut {
        let header = EntryHeader {
            slot: 0x0123_4567_89AB_CDEF,
            position: JournalPosition(8192),
            synced: JournalPosition(4096),
            follows: JournalPosition(8000),
            length: 0,
            framing_length: 0,
            epoch: LeaderEpoch(3),
            kind,
            last_of_group: true,
            wall: TimestampMs(1_700_000_000_000),
        };
        let batches: Vec<Bytes> = frame
            .appends
            .iter()
            .map(|append| batch(append.last_offset_delta + 1))
            .collect();
        let mut out = BytesMut::new();
        entry::encode(&mut out, &header, frame, batches.iter());
        out
    }

    #[test]
    fn entries_come_back_as_they_were_written() {
        let frame = Frame {
            appends: smallvec![append(5, 2)],
            puts: vec![(Bytes::from_static(b"key"), Bytes::new())],
            ..Frame::default()
        };
        let bytes = encoded(Kind::Commit, &frame).freeze();
        let header =
            entry::decode_header(&bytes, 0x0123_4567_89AB_CDEF, JournalPosition(8192)).unwrap();
        assert_eq!(header.length as usize, bytes.len());
        assert_eq!(header.next(), JournalPosition(12288));
        let decoded = Frame::decode(&bytes.slice(..header.framing_length as usize)).unwrap();
        assert_eq!(decoded, frame);
        let batches = entry::batches(&bytes, &header, &decoded).unwrap();
        assert_eq!(batches[0].0.base_offset, Offset(5));
        assert_eq!(batches[0].0.leader_epoch, LeaderEpoch(3));
    }

    #[test]
    fn a_foreign_producer_makes_an_entry_of_version_2() {
        let mut foreign = append(5, 2);
        foreign.foreign_producer = true;
        for (append, version) in [(append(5, 2), 1), (foreign, 2)] {
            let frame = Frame {
                appends: smallvec![append],
                ..Frame::default()
            };
            let bytes = encoded(Kind::Commit, &frame).freeze();
            assert_eq!(bytes[54..56], u16::to_be_bytes(version));
            let header =
                entry::decode_header(&bytes, 0x0123_4567_89AB_CDEF, JournalPosition(8192)).unwrap();
            let framing = bytes.slice(..header.framing_length as usize);
            assert_eq!(Frame::decode(&framing).unwrap(), frame);
        }
    }

    #[test]
    fn an_entry_belongs_to_one_slot_and_one_place() {
        let bytes = encoded(Kind::Seal, &Frame::default());
        let slot = 0x0123_4567_89AB_CDEF;
        assert!(entry::decode_header(&bytes, slot, JournalPosition(8192)).is_ok());
        assert!(entry::decode_header(&bytes, slot, JournalPosition(8200)).is_err());
        assert!(entry::decode_header(&bytes, slot + 1, JournalPosition(8192)).is_err());
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            let decoded = entry::decode_header(&changed, slot, JournalPosition(8192));
            let padding = at >= HEADER_BYTES + 28;
            assert_eq!(decoded.is_ok(), padding, "byte {at}");
        }
    }
}
