//! SPDY/3.1 as Kubernetes clients speak it: the server's half.
//!
//! Source: the SPDY/3.1 draft (chromium.org/spdy/spdy-protocol/spdy-protocol-draft3-1).

pub mod frame;
pub mod headers;
mod session;
pub mod window;

pub use session::{Session, Stream, open};
