//! The seed of a profile's machine.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use crate::document::{
    GrowPart, MetaData, NetworkConfig, SshKeys, SshOutput, User, UserData, check_hostname,
    check_mac,
};
use crate::vfat::{self, Entry};
use crate::{Result, SeedError};

pub(crate) const INSTALL: &str = include_str!("../../../cloud-init/install.sh");
const SEED: &str = include_str!("../../../cloud-init/seed.sh");
const FIRST_BOOT: &str = include_str!("../../../cloud-init/first-boot.sh");
/// Keeps the system's hands off the cards between machines; our own image has it as well.
pub const NODES_NETWORK: &str = include_str!("../../../images/guest/files/nodes.network");
const SEED_UNIT: (&str, &str) = (
    "cadet-seed.service",
    include_str!("../../../cloud-init/cadet-seed.service"),
);
pub(crate) const SERVER_UNIT: (&str, &str) = (
    "cadet-server.service",
    include_str!("../../../cloud-init/cadet-server.service"),
);
pub(crate) const AGENT_UNIT: (&str, &str) = (
    "cadet-agent.service",
    include_str!("../../../cloud-init/cadet-agent.service"),
);

const KEEPER_UNIT: (&str, &str) = (
    "cadet-keeper.service",
    include_str!("../../../cloud-init/cadet-keeper.service"),
);

/// The guest's host key pair, made before the guest so that the client can pin it.
#[derive(Clone)]
pub struct HostKey {
    /// OpenSSH private key document.
    pub private: String,
    /// Public key line.
    pub public: String,
}

/// A container build context for a lesson.
pub struct Lesson<'a> {
    /// Name of the lesson's image, e.g. `telescope`.
    pub name: &'a str,
    /// A tar archive with a Dockerfile at its root.
    pub tar: &'a [u8],
}

/// What a machine is in its cluster.
#[derive(Debug, Clone, Copy)]
pub enum Role<'a> {
    /// Runs control plane and agent, and makes the certificates of all.
    First,
    /// Runs an agent with what the first machine made for it: PEM files by their names.
    Worker {
        /// `ca.crt`, `node.crt`, `node.key` …
        pki: &'a BTreeMap<String, String>,
    },
    /// None yet: it is booted once and frozen, and its copies become one or the other. Host key
    /// and authorized key are thrown away.
    Template,
}

/// Everything a profile's machine is told.
pub struct Machine<'a> {
    /// Host name; the profile's name, a DNS label.
    pub hostname: &'a str,
    /// Login name in the guest.
    pub user: &'a str,
    /// Public key line that may log in.
    pub authorized_key: &'a str,
    /// The guest's host key.
    pub host_key: HostKey,
    /// Address of the network card that leads out.
    pub mac: &'a str,
    /// The static `cadet-node` program for the guest's architecture.
    pub cadet_node: &'a [u8],
    /// `node.json`.
    pub node_config: &'a str,
    /// `lessons.json`.
    pub lessons_table: &'a str,
    /// Build contexts named in it.
    pub lessons: Vec<Lesson<'a>>,
    /// What it runs.
    pub role: Role<'a>,
}

