//! The Kubernetes API over a store: unmodified clients are its specification.
//!
//! ```text
//!   serve ──▶ service ──▶ app (guard: access, panics, metrics) ──▶ handlers, one verb per file
//!   (TLS)     (who)                                                  │ read        │ write
//!                                                                    ▼             ▼
//!                                              world (memory) ◀── follows ── store (durable)
//! ```
//! Rules: reads never touch the store's disk; every write compares with the revision it
//! read; nothing a client sends can make the server panic, hang or grow without bound.

mod access;
mod addresses;
mod admission;
mod app;
mod body;
mod bootstrap;
mod call;
mod connect;
mod definitions;
mod descriptions;
mod documents;
mod encode;
mod endpoints;
mod expiry;
mod fields;
mod freshness;
#[cfg(test)]
mod fuzz;
mod handlers;
mod health;
mod inflight;
mod journal;
mod kept;
mod kinds;
mod metrics;
mod moment;
mod negotiate;
mod object;
mod openid;
mod ownership;
mod pieces;
mod ports;
mod query;
mod quota_status;
mod respond;
mod selection;
mod serve;
mod service;
mod story;
mod target;
mod tls;
mod usage;
mod virtual_kinds;
mod webhooks;
mod world;
mod writing;

pub use access::token::{BadKey, Keys};
pub use access::{BadCertificate, User};
pub use app::{App, Config, StartError};
pub use health::git_version;
pub use object::BadRecord;
pub use serve::serve;
pub use service::LocalService;
pub use tls::{TlsError, kubelet_tls_config, tls_config};
