//! The tunnel: keeps one session alive and hands out channels on it.
//!
//! ```text
//!            connect ok                     session ends (event)
//!   Down ───────────────▶ Up ──────────────────────────────┐
//!    ▲  ▲                  ▲                                ▼
//!    │  │ patience over    │ connect ok               Reconnecting
//!    │  └──────────────────┼────────────────────────────────┤
//!    └── wrong host key ───┴──── back-off 0.1 s … 3 s ──────┘
//! ```
//! Nothing polls: an ended session is an event, and a tunnel that gave up stays down
//! until somebody asks for a channel.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, RwLock, Weak};
use std::time::{Duration, Instant};

use russh::Channel;
use russh::client::Msg;
use tokio::sync::{Mutex, oneshot, watch};

use crate::error::Refusal;
use crate::session::{self, Session, Target, Tuning};
use crate::stats::Stats;
use crate::{Result, TunnelError, names};

/// First pause between attempts; the guest's refusal costs nothing, so it is short.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Longest pause between attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(3);
/// How long a lost session is sought without anybody asking for it: a guest's reboot
/// under software emulation takes about a minute.
const EAGER: Duration = Duration::from_secs(120);

/// One line into one machine. Cheap to clone; the session ends with the last clone.
#[derive(Clone)]
pub struct Tunnel {
    inner: Arc<Inner>,
}

struct Inner {
    target: RwLock<Target>,
    tuning: Tuning,
    stats: Arc<Stats>,
    live: Mutex<Option<Arc<Session>>>,
    /// Counts sessions made; its receivers learn that a new one exists.
    made: watch::Sender<u64>,
    closed: AtomicBool,
}

/// Told to the caller of [`Tunnel::wait_until_ready`] after each failed attempt.
#[derive(Debug)]
pub struct Waiting<'a> {
    /// Attempts made so far.
    pub attempts: u32,
    /// Time since the first.
    pub elapsed: Duration,
    /// Why the last one failed.
    pub error: &'a TunnelError,
}

impl Tunnel {
    /// Connects in one bounded attempt.
    ///
    /// # Errors
    /// Any of the connection variants of [`TunnelError`].
    pub async fn connect(target: Target, tuning: Tuning) -> Result<Self> {
        let session = session::connect(&target, &tuning).await?;
        Ok(Self::with(target, tuning, session))
    }

