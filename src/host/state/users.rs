//! Homes that share one cache, and whose machines' disks lie on what is in it.
//!
//! A home is noted in the cache before a machine of it gets a disk there. Whoever removes something
//! from the cache asks the profiles of all noted homes. One that is there and cannot be read may
//! use anything.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::store::{private_dir, write_atomically};
use crate::{Error, Home, Profile, ProfileName, Result, Store};

/// Whoever may have disks on what lies in a cache.
#[derive(Debug, Default)]
pub struct Users {
    /// Profiles of the home that asks.
    pub mine: Vec<Profile>,
    /// Profiles of other homes, each with its home's folder.
    pub others: Vec<(PathBuf, Profile)>,
    /// Homes that are there and cannot be read.
    pub unread: Vec<PathBuf>,
}

/// One that has, or may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Another home's folder; `None` for the home that asks.
    pub home: Option<PathBuf>,
    /// The profile; `None` where the home cannot be read.
    pub profile: Option<String>,
}

impl Users {
    /// Asks this home and all that are noted in its cache.
    ///
    /// # Errors
    /// Those of [`Store::list`]; [`Error::Read`] when the notes cannot be read.
    pub fn of(home: &Home) -> Result<Self> {
        let mut users = Self::default();
        if home.database().exists() {
            users.mine = Store::open(home)?.list()?;
        }
        let own = fs::canonicalize(home.data()).ok();
        for other in noted(home)? {
            if own.as_ref() == Some(&other) {
                continue;
            }
            match profiles_of(&other) {
                Ok(list) => {
                    let list = list.into_iter().map(|profile| (other.clone(), profile));
                    users.others.extend(list);
                }
                // Why does not matter here: it counts as using all.
                Err(_) => users.unread.push(other),
            }
        }
        Ok(users)
    }

    /// Those with a disk on a file that `is_meant`, and those who may have one.
    pub fn on(&self, is_meant: impl Fn(&Path) -> bool) -> Vec<User> {
        let lies = |profile: &Profile| files_below(profile).any(&is_meant);
        let mine = self.mine.iter().filter(|p| lies(p)).map(|p| User {
            home: None,
            profile: Some(p.name.clone()),
        });
        let others = self.others.iter().filter(|(_, p)| lies(p));
        let others = others.map(|(home, p)| User {
            home: Some(home.clone()),
            profile: Some(p.name.clone()),
        });
        let unread = self.unread.iter().map(|home| User {
            home: Some(home.clone()),
            profile: None,
        });
        mine.chain(others).chain(unread).collect()
    }
}

/// The files that disks of a profile's machines lie on.
fn files_below(profile: &Profile) -> impl Iterator<Item = &Path> {
    let workers = profile.workers.iter();
    let bases = workers.clone().map(|w| &w.base);
    let bases = std::iter::once(&profile.base).chain(bases).flatten();
    let templates = workers.map(|w| &w.template);
    let templates = std::iter::once(&profile.template).chain(templates);
    let templates = templates.flatten().map(|used| used.disk.as_path());
    bases.map(|base| base.disk.as_path()).chain(templates)
}

/// Notes in the cache that machines of this home lie, or will lie, on what is in it.
pub(crate) fn note(home: &Home, profile: &Profile) -> Result<()> {
    if files_below(profile).next().is_none() {
        return Ok(());
    }
    let data = fs::canonicalize(home.data()).map_err(|source| Error::Read {
        path: home.data().into(),
        source,
    })?;
    let text = data.as_os_str().as_encoded_bytes();
    // A name that another release of Rust would make differently is a second note, and no harm.
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    let file = home.users().join(format!("{:016x}", hasher.finish()));
    if fs::read(&file).is_ok_and(|noted| noted == text) {
        return Ok(());
    }
    private_dir(&home.users())?;
    write_atomically(&file, text)
}

