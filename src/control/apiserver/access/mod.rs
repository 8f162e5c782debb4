//! Who asks, and whether they may.

mod identity;
mod node;
mod rules;

pub use identity::{BadCertificate, User};
pub use rules::{Attributes, authorize};
