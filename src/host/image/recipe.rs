//! The guest's recipe as carried by this program: files of `images/guest` and where they go.

use sha2::{Digest, Sha256};

use crate::catalog::Arch;
use crate::checksum::hex;

/// Raised when the way of building changes the result without any file of the recipe changing.
const FORMAT: u32 = 1;

/// One file that goes into the guest.
#[derive(Debug, Clone, Copy)]
pub struct GuestFile {
    /// Path in the guest without the leading slash.
    pub path: &'static str,
    pub mode: u32,
    pub text: &'static str,
    /// True if a ready-made cloud image wants it too, not only our own build.
    pub everywhere: bool,
}

macro_rules! guest {
    ($name:literal) => {
        include_str!(concat!("../../../images/guest/", $name))
    };
}

const fn file(path: &'static str, text: &'static str, everywhere: bool) -> GuestFile {
    GuestFile {
        path,
        mode: 0o644,
        text,
        everywhere,
    }
}

/// Everything that is put into the guest.
pub const FILES: &[GuestFile] = &[
    file(
        "etc/systemd/network/80-cadet.network",
        guest!("files/systemd.network"),
        false,
    ),
    file(
        "etc/systemd/network/05-cadet-nodes.network",
        guest!("files/nodes.network"),
        false,
    ),
    file(
        "etc/ssh/sshd_config.d/10-cadet.conf",
        guest!("files/sshd.conf"),
        true,
    ),
    file(
        "etc/docker/daemon.json",
        guest!("files/docker-daemon.json"),
        true,
    ),
    file(
        "etc/cloud/cloud.cfg.d/99-cadet.cfg",
        guest!("files/cloud.cfg"),
        false,
    ),
    file(
        "etc/systemd/journald.conf.d/cadet.conf",
        guest!("files/journald.conf"),
        true,
    ),
    file(
        "etc/systemd/system.conf.d/cadet.conf",
        guest!("files/system.conf"),
        true,
    ),
    file(
        "etc/sysctl.d/60-cadet.conf",
        guest!("files/sysctl.conf"),
        true,
    ),
    file(
        "etc/modules-load.d/cadet.conf",
        guest!("files/modules-load.conf"),
        true,
    ),
    file(
        "etc/initramfs-tools/conf.d/cadet.conf",
        guest!("files/initramfs.conf"),
        false,
    ),
    GuestFile {
        path: "etc/initramfs-tools/hooks/cadet",
        mode: 0o755,
        text: guest!("files/initramfs-hook"),
        everywhere: false,
    },
];

/// Runs in the new root when all packages are in.
pub const CUSTOMIZE: &str = guest!("customize.sh");
/// Runs in the new root after kernel and initrd have been copied out.
pub const FINISH: &str = guest!("finish.sh");
/// Makes a disk image of the root.
pub const ASSEMBLE: &str = guest!("assemble.sh");
const PACKAGES: &str = guest!("packages");
const KEPT: &str = guest!("kept");
/// Where the kept packages lie in the guest; images/packages.py looks for them there.
pub const KEPT_DIR: &str = "usr/share/cadet/packages";

/// Debian packages of the guest.
pub fn packages(arch: Arch) -> Vec<String> {
    names(PACKAGES)
        .map(|n| n.replace("{arch}", arch.name()))
        .collect()
}

/// Debian packages that lie in the guest without being installed.
pub fn kept() -> Vec<String> {
    names(KEPT).map(str::to_owned).collect()
}

fn names(list: &str) -> impl Iterator<Item = &str> {
    let lines = list.lines().map(str::trim);
    lines.filter(|l| !l.is_empty() && !l.starts_with('#'))
}

/// Hash of all that decides what the built guest contains, package versions aside.
pub fn hash(arch: Arch, suite: &str, mirrors: &[String]) -> String {
    let mut hasher = Sha256::new();
    // Lengths keep neighbouring texts apart.
    let mut feed = |text: &str| {
        hasher.update((text.len() as u64).to_le_bytes());
        hasher.update(text);
    };
    feed(&FORMAT.to_string());
    feed(arch.name());
    feed(suite);
    for text in mirrors.iter().chain(&packages(arch)).chain(&kept()) {
        feed(text);
    }
    for file in FILES {
        feed(file.path);
        feed(&file.mode.to_string());
        feed(file.text);
    }
    for text in [CUSTOMIZE, FINISH, ASSEMBLE] {
        feed(text);
    }
    hex(&hasher.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_clean_names_for_each_architecture() {
        for arch in [Arch::Amd64, Arch::Arm64] {
            let names = packages(arch);
            assert!(names.contains(&format!("linux-image-cloud-{arch}")));
            for name in names.iter().chain(&kept()) {
                let ok = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
                assert!(name.chars().all(ok), "{name:?}");
            }
        }
    }

    #[test]
    fn the_stand_ins_find_what_is_kept() {
        let tool = include_str!("../../../images/packages.py");
        assert!(tool.contains(&format!("KEPT = \"/{KEPT_DIR}\"")));
        let installed = packages(Arch::Amd64);
        for name in kept() {
            assert!(!installed.contains(&name), "{name} is installed as well");
        }
    }

    #[test]
    fn the_hash_follows_every_ingredient() {
        let mirrors = ["deb a".to_owned(), "deb b".to_owned()];
        let base = hash(Arch::Amd64, "trixie", &mirrors);
        assert_eq!(base, hash(Arch::Amd64, "trixie", &mirrors));
        assert_ne!(base, hash(Arch::Arm64, "trixie", &mirrors));
        assert_ne!(base, hash(Arch::Amd64, "forky", &mirrors));
        let moved = ["deb ade".to_owned(), "b b".to_owned()];
        assert_ne!(base, hash(Arch::Amd64, "trixie", &moved));
    }

    #[test]
    fn the_scripts_leave_mmdebstraps_own_files_alone() {
        for script in [CUSTOMIZE, FINISH] {
            let commands = script.lines().filter(|l| !l.trim_start().starts_with('#'));
            for line in commands {
                assert!(!line.contains(" /tmp"), "{line}");
                assert!(!line.contains("apt/lists"), "{line}");
            }
        }
    }

    #[test]
    fn the_engine_configuration_is_valid_json() {
        let daemon = FILES.iter().find(|f| f.path.ends_with("daemon.json"));
        let value: serde_json::Value = serde_json::from_str(daemon.unwrap().text).unwrap();
        assert_eq!(value["default-runtime"], "crun");
    }
}
