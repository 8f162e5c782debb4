//! The rules in a real kernel: pods, node and outside are network namespaces, connections
//! are real ones. Needs root, `nft`, `iptables` and `ip`.
//!
//! ```text
//!  pod a ── 10.244.0.2 ┐
//!  pod b ── 10.244.0.3 ┤ cadet0   node   eth0 192.0.2.1 ── 192.0.2.2 outside
//!  pod c ── 10.244.0.4 ┘
//! ```

mod balancing;
mod following;
mod host_ports;
mod large;
mod nodes;
mod policies;
mod space;
mod world;
