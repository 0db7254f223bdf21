//! Direct writes while this process may open no more files. It has a process of its own, as the limit is the process's.

#![cfg(target_os = "linux")]

use std::fs::{self, File};
use std::path::Path;

use millstream_env::{Access, Disk, RealDisk, aligned_buffer};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

const OPEN_FILES_MAX: u64 = 64;

/// The handles that this process has on a file.
fn handles(path: &Path) -> usize {
    let handles = fs::read_dir("/proc/self/fd").unwrap();
    let files = handles.filter_map(|handle| fs::read_link(handle.ok()?.path()).ok());
    files.filter(|file| file == path).count()
}

#[test]
fn too_many_open_files_do_not_end_direct_writes() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().canonicalize().unwrap();
    let open = |name: &str| RealDisk.open(&dir.join(name), Access::Create).unwrap();
    let mut block = aligned_buffer(4096);
    block.resize(4096, 7);
    let probe = open("probe");
    probe.write_direct(&block, 0).unwrap();
    let direct = handles(&dir.join("probe"));

    let limit = Rlimit {
        current: Some(OPEN_FILES_MAX),
        maximum: getrlimit(Resource::Nofile).maximum,
    };
    setrlimit(Resource::Nofile, limit).unwrap();
    let file = open("file");
    let others: Vec<File> = (0..OPEN_FILES_MAX)
        .map_while(|_| File::open("/dev/null").ok())
        .collect();
    assert!(File::open("/dev/null").is_err(), "none is left");
    file.write_direct(&block, 0).unwrap();
    drop(others);
    assert_eq!(handles(&dir.join("file")), 1);
    file.write_direct(&block, 4096).unwrap();
    assert_eq!(handles(&dir.join("file")), direct, "as if nothing had been");

    let mut found = [0; 8192];
    assert_eq!(file.read_at(&mut found, 0).unwrap(), 8192);
    assert_eq!(found, [7; 8192]);
}
