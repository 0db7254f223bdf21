//! Finding what was probably meant.

/// The word most like `word`, if any is like it at all.
pub(super) fn nearest<'a>(word: &str, words: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    const WORD_BYTES_MAX: usize = 128;
    const LIKENESS_MIN: f64 = 0.7;
    if word.len() > WORD_BYTES_MAX {
        return None;
    }
    let likeness = |candidate: &str| strsim::normalized_damerau_levenshtein(word, candidate);
    let scored = words
        .into_iter()
        .map(|candidate| (likeness(candidate), candidate));
    let (likeness, nearest) = scored.max_by(|(one, _), (other, _)| one.total_cmp(other))?;
    (likeness >= LIKENESS_MIN).then_some(nearest)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn finds_slips_and_nothing_else() {
        let words = ["data-dir", "kafka-addr", "http-addr"];
        assert_eq!(nearest("datadir", words), Some("data-dir"));
        assert_eq!(nearest("kafka_adr", words), Some("kafka-addr"));
        assert_eq!(nearest("retention", words), None);
        assert_eq!(nearest(&"x".repeat(10_000), words), None);
    }
}
