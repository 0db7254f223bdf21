//! The table against a plain map, through checkpoints and restarts.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use millstream_env::RealDisk;
use millstream_env::sim::{Faults, SimDisk};
use proptest::prelude::*;

use super::*;

type Model = BTreeMap<Bytes, Bytes>;

fn open(dir: &tempfile::TempDir) -> State {
    State::open(Arc::new(RealDisk), &dir.path().join("state.redb")).unwrap()
}

fn content(state: &State, prefix: &[u8]) -> Model {
    let mut last: Option<Bytes> = None;
    let mut found = Model::new();
    for entry in state.scan(prefix).unwrap() {
        let (key, value) = entry.unwrap();
        assert!(last.as_ref().is_none_or(|last| *last < key), "out of order");
        last = Some(key.clone());
        found.insert(key, value);
    }
    found
}

fn put(state: &State, key: &'static str, value: &'static str) {
    state.apply(&[(Bytes::from(key), Bytes::from(value))], &[]);
}

#[test]
fn an_empty_table_makes_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let state = open(&dir);
    assert_eq!(state.get(b"a").unwrap(), None);
    assert_eq!(state.scan(b"").unwrap().count(), 0);
    assert_eq!(state.covered_position(), JournalPosition(0));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn what_was_not_checkpointed_is_the_journals_to_bring_back() {
    let dir = tempfile::tempdir().unwrap();
    let state = open(&dir);
    put(&state, "a", "1");
    let checkpoint = state.freeze().unwrap();
    put(&state, "a", "2");
    put(&state, "b", "3");
    assert!(state.freeze().is_none(), "one checkpoint at a time");
    assert_eq!(state.get(b"a").unwrap().unwrap(), "2");
    state.write(&checkpoint, JournalPosition(77)).unwrap();
    assert_eq!(state.get(b"a").unwrap().unwrap(), "2");
    drop(state);

    let state = open(&dir);
    assert_eq!(state.covered_position(), JournalPosition(77));
    assert_eq!(state.get(b"a").unwrap().unwrap(), "1");
    assert_eq!(state.get(b"b").unwrap(), None);
}

#[test]
fn an_unfinished_file_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("state.new"), b"half a table").unwrap();
    let state = open(&dir);
    put(&state, "a", "1");
    let checkpoint = state.freeze().unwrap();
    state.write(&checkpoint, JournalPosition(5)).unwrap();
    drop(state);
    assert_eq!(open(&dir).get(b"a").unwrap().unwrap(), "1");
}

#[test]
fn a_copy_is_a_whole_table_and_a_look_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let state = open(&dir);
    put(&state, "a", "1");
    let checkpoint = state.freeze().unwrap();
    state.write(&checkpoint, JournalPosition(9)).unwrap();

    let copy = dir.path().join("copy.redb");
    assert_eq!(state.copy_to(&copy).unwrap(), JournalPosition(9));
    let before = std::fs::read(&copy).unwrap();
    let look = State::open_unchanged(Arc::new(RealDisk), &copy).unwrap();
    assert_eq!(look.covered_position(), JournalPosition(9));
    assert_eq!(content(&look, b"").len(), 1);
    drop(look);
    assert_eq!(std::fs::read(&copy).unwrap(), before);

    let restored = State::open(Arc::new(RealDisk), &copy).unwrap();
    assert_eq!(restored.get(b"a").unwrap().unwrap(), "1");
}

#[test]
fn a_damaged_file_is_an_error_not_a_panic() {
    let dir = tempfile::tempdir().unwrap();
    for content in [&b""[..], b"not a table", &[0; 10_000]] {
        let path = dir.path().join("damaged.redb");
        std::fs::write(&path, content).unwrap();
        assert!(State::open(Arc::new(RealDisk), &path).is_err());
        assert!(State::open_unchanged(Arc::new(RealDisk), &path).is_err());
    }
}

#[derive(Debug, Clone)]
enum Step {
    Apply(Vec<(u8, u8)>, Vec<u8>),
    Freeze,
    Write,
    Reopen,
    Scan(Vec<u8>),
}

