//! Asking a server for its host key, before anything is trusted or said to it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use russh::client;
use russh::keys::PublicKeyOrCertificate;

use crate::session::{Tuning, reach};
use crate::{Result, TunnelError};

/// Keeps the key that is shown and refuses it: the key exchange ends there.
struct Looker {
    shown: Arc<Mutex<Option<String>>>,
}

impl client::Handler for Looker {
    type Error = russh::Error;

    async fn check_server_key(
        &mut self,
        offered: &PublicKeyOrCertificate,
    ) -> Result<bool, russh::Error> {
        if let PublicKeyOrCertificate::PublicKey { key, .. } = offered
            && let Ok(line) = key.to_openssh()
        {
            let line = line.trim().to_owned();
            *self.shown.lock().unwrap_or_else(|e| e.into_inner()) = Some(line);
        }
        Ok(false)
    }
}

/// The ed25519 host key that the server at `address` shows, as a public key line. Nothing
/// proves yet that the server is the one that is meant.
///
/// # Errors
/// [`TunnelError::Connect`], [`TunnelError::NoBanner`]; [`TunnelError::Handshake`] if it has no
/// such key.
pub async fn host_key(address: SocketAddr, tuning: &Tuning) -> Result<String> {
    let stream = reach(address, tuning).await?;
    let shown = Arc::new(Mutex::new(None));
    let looker = Looker {
        shown: shown.clone(),
    };
    let asking = client::connect_stream(Arc::new(tuning.russh()), stream, looker);
    let asked = tokio::time::timeout(tuning.handshake_timeout, asking).await;
    if let Some(line) = shown.lock().unwrap_or_else(|e| e.into_inner()).take() {
        return Ok(line);
    }
    let reason = match asked {
        Ok(Ok(_)) => "it showed no key".into(),
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer within {:?}", tuning.handshake_timeout),
    };
    Err(TunnelError::Handshake { address, reason })
}
