//! What `up` keeps on the disk and must know again: `up.json` in the data folder, and
//! node.json, which server and agent read.

use std::fs;
use std::io;
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, chown,
};
use std::path::{Path, PathBuf};

use cadet_api::install::NodeConfig;
use serde::{Deserialize, Serialize};

use super::trouble::{Trouble, file, internal};
use crate::config;

/// Name of a [`Record`] in its data folder.
pub const FILE: &str = "up.json";

/// What an earlier `up` did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// Path of Docker's socket.
    pub docker: PathBuf,
    /// Path of node.json.
    pub config: PathBuf,
    /// Whether systemd runs server and agent.
    pub systemd: bool,
    /// Our entry in somebody's kubeconfig.
    #[serde(default)]
    pub kubeconfig: Option<Entry>,
}

/// An entry in a kubeconfig.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    pub file: PathBuf,
    /// Name of context, cluster and user.
    pub name: String,
    /// The context that was current before ours.
    #[serde(default)]
    pub before: Option<String>,
    /// Whether the file was made for us.
    #[serde(default)]
    pub made: bool,
}

/// What an earlier `up` did in `data`, if there was one.
///
/// # Errors
/// A file that cannot be read.
pub fn read(data: &Path) -> Result<Option<Record>, Trouble> {
    let path = data.join(FILE);
    match fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| {
            internal("up.json is damaged", &error).fix(format!("rm {}", path.display()))
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(file("read", &path, &error)),
    }
}

/// Keeps what this `up` does.
///
/// # Errors
/// A folder or file that cannot be written.
pub fn write(data: &Path, record: &Record) -> Result<(), Trouble> {
    own(data).map_err(|error| file("make", data, &error))?;
    let text = serde_json::to_vec_pretty(record)
        .map_err(|error| internal("up.json could not be made", &error))?;
    write_file(&data.join(FILE), &text, 0o600)
}

/// Makes the data folder, or an empty one that was there, root's alone: root's programs run
/// from it, and under systemd the server may not write where root is a stranger.
fn own(data: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true).mode(0o700).create(data)?;
    let found = fs::metadata(data)?;
    if found.uid() != 0 {
        chown(data, Some(0), Some(0))?;
    }
    if found.mode() & 0o077 != 0 {
        fs::set_permissions(data, fs::Permissions::from_mode(0o700))?;
    }
    Ok(())
}

/// Keeps the node's configuration.
///
/// # Errors
/// A file that cannot be written.
pub fn write_config(path: &Path, config: &NodeConfig) -> Result<(), Trouble> {
    let text = serde_json::to_vec_pretty(config)
        .map_err(|error| internal("node.json could not be made", &error))?;
    write_file(path, &text, 0o644)
}

/// node.json of an earlier `up`; one of somebody else is not ours to take.
///
/// # Errors
/// A cluster of somebody else, or a damaged file.
pub fn known_config(
    path: &Path,
    data: &Path,
    record: Option<&Record>,
) -> Result<Option<NodeConfig>, Trouble> {
    let ours = record.is_some_and(|record| record.config == path);
    let foreign = |what: &str| {
        Trouble::new("HOST_FOREIGN_NODE", 31, what.to_owned())
            .why(
                "a cluster that `cadet start` or somebody by hand has set up is not ours to change",
            )
            .fix("cadet-node --data /var/lib/cadet-2 up --config /etc/cadet-2/node.json")
    };
    if !path.exists() {
        let filled = record.is_none()
            && fs::read_dir(data).is_ok_and(|mut entries| entries.next().is_some());
        if filled {
            return Err(foreign(&format!("{} is in use", data.display())));
        }
        return Ok(None);
    }
    if !ours {
        return Err(foreign(&format!(
            "this machine is a node already: {}",
            path.display()
        )));
    }
    config::read(path).map(Some).map_err(|error| {
        internal("the node's configuration is damaged", &error)
            .fix("cadet-node down --purge && cadet-node up    (all of its data is lost)")
    })
}

/// Replaces a file in one step.
fn write_file(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Trouble> {
    let write = || -> io::Result<()> {
        use std::io::Write as _;
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let beside = path.with_extension("new");
        let mut options = fs::OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(mode);
        let mut file = options.open(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, path)
    };
    write().map_err(|error| file("write", path, &error))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_up_has_made_is_taken_for_ours() {
        let dir = tempfile::tempdir().unwrap();
        let (data, path) = (dir.path().join("data"), dir.path().join("etc/node.json"));
        let known = |record: Option<&Record>| {
            known_config(&path, &data, record).map_err(|trouble| trouble.id)
        };
        assert_eq!(known(None), Ok(None));
        fs::create_dir(&data).unwrap();
        assert_eq!(known(None), Ok(None), "an empty folder is free");
        fs::write(data.join("theirs"), "").unwrap();
        assert_eq!(known(None), Err("HOST_FOREIGN_NODE"));

        let ours = Record {
            config: path.clone(),
            ..Record::default()
        };
        assert_eq!(known(Some(&ours)), Ok(None), "it did not come so far");
        let config = json!({"nodeName": "n", "clusterName": "c", "clusterCidr": "10.244.0.0/16",
            "podCidr": "10.244.0.0/24", "serviceCidr": "10.96.0.0/12", "apiPort": 6443});
        let config: NodeConfig = serde_json::from_value(config).unwrap();
        write_config(&path, &config).unwrap();
        assert_eq!(known(Some(&ours)), Ok(Some(config)));
        assert_eq!(known(None), Err("HOST_FOREIGN_NODE"));
        assert_eq!(known(Some(&Record::default())), Err("HOST_FOREIGN_NODE"));
    }

    #[test]
    fn no_record_is_not_a_damaged_one() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(dir.path()), Ok(None));
        fs::write(dir.path().join(FILE), "{").unwrap();
        assert_eq!(read(dir.path()).unwrap_err().id, "PROGRAM_INTERNAL");
    }
}
