//! Reads are of the newest state: what any server has answered for can be read at every
//! other one from then on. The store of one server gives that for nothing.

use cadet_store::Unfresh;
use http::Method;

use crate::app::App;
use crate::query::{Parameters, parse_revision};
use crate::target::Target;

/// Catches up with the other servers, if there are any and the request needs it.
pub async fn ensure(
    app: &App,
    method: &Method,
    target: &Target,
    parameters: &Parameters,
) -> Result<(), Unfresh> {
    if !app.world.is_shared() || !needs(app, method, target, parameters) {
        return Ok(());
    }
    app.world.settle().await
}

/// Reads of "any" version, and of one that is here already, need nothing. Changes do: they
/// begin with what they find here.
fn needs(app: &App, method: &Method, target: &Target, parameters: &Parameters) -> bool {
    if matches!(target, Target::Path) {
        return false;
    }
    if method != Method::GET || parameters.get("continue").is_some() {
        return true;
    }
    match parameters.get("resourceVersion").map(parse_revision) {
        Some(Ok(asked)) => asked > app.world.revision(),
        // Refused later, in words.
        Some(Err(_)) => false,
        None => true,
    }
}
