//! Reading `node.json`.

use std::path::{Path, PathBuf};

use cadet_api::install::NodeConfig;

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {path}")]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    /// The file is not what the host writes.
    #[error("{path} is not a node configuration")]
    Parse {
        path: PathBuf,
        source: serde_json::Error,
    },
}

/// Reads the configuration in `path`.
///
/// # Errors
/// [`ConfigError`].
pub fn read(path: &Path) -> Result<NodeConfig, ConfigError> {
    let bytes = std::fs::read(path).map_err(|source| ConfigError::Read {
        path: path.into(),
        source,
    })?;
    serde_json::from_slice(&bytes).map_err(|source| ConfigError::Parse {
        path: path.into(),
        source,
    })
}