    /// Tries again and again until the guest lets us in or `deadline` has passed.
    ///
    /// `on_wait` hears of every failed attempt; it is the place to look whether the
    /// machine still runs: returning `false` stops waiting.
    ///
    /// # Errors
    /// [`TunnelError::NotReady`] with the last failure; at once, without waiting, what
    /// waiting cannot mend ([`TunnelError::HostKeyMismatch`], [`TunnelError::BadKey`]).
    pub async fn wait_until_ready(
        target: Target,
        tuning: Tuning,
        deadline: Duration,
        mut on_wait: impl FnMut(Waiting<'_>) -> bool,
    ) -> Result<Self> {
        let session = persist(&target, &tuning, deadline, &mut on_wait).await?;
        Ok(Self::with(target, tuning, session))
    }

    /// A tunnel that connects when first used.
    pub fn lazy(target: Target, tuning: Tuning) -> Self {
        Self::build(target, tuning, None)
    }

    fn with(target: Target, tuning: Tuning, session: Session) -> Self {
        Self::build(target, tuning, Some(session))
    }

    fn build(target: Target, tuning: Tuning, session: Option<Session>) -> Self {
        let stats = Arc::new(Stats::default());
        if session.is_some() {
            stats.session();
        }
        let inner = Arc::new(Inner {
            target: RwLock::new(target),
            tuning,
            stats,
            made: watch::Sender::new(u64::from(session.is_some())),
            live: Mutex::new(session.map(Arc::new)),
            closed: AtomicBool::new(false),
        });
        tokio::spawn(supervise(Arc::downgrade(&inner), inner.made.subscribe()));
        Self { inner }
    }

    /// The counters of this tunnel.
    pub fn stats(&self) -> &Arc<Stats> {
        &self.inner.stats
    }

    /// The sizes and bounds this tunnel works with.
    pub(crate) fn tuning(&self) -> &Tuning {
        &self.inner.tuning
    }

    /// Where the guest's sshd is expected.
    pub fn address(&self) -> SocketAddr {
        self.inner.target().address
    }

    /// Tells a tunnel that the machine was restarted with another forwarded port.
    /// The next attempt to connect uses it; a live session is left alone.
    pub fn retarget(&self, address: SocketAddr) {
        self.inner
            .target
            .write()
            .unwrap_or_else(|e| e.into_inner())
            .address = address;
    }

    /// True if a session is up right now. Never waits for the network.
    pub async fn is_up(&self) -> bool {
        // A held lock means somebody is reconnecting.
        match self.inner.live.try_lock() {
            Ok(live) => live.as_ref().is_some_and(|s| s.is_alive()),
            Err(_) => false,
        }
    }

    /// Returns when no session is up: when the present one ends, or at once.
    pub async fn down(&self) {
        let ended = match self.inner.live.try_lock() {
            Ok(live) => live.as_ref().map(|session| session.ended()),
            // Somebody is reconnecting.
            Err(_) => None,
        };
        if let Some(ended) = ended {
            ended.await;
        }
    }

    /// Returns when a further session was made, or the tunnel is closed.
    pub async fn next_session(&self) {
        let mut made = self.inner.made.subscribe();
        // The sender lives as long as we do.
        let _ = made.changed().await;
    }

    /// Ends the session and never makes another.
    pub async fn close(&self) {
        self.inner.closed.store(true, Relaxed);
        if let Some(session) = self.inner.live.lock().await.take() {
            // The session may be dead already; then there is nobody to say goodbye to.
            let _ = session
                .handle
                .disconnect(russh::Disconnect::ByApplication, "goodbye", "en")
                .await;
        }
        self.inner.made.send_modify(|n| *n += 1);
    }

    /// The live session, reconnecting if need be.
    pub(crate) async fn session(&self) -> Result<Arc<Session>> {
        self.inner.session(self.inner.tuning.patience).await
    }

    /// Opens a TCP connection from inside the guest. `host` may be a name: it is
    /// resolved there, by the cluster's DNS if it is told so ([`Tuning::names`]).
    pub(crate) async fn open_tcp(
        &self,
        host: &str,
        port: u16,
        origin: SocketAddr,
    ) -> Result<Channel<Msg>> {
        let host = names::resolve(self, host, origin).await?;
        self.open_address(&host, port, origin).await
    }

    /// As [`Tunnel::open_tcp`], with names left to the guest.
    pub(crate) async fn open_address(
        &self,
        host: &str,
        port: u16,
        origin: SocketAddr,
    ) -> Result<Channel<Msg>> {
        let host = host.to_owned();
        self.open(move |session| {
            let (host, origin) = (host.clone(), origin);
            async move {
                let opened = session
                    .handle
                    .channel_open_direct_tcpip(
                        host.as_str(),
                        u32::from(port),
                        origin.ip().to_string(),
                        u32::from(origin.port()),
                    )
                    .await;
                worded(opened, &session, || format!("connect to {host}:{port}")).await
            }
        })
        .await
    }

    /// Connects to a Unix socket of the guest (OpenSSH's PROTOCOL, 2.4).
    #[cfg(unix)]
    pub(crate) async fn open_unix(&self, path: &str) -> Result<Channel<Msg>> {
        let path = path.to_owned();
        self.open(move |session| {
            let path = path.clone();
            async move {
                let opened = session
                    .handle
                    .channel_open_direct_streamlocal(path.as_str())
                    .await;
                worded(opened, &session, || format!("connect to {path}")).await
            }
        })
        .await
    }

    /// Opens a channel for a program.
    pub(crate) async fn open_session(&self) -> Result<Channel<Msg>> {
        self.open(|session| async move {
            let opened = session.handle.channel_open_session().await;
            worded(opened, &session, || "start a program".into()).await
        })
        .await
    }

    /// Opens a channel in a task of its own: a caller that gives up half-way must not
    /// leave a channel open at the far end that nobody knows of.
    async fn open<F, O>(&self, opening: F) -> Result<Channel<Msg>>
    where
        F: Fn(Arc<Session>) -> O + Send + Sync + 'static,
        O: Future<Output = Result<Channel<Msg>>> + Send + 'static,
    {
        let tunnel = self.clone();
        let (give, take) = oneshot::channel();
        tokio::spawn(async move {
            let mut result = async { opening(tunnel.session().await?).await }.await;
            // The session may have died just before we used it; once more, then.
            if matches!(result, Err(TunnelError::SessionLost { .. })) {
                result = async { opening(tunnel.session().await?).await }.await;
            }
            if let Err(Ok(channel)) = give.send(result) {
                // Nobody wants it any more; a dead session needs no closing.
                let _ = channel.close().await;
            }
        });
        take.await.unwrap_or(Err(TunnelError::SessionLost {
            doing: "opening a channel",
        }))
    }
}

/// Gives an open failure its words.
async fn worded(
    opened: Result<Channel<Msg>, russh::Error>,
    session: &Session,
    doing: impl FnOnce() -> String,
) -> Result<Channel<Msg>> {
    match opened {
        Ok(channel) => Ok(channel),
        Err(russh::Error::ChannelOpenFailure(_)) => {
            let (cause, reason) = session.refusals.claim().await;
            Err(TunnelError::ChannelRefused {
                doing: doing(),
                cause,
                reason,
            })
        }
        Err(russh::Error::SendError | russh::Error::Disconnect) => Err(TunnelError::SessionLost {
            doing: "opening a channel",
        }),
        Err(error) => Err(TunnelError::ChannelRefused {
            doing: doing(),
            cause: Refusal::General,
            reason: error.to_string(),
        }),
    }
}

impl Inner {
    fn target(&self) -> Target {
        self.target
            .read()
            .unwrap_or_else(|e| e.into_inner())
            .clone()
    }

