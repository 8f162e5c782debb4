//! Who owns which field: `metadata.managedFields`, and server-side apply on top of it
//! (KEP-555).
//!
//! ```text
//!   any write  ── compare old and new ──▶ the writer owns what it changed, others lose it
//!   an apply   ── merge into live ──▶ conflicts? ──▶ prune what is no longer applied
//! ```

mod entry;
mod fieldset;
mod last_applied;
mod managed;
mod merge;
mod shaped;
mod typed;
mod versions;

pub use fieldset::{Set, Step};
pub use managed::{Conflict, Error, Writer, apply, clear_if_asked, track};