/// The folders of all homes that are noted.
fn noted(home: &Home) -> Result<Vec<PathBuf>> {
    let folder = home.users();
    let failed = |path: &Path, source| Error::Read {
        path: path.into(),
        source,
    };
    let listed = match fs::read_dir(&folder) {
        Ok(listed) => listed,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(failed(&folder, e)),
    };
    let mut homes = Vec::new();
    for entry in listed {
        let file = entry.map_err(|e| failed(&folder, e))?.path();
        // One that is being written; its home has no disk yet.
        if file.extension().is_some() {
            continue;
        }
        let bytes = fs::read(&file).map_err(|e| failed(&file, e))?;
        homes.push(path_of(bytes).map_err(|e| failed(&file, e))?);
    }
    Ok(homes)
}

#[cfg(unix)]
#[allow(clippy::unnecessary_wraps)] // elsewhere it may fail
fn path_of(bytes: Vec<u8>) -> std::io::Result<PathBuf> {
    use std::os::unix::ffi::OsStringExt;
    Ok(std::ffi::OsString::from_vec(bytes).into())
}

#[cfg(not(unix))]
fn path_of(bytes: Vec<u8>) -> std::io::Result<PathBuf> {
    let text = String::from_utf8(bytes).map_err(std::io::Error::other)?;
    Ok(text.into())
}

/// A home's profiles, from their readable copies: its database may be in use. A copy is written
/// before the record it is of.
fn profiles_of(data: &Path) -> std::io::Result<Vec<Profile>> {
    // Only what it must not lose is looked at.
    let home = Home::new(data, data);
    let listed = match fs::read_dir(home.profiles()) {
        Ok(listed) => listed,
        // Gone, or without profiles.
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    let mut profiles = Vec::new();
    for entry in listed {
        let Ok(name) = ProfileName::parse(&entry?.file_name().to_string_lossy()) else {
            continue;
        };
        let files = home.profile(&name);
        match fs::read(files.record()) {
            Ok(bytes) => profiles.push(serde_json::from_slice(&bytes)?),
            // Nobody says what this disk lies on.
            Err(e) if e.kind() == ErrorKind::NotFound && files.disk().exists() => return Err(e),
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
    }
    Ok(profiles)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn profile(name: &str, disk: &Path) -> Profile {
        serde_json::from_value(json!({
            "name": name, "created": 1, "phase": "stopped",
            "spec": {"cpus": 2, "memoryMib": 768, "diskGib": 20, "image": "auto"},
            "template": {"key": "k", "disk": disk, "settled": true},
        }))
        .unwrap()
    }

    #[test]
    fn what_machines_of_another_home_lie_on_is_known() {
        let dir = tempfile::tempdir().unwrap();
        let cache = dir.path().join("cache");
        let home = |name: &str| Home::new(dir.path().join(name), &cache);
        let (mine, other) = (home("mine"), home("other"));
        let disk = mine.template("k").disk();
        let on = |home: &Home| Users::of(home).unwrap().on(|file| file == disk);
        assert!(on(&mine).is_empty());
        Store::open(&other)
            .unwrap()
            .put(&profile("theirs", &disk))
            .unwrap();
        let theirs = User {
            home: Some(fs::canonicalize(other.data()).unwrap()),
            profile: Some("theirs".into()),
        };
        assert_eq!(on(&mine), [theirs]);
        // The home that asks is not another.
        assert_eq!(on(&other).len(), 1);
        assert_eq!(on(&other)[0].home, None);
        assert!(
            Users::of(&mine)
                .unwrap()
                .on(|file| file == cache)
                .is_empty()
        );

        // One that cannot be understood may use anything.
        let name = ProfileName::parse("theirs").unwrap();
        fs::write(other.profile(&name).record(), "{").unwrap();
        assert_eq!(on(&mine)[0].profile, None);
        // One that is gone uses nothing.
        fs::remove_dir_all(other.data()).unwrap();
        assert!(on(&mine).is_empty());
    }
}