/// Few keys, so that they are often changed again, and of two lengths, so that prefixes matter.
fn key(number: u8) -> Bytes {
    match number % 2 {
        0 => Bytes::from(vec![number / 8]),
        _ => Bytes::from(vec![number / 8, number]),
    }
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (proptest::collection::vec((0u8..32, any::<u8>()), 0..4), proptest::collection::vec(0u8..32, 0..3))
            .prop_map(|(puts, deletes)| Step::Apply(puts, deletes)),
        2 => Just(Step::Freeze),
        2 => Just(Step::Write),
        1 => Just(Step::Reopen),
        3 => proptest::collection::vec(0u8..5, 0..2).prop_map(Step::Scan),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn behaves_as_a_map(steps in proptest::collection::vec(step(), 1..40)) {
        let dir = tempfile::tempdir().unwrap();
        let mut state = open(&dir);
        let mut model = Model::new();
        let mut frozen: Option<(Checkpoint, Model)> = None;
        let mut stored = (Model::new(), JournalPosition(0));
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Step::Apply(puts, deletes) => {
                    let puts: Vec<_> =
                        puts.into_iter().map(|(k, v)| (key(k), Bytes::from(vec![v]))).collect();
                    let deletes: Vec<_> = deletes.into_iter().map(key).collect();
                    state.apply(&puts, &deletes);
                    model.extend(puts);
                    for key in &deletes {
                        model.remove(key);
                    }
                }
                Step::Freeze => match state.freeze() {
                    Some(checkpoint) => frozen = Some((checkpoint, model.clone())),
                    None => prop_assert!(frozen.is_some()),
                },
                Step::Write => if let Some((checkpoint, content)) = frozen.take() {
                    let position = JournalPosition(number as u64 + 1);
                    state.write(&checkpoint, position).unwrap();
                    stored = (content, position);
                },
                Step::Reopen => {
                    drop(state);
                    state = open(&dir);
                    frozen = None;
                    model = stored.0.clone();
                    prop_assert_eq!(state.covered_position(), stored.1);
                }
                Step::Scan(prefix) => {
                    let expected: Model = model
                        .iter()
                        .filter(|(key, _)| key.starts_with(&prefix))
                        .map(|(key, value)| (key.clone(), value.clone()))
                        .collect();
                    prop_assert_eq!(content(&state, &prefix), expected);
                }
            }
            for number in 0..32 {
                prop_assert_eq!(state.get(&key(number)).unwrap(), model.get(&key(number)).cloned());
            }
        }
        prop_assert_eq!(content(&state, b""), model);
    }
}

