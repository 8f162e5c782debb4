//! WebSocket as Kubernetes uses it: a byte in front of each message names its channel.

pub mod channels;
pub mod frame;
mod session;

pub use session::{Session, open, tunnel};
