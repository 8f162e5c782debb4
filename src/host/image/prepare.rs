//! From a downloaded cloud image to a prepared base: one boot in which cloud-init installs Docker.
//!
//! This room does not boot machines. [`begin`] lays out a disk and says with which user-data to
//! boot it; the caller boots it until it powers itself off; [`Preparation::seal`] reads from the
//! console whether it worked and turns the disk into a base.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::cache::{Base, Cache, DISK, INITRD, KERNEL, Manifest, Workspace, now};
use crate::catalog::{Arch, Files};
use crate::checksum::hex;
use crate::error::ImageError;
use crate::fetch;
use crate::progress::{Progress, Sink};
use crate::recipe;
use crate::tools::{Need, Tools};

/// Raised when preparing changes without the user-data changing.
const FORMAT: u32 = 1;
/// Begins the line on the console that says it worked; versions follow.
const MARK: &str = "CADET-PREPARED";
/// Size of the disk while packages are installed; unused space costs nothing.
const SIZE: &str = "8G";
const QEMU_IMG: Need = ("qemu-img", "qemu-utils");

/// Where the machine that prepares reaches the outside.
#[derive(Debug, Clone, Default)]
pub struct GuestNetwork {
    /// Proxy for apt, as the host uses it, e.g. `http://127.0.0.1:3128`.
    pub http_proxy: Option<String>,
    pub https_proxy: Option<String>,
    /// PEM text of further certificate authorities.
    pub ca_pem: Option<String>,
}

/// The image that is being prepared.
#[derive(Debug, Clone)]
pub struct Target<'a> {
    /// Name in the catalogue.
    pub image: &'a str,
    pub arch: Arch,
    pub files: &'a Files,
    /// Value of the kernel's `root=`.
    pub root: &'a str,
}

/// What to boot, and what is needed to seal it.
#[derive(Debug)]
pub struct Preparation {
    workspace: Workspace,
    draft: Manifest,
    /// Overlay on the downloaded image.
    pub disk: PathBuf,
    pub kernel: PathBuf,
    pub initrd: PathBuf,
    pub kernel_args: Vec<String>,
    /// Text of `user-data` on the seed disk. The machine powers itself off at its end.
    pub user_data: String,
    /// Where the caller may keep seed, sockets and logs; removed with the preparation.
    pub scratch: PathBuf,
    // Held until the end, released by the system if we die.
    _lock: std::fs::File,
}

