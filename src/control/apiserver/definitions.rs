//! A definition that is deleted goes after its objects: they could not be reached without it.

use cadet_api::crd::FINALIZER;
use cadet_api::resource::{self, Resource};
use cadet_api::{json, meta};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::handlers::{DeleteOptions, delete_one};
use crate::object::Object;
use crate::world::Scope;
use crate::writing::{self, Proposal};

fn definitions() -> Option<&'static Resource> {
    resource::find("apiextensions.k8s.io", "v1", "customresourcedefinitions")
}

/// Follows definitions until `shutdown`, beginning with those already on their way out.
pub async fn run(app: App, shutdown: CancellationToken) {
    let Some(kind) = definitions() else { return };
    let scope = || Scope::new(kind, None, None, None);
    loop {
        let Ok((listing, mut changes)) = app.world.list_and_watch(kind, None, scope()) else {
            return;
        };
        listing.objects.iter().for_each(|object| look(&app, object));
        loop {
            let change = tokio::select! {
                () = shutdown.cancelled() => return,
                change = changes.next() => change,
            };
            match change {
                Ok(change) => {
                    if let Some(object) = &change.current {
                        look(&app, object);
                    }
                }
                // Fell behind: begin again from what is there.
                Err(_) => break,
            }
        }
    }
}

fn look(app: &App, definition: &Object) {
    let held = definition.finalizers().iter().any(|f| f == FINALIZER);
    if definition.is_deleting() && held {
        let (app, name) = (app.clone(), definition.name().to_owned());
        tokio::spawn(async move { empty(&app, &name).await });
    }
}

/// Deletes all objects of a definition, waits until they are gone, and lets it go. Run
/// twice at once it does no harm.
async fn empty(app: &App, name: &str) {
    let Some(kind) = app.world.kinds().stored(name) else {
        return;
    };
    let scope = Scope::new(kind, None, None, None);
    let Ok((listing, mut changes)) = app.world.list_and_watch(kind, None, scope) else {
        return;
    };
    for object in &listing.objects {
        let (namespace, name) = (object.namespace(), object.name());
        let options = DeleteOptions::default();
        // Gone meanwhile is as good; what has finalizers is waited for below.
        if let Err(status) = delete_one(app, kind, namespace, name, &options).await {
            tracing::debug!(%status, name, "an object of a deleted kind stays for now");
        }
    }
    while !app.world.list(kind, None).objects.is_empty() {
        let next = tokio::select! {
            () = app.stopping.cancelled() => return,
            next = changes.next() => next,
        };
        if next.is_err() {
            return;
        }
    }
    let Some(definitions) = definitions() else {
        return;
    };
    let freed = writing::change(app, definitions, "", name, false, |old| {
        let mut value = old.clone();
        let kept: Vec<Value> = json::list_at(old, "/metadata/finalizers")
            .iter()
            .filter(|f| *f != FINALIZER)
            .cloned()
            .collect();
        meta::set(&mut value, "finalizers", kept);
        Ok(Proposal {
            value,
            conditional: false,
            warnings: vec![],
        })
    })
    .await;
    if let Err(status) = freed
        && status.code != 404
    {
        tracing::warn!(%status, name, "a deleted definition cannot be let go");
    }
}
