//! From the indexes into the kernel: the transaction, and what rules alone cannot do.

use std::collections::{BTreeSet, HashMap, HashSet};

use tokio::time::Instant;

use super::{Proxy, RETRY, Retry};
use crate::services::{Front, Services};
use crate::table::Backend;
use crate::{ProxyError, base, conntrack, nft};

impl Proxy {
    /// Brings the kernel up to date, if it can be done now.
    pub(super) async fn apply(&mut self) {
        self.follow_peers();
        // What was refused as a whole will be refused again: changes wait for their time.
        let waits = self.whole && self.retry.is_some_and(|retry| Instant::now() < retry.at);
        if waits {
            return;
        }
        if !self.is_complete() {
            // What completes it wakes us.
            self.retry = None;
            return;
        }
        let new = self.services.refresh(&mut self.table);
        if self.knows_peers() {
            self.policies.refresh(&mut self.table);
        }
        self.todo.udp |= new.udp;
        self.todo.closed.extend(new.closed);
        self.todo.health |= new.health;
        self.todo.sticky.extend(new.sticky);
        let statements = if self.whole {
            let own = self.table.whole();
            Some(base::ruleset(&self.config) + &own + &remembered(&self.services).await)
        } else {
            self.table.commit()
        };
        if let Some(statements) = statements {
            if let Err(error) = nft::apply(&statements).await {
                self.failed(&error);
                return;
            }
            if self.whole {
                tracing::info!("the service network's rules are in force");
                // Connections may have been made while nobody looked.
                self.todo.udp = true;
            }
            self.whole = false;
            self.in_force = true;
        }
        self.retry = None;
        self.pulse.updated();
        self.todo
            .sticky
            .retain(|map, _| self.services.sticky().any(|(known, _)| known == map));
        self.follow_up().await;
    }

    fn failed(&mut self, error: &ProxyError) {
        let wait = self
            .retry
            .map_or(RETRY.0, |retry| (retry.wait * 2).min(RETRY.1));
        tracing::error!(%error, seconds = wait.as_secs(), "the rules are not up to date");
        self.pulse.failed();
        // What the kernel has is no longer sure.
        self.whole = true;
        self.retry = Retry::after(wait);
    }

    /// What rules alone cannot do.
    async fn follow_up(&mut self) {
        let todo = std::mem::take(&mut self.todo);
        for (map, known) in todo.sticky {
            let forgotten = async {
                let clients = nft::clients(&map).await?;
                match nft::forget(&map, &clients, &known) {
                    Some(statement) => nft::apply(&statement).await,
                    None => Ok(()),
                }
            };
            if let Err(error) = forgotten.await {
                // A client may have been forgotten by time between the two.
                tracing::warn!(%error, map, "clients are still sent to an endpoint that is gone");
                self.todo.sticky.insert(map, known);
                self.retry = Retry::after(RETRY.0);
            }
        }
        if todo.udp
            && let Err(error) = forget_flows(&self.services, &todo.closed).await
        {
            tracing::warn!(%error, "UDP clients may still be sent to an endpoint that is gone");
            self.todo.udp = true;
            self.todo.closed = todo.closed;
            self.retry = Retry::after(RETRY.1);
        }
        if todo.health {
            for error in self.servers.update(self.services.health()).await {
                tracing::warn!(%error, "a load balancer cannot ask for a Service's health");
                self.todo.health = true;
                self.retry = Retry::after(RETRY.1);
            }
        }
    }
}

/// Makes the kernel forget UDP flows to endpoints that are gone, which would go on otherwise:
/// those of Services, and all by fronts that were `closed`.
async fn forget_flows(services: &Services, closed: &BTreeSet<Front>) -> Result<(), ProxyError> {
    // Who has opened such a front again is added below.
    let nobody = closed.iter().map(|front| (*front, HashSet::new()));
    let mut answers: HashMap<Front, HashSet<Backend>> = nobody.collect();
    for (front, backends) in services.udp() {
        // Of two Services with one front either may be the one that has it.
        answers.entry(*front).or_default().extend(backends);
    }
    if answers.is_empty() {
        return Ok(());
    }
    let forget = move || conntrack::forget(|flow| conntrack::is_stale(flow, &answers));
    let forgotten = tokio::task::spawn_blocking(forget)
        .await
        .map_err(|error| ProxyError::Conntrack(error.into()))?
        .map_err(ProxyError::Conntrack)?;
    if forgotten > 0 {
        tracing::info!(forgotten, "UDP connections to endpoints that are gone");
    }
    Ok(())
}

/// Statements for what an earlier table remembers of clients with session affinity.
async fn remembered(services: &Services) -> String {
    let mut statements = String::new();
    for (map, known) in services.sticky() {
        match nft::clients(map).await {
            Ok(clients) => statements.extend(nft::remember(map, &clients, known)),
            // The rule, unless an earlier run left a table with just this map.
            Err(error) => tracing::debug!(%error, map, "no clients are remembered"),
        }
    }
    statements
}
