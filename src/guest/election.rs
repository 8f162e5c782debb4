//! Of several servers one runs the loops: whoever holds a Lease of coordination.k8s.io.
//!
//! ```text
//!   follow: watch the Lease ── free, given up, or not renewed for its time ──▶ take it
//!      ▲                                                                        │
//!      └── stop the loops ◀── lost, or not renewed before the others may take it ── lead
//! ```
//! As upstream's client-go does it, with its words in the Lease. Whether a Lease is renewed
//! is told by our own clock and the Lease's version, so clocks of servers need not agree.

use std::pin::pin;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, ObjectMeta, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, ResourceExt};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// Where the Leases are, as upstream's.
const NAMESPACE: &str = "kube-system";
/// How long a Lease lasts that nobody renews. Upstream's 15 seconds, less what new loops
/// need to begin: nobody shall miss them for longer than that.
const LIFE: Duration = Duration::from_secs(12);
/// A leader that could not renew for so long stops, well before others may begin.
const DEADLINE: Duration = Duration::from_secs(7);
/// Loops that have not ended after so long are dropped where they are.
const GRACE: Duration = Duration::from_secs(2);
/// How often a leader renews, and how long after a failure anybody tries again; upstream's.
const RETRY: Duration = Duration::from_secs(2);

/// Leads whenever the Lease can be had, until `shutdown`. `lead` runs the loops until its
/// token is cancelled.
pub async fn run<F: Future<Output = ()>>(
    client: Client,
    lease: &str,
    identity: String,
    shutdown: CancellationToken,
    lead: impl Fn(CancellationToken) -> F,
) {
    let mut candidate = Candidate {
        leases: Api::namespaced(client, NAMESPACE),
        lease: lease.to_owned(),
        identity,
        seen: None,
    };
    loop {
        let mut held = tokio::select! {
            () = shutdown.cancelled() => return,
            held = candidate.acquire() => held,
        };
        info!(lease, identity = candidate.identity, "leading");
        let term = shutdown.child_token();
        let ours = {
            let mut loops = pin!(lead(term.clone()));
            let ours = tokio::select! {
                // They only end early if they must; another server may do better.
                () = &mut loops => true,
                ours = candidate.keep(&mut held, &shutdown) => {
                    term.cancel();
                    if tokio::time::timeout(GRACE, loops).await.is_err() {
                        warn!(lease, "loops did not end in time and were dropped");
                    }
                    ours
                }
            };
            term.cancel();
            ours
        };
        if ours {
            candidate.release(held).await;
        } else {
            warn!(lease, "the lease is lost; following");
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            // Others shall have a chance.
            () = tokio::time::sleep(RETRY) => {}
        }
    }
}

struct Candidate {
    leases: Api<Lease>,
    lease: String,
    identity: String,
    /// The version of the Lease that was last seen, and when it was first seen.
    seen: Option<(String, Instant)>,
}

/// What one attempt came to.
enum Attempt {
    Held(Box<Lease>),
    /// Somebody else's, at least until then.
    Until(Instant),
}

impl Candidate {
    /// Waits until the Lease is ours.
    async fn acquire(&mut self) -> Lease {
        let only = watcher::Config::default().fields(&format!("metadata.name={}", self.lease));
        let mut changes = pin!(watcher(self.leases.clone(), only).default_backoff());
        loop {
            let until = match self.attempt().await {
                Ok(Attempt::Held(lease)) => return *lease,
                Ok(Attempt::Until(until)) => until,
                Err(error) => {
                    warn!(lease = self.lease, %error, "cannot ask for the lease");
                    Instant::now() + RETRY
                }
            };
            tokio::select! {
                () = tokio::time::sleep_until(until) => {}
                change = changes.next() => if let Some(Err(error)) = change {
                    warn!(lease = self.lease, %error, "watch interrupted");
                }
            }
        }
    }

