//! Finding QEMU's programs and judging their version.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::config::{Arch, HostOs};
use crate::error::VmError;

/// Oldest QEMU whose flags we use: Debian 12's. 7.2 knows every option of `argv`
/// except `-run-with user=`, which needs [`RUN_WITH_USER`].
pub const MINIMUM_VERSION: Version = Version(7, 2, 0);

/// First QEMU that can change its user by `-run-with`.
pub const RUN_WITH_USER: Version = Version(9, 1, 0);

/// Major, minor, patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32, pub u32, pub u32);

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

/// An emulator that was found and is new enough.
#[derive(Debug, Clone)]
pub struct Emulator {
    pub path: PathBuf,
    pub version: Version,
    pub arch: Arch,
}

impl Emulator {
    /// Finds the emulator for `arch` in `search` (a `PATH` value) and asks for its version.
    ///
    /// # Errors
    /// [`VmError::QemuNotFound`], [`VmError::QemuTooOld`], [`VmError::QemuVersion`], [`VmError::Run`].
    pub fn find(arch: Arch, search: Option<&OsStr>) -> Result<Emulator, VmError> {
        let path = find_program(arch.emulator(), search)?;
        let version = version_of(&path)?;
        if version < MINIMUM_VERSION {
            return Err(VmError::QemuTooOld {
                program: path,
                found: version,
                minimum: MINIMUM_VERSION,
                hint: install_hint(HostOs::current(), arch),
            });
        }
        Ok(Emulator {
            path,
            version,
            arch,
        })
    }

    /// The unprivileged user QEMU should become, when we are root and it can.
    pub fn run_as_for_root(&self, effective_uid: u32) -> Option<String> {
        let can = HostOs::current() == HostOs::Linux && self.version >= RUN_WITH_USER;
        (effective_uid == 0 && can).then(|| "nobody".to_owned())
    }
}

/// Looks for a program in a `PATH` value and in the places package managers use.
///
/// # Errors
/// [`VmError::QemuNotFound`].
pub fn find_program(name: &str, search: Option<&OsStr>) -> Result<PathBuf, VmError> {
    let file = format!("{name}{}", std::env::consts::EXE_SUFFIX);
    let listed = search.into_iter().flat_map(std::env::split_paths);
    // A shell started from a desktop may lack Homebrew's or the installer's folder.
    let usual: &[&str] = match HostOs::current() {
        HostOs::MacOs => &["/opt/homebrew/bin", "/usr/local/bin", "/opt/local/bin"],
        HostOs::Windows => &["C:\\Program Files\\qemu"],
        HostOs::Linux | HostOs::Other => &[],
    };
    let usual = usual.iter().map(PathBuf::from);
    // An empty entry means the current directory, where nobody should find programs by accident.
    let mut folders = listed.chain(usual).filter(|d| !d.as_os_str().is_empty());
    let hit = folders.find_map(|d| Some(d.join(&file)).filter(|p| is_executable(p)));
    hit.ok_or_else(|| VmError::QemuNotFound {
        program: name.to_owned(),
        hint: install_hint(HostOs::current(), Arch::host().unwrap_or(Arch::Amd64)),
    })
}

#[cfg(unix)]
fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata()
        .is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
fn is_executable(path: &Path) -> bool {
    path.is_file()
}

/// How to get QEMU, in one line.
pub fn install_hint(os: HostOs, arch: Arch) -> String {
    match os {
        HostOs::MacOs => "install it with: brew install qemu".into(),
        HostOs::Windows => "install it with: winget install SoftwareFreedomConservancy.QEMU".into(),
        HostOs::Linux | HostOs::Other => {
            let (debian, fedora) = match arch {
                Arch::Amd64 => ("qemu-system-x86", "qemu-system-x86-core"),
                Arch::Arm64 => ("qemu-system-arm", "qemu-system-aarch64-core"),
            };
            format!(
                "install it with: sudo apt-get install {debian} qemu-utils; \
                 on Fedora: sudo dnf install {fedora} qemu-img"
            )
        }
    }
}

fn version_of(program: &Path) -> Result<Version, VmError> {
    let ran = Command::new(program).arg("--version").output();
    let output = ran.map_err(|source| VmError::Run {
        program: program.to_path_buf(),
        source,
    })?;
    let text = String::from_utf8_lossy(&output.stdout);
    parse_version(&text).ok_or_else(|| VmError::QemuVersion {
        program: program.to_path_buf(),
        output: format!("{text}{}", String::from_utf8_lossy(&output.stderr)),
    })
}

/// Reads `QEMU emulator version 10.0.2 (Debian …)` and the like.
pub fn parse_version(text: &str) -> Option<Version> {
    let after = text.lines().next()?.split("version ").nth(1)?;
    let number: String = after
        .chars()
        .take_while(|c| c.is_ascii_digit() || *c == '.')
        .collect();
    let mut parts = number.split('.').map(str::parse::<u32>);
    let major = parts.next()?.ok()?;
    let minor = parts.next()?.ok()?;
    let patch = parts.next().and_then(Result::ok).unwrap_or(0);
    Some(Version(major, minor, patch))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_several_packagers_are_read() {
        let cases = [
            (
                "QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2)\nCopyright",
                Some(Version(10, 0, 2)),
            ),
            ("QEMU emulator version 7.2.22", Some(Version(7, 2, 22))),
            (
                "QEMU emulator version 9.1.50 (v9.1.0-12065-g)",
                Some(Version(9, 1, 50)),
            ),
            (
                "qemu-img version 8.2 (qemu-8.2-1.fc40)",
                Some(Version(8, 2, 0)),
            ),
            ("QEMU emulator version x", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_version(text), expected, "{text}");
        }
        assert!(Version(10, 0, 2) > Version(9, 9, 9));
    }

    #[test]
    fn a_missing_program_names_the_package() {
        let err = find_program("qemu-system-nothing", None).unwrap_err();
        let VmError::QemuNotFound { program, hint } = err else {
            panic!("{err}");
        };
        assert_eq!(program, "qemu-system-nothing");
        assert!(hint.contains("install"));
    }

    #[cfg(unix)]
    #[test]
    fn an_old_qemu_is_refused_with_both_versions() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let fake = dir.path().join("qemu-system-x86_64");
        std::fs::write(&fake, "#!/bin/sh\necho QEMU emulator version 6.2.0\n").unwrap();
        // Not executable yet: must not be taken.
        std::fs::set_permissions(&fake, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(!is_executable(&fake));
        std::fs::set_permissions(&fake, std::fs::Permissions::from_mode(0o755)).unwrap();
        let err = Emulator::find(Arch::Amd64, Some(dir.path().as_os_str())).unwrap_err();
        let VmError::QemuTooOld { found, minimum, .. } = err else {
            panic!("{err}");
        };
        assert_eq!(found, Version(6, 2, 0));
        assert_eq!(minimum, MINIMUM_VERSION);
    }
}
