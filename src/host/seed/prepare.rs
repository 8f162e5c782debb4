//! The seed of the one boot that puts a container engine into a fresh Ubuntu image.
//!
//! The guest powers itself off when done; the host then keeps the disk as a prepared
//! base. What happened is one line on the serial console, read by [`Prepare::outcome`].

use crate::Result;
use crate::document::{
    Apt, CaCerts, GrowPart, MetaData, NetworkConfig, UserData, WriteFile, check_hostname, check_mac,
};
use crate::machine::instance_id;
use crate::vfat::{self, Entry};

const SCRIPT: &str = include_str!("../../../cloud-init/prepare.sh");
/// The Debian guest's own files, so that both guests behave alike.
const FILES: &[(&str, &str)] = &[
    (
        "daemon.json",
        include_str!("../../../images/guest/files/docker-daemon.json"),
    ),
    (
        "sysctl.conf",
        include_str!("../../../images/guest/files/sysctl.conf"),
    ),
    (
        "modules-load.conf",
        include_str!("../../../images/guest/files/modules-load.conf"),
    ),
    (
        "sshd.conf",
        include_str!("../../../images/guest/files/sshd.conf"),
    ),
];
/// First word of the line that tells the outcome.
const MARK: &str = "CADET-PREPARE";

/// What the preparing boot needs to know.
#[derive(Debug, Clone)]
pub struct Prepare<'a> {
    /// Host name of the short-lived machine.
    pub hostname: &'a str,
    /// Address of its network card.
    pub mac: &'a str,
    /// Proxy for apt, as the guest reaches it (`10.0.2.2` is the host).
    pub apt_proxy: Option<&'a str>,
    /// PEM documents of certificate authorities to trust.
    pub authorities: Vec<String>,
}

/// How the preparing boot ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// All is installed; the rest of the line (engine version, runtime).
    Done(String),
    /// It failed; the rest of the line (step, exit status, last words).
    Failed(String),
}

impl Prepare<'_> {
    /// The first document.
    ///
    /// # Errors
    /// [`crate::SeedError::BadValue`] for a host name that is none.
    pub fn user_data(&self) -> Result<UserData> {
        check_hostname(self.hostname)?;
        let file = |(name, text): &(&str, &str)| WriteFile {
            path: format!("/run/cadet-prepare/{name}"),
            permissions: "0644".into(),
            content: (*text).into(),
        };
        Ok(UserData {
            hostname: Some(self.hostname.into()),
            ssh_pwauth: false,
            disable_root: true,
            ssh_deletekeys: true,
            ssh_genkeytypes: vec!["ed25519"],
            no_ssh_fingerprints: true,
            growpart: GrowPart::default(),
            resize_rootfs: "true",
            apt: self.apt_proxy.map(|proxy| Apt {
                http_proxy: Some(proxy.into()),
                https_proxy: Some(proxy.into()),
            }),
            ca_certs: (!self.authorities.is_empty()).then(|| CaCerts {
                trusted: self.authorities.clone(),
            }),
            write_files: FILES.iter().map(file).collect(),
            runcmd: vec![vec!["sh".into(), "-c".into(), SCRIPT.into()]],
            ..UserData::default()
        })
    }

    /// The finished disk.
    ///
    /// # Errors
    /// [`crate::SeedError`].
    pub fn disk(&self) -> Result<Vec<u8>> {
        check_mac(self.mac)?;
        let user_data = self.user_data()?.render()?;
        let meta_data = MetaData {
            instance_id: instance_id(self.hostname, &user_data),
            local_hostname: self.hostname.into(),
        }
        .render()?;
        let network = NetworkConfig::dhcp(self.mac).render()?;
        vfat::disk(&[
            Entry::new("user-data", user_data.as_bytes()),
            Entry::new("meta-data", meta_data.as_bytes()),
            Entry::new("network-config", network.as_bytes()),
        ])
    }

    /// Looks for the outcome in what the serial console has said so far.
    pub fn outcome(console: &str) -> Option<Outcome> {
        // The kernel may write into the middle of a line before ours, never into ours.
        let (_, rest) = console.rsplit_once(MARK)?;
        let (line, _) = rest.split_once('\n')?;
        match line.trim().split_once(' ') {
            Some(("OK", rest)) => Some(Outcome::Done(rest.into())),
            Some(("FAILED", rest)) => Some(Outcome::Failed(rest.into())),
            _ => None,
        }
    }

    /// What went into the recipe, for deciding whether a prepared base is stale.
    pub fn recipe() -> String {
        FILES
            .iter()
            .map(|(_, text)| *text)
            .chain([SCRIPT])
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prepare<'a>() -> Prepare<'a> {
        Prepare {
            hostname: "cadet-prepare",
            mac: "52:54:00:12:34:56",
            apt_proxy: Some("http://10.0.2.2:3128"),
            authorities: vec![
                "-----BEGIN CERTIFICATE-----\nMII\n-----END CERTIFICATE-----\n".into(),
            ],
        }
    }

    #[test]
    fn the_document_says_what_it_must() {
        let text = prepare().user_data().unwrap().render().unwrap();
        assert!(text.starts_with("#cloud-config\n"));
        let value: serde_json::Value = serde_saphyr::from_str(&text).unwrap();
        assert_eq!(value["users"], serde_json::json!([]));
        assert_eq!(value["apt"]["http_proxy"], "http://10.0.2.2:3128");
        assert_eq!(value["runcmd"][0][2], SCRIPT);
        let daemon = value["write_files"][0]["content"].as_str().unwrap();
        let daemon: serde_json::Value = serde_json::from_str(daemon).unwrap();
        assert_eq!(daemon["default-runtime"], "crun");
        assert_eq!(value["write_files"][0]["permissions"], "0644");
        assert_eq!(value["resize_rootfs"], "true");
        assert!(prepare().disk().is_ok());
    }

    #[test]
    fn the_outcome_is_the_last_whole_line() {
        assert_eq!(Prepare::outcome("booting\n"), None);
        assert_eq!(
            Prepare::outcome("CADET-PREPARE OK docker=2"),
            None,
            "line not finished"
        );
        assert_eq!(
            Prepare::outcome("x\r\n[  3.1] y CADET-PREPARE OK docker=26 runtime=crun\r\nz"),
            Some(Outcome::Done("docker=26 runtime=crun".into()))
        );
        assert_eq!(
            Prepare::outcome("CADET-PREPARE FAILED step=packages status=1 no route\n"),
            Some(Outcome::Failed("step=packages status=1 no route".into()))
        );
    }

    #[test]
    fn the_script_is_sound_shell() {
        let status = std::process::Command::new("sh")
            .args(["-n", "-c", SCRIPT])
            .status()
            .unwrap();
        assert!(status.success());
    }
}
