//! Who asks, and whether they may.

mod identity;
mod node;
mod rules;

pub use identity::{BadCertificate, User};
pub use node::may_create;
pub use rules::{Attributes, authorize};
