//! The copy of a template becomes a machine of its own: names, keys and configuration in their
//! places, then the services that stand on them.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use cadet_api::keeper::{Card, Identity};

use super::command::{self, CommandError};

/// Login and group of the machine's user (cloud-init makes it with these numbers).
const USER: u32 = 1000;
/// What every machine runs, and what only the first of a cluster does.
const AGENT: &str = "cadet-agent.service";
const SERVER: &str = "cadet-server.service";
const UNITS: &str = "etc/systemd/system";
const WANTED: &str = "etc/systemd/system/multi-user.target.wants";

/// Why the copy could not become it.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file could not be written.
    #[error("cannot write {path}")]
    Write {
        path: PathBuf,
        source: std::io::Error,
    },
    /// The host name was refused.
    #[error("cannot set the host name")]
    Hostname(#[source] nix::errno::Errno),
    /// A name that leads elsewhere.
    #[error("{0:?} is no plain name")]
    Name(String),
    /// No such card.
    #[error("there is no network card {0}")]
    NoCard(String),
    /// A program of the system failed.
    #[error(transparent)]
    Command(#[from] CommandError),
}

/// Does all of it. `config` is written last: with it the machine is no template any more.
///
/// # Errors
/// [`IdentityError`]; the copy is then of no use.
pub fn take_on(root: &Path, config: &Path, identity: &Identity) -> Result<(), IdentityError> {
    let is_worker = !identity.pki.is_empty();
    write_files(root, identity)?;
    nix::unistd::sethostname(&identity.hostname).map_err(IdentityError::Hostname)?;
    if let Some(card) = &identity.card {
        readdress(root, card)?;
    }
    put(config, &identity.node_config, 0o644)?;
    let socket = root
        .join(WANTED.replace("multi-user", "sockets"))
        .join("ssh.socket");
    let door = if socket.exists() {
        "ssh.socket"
    } else {
        "ssh.service"
    };
    let mut start = vec!["systemctl", "start", "--no-block", door, AGENT];
    if !is_worker {
        start.push(SERVER);
    }
    std::thread::scope(|scope| {
        let starting = scope.spawn(|| command::run(&start));
        // What identifies the machine must survive a power cut that comes once the laptop knows of
        // it.
        nix::unistd::sync();
        let started = starting.join();
        started.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })?;
    // The journal is named after the machine; its present one is the template's. Nobody waits
    // for another.
    std::thread::spawn(|| {
        command::try_run(&[
            "systemctl",
            "--no-block",
            "restart",
            "systemd-journald.service",
        ]);
    });
    Ok(())
}

/// Everything that is a file, but for `node.json`.
fn write_files(root: &Path, identity: &Identity) -> Result<(), IdentityError> {
    let name = plain(&identity.hostname)?;
    let machine_id = uuid::Uuid::new_v4().simple().to_string();
    put(
        &root.join("etc/machine-id"),
        &format!("{machine_id}\n"),
        0o444,
    )?;
    put(&root.join("etc/hostname"), &format!("{name}\n"), 0o644)?;
    hosts(&root.join("etc/hosts"), name)?;

    let keys = root.join("etc/ssh");
    let private = keys.join("ssh_host_ed25519_key");
    put(&private, &identity.host_key_private, 0o600)?;
    let public = format!("{}\n", identity.host_key_public.trim());
    put(&keys.join("ssh_host_ed25519_key.pub"), &public, 0o644)?;

    let home = root.join("home").join(plain(&identity.user)?).join(".ssh");
    let allowed = home.join("authorized_keys");
    let line = format!("{}\n", identity.authorized_key.trim());
    put(&allowed, &line, 0o600)?;
    mode(&home, 0o700)?;
    for path in [&home, &allowed] {
        give(path)?;
    }

    let random: Vec<u8> = (0..32)
        .flat_map(|_| *uuid::Uuid::new_v4().as_bytes())
        .collect();
    put(&root.join("var/lib/systemd/random-seed"), &random, 0o600)?;

    if identity.pki.is_empty() {
        return Ok(());
    }
    let pki = root.join("var/lib/cadet/pki");
    for (name, pem) in &identity.pki {
        put(&pki.join(plain(name)?), pem, 0o600)?;
    }
    mode(&pki, 0o700)?;
    // The template was made for either.
    for place in [WANTED, UNITS] {
        let unit = root.join(place).join(SERVER);
        match fs::remove_file(&unit) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                return Err(IdentityError::Write { path: unit, source });
            }
            _ => {}
        }
    }
    Ok(())
}

/// sudo and others ask for the machine's own name; see first-boot.sh.
fn hosts(path: &Path, name: &str) -> Result<(), IdentityError> {
    let old = fs::read_to_string(path).unwrap_or_default();
    let mut text: String = old
        .lines()
        .filter(|line| line.split_whitespace().next() != Some("127.0.1.1"))
        .map(|line| format!("{line}\n"))
        .collect();
    text.push_str(&format!("127.0.1.1 {name}\n"));
    put(path, &text, 0o644)
}

/// Gives a card another hardware address, as ip-link(8) does.
fn readdress(root: &Path, card: &Card) -> Result<(), IdentityError> {
    if card.from == card.to {
        return Ok(());
    }
    let none = || IdentityError::NoCard(card.from.clone());
    let listed = fs::read_dir(root.join("sys/class/net")).map_err(|_| none())?;
    let found = listed.flatten().find(|entry| {
        let address = fs::read_to_string(entry.path().join("address")).unwrap_or_default();
        address.trim().eq_ignore_ascii_case(&card.from)
    });
    let name = found.ok_or_else(none)?.file_name();
    let name = name.to_string_lossy();
    Ok(command::run(&[
        "ip", "link", "set", "dev", &name, "address", &card.to,
    ])?)
}

