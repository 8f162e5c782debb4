//! Paths of the node inside pods: their check by type, upstream's words included.

use std::fs::FileType;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::HostPathVolumeSource;

use crate::volumes::{VolumeError, io_error, make_dir};

/// The path of a hostPath volume, made with mode `folder` if its type says so.
///
/// # Errors
/// If what is there is not of the type asked for.
pub(crate) fn ready(host: &HostPathVolumeSource, folder: u32) -> Result<PathBuf, VolumeError> {
    let path = PathBuf::from(&host.path);
    let type_ = host.type_.as_deref().unwrap_or_default();
    let missing = std::fs::metadata(&path).is_err();
    match type_ {
        "DirectoryOrCreate" if missing => {
            make_dir(&path, folder)?;
            // The umask took bits away.
            set_mode(&path, folder)?;
        }
        "FileOrCreate" if missing => {
            std::fs::write(&path, "").map_err(io_error("create", &path))?;
            set_mode(&path, 0o644)?;
        }
        // The engine would make it as well; here it is made before the check of subPaths.
        "" if missing => make_dir(&path, 0o755)?,
        _ => {}
    }
    let wanted: (&'static str, fn(&FileType) -> bool) = match type_ {
        "Directory" | "DirectoryOrCreate" => ("a directory", FileType::is_dir),
        "File" | "FileOrCreate" => ("a file", FileType::is_file),
        "Socket" => ("a socket file", |found| found.is_socket()),
        "CharDevice" => ("a character device", |found| found.is_char_device()),
        "BlockDevice" => ("a block device", |found| found.is_block_device()),
        _ => return Ok(path),
    };
    let (wanted, fits) = wanted;
    let found = std::fs::metadata(&path).map(|found| found.file_type());
    if found.is_ok_and(|found| fits(&found)) {
        return Ok(path);
    }
    Err(VolumeError::HostPath {
        path: host.path.clone(),
        wanted,
    })
}

fn set_mode(path: &Path, mode: u32) -> Result<(), VolumeError> {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
        .map_err(io_error("set the mode of", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_checked_and_made() {
        let home = tempfile::tempdir().unwrap();
        let check = |name: &str, type_: &str| {
            let host = HostPathVolumeSource {
                path: home.path().join(name).display().to_string(),
                type_: Some(type_.into()),
            };
            ready(&host, 0o777).map_err(|error| error.to_string())
        };
        let at = |name: &str| home.path().join(name).display().to_string();
        assert_eq!(
            check("none", "Directory").unwrap_err(),
            format!(
                "hostPath type check failed: {} is not a directory",
                at("none")
            )
        );
        let made = check("made", "DirectoryOrCreate").unwrap();
        let mode = std::fs::metadata(made).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o777);
        assert_eq!(
            check("made", "File").unwrap_err(),
            format!("hostPath type check failed: {} is not a file", at("made"))
        );
        assert!(check("file", "FileOrCreate").unwrap().is_file());
        for (type_, words) in [
            ("Socket", "a socket file"),
            ("CharDevice", "a character device"),
            ("BlockDevice", "a block device"),
        ] {
            assert_eq!(
                check("file", type_).unwrap_err(),
                format!("hostPath type check failed: {} is not {words}", at("file"))
            );
        }
        assert!(check("untyped", "").unwrap().is_dir());
    }
}
