//! The kernel speaks of numbers, the laptop of paths: which is which.

use std::collections::HashMap;

/// The number of the shared folder itself (FUSE_ROOT_ID in fuse.h).
pub const ROOT: u64 = 1;

/// Both directions. Numbers are never used twice.
#[derive(Debug, Default)]
pub struct Paths {
    by_number: HashMap<u64, String>,
    by_path: HashMap<String, u64>,
    last: u64,
}

impl Paths {
    /// The path of `number`, if that was given out and is not gone.
    pub fn path(&self, number: u64) -> Option<String> {
        match number {
            ROOT => Some(String::new()),
            number => self.by_number.get(&number).cloned(),
        }
    }

    /// The path of `name` in the folder `parent`.
    pub fn child(&self, parent: u64, name: &str) -> Option<String> {
        self.path(parent).map(|parent| join(&parent, name))
    }

    /// The number of `path`, given out now if it has none.
    pub fn number(&mut self, path: &str) -> u64 {
        if path.is_empty() {
            return ROOT;
        }
        if let Some(number) = self.by_path.get(path) {
            return *number;
        }
        self.last = self.last.max(ROOT) + 1;
        self.by_number.insert(self.last, path.to_owned());
        self.by_path.insert(path.to_owned(), self.last);
        self.last
    }

    /// `path` is gone: what comes to be there later is something else.
    pub fn forget(&mut self, path: &str) {
        if let Some(number) = self.by_path.remove(path) {
            self.by_number.remove(&number);
        }
    }

    /// What was at `from`, and all below it, is at `to` now.
    pub fn rename(&mut self, from: &str, to: &str) {
        self.forget(to);
        let below = join(from, "");
        let is_moved = |path: &str| path == from || path.starts_with(&below);
        let moved: Vec<String> = self
            .by_path
            .keys()
            .filter(|p| is_moved(p.as_str()))
            .cloned()
            .collect();
        for path in moved {
            let Some(number) = self.by_path.remove(&path) else {
                continue;
            };
            let new = format!("{to}{}", &path[from.len()..]);
            self.by_number.insert(number, new.clone());
            self.by_path.insert(new, number);
        }
    }
}

/// `name` in `folder`.
pub fn join(folder: &str, name: &str) -> String {
    match folder {
        "" => name.to_owned(),
        folder => format!("{folder}/{name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_follow_what_they_were_given_to() {
        let mut paths = Paths::default();
        assert_eq!(paths.path(ROOT).as_deref(), Some(""));
        let a = paths.number("a");
        let file = paths.number("a/file");
        let near = paths.number("ab");
        assert_eq!(paths.number("a"), a);
        assert_eq!(paths.child(a, "x").as_deref(), Some("a/x"));
        paths.rename("a", "deep/b");
        assert_eq!(paths.path(a).as_deref(), Some("deep/b"));
        assert_eq!(paths.path(file).as_deref(), Some("deep/b/file"));
        assert_eq!(paths.path(near).as_deref(), Some("ab"), "another name");
        assert_eq!(paths.number("deep/b/file"), file);
        let new = paths.number("a");
        assert!(new != a && new > near);
    }

    #[test]
    fn what_is_gone_or_covered_has_no_path() {
        let mut paths = Paths::default();
        let (a, b) = (paths.number("a"), paths.number("b"));
        paths.rename("a", "b");
        assert_eq!(paths.path(b), None, "it was covered");
        assert_eq!(paths.path(a).as_deref(), Some("b"));
        paths.forget("b");
        assert_eq!(paths.path(a), None);
        assert_ne!(paths.number("b"), a);
        assert_eq!(paths.child(99, "x"), None);
    }
}
