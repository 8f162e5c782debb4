//! One request after it was let in: who, what, with which parameters.

use std::sync::Arc;

use cadet_api::resource::Resource;
use cadet_api::status::Status;

use crate::access::User;
use crate::app::App;
use crate::query::Parameters;
use crate::target::{Reference, Target};

/// See the module's opening. Travels in the request's extensions.
#[derive(Clone)]
pub struct Call {
    pub app: App,
    pub user: Arc<User>,
    pub target: Target,
    pub parameters: Parameters,
    pub verb: &'static str,
}

/// A call about an object or a collection.
#[derive(Clone)]
pub struct ObjectCall {
    pub app: App,
    pub user: Arc<User>,
    pub reference: Reference,
    pub parameters: Parameters,
    pub headers: http::HeaderMap,
}

impl ObjectCall {
    /// The resource as the request names it; may be an old version.
    pub fn resource(&self) -> &'static Resource {
        self.reference.resource
    }

    /// The resource as it is stored.
    pub fn stored(&self) -> &'static Resource {
        self.reference.resource.stored_as()
    }

    /// The namespace of the path, "" at cluster scope.
    pub fn namespace(&self) -> &str {
        self.reference.namespace.as_deref().unwrap_or("")
    }

    /// The name in the path, "" for a collection.
    pub fn name(&self) -> &str {
        self.reference.name.as_deref().unwrap_or("")
    }

    pub fn not_found(&self) -> Status {
        Status::not_found(self.resource(), self.name())
    }
}