/// Writes checkpoints until the power goes, and checks that the table then holds the last one that was finished, or the
/// one that was not, whole.
fn crash(seed: u64, operations: u64) {
    let disk = SimDisk::new(seed, 1 << 28);
    let path = Path::new("/state.redb");
    let open = || State::open(disk.mount(), path).unwrap();
    let mut state = open();
    let mut finished = (Model::new(), JournalPosition(0));
    for crash in 0..3 {
        disk.fail_power_after(operations + crash * 17);
        let mut model = finished.0.clone();
        let unfinished = (1..).find_map(|round: u64| {
            for number in 0..20 {
                let name = ((seed ^ (round * 7)).wrapping_add(number * number) % 60) as u8;
                let value = Bytes::from(vec![round as u8; 100 * number as usize]);
                state.apply(&[(key(name), value.clone())], &[]);
                model.insert(key(name), value);
            }
            let checkpoint = state.freeze().unwrap();
            let position = JournalPosition(finished.1.0 + 1);
            match state.write(&checkpoint, position) {
                Ok(()) => finished = (model.clone(), position),
                Err(_) => return Some((model.clone(), position)),
            }
            assert!(round < 1000, "the power never went");
            None
        });
        drop(state);
        disk.restart();
        state = open();
        let found = (content(&state, b""), state.covered_position());
        assert!(found == finished || Some(&found) == unfinished.as_ref());
        finished = found;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn a_checkpoint_survives_whole_or_not_at_all(seed: u64, operations in 1u64..200) {
        crash(seed, operations);
    }
}

#[test]
fn a_full_disk_passes() {
    let disk = SimDisk::new(1, 1 << 28);
    let path = Path::new("/state.redb");
    let state = State::open(disk.mount(), path).unwrap();
    put(&state, "a", "1");
    state
        .write(&state.freeze().unwrap(), JournalPosition(1))
        .unwrap();

    let large = Bytes::from(vec![7; 1 << 20]);
    state.apply(&[(Bytes::from("b"), large.clone())], &[]);
    disk.set_capacity(1 << 16);
    // Nor can the table's file be opened again.
    disk.set_faults(Faults {
        out_of_files_one_in: 1,
        ..Faults::default()
    });
    let checkpoint = state.freeze().unwrap();
    for _ in 0..3 {
        let error = state.write(&checkpoint, JournalPosition(2)).unwrap_err();
        assert!(error.is_want_of_room(), "{error}");
        assert_eq!(state.get(b"a").unwrap().unwrap(), "1");
        assert_eq!(state.get(b"b").unwrap().unwrap(), large);
        assert_eq!(state.covered_position(), JournalPosition(1));
    }
    disk.set_capacity(1 << 28);
    state.write(&checkpoint, JournalPosition(2)).unwrap();
    disk.set_faults(Faults::default());
    drop(state);
    let state = State::open(disk.mount(), path).unwrap();
    assert_eq!(state.get(b"b").unwrap().unwrap(), large);
}

/// Whatever bit flips, the content is right or refused, and nothing panics.
/// Everybody waits while the table is opened again: damage in what is not needed for that shows that it is not read.
#[test]
fn after_a_full_disk_the_table_is_not_read_through() {
    let disk = SimDisk::new(1, 64 << 20);
    let path = Path::new("/state.redb");
    let state = State::open(disk.mount(), path).unwrap();
    let write = |from: u32, position: u64| {
        for n in from..from + 1000 {
            let key = Bytes::copy_from_slice(&n.to_be_bytes());
            state.apply(&[(key, Bytes::from(vec![7; 1000]))], &[]);
        }
        state.freeze().map(|checkpoint| {
            let written = state.write(&checkpoint, JournalPosition(position));
            (checkpoint, written)
        })
    };
    write(0, 1).unwrap().1.unwrap();
    let (_, bytes) = disk.files(Path::new("/"))[0];
    for at in (bytes / 4..bytes * 3 / 4).step_by(16 << 10) {
        disk.flip_bit(path, at + 2000, at + 2100);
    }
    disk.set_capacity(disk.used_bytes());
    let (checkpoint, written) = write(1000, 2).unwrap();
    let error = written.unwrap_err();
    assert!(error.is_want_of_room(), "{error}");
    assert_eq!(state.covered_position(), JournalPosition(1));
    assert!(state.get(&1999u32.to_be_bytes()).unwrap().is_some());
    disk.set_capacity(64 << 20);
    state.write(&checkpoint, JournalPosition(2)).unwrap();
}

#[test]
fn flipped_bits_are_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let state = open(&dir);
    for number in 0..500u32 {
        let key = Bytes::copy_from_slice(&number.to_be_bytes());
        state.apply(&[(key, Bytes::from(vec![number as u8; 50]))], &[]);
    }
    state
        .write(&state.freeze().unwrap(), JournalPosition(7))
        .unwrap();
    let expected = content(&state, b"");
    drop(state);
    let path = dir.path().join("state.redb");
    let whole = std::fs::read(&path).unwrap();
    let mut refused = 0;
    for round in 0..120 {
        let mut damaged = whole.clone();
        let at = if round < 100 {
            round * 5
        } else {
            (round * 7919 * 131) % whole.len()
        };
        damaged[at] ^= 1 << (round % 8);
        std::fs::write(&path, &damaged).unwrap();
        let checked = State::open_unchanged(Arc::new(RealDisk), &path).is_ok();
        if let Ok(state) = State::open(Arc::new(RealDisk), &path) {
            // What was flipped is not in use.
            assert_eq!(content(&state, b""), expected);
        } else {
            assert!(!checked, "the look saw nothing wrong");
            refused += 1;
        }
    }
    assert!(refused > 0);
}
