//! cloud-init's documents as types, and their YAML.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{Result, SeedError};

/// `user-data` of the kind `#cloud-config`; fields left out are cloud-init's defaults.
#[derive(Debug, Clone, Default, Serialize)]
pub struct UserData {
    /// Name of the machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// Exactly these users; an empty list also suppresses the image's default user.
    pub users: Vec<User>,
    /// Whether sshd takes passwords.
    pub ssh_pwauth: bool,
    /// Whether root may not log in over ssh.
    pub disable_root: bool,
    /// Remove the host keys an image came with.
    pub ssh_deletekeys: bool,
    /// Host key types to generate, if none is given.
    pub ssh_genkeytypes: Vec<&'static str>,
    /// Host keys to install.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ssh_keys: Option<SshKeys>,
    /// What cc_ssh shows on the console.
    pub ssh: SshOutput,
    /// Do not print fingerprints either.
    pub no_ssh_fingerprints: bool,
    /// Grow the root partition to the disk.
    pub growpart: GrowPart,
    /// Grow the root file system, in the background.
    pub resize_rootfs: &'static str,
    /// Package sources.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub apt: Option<Apt>,
    /// Further certificate authorities.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_certs: Option<CaCerts>,
    /// Files to write.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub write_files: Vec<WriteFile>,
    /// Commands run early at every boot.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub bootcmd: Vec<Vec<String>>,
    /// Commands run late at the first boot.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub runcmd: Vec<Vec<String>>,
}

/// One user.
#[derive(Debug, Clone, Serialize)]
pub struct User {
    /// Login name.
    pub name: String,
    /// Numeric id.
    pub uid: u32,
    /// Full name.
    pub gecos: String,
    /// Further groups; made if missing.
    pub groups: Vec<String>,
    /// Login shell.
    pub shell: String,
    /// A sudoers rule.
    pub sudo: String,
    /// No password works.
    pub lock_passwd: bool,
    /// Public keys that may log in.
    pub ssh_authorized_keys: Vec<String>,
}

/// Host keys.
#[derive(Clone, Serialize)]
pub struct SshKeys {
    /// OpenSSH private key document.
    pub ed25519_private: String,
    /// Public key line.
    pub ed25519_public: String,
}

impl std::fmt::Debug for SshKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SshKeys")
            .field("public", &self.ed25519_public)
            .finish_non_exhaustive()
    }
}

/// Console output of the ssh module.
#[derive(Debug, Clone, Default, Serialize)]
pub struct SshOutput {
    /// Print host keys on the console.
    pub emit_keys_to_console: bool,
}

/// Growing of partitions.
#[derive(Debug, Clone, Serialize)]
pub struct GrowPart {
    /// `auto` or `off`.
    pub mode: &'static str,
    /// What to grow.
    pub devices: Vec<&'static str>,
    /// Obey /etc/growroot-disabled or not.
    pub ignore_growroot_disabled: bool,
}

impl Default for GrowPart {
    fn default() -> Self {
        Self {
            mode: "auto",
            devices: vec!["/"],
            ignore_growroot_disabled: false,
        }
    }
}

/// apt's settings.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Apt {
    /// Proxy for plain HTTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_proxy: Option<String>,
    /// Proxy for HTTPS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub https_proxy: Option<String>,
}

/// Certificate authorities.
#[derive(Debug, Clone, Serialize)]
pub struct CaCerts {
    /// PEM documents.
    pub trusted: Vec<String>,
}

/// One file.
#[derive(Debug, Clone, Serialize)]
pub struct WriteFile {
    /// Absolute path.
    pub path: String,
    /// Octal digits.
    pub permissions: String,
    /// The text.
    pub content: String,
}

/// `meta-data`.
#[derive(Debug, Clone, Serialize)]
pub struct MetaData {
    /// A new value makes cloud-init do its first-boot work again.
    #[serde(rename = "instance-id")]
    pub instance_id: String,
    /// Name of the machine.
    #[serde(rename = "local-hostname")]
    pub local_hostname: String,
}

/// `network-config`, version 2 (netplan's language).
#[derive(Debug, Clone, Serialize)]
pub struct NetworkConfig {
    /// Always 2.
    pub version: u8,
    /// By a name of our choice.
    pub ethernets: BTreeMap<String, Ethernet>,
}

/// One network card.
#[derive(Debug, Clone, Serialize)]
pub struct Ethernet {
    /// Which card.
    #[serde(rename = "match")]
    pub matching: Match,
    /// Ask for an IPv4 address.
    pub dhcp4: bool,
    /// Ask for an IPv6 address.
    pub dhcp6: bool,
    /// Listen to router advertisements.
    #[serde(rename = "accept-ra")]
    pub accept_ra: bool,
}

