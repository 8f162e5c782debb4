//! Old versions, converted at the edge: storage and loops know today's form only.

mod v1beta3;

use serde_json::{Value, json};

use crate::resource::Resource;
use crate::status::Status;

/// Brings an object of an old version into the stored one. Returns warnings that name
/// today's form; does nothing if `res` is current.
///
/// # Errors
/// 400 if the kind has no conversion, which is a row in the table without code here.
pub fn to_stored(res: &'static Resource, object: &mut Value) -> Result<Vec<String>, Status> {
    if !res.is_converted() {
        return Ok(Vec::new());
    }
    let stored = res.stored_as();
    let renames = match (res.gv.version, res.kind) {
        ("v1beta3", "Pod") => v1beta3::pod_to_v1(object),
        _ => {
            return Err(Status::bad_request(format!(
                "{} {} cannot be converted to {}",
                res.gv.api_version(),
                res.kind,
                stored.gv.api_version()
            )));
        }
    };
    object["apiVersion"] = json!(stored.gv.api_version());
    let mut warnings: Vec<String> = past_warning(res).into_iter().collect();
    for (old, new) in renames {
        warnings.push(format!("{old} is called {new} today"));
    }
    Ok(warnings)
}

/// Brings a stored object into the version a client asked for.
pub fn from_stored(res: &'static Resource, object: &mut Value) {
    if !res.is_converted() {
        return;
    }
    if (res.gv.version, res.kind) == ("v1beta3", "Pod") {
        v1beta3::pod_from_v1(object);
    }
    object["apiVersion"] = json!(res.gv.api_version());
}

/// What users of a version of the past are told: since when it is, and today's form.
pub fn past_warning(res: &Resource) -> Option<String> {
    res.is_past().then(|| {
        format!(
            "{} {} is {}: write apiVersion: {}",
            res.gv.api_version(),
            res.kind,
            res.history,
            res.storage.api_version()
        )
    })
}
