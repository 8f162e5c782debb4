//! Every on-disk name of the Cadet home, and the rules for profile names.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// Longest profile name. The name becomes the guest's host name and a part of a
/// unix socket path, which macOS limits to 103 bytes in all.
const LONGEST_NAME: usize = 40;

/// A checked profile name: a DNS-1123 label (RFC 1123), because it becomes the
/// guest's host name, the node's name, a kubeconfig context and a folder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProfileName(String);

impl ProfileName {
    /// Checks `name`.
    ///
    /// # Errors
    /// [`Error::BadName`] with the rule that was broken.
    pub fn parse(name: &str) -> Result<Self> {
        let bad = |reason| {
            Err(Error::BadName {
                name: name.into(),
                reason,
            })
        };
        if name.is_empty() {
            return bad("it is empty");
        }
        if name.len() > LONGEST_NAME {
            return bad("it is longer than 40 characters");
        }
        let label = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if !name.chars().all(label) {
            return bad("only a-z, 0-9 and - are allowed, as in a host name");
        }
        if name.starts_with('-') || name.ends_with('-') {
            return bad("it must start and end with a letter or a digit");
        }
        Ok(Self(name.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ProfileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The two folders Cadet owns: what must not be lost and what can be fetched again.
#[derive(Debug, Clone)]
pub struct Home {
    data: PathBuf,
    cache: PathBuf,
}

impl Home {
    /// `data` holds profiles and records, `cache` holds images and downloads.
    pub fn new(data: impl Into<PathBuf>, cache: impl Into<PathBuf>) -> Self {
        Self {
            data: data.into(),
            cache: cache.into(),
        }
    }

    /// The folder of what must not be lost.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Base images, downloads, prepared bases.
    pub fn images(&self) -> PathBuf {
        self.cache.join("images")
    }

    /// Programs fetched for the user, such as kubectl, by version.
    pub fn programs(&self) -> PathBuf {
        self.cache.join("programs")
    }

    /// What came through the cache of container images.
    pub fn registry(&self) -> PathBuf {
        self.cache.join("registry")
    }

    /// Held by the one process that serves it.
    pub fn registry_lock(&self) -> PathBuf {
        self.cache.join(".registry.lock")
    }

    /// At which port it is served, and by whom.
    pub fn registry_note(&self) -> PathBuf {
        self.cache.join("registry.json")
    }

    /// What that process said.
    pub fn registry_log(&self) -> PathBuf {
        self.cache.join("registry.log")
    }

    /// The cache folder itself.
    pub fn cache(&self) -> &Path {
        &self.cache
    }

    /// The homes whose machines lie on what is in the cache: several may share one.
    pub fn users(&self) -> PathBuf {
        self.cache.join("homes")
    }

    /// What belongs to classes, given or taken.
    pub fn class(&self) -> PathBuf {
        self.data.join("class")
    }

    /// The teacher's key, with which bundles are signed; mode 0600.
    pub fn teacher_key(&self) -> PathBuf {
        self.class().join("teacher_ed25519")
    }

    /// What the last bundle put on this computer.
    pub fn class_record(&self) -> PathBuf {
        self.class().join("class.json")
    }

    /// Programs of the last bundle, with its lessons in `tutorials` as beside every program.
    pub fn class_programs(&self) -> PathBuf {
        self.class().join("programs")
    }

    /// Lessons of the last bundle.
    pub fn class_lessons(&self) -> PathBuf {
        self.class_programs().join("tutorials")
    }

    /// sled's folder of a class's rows.
    pub fn class_rows(&self) -> PathBuf {
        self.class().join("rows.sled")
    }

    /// Their readable copy.
    pub fn class_copy(&self) -> PathBuf {
        self.class().join("rows.json")
    }

    /// Written and removed to see whether the disk has room for the rows.
    pub fn class_probe(&self) -> PathBuf {
        self.class().join("rows.room")
    }

    /// Damaged rows that were put aside; `stamp` is seconds since 1970.
    pub fn class_rows_aside(&self, stamp: u64) -> PathBuf {
        self.class().join(format!("rows.sled.damaged-{stamp}"))
    }

    /// Where a class that is served now is reached, for the teacher's other terminals; mode 0600.
    pub fn class_open(&self) -> PathBuf {
        self.class().join("open.json")
    }

    /// The commands of terminals that the teacher shows to the class.
    pub fn class_commands(&self) -> PathBuf {
        self.class().join("commands")
    }

    /// Container images that were fetched for the class.
    pub fn class_images(&self) -> PathBuf {
        self.cache.join("class-images")
    }

    /// Pieces of a bundle that is being made or installed.
    pub fn class_work(&self) -> PathBuf {
        self.cache.join("class")
    }

    /// sled's folder of records.
    pub fn database(&self) -> PathBuf {
        self.data.join("state.sled")
    }

    /// Where a damaged database is put so that nothing is lost; `stamp` is seconds
    /// since 1970.
    pub fn database_aside(&self, stamp: u64) -> PathBuf {
        self.data.join(format!("state.sled.damaged-{stamp}"))
    }

    /// What the user has chosen for all profiles.
    pub fn settings(&self) -> PathBuf {
        self.data.join("settings.json")
    }

    /// Held while the settings are changed.
    pub fn settings_lock(&self) -> PathBuf {
        self.data.join(".settings.lock")
    }

    /// Where damaged settings are put; `stamp` is seconds since 1970.
    pub fn settings_aside(&self, stamp: u64) -> PathBuf {
        self.data.join(format!("settings.json.damaged-{stamp}"))
    }

    /// What trying the accelerators gave, for this QEMU and this kernel.
    pub fn accelerator(&self) -> PathBuf {
        self.cache.join("accelerator.json")
    }

    /// Machines frozen before they became anybody, from which new ones are copied.
    pub fn templates(&self) -> PathBuf {
        self.cache.join("templates")
    }

    /// The files of the template with this key, a short text of letters and digits.
    pub fn template(&self, key: &str) -> TemplatePaths {
        TemplatePaths {
            dir: self.templates().join(key),
        }
    }

    /// Held while a template is made or removed. Outside its folder, which comes and goes.
    pub fn template_lock(&self) -> PathBuf {
        self.cache.join("templates.lock")
    }

    /// Folder of all profiles.
    pub fn profiles(&self) -> PathBuf {
        self.data.join("profiles")
    }

    /// Throw-away browser profiles, removed when the browser ends.
    pub fn browsers(&self) -> PathBuf {
        self.data.join("browsers")
    }

    /// The files of one profile.
    pub fn profile(&self, name: &ProfileName) -> ProfilePaths {
        ProfilePaths {
            dir: self.profiles().join(name.as_str()),
        }
    }

    /// The lock file of one profile. It lies outside the profile's folder, so that
    /// `delete` can remove the folder while it holds the lock.
    pub fn profile_lock(&self, name: &ProfileName) -> PathBuf {
        self.profiles().join(format!(".{name}.lock"))
    }
}

/// The files of one template. The folder gets its name when all in it is whole.
#[derive(Debug, Clone)]
pub struct TemplatePaths {
    dir: PathBuf,
}

impl TemplatePaths {
    /// Its folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
    /// What is known of it; its time is that of its last use.
    pub fn note(&self) -> PathBuf {
        self.dir.join("template.json")
    }
    /// Its disk, on which those of its copies lie.
    pub fn disk(&self) -> PathBuf {
        self.dir.join("disk.qcow2")
    }
    /// Its memory.
    pub fn memory(&self) -> PathBuf {
        self.dir.join("memory")
    }
    /// All else of its state.
    pub fn state(&self) -> PathBuf {
        self.dir.join("state")
    }
    /// The folder in which it is made. Short names: sockets lie in it.
    pub fn making(&self) -> ProfilePaths {
        ProfilePaths {
            dir: self.dir.with_file_name("making"),
        }
    }
}

/// A snapshot's files.
#[derive(Debug, Clone)]
pub struct SnapshotPaths {
    dir: PathBuf,
}

impl SnapshotPaths {
    /// Its folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
    /// What is known of it; written last, so that half a snapshot is none.
    pub fn record(&self) -> PathBuf {
        self.dir.join("snapshot.json")
    }
    /// State of the machine with this number.
    pub fn state(&self, number: u8) -> PathBuf {
        self.dir.join(format!("{number}.state"))
    }
    /// What is noted of that state.
    pub fn note(&self, number: u8) -> PathBuf {
        self.dir.join(format!("{number}.json"))
    }
}

/// The files of one profile.
#[derive(Debug, Clone)]
pub struct ProfilePaths {
    dir: PathBuf,
}

impl ProfilePaths {
    /// The profile's folder, mode 0700.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
    /// Readable copy of the record, from which a damaged database is rebuilt.
    pub fn record(&self) -> PathBuf {
        self.dir.join("profile.json")
    }
    /// The machine's disk: a qcow2 overlay on a prepared base.
    pub fn disk(&self) -> PathBuf {
        self.dir.join("disk.qcow2")
    }
    /// The CIDATA disk.
    pub fn seed(&self) -> PathBuf {
        self.dir.join("seed.img")
    }
    /// The client's private SSH key, mode 0600.
    pub fn client_key(&self) -> PathBuf {
        self.dir.join("id_ed25519")
    }
    /// The guest's host key, made here so that the client can pin it; mode 0600.
    pub fn host_key(&self) -> PathBuf {
        self.dir.join("host_ed25519")
    }
    /// OpenSSH known_hosts line for people who use plain `ssh`.
    pub fn known_hosts(&self) -> PathBuf {
        self.dir.join("known_hosts")
    }
    /// kubeconfig of this profile alone, mode 0600.
    pub fn kubeconfig(&self) -> PathBuf {
        self.dir.join("kubeconfig")
    }
    /// QEMU's monitor socket.
    pub fn qmp(&self) -> PathBuf {
        self.dir.join("qmp.sock")
    }
    /// Leads to the guest's keeper. As long as the monitor socket's name: paths of sockets have
    /// a limit.
    pub fn keeper(&self) -> PathBuf {
        self.dir.join("kpr.sock")
    }
    /// What a saved state of the running machine depends on.
    pub fn key(&self) -> PathBuf {
        self.dir.join("qemu.key.json")
    }
    /// State of a suspended machine.
    pub fn suspended(&self) -> PathBuf {
        self.dir.join("suspended.state")
    }
    /// What is noted of that state; while it is there, the machine is suspended.
    pub fn suspended_note(&self) -> PathBuf {
        self.dir.join("suspended.json")
    }
    /// Folder of the profile's snapshots.
    pub fn snapshots(&self) -> PathBuf {
        self.dir.join("snapshots")
    }
    /// The files of one snapshot.
    pub fn snapshot(&self, name: &ProfileName) -> SnapshotPaths {
        SnapshotPaths {
            dir: self.snapshots().join(name.as_str()),
        }
    }
    /// Which snapshot the disks go back to; there while some have, and some may not.
    pub fn restoring(&self) -> PathBuf {
        self.dir.join("restoring")
    }
    /// The guest's serial console.
    pub fn serial_log(&self) -> PathBuf {
        self.dir.join("serial.log")
    }
    /// What QEMU itself said.
    pub fn qemu_log(&self) -> PathBuf {
        self.dir.join("qemu.log")
    }
    /// QEMU's process id and start time.
    pub fn pid(&self) -> PathBuf {
        self.dir.join("qemu.pid")
    }
    /// Folders of the machines beside the first.
    pub fn nodes(&self) -> PathBuf {
        self.dir.join("nodes")
    }
    /// The files of another machine of this profile, by its number: of those below, disk, seed,
    /// host key, sockets and logs. Short, because a socket lies in it.
    pub fn node(&self, number: u8) -> Self {
        Self {
            dir: self.nodes().join(number.to_string()),
        }
    }
    /// How long the machine slept since its start, and what became of its clock.
    pub fn clock(&self) -> PathBuf {
        self.dir.join("clock.json")
    }
    /// Which addons the user switched off.
    pub fn addons(&self) -> PathBuf {
        self.dir.join("addons.json")
    }
    /// Files of lessons that are played unattended.
    pub fn play(&self) -> PathBuf {
        self.dir.join("play")
    }
    /// Control socket of a background tunnel.
    pub fn tunnel_socket(&self) -> PathBuf {
        self.dir.join("tunnel.sock")
    }
    /// Leads to the guest's Docker Engine while a tunnel runs.
    pub fn docker_socket(&self) -> PathBuf {
        self.dir.join("docker.sock")
    }
    /// What a background tunnel said.
    pub fn tunnel_log(&self) -> PathBuf {
        self.dir.join("tunnel.log")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dns_labels() {
        for good in ["cadet", "c", "class-7", "2026"] {
            assert_eq!(ProfileName::parse(good).unwrap().as_str(), good);
        }
        let long = "a".repeat(41);
        for bad in [
            "", "-a", "a-", "Cadet", "a b", "a/b", "../x", "ä", "a.b", "a\n", &long,
        ] {
            assert!(
                matches!(ProfileName::parse(bad), Err(Error::BadName { .. })),
                "{bad:?}"
            );
        }
    }

    #[test]
    fn each_machine_has_a_folder_in_its_profiles() {
        let home = Home::new("/h", "/c");
        let first = home.profile(&ProfileName::parse("cadet").unwrap());
        let second = first.node(2);
        assert_eq!(
            second.qmp(),
            Path::new("/h/profiles/cadet/nodes/2/qmp.sock")
        );
        assert!(second.dir().starts_with(first.dir()));
        assert_ne!(second.disk(), first.node(3).disk());
    }

    #[test]
    fn sockets_have_names_of_one_length() {
        let home = Home::new("/h", "/c");
        let files = home.profile(&ProfileName::parse("cadet").unwrap()).node(9);
        let length = |path: PathBuf| path.as_os_str().len();
        assert_eq!(length(files.qmp()), length(files.keeper()));
        let making = home.template("0123456789abcdef").making();
        assert_eq!(making.dir(), Path::new("/c/templates/making"));
    }

    #[test]
    fn the_lock_survives_the_folder() {
        let home = Home::new("/h", "/c");
        let name = ProfileName::parse("cadet").unwrap();
        assert!(
            !home
                .profile_lock(&name)
                .starts_with(home.profile(&name).dir())
        );
    }
}
