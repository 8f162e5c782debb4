//! A cache of container images on the laptop: machines pull through it, so an image comes over
//! the internet once, whatever machines come and go, and comes without the internet later.
//!
//! ```text
//!   dockerd ─▶ serve ─ kept? ─ yes ─▶ store ─▶ dockerd
//!                        └─ no ──▶ upstream ─▶ store, dockerd
//! ```
//! * [`asked`] reads paths of the OCI distribution protocol. Pure.
//! * [`store`] keeps manifests, blobs and which tag means which manifest; what is kept is
//!   named by its checksum and was checked.
//! * [`upstream`] asks the registry, with the anonymous tokens it wants.
//! * [`Mirror`] serves the protocol's reading half; nothing can be written through it.
//!
//! Tags move: a tag is believed for some minutes, then the registry is asked whether it still
//! means the same, which does not count as a pull. When it does not answer, what is kept is
//! served, however old.

pub mod asked;
mod serve;
pub mod store;
pub mod upstream;

pub use serve::{Counts, Mirror, STATUS_PATH};
