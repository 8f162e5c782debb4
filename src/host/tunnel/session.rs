//! One SSH session: a bounded attempt to connect, with the host key pinned.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use russh::client::{self, AuthResult, Handle};
use russh::keys::{Algorithm, HashAlg, PrivateKeyWithHashAlg, PublicKey, PublicKeyOrCertificate};
use russh::{ChannelId, ChannelOpenFailure, Preferred, cipher, compression, kex};
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};

use crate::error::Refusal;
use crate::{Names, Result, TunnelError, keys};

/// Whom to talk to and how to know it.
#[derive(Clone)]
pub struct Target {
    /// Loopback address QEMU forwards to the guest's port 22.
    pub address: SocketAddr,
    /// User in the guest.
    pub user: String,
    /// OpenSSH private key document of the client key.
    pub client_key: String,
    /// The guest's host key as a public key line; anything else is refused.
    pub host_key: String,
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Target")
            .field("address", &self.address)
            .field("user", &self.user)
            .field("host_key", &self.host_key)
            .finish_non_exhaustive()
    }
}

/// Which cipher to ask for first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Cipher {
    /// AES-256-GCM: fastest where both ends have AES instructions.
    #[default]
    Aes256Gcm,
    /// ChaCha20-Poly1305.
    ChaCha20Poly1305,
}

/// Bounds and sizes of the line. The defaults are what measurements chose
/// (`scripts/bench tunnel`); tests make them smaller.
#[derive(Debug, Clone)]
pub struct Tuning {
    /// Time for TCP connect. Loopback answers at once or not at all.
    pub connect_timeout: Duration,
    /// Time for the first byte of the SSH banner after TCP was accepted.
    pub banner_timeout: Duration,
    /// Time for key exchange and login; an emulated guest under load needs seconds.
    pub handshake_timeout: Duration,
    /// Silence after which we ask whether the guest is still there.
    pub keepalive: Duration,
    /// Unanswered questions after which the session is given up.
    pub keepalive_max: usize,
    /// How long a request waits for a lost session to come back.
    pub patience: Duration,
    /// SSH receive window per connection in bytes.
    pub window: u32,
    /// Largest SSH packet we accept, in bytes; 32 KiB is what sshd sends at most.
    pub packet: u32,
    /// Packets waiting between the session and one connection.
    pub channel_packets: usize,
    /// Bytes of one connection kept in memory when its reader is slow.
    pub memory_per_connection: usize,
    /// Bytes of one connection put in a temporary file after that; 0 for none.
    pub spill_per_connection: u64,
    /// Folder of those files; `None` uses none.
    pub spill_dir: Option<PathBuf>,
    /// Preferred cipher.
    pub cipher: Cipher,
    /// Names that are asked of the cluster's own DNS; without it the guest resolves all.
    pub names: Option<Names>,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(3),
            banner_timeout: Duration::from_secs(4),
            handshake_timeout: Duration::from_secs(30),
            keepalive: Duration::from_secs(20),
            keepalive_max: 3,
            patience: Duration::from_secs(20),
            window: 4 << 20,
            packet: 32 << 10,
            channel_packets: 32,
            memory_per_connection: 1 << 20,
            spill_per_connection: 1 << 30,
            spill_dir: None,
            cipher: Cipher::default(),
            names: None,
        }
    }
}

impl Tuning {
    pub(crate) fn russh(&self) -> client::Config {
        const AES_FIRST: &[cipher::Name] = &[
            cipher::AES_256_GCM,
            cipher::AES_128_GCM,
            cipher::CHACHA20_POLY1305,
        ];
        const CHACHA_FIRST: &[cipher::Name] = &[
            cipher::CHACHA20_POLY1305,
            cipher::AES_256_GCM,
            cipher::AES_128_GCM,
        ];
        // Elliptic curves only: the guest is ours, old algorithms are not needed.
        const KEX: &[kex::Name] = &[
            kex::CURVE25519,
            kex::CURVE25519_PRE_RFC_8731,
            kex::EXTENSION_SUPPORT_AS_CLIENT,
            kex::EXTENSION_OPENSSH_STRICT_KEX_AS_CLIENT,
        ];
        client::Config {
            window_size: self.window,
            maximum_packet_size: self.packet,
            channel_buffer_size: self.channel_packets,
            keepalive_interval: Some(self.keepalive),
            keepalive_max: self.keepalive_max,
            // Gathering small packets halves the connection rate into an emulated guest.
            nodelay: true,
            preferred: Preferred {
                kex: Cow::Borrowed(KEX),
                key: Cow::Borrowed(&[Algorithm::Ed25519]),
                cipher: Cow::Borrowed(match self.cipher {
                    Cipher::Aes256Gcm => AES_FIRST,
                    Cipher::ChaCha20Poly1305 => CHACHA_FIRST,
                }),
                compression: Cow::Borrowed(&[compression::NONE]),
                ..Preferred::DEFAULT
            },
            ..client::Config::default()
        }
    }
}

