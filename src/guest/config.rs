//! Reading `node.json`, and the node's address by it.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use cadet_api::install::NodeConfig;
use cadet_network::{RouteAddressError, route_address};

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

/// The node's address, by which others reach its programs.
///
/// # Errors
/// Where none is configured: if there is no way out (yet).
pub fn address(config: &NodeConfig) -> Result<Ipv4Addr, RouteAddressError> {
    match (&config.node_network, config.address) {
        (Some(network), _) => Ok(network.address),
        (None, Some(address)) => Ok(address),
        (None, None) => route_address(),
    }
}
