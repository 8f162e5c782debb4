//! Files of volumes: read, written, listed, and only below the folders lessons mount.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;

use super::{Shared, say};

/// Bytes of the largest file that is read or written.
pub const LARGEST: usize = 256 << 10;

/// `?path=/etc/config/greeting`.
#[derive(Debug, Deserialize)]
pub struct Ask {
    path: Option<String>,
}

/// Why a file was not read or written.
#[derive(Debug, thiserror::Error)]
enum FileError {
    #[error("say which file: /file?path=/data/notes.txt")]
    Unnamed,
    #[error("{path} is not in {roots}")]
    Outside { path: String, roots: String },
    #[error("{path} is larger than {} KiB", LARGEST >> 10)]
    TooLarge { path: String },
    #[error("{path} is neither a file nor a folder")]
    Special { path: String },
    #[error("{path}: {source}")]
    Io { path: String, source: io::Error },
    #[error("the work was given up: {0}")]
    Ended(#[from] tokio::task::JoinError),
}

impl FileError {
    fn status(&self) -> StatusCode {
        match self {
            FileError::Unnamed => StatusCode::BAD_REQUEST,
            FileError::Outside { .. } | FileError::Special { .. } => StatusCode::FORBIDDEN,
            FileError::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            FileError::Io { source, .. } => match source.kind() {
                io::ErrorKind::NotFound => StatusCode::NOT_FOUND,
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                    StatusCode::FORBIDDEN
                }
                _ => StatusCode::INTERNAL_SERVER_ERROR,
            },
            FileError::Ended(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

pub async fn read(State(app): Shared, Query(ask): Query<Ask>) -> Response {
    let work = move |path: &str| load(&app.config.roots, path);
    answer(ask, work).await
}

pub async fn write(State(app): Shared, Query(ask): Query<Ask>, body: Bytes) -> Response {
    let work = move |path: &str| store(&app.config.roots, path, &body);
    answer(ask, work).await
}

async fn answer<W>(ask: Ask, work: W) -> Response
where
    W: FnOnce(&str) -> Result<String, FileError> + Send + 'static,
{
    let outcome = match ask.path.filter(|path| !path.is_empty()) {
        None => Err(FileError::Unnamed),
        // Disks may be slow.
        Some(path) => tokio::task::spawn_blocking(move || work(&path))
            .await
            .unwrap_or_else(|ended| Err(ended.into())),
    };
    match outcome {
        Ok(text) => say(StatusCode::OK, text),
        Err(error) => say(error.status(), format!("{error}\n")),
    }
}

/// The text of a file, or the names in a folder.
fn load(roots: &[PathBuf], asked: &str) -> Result<String, FileError> {
    let failed = |source| io_error(asked, source);
    let path = inside(roots, asked)?;
    let kind = fs::metadata(&path).map_err(failed)?;
    if kind.is_dir() {
        let mut names = Vec::new();
        for entry in fs::read_dir(&path).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            names.push(format!("{}\n", name.to_string_lossy()));
        }
        names.sort_unstable();
        return Ok(names.concat());
    }
    if !kind.is_file() {
        return Err(FileError::Special { path: asked.into() });
    }
    let mut bytes = Vec::new();
    let limit = LARGEST as u64 + 1;
    let file = File::open(&path).map_err(failed)?;
    file.take(limit).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() > LARGEST {
        return Err(FileError::TooLarge { path: asked.into() });
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn store(roots: &[PathBuf], asked: &str, bytes: &[u8]) -> Result<String, FileError> {
    let failed = |source| io_error(asked, source);
    let outside = || outside(roots, asked);
    let named = Path::new(asked);
    let (Some(folder), Some(name)) = (named.parent(), named.file_name()) else {
        return Err(outside());
    };
    let path = inside(roots, &folder.to_string_lossy())?.join(name);
    match fs::symlink_metadata(&path) {
        // A link could lead out of the folder.
        Ok(there) if !there.is_file() => return Err(FileError::Special { path: asked.into() }),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    let mut file = File::create(&path).map_err(failed)?;
    file.write_all(bytes).map_err(failed)?;
    // A lesson kills the pod next: what was acknowledged must be on the volume.
    file.sync_all().map_err(failed)?;
    Ok(format!("wrote {} bytes to {asked}\n", bytes.len()))
}

/// The real path behind `asked`, if it lies below one of the folders. Links are followed
/// first: volumes of ConfigMaps are made of them.
fn inside(roots: &[PathBuf], asked: &str) -> Result<PathBuf, FileError> {
    let named = Path::new(asked);
    // Said before looking, so that nobody learns what exists elsewhere.
    if !roots.iter().any(|root| named.starts_with(root)) {
        return Err(outside(roots, asked));
    }
    let real = fs::canonicalize(named).map_err(|source| io_error(asked, source))?;
    let allowed = roots
        .iter()
        .filter_map(|root| fs::canonicalize(root).ok())
        .any(|root| real.starts_with(root));
    if allowed {
        Ok(real)
    } else {
        Err(outside(roots, asked))
    }
}

fn outside(roots: &[PathBuf], asked: &str) -> FileError {
    let roots: Vec<_> = roots.iter().map(|root| root.to_string_lossy()).collect();
    FileError::Outside {
        path: asked.into(),
        roots: roots.join(", "),
    }
}

fn io_error(asked: &str, source: io::Error) -> FileError {
    FileError::Io {
        path: asked.into(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn text(path: &Path) -> String {
        path.to_string_lossy().into_owned()
    }

    #[test]
    fn volumes_are_read_and_written() {
        let home = tempfile::tempdir().unwrap();
        let root = home.path().join("data");
        fs::create_dir(&root).unwrap();
        let roots = [root.clone(), home.path().join("missing")];
        let file = text(&root.join("notes.txt"));
        assert_eq!(
            store(&roots, &file, b"kept").unwrap(),
            format!("wrote 4 bytes to {file}\n")
        );
        assert_eq!(load(&roots, &file).unwrap(), "kept");
        // A ConfigMap's volume: names are links into a folder that is swapped at once.
        fs::create_dir(root.join("..first")).unwrap();
        fs::write(root.join("..first/greeting"), "hi").unwrap();
        symlink("..first", root.join("..data")).unwrap();
        symlink("..data/greeting", root.join("greeting")).unwrap();
        assert_eq!(load(&roots, &text(&root.join("greeting"))).unwrap(), "hi");
        assert_eq!(
            load(&roots, &text(&root)).unwrap(),
            "..data\n..first\ngreeting\nnotes.txt\n"
        );
        let missing = load(&roots, &text(&root.join("no"))).unwrap_err();
        assert_eq!(missing.status(), StatusCode::NOT_FOUND);
        let large = vec![b'x'; LARGEST + 1];
        fs::write(root.join("large"), large).unwrap();
        let error = load(&roots, &text(&root.join("large"))).unwrap_err();
        assert_eq!(error.status(), StatusCode::PAYLOAD_TOO_LARGE);
    }

    #[test]
    fn nothing_leads_out_of_them() {
        let home = tempfile::tempdir().unwrap();
        let root = home.path().join("data");
        fs::create_dir(&root).unwrap();
        fs::write(home.path().join("secret"), "no").unwrap();
        fs::write(home.path().join("data-of-others"), "no").unwrap();
        symlink(home.path().join("secret"), root.join("link")).unwrap();
        symlink(home.path(), root.join("up")).unwrap();
        let roots = [root.clone()];
        for path in [
            text(&root.join("link")),
            text(&root.join("up/secret")),
            text(&root.join("../secret")),
            text(&home.path().join("data-of-others")),
            "/etc/passwd".into(),
            "data/link".into(),
            "/".into(),
        ] {
            let read = load(&roots, &path).unwrap_err();
            assert_eq!(read.status(), StatusCode::FORBIDDEN, "{path}: {read}");
            let written = store(&roots, &path, b"x").unwrap_err();
            assert_eq!(written.status(), StatusCode::FORBIDDEN, "{path}: {written}");
        }
        assert_eq!(fs::read(home.path().join("secret")).unwrap(), b"no");
    }
}
