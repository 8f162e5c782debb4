//! What must hold in the world for an object to be written: its namespace lives, its
//! addresses are free. What can be told from the object alone stands in `cadet_api`.

use cadet_api::resource::{self, Resource};
use cadet_api::status::{Cause, Status};
use cadet_api::{defaults, field, json, meta};
use serde_json::Value;

use crate::access::token;
use crate::addresses::{AddressError, Held};
use crate::app::App;
use crate::world::World;

/// Namespaces that every cluster has and that cannot be deleted.
pub const ETERNAL_NAMESPACES: &[&str] = &["default", "kube-system", "kube-public"];

/// New objects need a namespace that exists and is not being deleted.
pub fn namespace_takes(
    world: &World,
    resource: &Resource,
    namespace: &str,
    name: &str,
) -> Result<(), Status> {
    if !resource.namespaced {
        return Ok(());
    }
    let namespaces = find("namespaces")?;
    let Some(found) = world.get(namespaces, "", namespace) else {
        return Err(Status::not_found(namespaces, namespace));
    };
    if !found.meta.is_deleting() {
        return Ok(());
    }
    let why = format!(
        "unable to create new content in namespace {namespace} because it is being terminated"
    );
    let mut status = Status::forbidden(resource, name, &why);
    status.details.get_or_insert_default().causes.push(Cause {
        reason: "NamespaceTerminating".into(),
        message: format!("namespace {namespace} is being terminated"),
        field: "metadata.namespace".into(),
    });
    Err(status)
}

/// Gives a Service that wants one a cluster IP. Keep what is returned until the Service
/// can be read in the world.
pub fn give_address(
    app: &App,
    resource: &Resource,
    service: &mut Value,
) -> Result<Option<Held>, Status> {
    if !resource.is("", "Service") || json::str_at(service, "/spec/type") == "ExternalName" {
        return Ok(None);
    }
    let asked = json::str_at(service, "/spec/clusterIP").to_owned();
    if asked == "None" {
        defaults::service::set_cluster_ip(service, None);
        return Ok(None);
    }
    let held = if asked.is_empty() {
        let mut seed = [0_u8; 4];
        // Without randomness the lowest free address is as good.
        let _ = getrandom::fill(&mut seed);
        app.addresses.hold_any(&app.world, u32::from_be_bytes(seed))
    } else {
        app.addresses.hold(&app.world, &asked)
    };
    let held = held.map_err(|error| {
        let name = json::str_at(service, "/metadata/name");
        match error {
            AddressError::Full => Status::internal(error),
            error => {
                let error =
                    field::Error::invalid("spec.clusterIPs", vec![asked], error.to_string());
                Status::invalid(resource, name, &[error])
            }
        }
    })?;
    defaults::service::set_cluster_ip(service, Some(&held.address.to_string()));
    Ok(Some(held))
}

/// Fills a Secret that asks for a token of its account: the form that books before
/// Kubernetes 1.24 use. Without that account it stays as it is.
pub fn give_token(app: &App, resource: &Resource, secret: &mut Value) -> Result<(), Status> {
    const NAME: &str = "/metadata/annotations/kubernetes.io~1service-account.name";
    if !resource.is("", "Secret")
        || json::str_at(secret, "/type") != "kubernetes.io/service-account-token"
    {
        return Ok(());
    }
    let Some(keys) = &app.config.token_keys else {
        return Ok(());
    };
    let namespace = json::str_at(secret, "/metadata/namespace").to_owned();
    let name = json::str_at(secret, NAME).to_owned();
    let accounts = find("serviceaccounts")?;
    let Some(account) = app.world.get(accounts, &namespace, &name) else {
        return Ok(());
    };
    let uid = &account.meta.uid;
    let claims = token::legacy_claims(
        &namespace,
        (&name, uid),
        json::str_at(secret, "/metadata/name"),
    );
    let token = keys.sign(&claims)?;
    let annotations = json::child(meta::of_mut(secret), "annotations");
    annotations.insert(
        "kubernetes.io/service-account.uid".into(),
        uid.as_str().into(),
    );
    if let Some(members) = secret.as_object_mut() {
        let data = json::child(members, "data");
        for (key, value) in [
            ("token", token.as_bytes()),
            ("ca.crt", app.config.authority.as_bytes()),
            ("namespace", namespace.as_bytes()),
        ] {
            data.insert(key.into(), defaults::base64_encode(value).into());
        }
    }
    Ok(())
}

/// The first namespaces cannot be deleted: too much leans on them.
pub fn may_delete(resource: &Resource, name: &str) -> Result<(), Status> {
    if resource.is("", "Namespace") && ETERNAL_NAMESPACES.contains(&name) {
        return Err(Status::forbidden(
            resource,
            name,
            "this namespace may not be deleted",
        ));
    }
    Ok(())
}

/// A row of the core group that this crate relies on.
pub fn find(plural: &str) -> Result<&'static Resource, Status> {
    resource::find("", "v1", plural)
        .ok_or_else(|| Status::internal(format!("{plural} are not in the table of kinds")))
}
