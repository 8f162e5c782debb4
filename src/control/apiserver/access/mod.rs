//! Who asks, and whether they may.

mod certificate;
mod escalation;
mod identity;
mod impersonation;
mod node;
pub mod policy;
pub mod rbac;
mod references;
mod rules;
pub mod token;
mod websocket;

pub use certificate::{may_judge, name_requester};
pub use escalation::check_rules;
pub use identity::{BadCertificate, User};
pub use impersonation::impersonated;
pub use node::{may_create, may_request_token};
pub use rules::{Attributes, authorize, is_almighty};
pub use websocket::move_token;