impl Machine<'_> {
    /// The first document: who may log in and what to install.
    ///
    /// # Errors
    /// [`SeedError::BadValue`] for names that are none.
    pub fn user_data(&self) -> Result<UserData> {
        check_hostname(self.hostname)?;
        let user = self.user;
        let well_formed = user.starts_with(|c: char| c.is_ascii_lowercase())
            && user.len() <= 32
            && user
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if !well_formed {
            return Err(SeedError::BadValue {
                what: "user name",
                value: user.into(),
                reason: "it is not a plain login name",
            });
        }
        let shell = |text: &str| vec!["sh".to_owned(), "-c".to_owned(), text.to_owned()];
        Ok(UserData {
            hostname: Some(self.hostname.into()),
            users: vec![User {
                name: user.into(),
                uid: 1000,
                gecos: "Cadet".into(),
                groups: vec!["docker".into()],
                shell: "/bin/bash".into(),
                sudo: "ALL=(ALL) NOPASSWD:ALL".into(),
                lock_passwd: true,
                ssh_authorized_keys: vec![self.authorized_key.trim().into()],
            }],
            ssh_pwauth: false,
            disable_root: true,
            ssh_deletekeys: true,
            ssh_genkeytypes: vec!["ed25519"],
            ssh_keys: Some(SshKeys {
                ed25519_private: self.host_key.private.clone(),
                ed25519_public: self.host_key.public.trim().into(),
            }),
            ssh: SshOutput {
                emit_keys_to_console: false,
            },
            no_ssh_fingerprints: true,
            growpart: GrowPart::default(),
            resize_rootfs: "noblock",
            bootcmd: vec![shell(SEED)],
            runcmd: vec![shell(FIRST_BOOT)],
            ..UserData::default()
        })
    }

    /// The finished disk.
    ///
    /// # Errors
    /// [`SeedError`].
    pub fn disk(&self) -> Result<Vec<u8>> {
        check_mac(self.mac)?;
        let user_data = self.user_data()?.render()?;
        let meta_data = MetaData {
            instance_id: instance_id(self.hostname, &user_data),
            local_hostname: self.hostname.into(),
        }
        .render()?;
        let network = NetworkConfig::dhcp(self.mac).render()?;
        let mut entries = vec![
            Entry::new("user-data", user_data.as_bytes()),
            Entry::new("meta-data", meta_data.as_bytes()),
            Entry::new("network-config", network.as_bytes()),
            Entry::new("install.sh", INSTALL.as_bytes()),
            Entry::new("seed.sh", SEED.as_bytes()),
            Entry::new("lessons.json", self.lessons_table.as_bytes()),
            Entry::new("nodes.network", NODES_NETWORK.as_bytes()),
        ];
        if !matches!(self.role, Role::Template) {
            let config = Entry::new("node.json", self.node_config.as_bytes());
            entries.push(config);
        }
        let mut units = vec![SEED_UNIT, KEEPER_UNIT, AGENT_UNIT];
        match &self.role {
            Role::First | Role::Template => units.push(SERVER_UNIT),
            Role::Worker { pki } => {
                for (name, pem) in *pki {
                    check_file_name(name)?;
                    entries.push(Entry::new(format!("pki/{name}"), pem.as_bytes()));
                }
            }
        }
        for (name, text) in units {
            entries.push(Entry::new(format!("units/{name}"), text.as_bytes()));
        }
        for lesson in &self.lessons {
            check_hostname(lesson.name)?;
            entries.push(Entry::new(
                format!("lessons/{}.tar", lesson.name),
                lesson.tar,
            ));
        }
        entries.push(Entry::new("cadet-node", self.cadet_node));
        vfat::disk(&entries)
    }
}

/// Changes whenever what a template's seed does to a machine changes, apart from the programs on
/// it: part of the template's key.
pub fn template_recipe() -> String {
    let mut all = Sha256::new();
    for text in [INSTALL, SEED, FIRST_BOOT, NODES_NETWORK] {
        all.update(text.as_bytes());
    }
    for (name, text) in [SEED_UNIT, KEEPER_UNIT, SERVER_UNIT, AGENT_UNIT] {
        all.update(name.as_bytes());
        all.update(text.as_bytes());
    }
    all.finalize().iter().map(|b| format!("{b:02x}")).collect()
}

/// Refuses what is no plain name of a certificate or key.
pub(crate) fn check_file_name(name: &str) -> Result<()> {
    let stem = name.strip_suffix(".crt").or(name.strip_suffix(".key"));
    check_hostname(stem.unwrap_or_default()).map_err(|_| SeedError::BadValue {
        what: "file name",
        value: name.into(),
        reason: "it is not of the form node.crt or node.key",
    })
}