/// How to find a card.
#[derive(Debug, Clone, Serialize)]
pub struct Match {
    /// By its address, the only property that veths and bridges cannot share.
    pub macaddress: String,
}

impl UserData {
    /// The document with its first line.
    ///
    /// # Errors
    /// [`SeedError::Render`].
    pub fn render(&self) -> Result<String> {
        Ok(format!("#cloud-config\n{}", yaml("user-data", self)?))
    }
}

impl MetaData {
    /// The document.
    ///
    /// # Errors
    /// [`SeedError::Render`].
    pub fn render(&self) -> Result<String> {
        yaml("meta-data", self)
    }
}

impl NetworkConfig {
    /// DHCP on the card with this address and on no other. QEMU's user network offers
    /// IPv6 that leads nowhere, so it is left alone.
    pub fn dhcp(mac: &str) -> Self {
        let card = Ethernet {
            matching: Match {
                macaddress: mac.to_ascii_lowercase(),
            },
            dhcp4: true,
            dhcp6: false,
            accept_ra: false,
        };
        Self {
            version: 2,
            ethernets: BTreeMap::from([("uplink".to_owned(), card)]),
        }
    }

    /// The document.
    ///
    /// # Errors
    /// [`SeedError::Render`].
    pub fn render(&self) -> Result<String> {
        yaml("network-config", self)
    }
}

fn yaml(document: &'static str, value: &impl Serialize) -> Result<String> {
    let text = serde_saphyr::to_string(value).map_err(|error| SeedError::Render {
        document,
        reason: error.to_string(),
    })?;
    Ok(if text.ends_with('\n') {
        text
    } else {
        text + "\n"
    })
}

/// Refuses what is no six pairs of hex digits.
pub(crate) fn check_mac(mac: &str) -> Result<()> {
    let pairs: Vec<&str> = mac.split(':').collect();
    let good = pairs.len() == 6
        && pairs
            .iter()
            .all(|p| p.len() == 2 && p.bytes().all(|b| b.is_ascii_hexdigit()));
    if good {
        Ok(())
    } else {
        Err(SeedError::BadValue {
            what: "network card address",
            value: mac.into(),
            reason: "it is not of the form 52:54:00:12:34:56",
        })
    }
}

/// Refuses what is no DNS label: it becomes a host name and a part of an id.
pub(crate) fn check_hostname(name: &str) -> Result<()> {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let good = (1..=63).contains(&name.len())
        && name.bytes().all(inner)
        && !name.starts_with('-')
        && !name.ends_with('-');
    if good {
        Ok(())
    } else {
        Err(SeedError::BadValue {
            what: "host name",
            value: name.into(),
            reason: "it is not a DNS label (a-z, 0-9, -, at most 63)",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_yaml_1_1_takes_for_truth_stay_words() {
        for word in [
            "yes",
            "no",
            "on",
            "off",
            "y",
            "n",
            "null",
            "~",
            "1e3",
            "0777",
            "1:30",
            "52:54:00:12:34:56",
        ] {
            let text = MetaData {
                instance_id: word.into(),
                local_hostname: "x".into(),
            }
            .render()
            .unwrap();
            let value = text
                .lines()
                .next()
                .unwrap()
                .strip_prefix("instance-id: ")
                .unwrap();
            assert!(
                value.starts_with(['\'', '"']),
                "{word} is written bare: {value}"
            );
        }
    }

    #[test]
    fn network_config_is_as_netplan_wants_it() {
        let text = NetworkConfig::dhcp("52:54:00:AB:CD:EF").render().unwrap();
        assert_eq!(
            text,
            "version: 2\nethernets:\n  uplink:\n    match:\n      macaddress: 52:54:00:ab:cd:ef\n    dhcp4: true\n    dhcp6: false\n    accept-ra: false\n"
        );
    }

    #[test]
    fn bad_names_and_addresses_are_refused() {
        for bad in ["", "-a", "a-", "A", "a.b", "a b", &"x".repeat(64)] {
            assert!(check_hostname(bad).is_err(), "{bad:?}");
        }
        assert!(check_hostname("cadet-2").is_ok());
        for bad in [
            "",
            "52:54",
            "52:54:00:12:34:5g",
            "525400123456",
            "52:54:00:12:34:56:78",
        ] {
            assert!(check_mac(bad).is_err(), "{bad:?}");
        }
        assert!(check_mac("52:54:00:12:34:56").is_ok());
    }
}