/// The server's words about channels it would not open.
///
/// russh hands the waiting caller only the reason code; the description, which tells
/// a refused port from an unknown name, comes to the session's handler right after.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    unclaimed: Mutex<Vec<(Refusal, String)>>,
    arrived: Notify,
}

impl Refusals {
    fn add(&self, cause: Refusal, reason: String) {
        self.unclaimed
            .lock()
            .unwrap_or_else(|e| e.into_inner())
            .push((cause, reason));
        self.arrived.notify_waiters();
    }

    /// Takes the words that belong to a failure just seen. When several different ones
    /// are unclaimed nobody can tell whose is whose, and the cause is [`Refusal::General`].
    pub(crate) async fn claim(&self) -> (Refusal, String) {
        let wait = async {
            loop {
                let arrived = self.arrived.notified();
                tokio::pin!(arrived);
                arrived.as_mut().enable();
                {
                    let mut list = self.unclaimed.lock().unwrap_or_else(|e| e.into_inner());
                    if !list.is_empty() {
                        let same = list.iter().all(|(cause, _)| *cause == list[0].0);
                        let (cause, reason) = list.remove(0);
                        return if same {
                            (cause, reason)
                        } else {
                            (Refusal::General, reason)
                        };
                    }
                }
                arrived.await;
            }
        };
        // The description follows the code in the same packet; a second is for ever.
        tokio::time::timeout(Duration::from_secs(1), wait)
            .await
            .unwrap_or((Refusal::General, "no reason given".into()))
    }
}

/// Compares the server's key with the pinned one and reports the session's end.
pub(crate) struct Warden {
    pinned: PublicKey,
    shown: Arc<Mutex<Option<String>>>,
    ended: watch::Sender<bool>,
    refusals: Arc<Refusals>,
}

impl client::Handler for Warden {
    type Error = russh::Error;

    async fn check_server_key(
        &mut self,
        offered: &PublicKeyOrCertificate,
    ) -> Result<bool, russh::Error> {
        let matches = match offered {
            PublicKeyOrCertificate::PublicKey { key, .. } => {
                if key.key_data() != self.pinned.key_data() {
                    *self.shown.lock().unwrap_or_else(|e| e.into_inner()) =
                        Some(key.fingerprint(HashAlg::Sha256).to_string());
                    false
                } else {
                    true
                }
            }
            PublicKeyOrCertificate::Certificate(_) => {
                *self.shown.lock().unwrap_or_else(|e| e.into_inner()) =
                    Some("a certificate".into());
                false
            }
        };
        Ok(matches)
    }

    async fn channel_open_failure(
        &mut self,
        _channel: ChannelId,
        reason: ChannelOpenFailure,
        description: &str,
        _language: &str,
        _session: &mut client::Session,
    ) -> Result<(), russh::Error> {
        self.refusals.add(
            Refusal::read(reason.code(), description),
            description.to_owned(),
        );
        Ok(())
    }
}

impl Drop for Warden {
    // Dropped with the session's task, however that ends.
    fn drop(&mut self) {
        self.ended.send_replace(true);
    }
}

/// A live, logged-in session.
pub(crate) struct Session {
    pub(crate) handle: Handle<Warden>,
    pub(crate) refusals: Arc<Refusals>,
    ended: watch::Receiver<bool>,
}

impl Session {
    /// True while the session can carry new channels.
    pub(crate) fn is_alive(&self) -> bool {
        !*self.ended.borrow() && !self.handle.is_closed()
    }

