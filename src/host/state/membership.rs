//! What a laptop remembers of the class it joined: one document per profile. The document is the
//! class's business; here it is bytes. It has a secret key in it, so there is no readable copy:
//! whoever loses it joins again.

use crate::store::Store;
use crate::{ProfileName, Result};

impl Store {
    /// The membership of `profile`, if it joined a class.
    ///
    /// # Errors
    /// [`crate::Error::Corrupt`] when the database does not answer.
    pub fn membership(&self, profile: &ProfileName) -> Result<Option<Vec<u8>>> {
        self.read(&key(profile))
    }

    /// Keeps the membership; on the disk when this returns.
    ///
    /// # Errors
    /// [`crate::Error::Write`] when the disk refuses.
    pub fn put_membership(&self, profile: &ProfileName, document: &[u8]) -> Result<()> {
        self.write(&key(profile), document)?;
        self.flush()
    }

    /// Forgets the membership.
    ///
    /// # Errors
    /// [`crate::Error::Write`] when the disk refuses.
    pub fn remove_membership(&self, profile: &ProfileName) -> Result<()> {
        self.erase(&key(profile))?;
        self.flush()
    }
}

fn key(profile: &ProfileName) -> Vec<u8> {
    format!("class/{profile}").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Home;

    #[test]
    fn each_profile_has_its_own_class() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::new(dir.path().join("data"), dir.path().join("cache"));
        let store = Store::open(&home).unwrap();
        let name = |text| ProfileName::parse(text).unwrap();
        store.put_membership(&name("a"), b"one").unwrap();
        store.put_membership(&name("b"), b"two").unwrap();
        store.remove_membership(&name("b")).unwrap();
        drop(store);
        let store = Store::open(&home).unwrap();
        let kept = store.membership(&name("a")).unwrap();
        assert_eq!(kept.as_deref(), Some(&b"one"[..]));
        assert_eq!(store.membership(&name("b")).unwrap(), None);
        assert!(store.list().unwrap().is_empty(), "classes are no profiles");
    }
}
