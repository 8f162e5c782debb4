//! Counters of the server itself, in Prometheus' text form.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::world::World;

/// (verb, resource, HTTP code)
type Key = (&'static str, &'static str, u16);

/// See the module's opening. The number of series is bounded by the tables of verbs,
/// resources and codes.
#[derive(Debug, Default)]
pub struct Metrics {
    requests: Mutex<BTreeMap<Key, u64>>,
    watches: Arc<AtomicI64>,
}

/// Counts one open watch for as long as it lives.
#[derive(Debug)]
pub struct OpenWatch(Arc<AtomicI64>);

impl Drop for OpenWatch {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Metrics {
    pub fn count(&self, verb: &'static str, resource: &'static str, code: u16) {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        *requests.entry((verb, resource, code)).or_default() += 1;
    }

    pub fn open_watch(&self) -> OpenWatch {
        self.watches.fetch_add(1, Ordering::Relaxed);
        OpenWatch(Arc::clone(&self.watches))
    }

    /// The page of `/metrics`.
    pub fn page(&self, world: &World) -> String {
        let mut page = String::new();
        head(
            &mut page,
            "apiserver_request_total",
            "counter",
            "Requests answered.",
        );
        let requests = self
            .requests
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        for ((verb, resource, code), number) in requests {
            let verb = verb.to_uppercase();
            let _ = writeln!(
                page,
                "apiserver_request_total{{verb=\"{verb}\",resource=\"{resource}\",code=\"{code}\"}} {number}"
            );
        }
        head(
            &mut page,
            "apiserver_longrunning_requests",
            "gauge",
            "Watches open now.",
        );
        let open = self.watches.load(Ordering::Relaxed);
        let _ = writeln!(
            page,
            "apiserver_longrunning_requests{{verb=\"WATCH\"}} {open}"
        );
        head(
            &mut page,
            "apiserver_storage_objects",
            "gauge",
            "Objects stored.",
        );
        for (resource, number) in world.counts() {
            let _ = writeln!(
                page,
                "apiserver_storage_objects{{resource=\"{resource}\"}} {number}"
            );
        }
        head(
            &mut page,
            "cadet_store_revision",
            "gauge",
            "Newest revision of the store.",
        );
        let _ = writeln!(page, "cadet_store_revision {}", world.revision());
        page
    }
}

fn head(page: &mut String, name: &str, kind: &str, help: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(page, "# HELP {name} {help}\n# TYPE {name} {kind}");
}
