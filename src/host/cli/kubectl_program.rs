//! A kubectl that fits: the one on the PATH, else the one of a class, else one fetched for this
//! cluster and kept in the cache.

use std::path::{Path, PathBuf};
use std::process::Command;

use cadet_image::{ImageError, Progress, fetch, http};
use serde_json::Value;

use crate::error::{CliError, Result};
use crate::world::World;
use crate::{Context, images, installed, machine};

/// What is fetched: the release the API server speaks as.
pub const VERSION: &str = "v1.36.0";
/// Oldest minor release that is known to work with every verb.
const OLDEST: u32 = 27;
/// Where the project publishes its programs.
const PUBLISHER: &str = "https://dl.k8s.io/release";
/// A checksum and perhaps a name: nothing longer is one.
const CHECKSUM_LIMIT: usize = 1024;

/// What the PATH has.
#[derive(Debug, PartialEq, Eq)]
pub enum OnPath {
    /// One that fits; its version.
    Fits(String),
    /// One that is too old; its version.
    TooOld(String),
    /// One that does not tell its version; its words.
    Broken(String),
    /// None.
    Missing,
}

impl OnPath {
    /// Asks the one on the PATH.
    pub fn look() -> Self {
        let mut command = Command::new("kubectl");
        match command.args(["version", "--client", "-o", "json"]).output() {
            Ok(out) if out.status.success() => Self::of(&out.stdout),
            Ok(out) => Self::Broken(String::from_utf8_lossy(&out.stderr).trim().to_string()),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Self::Missing,
            Err(e) => Self::Broken(e.to_string()),
        }
    }

    /// Judges what `kubectl version` said.
    fn of(said: &[u8]) -> Self {
        let told: Value = serde_json::from_slice(said).unwrap_or_default();
        let told = &told["clientVersion"];
        let version = told["gitVersion"].as_str().unwrap_or_default().to_string();
        // Vendors write "32+".
        let number = |field: &str| -> Option<u32> {
            let text = told[field].as_str()?;
            text.trim_end_matches(|c: char| !c.is_ascii_digit())
                .parse()
                .ok()
        };
        match (number("major"), number("minor")) {
            (Some(1), Some(minor)) if minor >= OLDEST => Self::Fits(version),
            (Some(2..), Some(_)) => Self::Fits(version),
            (Some(_), Some(_)) => Self::TooOld(version),
            _ => Self::Broken("it does not tell its version".into()),
        }
    }

    /// Why it is not used.
    fn reason(&self) -> String {
        match self {
            Self::Fits(version) => format!("the one on your PATH is {version}"),
            Self::TooOld(version) => {
                format!("the one on your PATH is {version}; every one from v1.{OLDEST} on works")
            }
            Self::Broken(why) => format!("the one on your PATH does not work: {why}"),
            Self::Missing => "there is none on your PATH".into(),
        }
    }
}

/// The one that came with a class, if one did.
pub fn of_class(world: &World) -> Option<PathBuf> {
    installed::program(world, "kubectl")
}

/// The one in the cache, if it was fetched.
pub fn kept(world: &World) -> Option<PathBuf> {
    let file = file(world);
    file.is_file().then_some(file)
}

/// The program to run; fetched now if it must be.
///
/// # Errors
/// HOST_KUBECTL_MISSING when there is none and none can be fetched.
pub async fn ensure(cx: &Context) -> Result<PathBuf> {
    let seen = OnPath::look();
    if matches!(seen, OnPath::Fits(_)) {
        return Ok("kubectl".into());
    }
    let kept = match of_class(&cx.world).or_else(|| kept(&cx.world)) {
        Some(file) => Ok(file),
        None => get(cx).await,
    };
    match kept.and_then(|file| runnable(&file).map(|()| file)) {
        Ok(file) => Ok(file),
        Err(e) => {
            let why = e.why.map_or(String::new(), |why| format!("\n{why}"));
            let reason = seen.reason();
            Err(missing(&seen).why(format!(
                "{reason}\nfetching {VERSION} failed: {}{why}",
                e.what
            )))
        }
    }
}

