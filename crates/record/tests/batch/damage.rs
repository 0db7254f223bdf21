//! Damaged and random bytes: any error is right, a panic or a hang never is.

use millstream_record::header::{HEADER_BYTES, seal};
use millstream_record::testing::check_batches;
use proptest::prelude::*;

use crate::common::{any_codec, any_samples, batch};

proptest! {
    #[test]
    fn random_bytes(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        check_batches(&bytes.into());
    }

    #[test]
    fn a_valid_header_before_random_bytes(
        codec in any_codec(),
        samples in any_samples(),
        tail in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let mut bytes = batch(codec, &samples).bytes[..HEADER_BYTES].to_vec();
        bytes.extend_from_slice(&tail);
        let length = (bytes.len() - 12) as i32;
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        seal(&mut bytes);
        check_batches(&bytes.into());
    }

    #[test]
    fn a_valid_batch_with_a_few_bytes_changed(
        codec in any_codec(),
        samples in any_samples(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        sealed in any::<bool>(),
    ) {
        let mut bytes = batch(codec, &samples).bytes.to_vec();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if sealed {
            seal(&mut bytes);
        }
        check_batches(&bytes.into());
    }

    #[test]
    fn a_valid_batch_cut_off(codec in any_codec(), samples in any_samples(), at in any::<prop::sample::Index>()) {
        let whole = batch(codec, &samples).bytes;
        check_batches(&whole.slice(..at.index(whole.len())));
    }
}
