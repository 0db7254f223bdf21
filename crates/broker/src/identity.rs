//! The names a broker gives: to itself once, and to topics.

use bytes::Bytes;
use millstream_catalog::TopicId;
use millstream_env::Rng;
use millstream_store::{Commit, Slot};

use crate::error::OpenError;
use crate::keys;

/// The id of the cluster that this data belongs to, made up and recorded at the first start.
pub(crate) async fn cluster_id(slot: &Slot, rng: &dyn Rng) -> Result<String, OpenError> {
    if let Some(id) = slot.state().get(keys::CLUSTER_ID)? {
        return String::from_utf8(id.to_vec()).map_err(|_| OpenError::ClusterId);
    }
    let id = base64(topic_id(rng).0.as_bytes());
    let commit = Commit {
        puts: vec![(
            Bytes::from_static(keys::CLUSTER_ID),
            Bytes::from(id.clone()),
        )],
        ..Commit::default()
    };
    slot.commit(commit)?.durable.await?;
    Ok(id)
}

/// A new topic id. Never one that would start with a dash in Kafka's notation: command lines take that for an option.
pub(crate) fn topic_id(rng: &dyn Rng) -> TopicId {
    loop {
        let random = (u128::from(rng.next_u64()) << 64) | u128::from(rng.next_u64());
        let id = TopicId::from_random(random.to_be_bytes());
        if !base64(id.0.as_bytes()).starts_with('-') {
            return id;
        }
    }
}

/// 16 bytes as 22 characters of base64 in the alphabet for URLs (RFC 4648, section 5), without padding: how Kafka
/// writes an id.
fn base64(bytes: &[u8; 16]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let number = u128::from_be_bytes(*bytes);
    // 21 characters of 6 bits from the top, and the last 2 bits filled up with zeros.
    (0..22)
        .map(|place| {
            let index = if place < 21 {
                number >> (122 - 6 * place)
            } else {
                number << 4
            };
            char::from(ALPHABET[(index & 63) as usize])
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use millstream_env::SeededRng;

    use super::*;

    #[test]
    fn base64_is_kafkas() {
        assert_eq!(base64(&[0; 16]), "AAAAAAAAAAAAAAAAAAAAAA");
        assert_eq!(base64(&[0xff; 16]), "_____________________w");
        let mut one = [0; 16];
        one[15] = 1;
        assert_eq!(base64(&one), "AAAAAAAAAAAAAAAAAAAAAQ");
        assert_eq!(
            base64(&std::array::from_fn(|i| i as u8)),
            "AAECAwQFBgcICQoLDA0ODw"
        );
    }

    #[test]
    fn no_id_looks_like_an_option() {
        let rng = SeededRng::new(1);
        for _ in 0..1_000 {
            assert!(!base64(topic_id(&rng).0.as_bytes()).starts_with('-'));
        }
    }
}
