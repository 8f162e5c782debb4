//! A cluster kept in etcd, for several servers: where that is, and that this server
//! belongs to the cluster.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use cadet_api::install::NodeConfig;
use cadet_store::{EtcdOptions, EtcdStore, OpenError, Tls, Unfresh};

use crate::pki::{Pki, PkiError};

/// Where the cluster is kept, if not in the data folder.
#[derive(Debug, Default, clap::Args)]
pub struct Datastore {
    /// Keep the cluster in etcd (3.4 or later), shared with other servers. Each further
    /// server needs ca.crt, ca.key and sa.key of the first one in its folder pki
    #[arg(
        long = "datastore",
        id = "datastore",
        value_name = "etcd://HOST:PORT[,HOST:PORT…]"
    )]
    address: Option<String>,
    /// The authority that vouches for etcd (PEM); with it connections are encrypted
    #[arg(long = "datastore-ca", value_name = "FILE", requires = "datastore")]
    ca: Option<PathBuf>,
    /// The certificate shown to etcd (PEM)
    #[arg(
        long = "datastore-cert",
        id = "datastore-cert",
        value_name = "FILE",
        requires_all = ["ca", "datastore-key"]
    )]
    certificate: Option<PathBuf>,
    /// The key of that certificate (PEM)
    #[arg(
        long = "datastore-key",
        id = "datastore-key",
        value_name = "FILE",
        requires = "datastore-cert"
    )]
    key: Option<PathBuf>,
}

/// Why a server cannot serve from etcd.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    #[error("--datastore {address}: {reason}")]
    Address { address: String, reason: String },
    #[error("cannot read {path}")]
    File {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("cannot ask etcd which cluster it keeps")]
    Ask(#[from] Unfresh),
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// Clients and tokens of the other servers would not be believed here, nor ours there.
    #[error(
        "etcd keeps a cluster with another {what} ({cluster}; here {here}): copy ca.crt, ca.key and sa.key from /var/lib/cadet/pki of a server of that cluster to {folder} and start again"
    )]
    Stranger {
        what: &'static str,
        folder: PathBuf,
        cluster: String,
        here: String,
    },
}

impl Datastore {
    /// The options for etcd; `None` if the cluster is kept in the data folder.
    ///
    /// # Errors
    /// [`JoinError::Address`] and [`JoinError::File`].
    pub fn options(&self) -> Result<Option<EtcdOptions>, JoinError> {
        let Some(address) = &self.address else {
            return Ok(None);
        };
        let mut options = EtcdOptions::parse(address).map_err(|reason| JoinError::Address {
            address: address.clone(),
            reason,
        })?;
        if let Some(ca) = &self.ca {
            let identity = match (&self.certificate, &self.key) {
                (Some(certificate), Some(key)) => Some((read(certificate)?, read(key)?)),
                _ => None,
            };
            options.tls = Some(Tls {
                authority: read(ca)?,
                identity,
            });
        }
        Ok(Some(options))
    }
}

fn read(path: &Path) -> Result<String, JoinError> {
    std::fs::read_to_string(path).map_err(|source| JoinError::File {
        path: path.into(),
        source,
    })
}

/// Opens the store and makes sure that this server's authority and token key are the
/// cluster's; the first server's become that.
///
/// # Errors
/// [`JoinError`].
pub async fn join(
    options: EtcdOptions,
    pki: &Pki,
    config: &NodeConfig,
    address: IpAddr,
) -> Result<EtcdStore, JoinError> {
    let store = EtcdStore::open(options).await?;
    let stranger = |what, cluster: &[u8], here: String| JoinError::Stranger {
        what,
        folder: pki.folder().to_owned(),
        cluster: String::from_utf8_lossy(cluster).into_owned(),
        here,
    };
    const AUTHORITY: (&str, &str) = ("authority", "certificate authority");
    const TOKENS: (&str, &str) = ("token-key", "key for tokens");
    // Before anything is made that would only be in the way of what must be copied.
    for ((name, what), there) in [(AUTHORITY, pki.has("ca.key")), (TOKENS, pki.has("sa.key"))] {
        if let (false, Some(cluster)) = (there, store.agreed(name).await?) {
            return Err(stranger(what, &cluster, "none".to_owned()));
        }
    }
    pki.ensure(config, address)?;
    let own = [
        (AUTHORITY, pki.authority_fingerprint()?),
        (TOKENS, pki.token_fingerprint()?),
    ];
    for ((name, what), here) in own {
        let cluster = store.agree(name, Bytes::from(here.clone())).await?;
        if cluster != here.as_bytes() {
            return Err(stranger(what, &cluster, here));
        }
    }
    Ok(store)
}