/// A name that stays in its folder.
fn plain(name: &str) -> Result<&str, IdentityError> {
    let inner = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.is_empty() || name.starts_with('.') || !name.chars().all(inner) {
        return Err(IdentityError::Name(name.to_owned()));
    }
    Ok(name)
}

/// Writes a file in one step, with its folder.
fn put(path: &Path, text: &(impl AsRef<[u8]> + ?Sized), bits: u32) -> Result<(), IdentityError> {
    let beside = path.with_file_name(format!(
        "{}.cadet-new",
        path.file_name().unwrap_or_default().to_string_lossy()
    ));
    let write = || -> std::io::Result<()> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut options = fs::OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(bits);
        let mut file = options.open(&beside)?;
        file.write_all(text.as_ref())?;
        // The mode above is for new files only, and less what the process masks.
        file.set_permissions(fs::Permissions::from_mode(bits))?;
        fs::rename(&beside, path)
    };
    write().map_err(|source| IdentityError::Write {
        path: path.to_path_buf(),
        source,
    })
}

fn mode(path: &Path, bits: u32) -> Result<(), IdentityError> {
    let done = fs::set_permissions(path, fs::Permissions::from_mode(bits));
    done.map_err(|source| IdentityError::Write {
        path: path.to_path_buf(),
        source,
    })
}

/// To the machine's user, by whoever may give.
fn give(path: &Path) -> Result<(), IdentityError> {
    if !nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    chown(path, Some(USER), Some(USER)).map_err(|source| IdentityError::Write {
        path: path.to_path_buf(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use cadet_api::keeper::Wake;

    use super::*;

    fn identity() -> Identity {
        Identity {
            wake: Wake {
                now: 1,
                seed: Vec::new(),
            },
            hostname: "shop-2".into(),
            user: "cadet".into(),
            authorized_key: "ssh-ed25519 AAAAclient".into(),
            host_key_private: "-----BEGIN OPENSSH PRIVATE KEY-----\n".into(),
            host_key_public: "ssh-ed25519 AAAAhost\n".into(),
            node_config: "{}".into(),
            pki: BTreeMap::new(),
            card: None,
        }
    }

    #[test]
    fn a_copy_gets_names_and_keys_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let text = |name: &str| fs::read_to_string(root.join(name)).unwrap();
        let bits = |name: &str| fs::metadata(root.join(name)).unwrap().permissions().mode() & 0o777;
        fs::create_dir(root.join("etc")).unwrap();
        fs::write(
            root.join("etc/hosts"),
            "127.0.0.1 localhost\n127.0.1.1 template\n",
        )
        .unwrap();
        write_files(root, &identity()).unwrap();
        assert_eq!(text("etc/hostname"), "shop-2\n");
        assert_eq!(text("etc/hosts"), "127.0.0.1 localhost\n127.0.1.1 shop-2\n");
        assert_eq!(
            text("etc/ssh/ssh_host_ed25519_key.pub"),
            "ssh-ed25519 AAAAhost\n"
        );
        assert_eq!(bits("etc/ssh/ssh_host_ed25519_key"), 0o600);
        assert_eq!(bits("home/cadet/.ssh"), 0o700);
        assert_eq!(bits("home/cadet/.ssh/authorized_keys"), 0o600);
        assert_eq!(
            fs::read(root.join("var/lib/systemd/random-seed"))
                .unwrap()
                .len(),
            512
        );
        let id = text("etc/machine-id");
        assert_eq!(id.trim().len(), 32);
        assert!(id.trim().chars().all(|c| c.is_ascii_hexdigit()));
        write_files(root, &identity()).unwrap();
        assert_ne!(id, text("etc/machine-id"), "two copies are one machine");
        assert!(!root.join("var/lib/cadet/pki").exists());
    }

    #[test]
    fn a_worker_gets_keys_and_loses_the_server() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        for place in [WANTED, UNITS] {
            fs::create_dir_all(root.join(place)).unwrap();
            fs::write(root.join(place).join(SERVER), "[Unit]").unwrap();
            fs::write(root.join(place).join(AGENT), "[Unit]").unwrap();
        }
        let mut worker = identity();
        worker.pki = BTreeMap::from([("node.key".to_owned(), "secret".to_owned())]);
        write_files(root, &worker).unwrap();
        let pki = root.join("var/lib/cadet/pki");
        assert_eq!(
            fs::metadata(&pki).unwrap().permissions().mode() & 0o777,
            0o700
        );
        assert_eq!(fs::read_to_string(pki.join("node.key")).unwrap(), "secret");
        for place in [WANTED, UNITS] {
            assert!(!root.join(place).join(SERVER).exists());
            assert!(root.join(place).join(AGENT).exists());
        }
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        for bad in ["", "..", "../x", "a/b", "a b", ".ssh", "a\n"] {
            let mut other = identity();
            other.user = bad.into();
            let refused = write_files(dir.path(), &other);
            assert!(matches!(refused, Err(IdentityError::Name(_))), "{bad:?}");
            let mut other = identity();
            other.pki = BTreeMap::from([(bad.to_owned(), String::new())]);
            let refused = write_files(dir.path(), &other);
            assert!(matches!(refused, Err(IdentityError::Name(_))), "{bad:?}");
        }
    }

    #[test]
    fn a_card_that_is_not_there_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let card = Card {
            from: "02:ca:de:00:00:01".into(),
            to: "02:ca:de:00:00:02".into(),
        };
        let refused = readdress(dir.path(), &card);
        assert!(matches!(refused, Err(IdentityError::NoCard(_))));
        let same = Card {
            to: card.from.clone(),
            ..card
        };
        readdress(dir.path(), &same).unwrap();
    }
}