    /// Returns when the session has ended.
    pub(crate) fn ended(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut ended = self.ended.clone();
        async move {
            // An error means the warden is gone, which is the end as well.
            let _ = ended.wait_for(|over| *over).await;
        }
    }
}

/// A connection to a server that has begun to speak.
pub(crate) async fn reach(address: SocketAddr, tuning: &Tuning) -> Result<TcpStream> {
    let stream =
        match tokio::time::timeout(tuning.connect_timeout, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(source)) => return Err(TunnelError::Connect { address, source }),
            Err(_) => {
                let source = std::io::ErrorKind::TimedOut.into();
                return Err(TunnelError::Connect { address, source });
            }
        };
    stream
        .set_nodelay(true)
        .map_err(|source| TunnelError::Connect { address, source })?;

    match tokio::time::timeout(tuning.banner_timeout, stream.peek(&mut [0u8; 1])).await {
        Ok(Ok(1..)) => {}
        Ok(Ok(_)) => {
            let source = std::io::ErrorKind::UnexpectedEof.into();
            return Err(TunnelError::Connect { address, source });
        }
        Ok(Err(source)) => return Err(TunnelError::Connect { address, source }),
        Err(_) => {
            return Err(TunnelError::NoBanner {
                address,
                waited: tuning.banner_timeout,
            });
        }
    }
    Ok(stream)
}

/// Makes one attempt, each stage with its own deadline.
pub(crate) async fn connect(target: &Target, tuning: &Tuning) -> Result<Session> {
    let client_key = keys::parse_private(&target.client_key)?;
    let pinned = keys::parse_public(&target.host_key)?;
    let address = target.address;

    let stream = reach(address, tuning).await?;

    let (ended_tx, ended) = watch::channel(false);
    let refusals = Arc::new(Refusals::default());
    let shown = Arc::new(Mutex::new(None));
    let warden = Warden {
        pinned: pinned.clone(),
        shown: shown.clone(),
        ended: ended_tx,
        refusals: refusals.clone(),
    };
    let user = target.user.clone();
    let login = async {
        let mut handle = client::connect_stream(Arc::new(tuning.russh()), stream, warden).await?;
        let key = PrivateKeyWithHashAlg::new(Arc::new(client_key), None);
        let outcome = handle.authenticate_publickey(user, key).await?;
        Ok::<_, russh::Error>((handle, outcome))
    };
    let result = tokio::time::timeout(tuning.handshake_timeout, login).await;
    if let Some(shown) = shown.lock().unwrap_or_else(|e| e.into_inner()).take() {
        let pinned = pinned.fingerprint(HashAlg::Sha256).to_string();
        return Err(TunnelError::HostKeyMismatch {
            address,
            shown,
            pinned,
        });
    }
    let failed = |reason: String| TunnelError::Handshake { address, reason };
    match result {
        Ok(Ok((handle, AuthResult::Success))) => Ok(Session {
            handle,
            refusals,
            ended,
        }),
        Ok(Ok((_, AuthResult::Failure { .. }))) => Err(TunnelError::AuthRefused {
            address,
            user: target.user.clone(),
        }),
        Ok(Err(error)) => Err(failed(error.to_string())),
        Err(_) => Err(failed(format!(
            "no answer within {:?}",
            tuning.handshake_timeout
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_claim_gets_its_own_words() {
        let refusals = Refusals::default();
        refusals.add(Refusal::HostUnreachable, "no such name".into());
        assert_eq!(
            refusals.claim().await,
            (Refusal::HostUnreachable, "no such name".into())
        );
    }

    #[tokio::test]
    async fn mixed_claims_are_not_guessed() {
        let refusals = Refusals::default();
        refusals.add(Refusal::HostUnreachable, "a".into());
        refusals.add(Refusal::ConnectionRefused, "b".into());
        assert_eq!(refusals.claim().await.0, Refusal::General);
        assert_eq!(refusals.claim().await.0, Refusal::ConnectionRefused);
    }

    #[test]
    fn a_target_does_not_print_its_key() {
        let target = Target {
            address: "127.0.0.1:22".parse().unwrap(),
            user: "cadet".into(),
            client_key: "SECRET".into(),
            host_key: "ssh-ed25519 AAAA".into(),
        };
        assert!(!format!("{target:?}").contains("SECRET"));
    }
}
