//! ResourceQuota: a namespace holds no more than its quotas allow.
//!
//! What is in use is counted from the objects themselves, so nothing must be given back
//! when one goes. A namespace with quotas admits one object at a time, from the count
//! until the object can be read in the world; so fifty creations at once get exactly what
//! there is room for. The count of each object is remembered by its revision.
//!
//! Several servers on one etcd count each for itself, under a guard: of two that counted
//! at once one is stored, and the other counts anew.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use cadet_api::pod_resources::Resources;
use cadet_api::quota::{self, Quota, Taken};
use cadet_api::resource::Resource;
use cadet_api::status::Status;
use cadet_store::{Guard, Revision};
use serde_json::Value;
use time::OffsetDateTime;
use tokio::sync::OwnedMutexGuard;

use super::{Operation, Request, find};
use crate::app::App;

/// Beyond so many namespaces those nobody waits for are forgotten.
const MAX_BOOKS: usize = 256;

/// What is known of the objects of one kind, by name.
type Counted = HashMap<String, (Revision, Taken)>;

/// The counts of one namespace, by group and plural.
#[derive(Default)]
pub struct Book(HashMap<(&'static str, &'static str), Counted>);

/// The counts of all namespaces that have quotas.
#[derive(Default)]
pub struct Ledger(Mutex<HashMap<String, Arc<tokio::sync::Mutex<Book>>>>);

/// One object that was admitted; while it is held, the namespace admits no other here, and
/// the guard, if there are other servers, none there.
pub struct Hold {
    _book: OwnedMutexGuard<Book>,
    guard: Option<Guard>,
}

impl Hold {
    pub fn guard(&self) -> Option<&Guard> {
        self.guard.as_ref()
    }
}

impl Ledger {
    async fn open(&self, namespace: &str) -> OwnedMutexGuard<Book> {
        let book = {
            let mut books = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if books.len() > MAX_BOOKS {
                books.retain(|_, book| Arc::strong_count(book) > 1);
            }
            Arc::clone(books.entry(namespace.to_owned()).or_default())
        };
        book.lock_owned().await
    }
}

/// Whether this request can take more of anything.
fn handles(request: &Request<'_>) -> bool {
    let id = request.named.id();
    match request.operation {
        Operation::Create => request.subresource.is_empty(),
        Operation::Update => match request.subresource {
            "" => matches!(id, ("", "Service" | "PersistentVolumeClaim")),
            "resize" => id == ("", "Pod"),
            _ => false,
        },
        Operation::Delete | Operation::Connect => false,
    }
}

/// Counts an object, or refuses it.
pub(super) async fn check(
    request: &Request<'_>,
    new: &Value,
    old: Option<&Value>,
) -> Result<Option<Hold>, Status> {
    let resource = request.stored();
    if !resource.namespaced || !handles(request) {
        return Ok(None);
    }
    let quotas = request.list(find("resourcequotas")?);
    if quotas.is_empty() {
        return Ok(None);
    }
    let taken = Taken::of(resource, new);
    let interested: Vec<Quota> = quotas
        .iter()
        // Not kept: its status, and with it the quota, changes with nearly every object.
        .map(|quota| Quota::of(&quota.value()))
        .filter(|quota| quota.covers(&taken))
        .collect();
    if interested.is_empty() {
        return Ok(None);
    }
    for quota in interested.iter().filter(|_| resource.is("", "Pod")) {
        if let Some(why) = quota.missing(new) {
            let why = format!("failed quota: {}: {why}", quota.name);
            return Err(request.forbidden(new, &why));
        }
    }
    let now = OffsetDateTime::now_utc();
    let mut asked = taken.usage(now);
    if let Some(old) = old {
        asked = quota::difference(&asked, &Taken::of(resource, old).usage(now));
    }
    let mut book = request.app.ledger.open(request.namespace).await;
    let guard = match request.app.world.is_shared() {
        false => None,
        true => {
            let name = format!("quota/{}", request.namespace);
            let guard = request.app.world.guard(&name).await;
            Some(guard.map_err(super::undecided)?)
        }
    };
    let all = book.count(request.app, request.namespace, resource);
    for quota in &interested {
        let used = quota.used(all.values().map(|(_, taken)| taken), now);
        quota
            .check(&used, &asked)
            .map_err(|why| request.forbidden(new, &why))?;
    }
    Ok(Some(Hold { _book: book, guard }))
}

/// What of a quota is in use now, by the objects of `kinds`: every hard name.
pub async fn quota_used(
    app: &App,
    namespace: &str,
    limits: &Quota,
    kinds: &[&'static Resource],
) -> Resources {
    let now = OffsetDateTime::now_utc();
    let mut used = limits.used([], now);
    let mut book = app.ledger.open(namespace).await;
    for kind in kinds {
        let counted = book.count(app, namespace, kind);
        let part = limits.used(counted.values().map(|(_, taken)| taken), now);
        for (name, amount) in part {
            let slot = used.entry(name).or_default();
            *slot = *slot + amount;
        }
    }
    used
}

impl Book {
    /// Brings the counts of a kind up to date with the world.
    fn count(&mut self, app: &App, namespace: &str, resource: &'static Resource) -> &Counted {
        let listing = app.world.list(resource, Some(namespace));
        let counted = self
            .0
            .entry((resource.gv.group, resource.plural))
            .or_default();
        let mut before = std::mem::take(counted);
        counted.reserve(listing.objects.len());
        for object in &listing.objects {
            let name = object.name();
            let entry = match before.remove_entry(name) {
                Some((name, (revision, taken))) if revision == object.revision => {
                    (name, (revision, taken))
                }
                _ => {
                    let taken = Taken::of(resource, &object.value());
                    (name.to_owned(), (object.revision, taken))
                }
            };
            counted.insert(entry.0, entry.1);
        }
        counted
    }
}