/// Changes exactly when the user data does: new keys or a new name make cloud-init do
/// its first-boot work again, a newer `cadet-node` alone does not.
pub(crate) fn instance_id(hostname: &str, user_data: &str) -> String {
    let digest = Sha256::digest(user_data.as_bytes());
    let hex: String = digest
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("cadet-{hostname}-{hex}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine<'a>() -> Machine<'a> {
        Machine {
            hostname: "cadet",
            user: "cadet",
            authorized_key: "ssh-ed25519 AAAAclient you@laptop\n",
            host_key: HostKey {
                private:
                    "-----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl\n-----END OPENSSH PRIVATE KEY-----\n"
                        .into(),
                public: "ssh-ed25519 AAAAhost cadet".into(),
            },
            mac: "52:54:00:12:34:56",
            cadet_node: b"\x7fELF node",
            node_config: "{}",
            lessons_table: "[]",
            lessons: vec![Lesson {
                name: "telescope",
                tar: b"tar",
            }],
            role: Role::First,
        }
    }

    #[test]
    fn user_data_is_the_golden_one() {
        let text = machine().user_data().unwrap().render().unwrap();
        // The scripts are files of their own; the golden text is about the rest.
        let head = text.split("bootcmd:").next().unwrap();
        assert_eq!(head, include_str!("golden/user-data-head.yaml"));
        let value: serde_json::Value = serde_saphyr::from_str(&text).unwrap();
        assert_eq!(value["bootcmd"][0][2], SEED);
        assert_eq!(value["runcmd"][0][2], FIRST_BOOT);
        assert_eq!(
            value["ssh_keys"]["ed25519_private"],
            "-----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl\n-----END OPENSSH PRIVATE KEY-----\n"
        );
        assert_eq!(value["ssh_pwauth"], false);
    }

    #[test]
    fn the_instance_changes_with_keys_but_not_with_the_program() {
        let id = |m: &Machine| instance_id(m.hostname, &m.user_data().unwrap().render().unwrap());
        let first = machine();
        let mut newer = machine();
        newer.cadet_node = b"newer";
        assert_eq!(id(&first), id(&newer));
        let mut other = machine();
        other.authorized_key = "ssh-ed25519 AAAAother";
        assert_ne!(id(&first), id(&other));
    }

    #[test]
    fn the_same_seed_is_the_same_bytes() {
        assert!(machine().disk().unwrap() == machine().disk().unwrap());
    }

    #[test]
    fn a_worker_gets_its_keys_and_no_server() {
        let holds = |disk: &[u8], text: &str| {
            disk.windows(text.len())
                .any(|window| window == text.as_bytes())
        };
        let pki = BTreeMap::from([("node.key".to_owned(), "secret of the node".to_owned())]);
        let mut worker = machine();
        worker.role = Role::Worker { pki: &pki };
        let (first, worker) = (machine().disk().unwrap(), worker.disk().unwrap());
        assert!(holds(&first, "Description=Cadet control plane"));
        assert!(!holds(&worker, "Description=Cadet control plane"));
        let mut template = machine();
        template.role = Role::Template;
        template.node_config = "the configuration of nobody";
        let template = template.disk().unwrap();
        assert!(!holds(&template, "the configuration of nobody"));
        assert!(holds(&template, "Description=Cadet control plane"));
        for disk in [&first, &worker, &template] {
            assert!(holds(disk, "Description=Cadet clock and serial port"));
            assert!(holds(disk, "Description=Cadet node agent"));
            assert!(holds(disk, "Unmanaged=yes"));
        }
        assert!(holds(&worker, "secret of the node"));
        for bad in ["../node.key", "node", ".key", "a/b.crt", "node.key.key"] {
            let pki = BTreeMap::from([(bad.to_owned(), String::new())]);
            let mut worker = machine();
            worker.role = Role::Worker { pki: &pki };
            assert!(
                matches!(worker.disk(), Err(SeedError::BadValue { .. })),
                "{bad}"
            );
        }
    }

    #[test]
    fn only_the_card_that_leads_out_asks_for_an_address() {
        let network = NetworkConfig::dhcp("52:54:00:12:34:56").render().unwrap();
        assert!(!network.contains("02:ca:de"), "{network}");
    }

    #[test]
    fn names_that_could_hurt_are_refused() {
        for user in ["", "Root", "a b", "1a", "a:b", "a\nsudo"] {
            let mut bad = machine();
            bad.user = user;
            assert!(
                matches!(bad.disk(), Err(SeedError::BadValue { .. })),
                "{user:?}"
            );
        }
        let mut bad = machine();
        bad.lessons = vec![Lesson {
            name: "../etc",
            tar: b"",
        }];
        assert!(matches!(bad.disk(), Err(SeedError::BadValue { .. })));
        let mut bad = machine();
        bad.mac = "nonsense";
        assert!(matches!(bad.disk(), Err(SeedError::BadValue { .. })));
    }

    #[test]
    fn the_scripts_are_sound_shell() {
        for (name, text) in [
            ("install", INSTALL),
            ("seed", SEED),
            ("first-boot", FIRST_BOOT),
        ] {
            let status = std::process::Command::new("sh")
                .args(["-n", "-c", text])
                .status()
                .unwrap();
            assert!(status.success(), "{name}");
        }
    }
}
