//! What the server itself writes into new objects because only it has it: addresses of
//! Services, tokens of accounts.

use cadet_api::resource::Resource;
use cadet_api::status::Status;
use cadet_api::{defaults, field, json, meta};
use serde_json::Value;

use super::find;
use crate::access::token;
use crate::addresses::{AddressError, Held};
use crate::app::App;

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
    let uid = account.uid();
    let claims = token::legacy_claims(
        &namespace,
        (&name, uid),
        json::str_at(secret, "/metadata/name"),
    );
    let token = keys.sign(&claims)?;
    let annotations = json::child(meta::of_mut(secret), "annotations");
    annotations.insert("kubernetes.io/service-account.uid".into(), uid.into());
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
