//! Who writes, and the record of it in `metadata.managedFields`.

use cadet_api::apply::{self, Writer};
use cadet_api::meta;
use cadet_api::resource::Resource;
use http::HeaderMap;
use http::header::USER_AGENT;
use serde_json::Value;
use time::OffsetDateTime;

use crate::call::ObjectCall;
use crate::query::{MANAGER_MAX, Parameters};

/// The writer of one request.
#[derive(Debug, Clone)]
pub struct Manager {
    name: String,
    api_version: String,
    subresource: &'static str,
    /// The record was already written by the apply itself.
    applying: bool,
}

impl Manager {
    /// The server itself, making what every cluster has.
    pub fn server() -> Manager {
        Manager {
            name: "kube-apiserver".to_owned(),
            api_version: "v1".to_owned(),
            subresource: "",
            applying: false,
        }
    }

    /// `fieldManager`, which [`WriteOptions`](crate::query::WriteOptions) has looked at, or
    /// the first word of the client's User-Agent.
    pub fn of(call: &ObjectCall, subresource: &'static str) -> Manager {
        Manager {
            name: name_of(&call.parameters, &call.headers),
            api_version: call.resource().gv.api_version(),
            subresource,
            applying: false,
        }
    }

    /// The same writer, whose objects come with their record.
    pub fn applying(self) -> Manager {
        Manager {
            applying: true,
            ..self
        }
    }

    pub fn is_applying(&self) -> bool {
        self.applying
    }

    pub fn writer(&self) -> Writer<'_> {
        Writer {
            manager: &self.name,
            api_version: &self.api_version,
            subresource: self.subresource,
            now: OffsetDateTime::now_utc(),
        }
    }

    /// Writes this manager's changes into the record of a new or changed object.
    pub fn track(&self, resource: &Resource, old: Option<&Value>, new: &mut Value) {
        if old.is_some() && self.subresource.is_empty() && apply::clear_if_asked(new) {
            meta::set(new, "managedFields", Value::Null);
            return;
        }
        apply::track(resource, old, new, &self.writer());
    }

    /// The record of a new object as it is now; `new` itself stays without one.
    pub fn record_of(&self, resource: &Resource, new: &mut Value) -> Value {
        self.track(resource, None, new);
        let record = new.pointer_mut("/metadata/managedFields").map(Value::take);
        meta::set(new, "managedFields", Value::Null);
        record.unwrap_or(Value::Null)
    }
}

fn name_of(parameters: &Parameters, headers: &HeaderMap) -> String {
    if let Some(name) = parameters.get("fieldManager") {
        return name.to_owned();
    }
    let agent = headers.get(USER_AGENT).and_then(|v| v.to_str().ok());
    let first = agent.and_then(|a| a.split('/').next()).unwrap_or_default();
    match first {
        "" => "unknown".to_owned(),
        first => first.chars().take(MANAGER_MAX).collect(),
    }
}