    /// One caller connects, the others wait for its result behind the lock.
    async fn session(&self, patience: Duration) -> Result<Arc<Session>> {
        let mut live = self.live.lock().await;
        if let Some(session) = live.as_ref().filter(|s| s.is_alive()) {
            return Ok(session.clone());
        }
        *live = None;
        let started = Instant::now();
        let mut attempts = 0;
        let mut pause = FIRST_PAUSE;
        loop {
            if self.closed.load(Relaxed) {
                return Err(TunnelError::SessionLost {
                    doing: "closing the tunnel",
                });
            }
            // Read anew every time: the machine may come back on another port.
            let target = self.target();
            attempts += 1;
            match session::connect(&target, &self.tuning).await {
                Ok(session) => {
                    let session = Arc::new(session);
                    *live = Some(session.clone());
                    self.stats.session();
                    self.made.send_modify(|n| *n += 1);
                    tracing::info!(address = %target.address, attempts, "session is up");
                    return Ok(session);
                }
                Err(error) if !error.is_transient() => return Err(error),
                Err(error) if started.elapsed() + pause >= patience => {
                    return Err(TunnelError::NotReady {
                        address: target.address,
                        waited: started.elapsed(),
                        attempts,
                        last: Box::new(error),
                    });
                }
                Err(error) => tracing::debug!(%error, attempts, "no session yet"),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

/// Brings a lost session back without waiting for somebody to need it.
async fn supervise(inner: Weak<Inner>, mut made: watch::Receiver<u64>) {
    loop {
        made.borrow_and_update();
        let ended = {
            let Some(inner) = inner.upgrade() else { return };
            let live = inner.live.lock().await;
            live.as_ref().map(|session| session.ended())
        };
        if let Some(ended) = ended {
            tokio::select! {
                () = ended => {}
                // Closed, or the last clone of the tunnel is gone.
                changed = made.changed() => if changed.is_err() { return },
            }
            let Some(inner) = inner.upgrade() else { return };
            if inner.closed.load(Relaxed) {
                return;
            }
            tracing::info!("session ended, reconnecting");
            match inner.session(EAGER).await {
                Ok(_) => continue,
                Err(error) => tracing::warn!(%error, "the line is down until it is needed"),
            }
        }
        if made.changed().await.is_err() {
            return;
        }
    }
}

/// Attempts until one succeeds, the deadline passes or waiting makes no sense.
async fn persist(
    target: &Target,
    tuning: &Tuning,
    deadline: Duration,
    on_wait: &mut impl FnMut(Waiting<'_>) -> bool,
) -> Result<Session> {
    // A guest becomes ready at one moment; a pause of a quarter second at most keeps the wait
    // after that moment short and costs the guest one refused SYN. One that was copied or woke is
    // there in its first second: it is asked more often.
    const PAUSE: Duration = Duration::from_millis(250);
    const AWAKE: Duration = Duration::from_secs(2);
    const SHORT: Duration = Duration::from_millis(50);
    let started = Instant::now();
    let mut attempts = 0;
    loop {
        attempts += 1;
        let error = match session::connect(target, tuning).await {
            Ok(session) => return Ok(session),
            Err(error) if !error.is_transient() => return Err(error),
            Err(error) => error,
        };
        let elapsed = started.elapsed();
        let go_on = on_wait(Waiting {
            attempts,
            elapsed,
            error: &error,
        });
        let pause = if elapsed < AWAKE { SHORT } else { PAUSE };
        if !go_on || elapsed + pause >= deadline {
            return Err(TunnelError::NotReady {
                address: target.address,
                waited: elapsed,
                attempts,
                last: Box::new(error),
            });
        }
        tokio::time::sleep(pause).await;
    }
}
