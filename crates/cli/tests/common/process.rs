//! What the system says about a process and its files.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Memory of a process that is resident, in bytes.
pub(crate) fn resident_bytes(pid: u32) -> u64 {
    status(pid, "VmRSS") << 10
}

/// The most memory of a process that has been resident at a time, in bytes.
pub(crate) fn peak_resident_bytes(pid: u32) -> u64 {
    status(pid, "VmHWM") << 10
}

/// Threads of a process.
pub(crate) fn threads(pid: u32) -> u64 {
    status(pid, "Threads")
}

/// Open files of a process, sockets among them.
pub(crate) fn open_files(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

fn status(pid: u32, field: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let value = status
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    let number = value.and_then(|value| value.split_whitespace().next()?.parse().ok());
    number.unwrap_or_else(|| panic!("no {field} in the status of {pid}"))
}

/// Allows this process `count` open files, if it is not allowed as many yet.
pub(crate) fn allow_open_files(count: u64) {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < count) {
        let raised = Rlimit {
            current: Some(count),
            maximum: limit.maximum,
        };
        setrlimit(Resource::Nofile, raised).unwrap_or_else(|error| {
            panic!("this test needs {count} open files (ulimit -n), {limit:?} is allowed: {error}")
        });
    }
}

/// The files in a directory and those below it.
pub(crate) fn files_in(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).unwrap().map_while(Result::ok) {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => files.extend(files_in(&entry.path())),
            Ok(_) => files.push(entry.path()),
            // Gone since it was listed.
            Err(_) => {}
        }
    }
    files
}

/// Bytes that the files below a directory take up on the disk.
pub(crate) fn allocated_bytes(dir: &Path) -> u64 {
    let blocks = files_in(dir)
        .iter()
        .filter_map(|file| Some(fs::metadata(file).ok()?.blocks()))
        .sum::<u64>();
    blocks * 512
}

/// The files below a directory that contain `needle`.
pub(crate) fn files_with(dir: &Path, needle: &[u8]) -> Vec<std::path::PathBuf> {
    let mut files = files_in(dir);
    files.retain(|file| {
        let content = fs::read(file).unwrap_or_default();
        content.windows(needle.len()).any(|window| window == needle)
    });
    files
}
