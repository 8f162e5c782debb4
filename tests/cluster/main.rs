//! A whole cluster in one process: API server on a memory store, controllers, scheduler and
//! nodes, seen through the API alone. One file per area.

#[path = "../support/browser.rs"]
mod browser;
#[path = "../support/cluster.rs"]
mod cluster;

mod autoscale;
mod balancers;
mod budgets;
mod cronjob;
mod daemonset;
mod dashboard;
mod dns;
mod endpoints;
mod eviction;
mod garbage;
mod hollow;
mod ingress;
mod job;
mod namespaces;
mod preemption;
mod quota;
mod replicas;
mod rollouts;
mod scheduling;
mod statefulset;
mod trace;
mod volumes;