/// The error for a laptop without a kubectl that fits.
pub fn missing(seen: &OnPath) -> CliError {
    let fix = match std::env::consts::OS {
        "macos" => "brew install kubernetes-cli",
        _ => "sudo apt-get install kubernetes-client      (Debian 13, Ubuntu 24.04 and later)",
    };
    let what = match seen {
        OnPath::Missing => "there is no kubectl on your PATH",
        _ => "the kubectl on your PATH does not fit",
    };
    CliError::new("HOST_KUBECTL_MISSING", what)
        .why(seen.reason())
        .fix(format!(
            "{fix}\ncadet kubectl version --client      fetches one for `cadet kubectl`"
        ))
}

/// Fetches it, checked against the checksum its publisher announces.
///
/// # Errors
/// INET_UNREACHABLE, INET_DOWNLOAD, INET_CHECKSUM, HOST_DISK_FULL.
pub async fn get(cx: &Context) -> Result<PathBuf> {
    let to = file(&cx.world);
    if let Some(folder) = to.parent() {
        std::fs::create_dir_all(folder).map_err(|e| machine::io("create", folder, &e))?;
    }
    let place = cx.world.kubectl_mirror.as_deref().unwrap_or(PUBLISHER);
    let url = url(place)?;
    let client = http::client(&images::network(cx))?;
    let announced = http::text(&client, &format!("{url}.sha256"), CHECKSUM_LIMIT).await?;
    let sha256 = announced.split_whitespace().next().unwrap_or_default();
    if sha256.len() != 64 || !sha256.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(ImageError::NoChecksum {
            checksums: format!("{url}.sha256"),
            file: "kubectl".into(),
        }
        .into());
    }
    // Its output is a program's input: what there is to say goes past it.
    cx.ui
        .aside(&format!("fetching kubectl {VERSION} from {place}"));
    let sink = |progress: Progress| {
        if let Progress::Note(text) = progress {
            cx.ui.aside(&text);
        }
    };
    fetch::fetch(&client, &url, &sha256.to_ascii_lowercase(), &to, &sink).await?;
    Ok(to)
}

fn file(world: &World) -> PathBuf {
    let name = format!("kubectl{}", std::env::consts::EXE_SUFFIX);
    world.home.programs().join(VERSION).join(name)
}

fn url(place: &str) -> Result<String> {
    let os = match std::env::consts::OS {
        "macos" => "darwin",
        os => os,
    };
    let arch = images::arch()?;
    let suffix = std::env::consts::EXE_SUFFIX;
    let place = place.trim_end_matches('/');
    Ok(format!("{place}/{VERSION}/bin/{os}/{arch}/kubectl{suffix}"))
}

/// A download that was killed between its last two acts is not runnable yet.
fn runnable(file: &Path) -> Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(file, mode).map_err(|e| machine::io("change", file, &e))?;
    }
    #[cfg(not(unix))]
    let _ = file;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(major: &str, minor: &str, version: &str) -> Vec<u8> {
        serde_json::json!({"clientVersion": {
            "major": major, "minor": minor, "gitVersion": version}})
        .to_string()
        .into_bytes()
    }

    #[test]
    fn every_kubectl_of_the_last_years_fits() {
        for (minor, version) in [("27", "v1.27.0"), ("32+", "v1.32.4-eks"), ("99", "v1.99.0")] {
            let fits = OnPath::Fits(version.into());
            assert_eq!(OnPath::of(&said("1", minor, version)), fits);
        }
        let old = OnPath::of(&said("1", "20", "v1.20.2"));
        assert_eq!(old, OnPath::TooOld("v1.20.2".into()));
        let error = missing(&old);
        assert_eq!(error.topic.id, "HOST_KUBECTL_MISSING");
        assert!(error.why.unwrap().contains("v1.20.2"));
        for junk in [&b"Client Version: v1.30"[..], b"{}", b""] {
            assert!(matches!(OnPath::of(junk), OnPath::Broken(_)));
        }
    }

    #[test]
    fn the_address_is_the_publishers() {
        let url = url("https://mirror.example/k8s/").unwrap();
        let start = format!("https://mirror.example/k8s/{VERSION}/bin/");
        assert!(url.starts_with(&start), "{url}");
    }
}
