//! Counters of the server itself, in Prometheus' text form.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use crate::target::Target;
use crate::world::World;

/// What was asked for, as upstream's labels tell it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Asked {
    pub verb: &'static str,
    pub group: &'static str,
    pub version: &'static str,
    /// "" for what is no object.
    pub resource: &'static str,
    pub subresource: &'static str,
    /// `cluster`, `namespace`, `resource`, or "".
    pub scope: &'static str,
}

impl Asked {
    /// The labels of a request.
    pub fn of(verb: &'static str, target: &Target) -> Asked {
        let mut asked = Asked {
            verb,
            group: "",
            version: "",
            resource: "",
            subresource: "",
            scope: "",
        };
        if let Target::Object(reference) = target {
            let resource = reference.resource;
            asked.group = resource.gv.group;
            asked.version = resource.gv.version;
            asked.resource = resource.plural;
            let part = reference.subresource.as_deref().unwrap_or_default();
            asked.subresource = resource.subresource(part).map_or("", |part| part.name);
            asked.scope = match (&reference.name, &reference.namespace) {
                (Some(_), _) => "resource",
                (None, Some(_)) => "namespace",
                (None, None) => "cluster",
            };
        }
        asked
    }

    fn labels(&self) -> String {
        let Asked {
            verb,
            group,
            version,
            resource,
            subresource,
            scope,
        } = self;
        let verb = verb.to_uppercase();
        format!(
            "component=\"apiserver\",group=\"{group}\",resource=\"{resource}\",scope=\"{scope}\",subresource=\"{subresource}\",verb=\"{verb}\",version=\"{version}\""
        )
    }
}

/// Upper bounds of the buckets of durations, in seconds; upstream's.
const BUCKETS: [f64; 22] = [
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0,
    10.0, 15.0, 20.0, 30.0, 45.0,
];

/// How long requests took: how many up to each bound, all of them, and the sum.
#[derive(Debug, Clone, Default)]
struct Durations {
    buckets: [u64; BUCKETS.len()],
    count: u64,
    sum: f64,
}

#[derive(Debug, Default)]
struct Requests {
    answers: BTreeMap<(Asked, u16), u64>,
    durations: BTreeMap<Asked, Durations>,
}

/// See the module's opening. The number of series is bounded by the tables of verbs,
/// resources and codes.
#[derive(Debug)]
pub struct Metrics {
    requests: Mutex<Requests>,
    watches: Arc<AtomicI64>,
    started: SystemTime,
}

impl Default for Metrics {
    fn default() -> Self {
        Metrics {
            requests: Mutex::default(),
            watches: Arc::default(),
            started: SystemTime::now(),
        }
    }
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
    /// Counts a request that was answered. Who watches or streams is answered at the end of
    /// time, so only the answers count, not how long they took.
    pub fn count(&self, asked: Asked, code: u16, took: Duration) {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        *requests.answers.entry((asked, code)).or_default() += 1;
        if matches!(asked.verb, "watch" | "connect") {
            return;
        }
        let durations = requests.durations.entry(asked).or_default();
        let seconds = took.as_secs_f64();
        durations.count += 1;
        durations.sum += seconds;
        if let Some(at) = BUCKETS.iter().position(|bound| seconds <= *bound) {
            durations.buckets[at] += 1;
        }
    }

    pub fn open_watch(&self) -> OpenWatch {
        self.watches.fetch_add(1, Ordering::Relaxed);
        OpenWatch(Arc::clone(&self.watches))
    }

    /// The page of `/metrics`.
    pub fn page(&self, world: &World) -> String {
        let mut page = String::new();
        self.requests_page(&mut page);
        head(
            &mut page,
            "apiserver_longrunning_requests",
            "gauge",
            "Watches open now.",
        );
        let open = self.watches.load(Ordering::Relaxed);
        let _ = writeln!(
            page,
            "apiserver_longrunning_requests{{component=\"apiserver\",verb=\"WATCH\"}} {open}"
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
        self.process_page(&mut page);
        page
    }

    fn requests_page(&self, page: &mut String) {
        let (answers, durations) = {
            let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
            (requests.answers.clone(), requests.durations.clone())
        };
        let name = "apiserver_request_total";
        head(page, name, "counter", "Requests answered, by HTTP code.");
        for ((asked, code), number) in answers {
            let labels = asked.labels();
            let _ = writeln!(
                page,
                "{name}{{code=\"{code}\",dry_run=\"\",{labels}}} {number}"
            );
        }
        let name = "apiserver_request_duration_seconds";
        head(page, name, "histogram", "How long answers took.");
        for (asked, durations) in durations {
            let labels = asked.labels();
            let mut upto = 0;
            for (bound, number) in BUCKETS.iter().zip(durations.buckets) {
                upto += number;
                let _ = writeln!(
                    page,
                    "{name}_bucket{{dry_run=\"\",{labels},le=\"{bound}\"}} {upto}"
                );
            }
            let Durations { count, sum, .. } = durations;
            let _ = writeln!(
                page,
                "{name}_bucket{{dry_run=\"\",{labels},le=\"+Inf\"}} {count}"
            );
            let _ = writeln!(page, "{name}_sum{{dry_run=\"\",{labels}}} {sum}");
            let _ = writeln!(page, "{name}_count{{dry_run=\"\",{labels}}} {count}");
        }
    }

    /// What the kernel says of this process; what it does not say is left out.
    fn process_page(&self, page: &mut String) {
        let mut gauge = |name: &str, kind: &str, help: &str, value: Option<f64>| {
            if let Some(value) = value {
                head(page, name, kind, help);
                let _ = writeln!(page, "{name} {value}");
            }
        };
        let since = self.started.duration_since(SystemTime::UNIX_EPOCH).ok();
        gauge(
            "process_start_time_seconds",
            "gauge",
            "When the server started, in seconds since 1970.",
            since.map(|since| since.as_secs_f64()),
        );
        let ticks = read_stat();
        gauge(
            "process_cpu_seconds_total",
            "counter",
            "Time spent on processors, in seconds.",
            // Linux counts in hundredths of a second wherever programs can see it.
            ticks.map(|ticks| ticks as f64 / 100.0),
        );
        gauge(
            "process_resident_memory_bytes",
            "gauge",
            "Memory in use, in bytes.",
            status_kib("VmRSS:").map(|kib| kib * 1024.0),
        );
        gauge(
            "process_virtual_memory_bytes",
            "gauge",
            "Memory asked for, in bytes.",
            status_kib("VmSize:").map(|kib| kib * 1024.0),
        );
        let open = std::fs::read_dir("/proc/self/fd").ok().map(Iterator::count);
        gauge(
            "process_open_fds",
            "gauge",
            "Files and connections open.",
            open.map(|count| count as f64),
        );
    }
}

/// User and system time of this process, in ticks.
fn read_stat() -> Option<u64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name in brackets may have blanks; the two are the 12th and 13th behind it.
    let (_, rest) = stat.rsplit_once(')')?;
    let times = rest.split_whitespace().skip(11).take(2);
    times.map(|n| n.parse::<u64>().ok()).sum()
}

fn status_kib(name: &str) -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

fn head(page: &mut String, name: &str, kind: &str, help: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(page, "# HELP {name} {help}\n# TYPE {name} {kind}");
}
