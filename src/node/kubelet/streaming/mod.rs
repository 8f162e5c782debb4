//! exec, attach and port-forward: many byte streams over one upgraded connection.
//!
//! ```text
//!   upgrade ──▶ websocket: channels ─┐                        ┌─▶ command  (exec, attach)
//!     (101)     spdy: streams ───────┼─▶ Incoming, Outgoing ──┤
//!               spdy in websocket ───┘   bounded pipes        └─▶ forward  (port-forward)
//! ```
//! The codecs (`websocket::frame`, `spdy::frame`, `spdy::headers`) are pure functions over
//! bytes. Nothing here holds more than a few frames: who reads slowly slows the sender.

pub mod command;
pub mod forward;
#[cfg(test)]
mod fuzz;
pub mod pipe;
mod resize;
pub mod spdy;
pub mod upgrade;
pub mod websocket;
