//! Stories: what happened to an object and to all that it owns, from the request on.
//!
//! ```text
//!   window of changes ─┐
//!   writers (journal) ─┼─▶ Teller ─▶ lines (who, what, when) ─▶ /debug/story
//!   events, objects ───┘     └─ family: the object, what it owns, services that lead there
//! ```
//! Nothing is recorded for stories alone: the server sees every write with both its sides,
//! events bring what agents did in between. What is older than the window is told from the
//! objects' own times, which have whole seconds.

mod actor;
mod event;
mod line;
mod pod;
mod remembered;
mod routes;
mod services;
mod teller;
mod words;
mod workload;

pub use routes::routes;