    async fn attempt(&mut self) -> Result<Attempt, kube::Error> {
        let Some(mut lease) = self.leases.get_opt(&self.lease).await? else {
            let new = Lease {
                metadata: ObjectMeta {
                    name: Some(self.lease.clone()),
                    namespace: Some(NAMESPACE.into()),
                    ..ObjectMeta::default()
                },
                spec: Some(self.spec(None)),
            };
            let made = self.leases.create(&PostParams::default(), &new).await;
            return self.taken(made);
        };
        let version = lease.resource_version().unwrap_or_default();
        let since = match &self.seen {
            Some((known, since)) if *known == version => *since,
            _ => {
                let now = Instant::now();
                self.seen = Some((version, now));
                now
            }
        };
        let spec = lease.spec.take().unwrap_or_default();
        let holder = spec.holder_identity.as_deref().unwrap_or_default();
        let life = spec
            .lease_duration_seconds
            .and_then(|s| u64::try_from(s).ok());
        let until = since + life.map_or(LIFE, Duration::from_secs);
        if !holder.is_empty() && holder != self.identity && Instant::now() < until {
            return Ok(Attempt::Until(until));
        }
        lease.spec = Some(self.spec(Some(&spec)));
        let post = PostParams::default();
        let made = self.leases.replace(&self.lease, &post, &lease).await;
        self.taken(made)
    }

    /// Somebody who was faster is no failure.
    fn taken(&self, made: Result<Lease, kube::Error>) -> Result<Attempt, kube::Error> {
        match made {
            Ok(lease) => Ok(Attempt::Held(Box::new(lease))),
            Err(kube::Error::Api(status)) if status.code == 409 => {
                Ok(Attempt::Until(Instant::now() + RETRY))
            }
            Err(error) => Err(error),
        }
    }

    /// The Lease as ours from now on, after what it was.
    fn spec(&self, before: Option<&LeaseSpec>) -> LeaseSpec {
        let now = MicroTime(Timestamp::now());
        let transitions = before.and_then(|spec| spec.lease_transitions);
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(LIFE.as_secs()).ok(),
            acquire_time: Some(now.clone()),
            renew_time: Some(now),
            lease_transitions: Some(transitions.map_or(0, |n| n + 1)),
            ..LeaseSpec::default()
        }
    }

    /// Renews until `shutdown`, or until the Lease is lost; whether it is still ours.
    async fn keep(&self, held: &mut Lease, shutdown: &CancellationToken) -> bool {
        let mut renewed = Instant::now();
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return true,
                () = tokio::time::sleep(RETRY) => {}
            }
            let asked = Instant::now();
            let outcome = tokio::time::timeout_at(renewed + DEADLINE, self.renew(held)).await;
            match outcome {
                Ok(Ok(Some(lease))) => {
                    *held = lease;
                    renewed = asked;
                }
                Ok(Ok(None)) => return false,
                Ok(Err(error)) => {
                    warn!(lease = self.lease, %error, "cannot renew the lease");
                    if renewed.elapsed() > DEADLINE {
                        return false;
                    }
                }
                Err(_) => return false,
            }
        }
    }

    /// `None` if it is somebody else's by now.
    async fn renew(&self, held: &Lease) -> Result<Option<Lease>, kube::Error> {
        let mut lease = held.clone();
        loop {
            if let Some(spec) = lease.spec.as_mut() {
                spec.renew_time = Some(MicroTime(Timestamp::now()));
            }
            let post = PostParams::default();
            match self.leases.replace(&self.lease, &post, &lease).await {
                Ok(lease) => return Ok(Some(lease)),
                Err(kube::Error::Api(status)) if status.code == 409 => {}
                Err(error) => return Err(error),
            }
            // Changed by another hand, or by an attempt of ours that seemed to fail.
            match self.leases.get_opt(&self.lease).await? {
                Some(found) if holder_of(&found) == self.identity => lease = found,
                _ => return Ok(None),
            }
        }
    }

    /// Gives the Lease up, so that another server need not wait for its end.
    async fn release(&self, mut held: Lease) {
        if let Some(spec) = held.spec.as_mut() {
            spec.holder_identity = None;
            spec.lease_duration_seconds = Some(1);
            spec.renew_time = Some(MicroTime(Timestamp::now()));
        }
        let post = PostParams::default();
        match self.leases.replace(&self.lease, &post, &held).await {
            Ok(_) => info!(lease = self.lease, "the lease is given up"),
            Err(error) => warn!(lease = self.lease, %error, "cannot give the lease up"),
        }
    }
}

fn holder_of(lease: &Lease) -> &str {
    let spec = lease.spec.as_ref();
    let holder = spec.and_then(|spec| spec.holder_identity.as_deref());
    holder.unwrap_or_default()
}
