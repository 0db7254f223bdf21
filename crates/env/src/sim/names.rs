//! The names on a simulated disk: what is there now, and what would be there after a crash.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};

use super::FileId;
use crate::disk::EntryKind;
use crate::rng::SeededRng;

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Node {
    File(FileId),
    Directory,
}

/// One change of names.
#[derive(Debug, Clone)]
pub(super) enum Change {
    Link(PathBuf, Node),
    Unlink(PathBuf),
    Rename(PathBuf, PathBuf),
}

/// All names.
#[derive(Debug, Default)]
pub(super) struct Names {
    now: BTreeMap<PathBuf, Node>,
    durable: BTreeMap<PathBuf, Node>,
    /// What has changed `now` and not `durable` yet, in order.
    pending: Vec<Change>,
}

impl Names {
    pub(super) fn apply(&mut self, change: Change) {
        apply(&mut self.now, &change);
        self.pending.push(change);
    }

    /// Makes the changes in `dir` durable.
    pub(super) fn sync(&mut self, dir: &Path) {
        for change in std::mem::take(&mut self.pending) {
            if change.is_in(dir) {
                apply(&mut self.durable, &change);
            } else {
                self.pending.push(change);
            }
        }
    }

    /// Keeps the first few of the changes that are not durable.
    pub(super) fn crash(&mut self, rng: &SeededRng) {
        let keep = rng.below(self.pending.len() as u64 + 1) as usize;
        for change in self.pending.drain(..).take(keep) {
            apply(&mut self.durable, &change);
        }
        // A name whose directory was lost is lost with it.
        let lost: Vec<PathBuf> = self
            .durable
            .keys()
            .filter(|path| !has_parent(&self.durable, path))
            .cloned()
            .collect();
        for path in lost {
            self.durable.remove(&path);
        }
        self.now.clone_from(&self.durable);
    }

    pub(super) fn exists(&self, path: &Path) -> bool {
        is_root(path) || self.now.contains_key(path)
    }

    pub(super) fn file(&self, path: &Path) -> io::Result<FileId> {
        match self.now.get(path) {
            Some(Node::File(id)) => Ok(*id),
            Some(Node::Directory) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    pub(super) fn check_parent(&self, path: &Path) -> io::Result<()> {
        if has_parent(&self.now, path) {
            Ok(())
        } else {
            Err(io::ErrorKind::NotFound.into())
        }
    }

    pub(super) fn list(&self, dir: &Path) -> io::Result<Vec<(String, EntryKind)>> {
        if !self.exists(dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let inside = self
            .now
            .iter()
            .filter(|(path, _)| path.parent() == Some(dir));
        Ok(inside
            .map(|(path, node)| {
                let name = path.file_name().unwrap_or_default();
                let kind = match node {
                    Node::File(_) => EntryKind::File,
                    Node::Directory => EntryKind::Directory,
                };
                (name.to_string_lossy().into_owned(), kind)
            })
            .collect())
    }

    /// All files that have a name.
    pub(super) fn files(&self) -> HashSet<FileId> {
        self.now
            .values()
            .filter_map(|node| match node {
                Node::File(id) => Some(*id),
                Node::Directory => None,
            })
            .collect()
    }

    pub(super) fn files_in<'a>(
        &'a self,
        dir: &'a Path,
    ) -> impl Iterator<Item = (&'a Path, FileId)> {
        self.now.iter().filter_map(move |(path, node)| match node {
            Node::File(id) if path.parent() == Some(dir) => Some((path.as_path(), *id)),
            _ => None,
        })
    }
}

impl Change {
    fn is_in(&self, dir: &Path) -> bool {
        match self {
            Self::Link(path, _) | Self::Unlink(path) => path.parent() == Some(dir),
            Self::Rename(from, to) => from.parent() == Some(dir) || to.parent() == Some(dir),
        }
    }
}

fn apply(names: &mut BTreeMap<PathBuf, Node>, change: &Change) {
    match change {
        Change::Link(path, node) => {
            names.insert(path.clone(), *node);
        }
        Change::Unlink(path) => {
            names.remove(path);
        }
        Change::Rename(from, to) => {
            if let Some(node) = names.remove(from) {
                names.insert(to.clone(), node);
            }
        }
    }
}

fn is_root(path: &Path) -> bool {
    path.as_os_str().is_empty() || path == Path::new("/")
}

fn has_parent(names: &BTreeMap<PathBuf, Node>, path: &Path) -> bool {
    path.parent()
        .is_none_or(|parent| is_root(parent) || names.get(parent) == Some(&Node::Directory))
}