/// Hash that decides whether a prepared base is stale. The download's own checksum is not part
/// of it: a profile should not be rebuilt because Ubuntu published a new daily image.
pub fn recipe(target: &Target<'_>) -> String {
    let mut hasher = Sha256::new();
    let text = user_data(&GuestNetwork::default());
    for part in [&FORMAT.to_string(), &target.files.disk, &text] {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hex(&hasher.finalize())
}

/// Downloads disk, kernel and initrd (checksums verified) and lays out what to boot.
///
/// # Errors
/// Those of [`fetch::fetch`] and [`fetch::announced`], [`ImageError::MissingTools`],
/// [`ImageError::Tool`].
pub async fn begin(
    target: &Target<'_>,
    network: &GuestNetwork,
    cache: &Cache,
    client: &reqwest::Client,
    tools: &Tools,
    sink: Sink<'_>,
) -> Result<Preparation, ImageError> {
    tools.require(&[QEMU_IMG])?;
    let lock = cache.lock(target.image, target.arch, sink).await?;
    let paths = download(target, cache, client, sink).await?;
    let space = cache.workspace(target.image, target.arch)?;
    let disk = space.path("work.qcow2");
    overlay(tools, &paths.disk, &disk).await?;
    let scratch = space.path("scratch");
    std::fs::create_dir(&scratch).map_err(|e| ImageError::file("create", &scratch, e))?;
    private(&scratch)?;
    Ok(Preparation {
        draft: Manifest {
            image: target.image.to_owned(),
            arch: target.arch,
            recipe: recipe(target),
            created: now(),
            root: target.root.to_owned(),
            files: BTreeMap::new(),
            versions: BTreeMap::new(),
        },
        disk,
        kernel: paths.kernel,
        initrd: paths.initrd,
        kernel_args: vec![format!("root={}", target.root), "rw".into()],
        user_data: user_data(network),
        scratch,
        workspace: space,
        _lock: lock,
    })
}

/// The files of a cloud image in the cache.
#[derive(Debug, Clone)]
pub struct Downloaded {
    pub disk: PathBuf,
    pub kernel: PathBuf,
    pub initrd: PathBuf,
}

/// Downloads the files of a cloud image without preparing anything (`--download-only`).
///
/// # Errors
/// Those of [`fetch::fetch`] and [`fetch::announced`].
pub async fn download(
    target: &Target<'_>,
    cache: &Cache,
    client: &reqwest::Client,
    sink: Sink<'_>,
) -> Result<Downloaded, ImageError> {
    let files = target.files;
    let parts = [
        ("kernel", &files.kernel, &files.boot_checksums),
        ("initial RAM disk", &files.initrd, &files.boot_checksums),
        ("disk", &files.disk, &files.checksums),
    ];
    for (what, url, checksums) in parts {
        sink(Progress::Phase(format!("downloading the {what}")));
        let sha256 = fetch::announced(client, checksums, url).await?;
        fetch::fetch(client, url, &sha256, &cache.download(url), sink).await?;
    }
    Ok(Downloaded {
        disk: cache.download(&files.disk),
        kernel: cache.download(&files.kernel),
        initrd: cache.download(&files.initrd),
    })
}

impl Preparation {
    /// After the machine has powered itself off: judges its console and makes the base.
    ///
    /// # Errors
    /// [`ImageError::Prepare`] with the end of the console if the machine did not say that it
    /// succeeded, [`ImageError::DiskFull`], [`ImageError::Tool`].
    pub async fn seal(
        mut self,
        console: &str,
        cache: &Cache,
        tools: &Tools,
        sink: Sink<'_>,
    ) -> Result<Base, ImageError> {
        self.draft.versions = judge(console)?;
        sink(Progress::Phase("compressing the prepared disk".into()));
        let to = self.workspace.path(DISK);
        let mut command = tools.command(QEMU_IMG)?;
        // Without a backing file: the download may go afterwards.
        command
            .args(["convert", "-f", "qcow2", "-O", "qcow2", "-c"])
            .args(["-o", "compression_type=zstd"])
            .args([&self.disk, &to]);
        let phase = "compressing the prepared disk";
        tools.run(command, phase, &to, |_| {}).await?;
        for (from, name) in [(&self.kernel, KERNEL), (&self.initrd, INITRD)] {
            let to = self.workspace.path(name);
            std::fs::copy(from, &to).map_err(|e| ImageError::file("copy", &to, e))?;
        }
        cache.install(&self.workspace, self.draft.clone())
    }
}

/// The cloud-config of the preparing boot. JSON is YAML, and cannot be misquoted.
pub fn user_data(network: &GuestNetwork) -> String {
    let files = recipe::FILES.iter().filter(|f| f.everywhere);
    let write_files: Vec<Value> = files
        .map(|f| {
            json!({
                "path": format!("/{}", f.path),
                "permissions": format!("0{:o}", f.mode),
                "content": f.text,
            })
        })
        .collect();
    let mut apt = serde_json::Map::new();
    for (key, value) in [
        ("http_proxy", &network.http_proxy),
        ("https_proxy", &network.https_proxy),
    ] {
        if let Some(url) = value {
            apt.insert(key.into(), seen_from_guest(url).into());
        }
    }
    let mut config = json!({
        "write_files": write_files,
        "package_update": true,
        "packages": ["docker.io", "crun", "nftables", "curl"],
        "ssh_pwauth": false,
        "runcmd": [["sh", "-c", PREPARE]],
        "power_state": { "mode": "poweroff", "condition": true },
    });
    if !apt.is_empty() {
        config["apt"] = apt.into();
    }
    if let Some(pem) = &network.ca_pem {
        config["ca_certs"] = json!({ "trusted": [pem] });
    }
    format!("#cloud-config\n{config:#}\n")
}

/// Last command of the preparing boot. Says [`MARK`] only if Docker runs with crun.
const PREPARE: &str = r#"
set -eu
systemctl restart docker
test "$(docker info --format '{{.DefaultRuntime}}')" = crun
systemctl enable docker.service
systemctl mask apt-daily.timer apt-daily-upgrade.timer unattended-upgrades.service motd-news.timer \
    snapd.service snapd.socket snapd.seeded.service multipathd.service ModemManager.service || true
apt-mark hold $(dpkg-query -W -f '${Package}\n' 'linux-image-*') || true
apt-get clean
versions=$(dpkg-query -W -f '${Package}=${Version} ' docker.io crun systemd)
cloud-init clean --logs --machine-id
rm -f /etc/ssh/ssh_host_* /etc/apt/apt.conf.d/*proxy*
sync
echo "CADET-PREPARED $versions" > /dev/console
"#;

/// The host's loopback is 10.0.2.2 in QEMU's user network.
fn seen_from_guest(url: &str) -> String {
    for host in ["127.0.0.1", "localhost", "[::1]"] {
        for before in ["://", "@"] {
            let loopback = format!("{before}{host}");
            if let Some((start, rest)) = url.split_once(&loopback)
                && (rest.is_empty() || rest.starts_with([':', '/']))
            {
                return format!("{start}{before}10.0.2.2{rest}");
            }
        }
    }
    url.to_owned()
}

fn judge(console: &str) -> Result<BTreeMap<String, String>, ImageError> {
    let line = console.lines().rev().find_map(|l| l.split_once(MARK));
    let Some((_, versions)) = line else {
        let lines: Vec<&str> = console.lines().collect();
        let from = lines.len().saturating_sub(15);
        return Err(ImageError::Prepare {
            why: "the machine ended without reporting success".into(),
            tail: lines[from..].iter().map(|l| (*l).to_owned()).collect(),
        });
    };
    let pairs = versions
        .split_whitespace()
        .filter_map(|v| v.split_once('='));
    Ok(pairs.map(|(n, v)| (n.to_owned(), v.to_owned())).collect())
}

async fn overlay(tools: &Tools, base: &Path, to: &Path) -> Result<(), ImageError> {
    let mut command = tools.command(QEMU_IMG)?;
    command
        .args(["create", "-q", "-f", "qcow2", "-F", "qcow2", "-b"])
        .args([base, to])
        .arg(SIZE);
    tools.run(command, "laying out the disk", to, |_| {}).await
}

#[cfg(unix)]
fn private(dir: &Path) -> Result<(), ImageError> {
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    std::fs::set_permissions(dir, mode).map_err(|e| ImageError::file("protect", dir, e))
}

#[cfg(not(unix))]
fn private(_: &Path) -> Result<(), ImageError> {
    // The user's profile folder is private already.
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_data_is_json_behind_its_header_and_carries_the_engine_configuration() {
        let network = GuestNetwork {
            http_proxy: Some("http://u:p@127.0.0.1:3128".into()),
            https_proxy: None,
            ca_pem: Some("-----BEGIN CERTIFICATE-----\nx\n".into()),
        };
        let text = user_data(&network);
        let body = text.strip_prefix("#cloud-config\n").unwrap();
        let value: Value = serde_json::from_str(body).unwrap();
        assert_eq!(value["apt"]["http_proxy"], "http://u:p@10.0.2.2:3128");
        assert_eq!(value["power_state"]["mode"], "poweroff");
        let files = value["write_files"].as_array().unwrap();
        let paths: Vec<_> = files.iter().map(|f| f["path"].as_str().unwrap()).collect();
        assert!(paths.contains(&"/etc/docker/daemon.json"));
        // Ubuntu's own netplan and initrd must be left alone.
        assert!(!paths.iter().any(|p| p.contains("80-cadet.network")));
        assert!(!paths.iter().any(|p| p.contains("initramfs")));
    }

    #[test]
    fn only_loopback_proxies_are_translated() {
        assert_eq!(seen_from_guest("http://localhost:1"), "http://10.0.2.2:1");
        assert_eq!(seen_from_guest("http://127.0.0.1/"), "http://10.0.2.2/");
        for other in [
            "http://localhost.corp:1",
            "http://proxy:127",
            "http://127.0.0.11:1",
        ] {
            assert_eq!(seen_from_guest(other), other);
        }
    }

    #[test]
    fn only_a_reported_success_counts() {
        let good = "boot\n[  9.1] CADET-PREPARED docker.io=26.1 crun=1.2 \nPower down\n";
        let versions = judge(good).unwrap();
        assert_eq!(versions["docker.io"], "26.1");
        let bad = "boot\nE: Unable to locate package docker.io\nPower down\n";
        let Err(ImageError::Prepare { tail, .. }) = judge(bad) else {
            panic!("no mark, no success");
        };
        assert!(tail[1].contains("Unable to locate"));
    }
}
