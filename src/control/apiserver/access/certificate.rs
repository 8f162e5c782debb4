//! Who may ask for a certificate, approve one, and sign it: the work of upstream's plugins
//! CertificateApproval, CertificateSigning and CertificateSubjectRestriction.

use cadet_api::json::{self, list_at, str_at};
use cadet_api::resource::Resource;
use cadet_api::status::Status;
use serde_json::{Value, json};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::pem::parse_x509_pem;
use x509_parser::prelude::FromDer;

use super::identity::{MASTERS, User};
use super::rbac::Ask;
use super::rules::is_almighty;
use crate::app::App;

const GROUP: &str = "certificates.k8s.io";
const CLIENT: &str = "kubernetes.io/kube-apiserver-client";

fn is_request(resource: &Resource) -> bool {
    resource.is(GROUP, "CertificateSigningRequest")
}

/// Writes into a new request who made it, whatever it says itself.
///
/// # Errors
/// 403 for a client certificate that would make its owner almighty.
pub fn name_requester(user: &User, resource: &Resource, request: &mut Value) -> Result<(), Status> {
    if !is_request(resource) {
        return Ok(());
    }
    if let Some(members) = request.as_object_mut() {
        let spec = json::child(members, "spec");
        let known = [
            ("username", json!(user.name)),
            ("uid", json!(user.uid)),
            ("groups", json!(user.groups)),
            ("extra", json!(user.extra)),
        ];
        for (key, value) in known {
            match json::is_empty(&value) {
                true => spec.remove(key),
                false => spec.insert(key.to_owned(), value),
            };
        }
    }
    if str_at(request, "/spec/signerName") == CLIENT && asks_for(request, MASTERS) {
        let why = format!("use of {CLIENT} signer with {MASTERS} group is not allowed");
        return Err(Status::forbidden(
            resource,
            str_at(request, "/metadata/name"),
            &why,
        ));
    }
    Ok(())
}

/// Whether the wanted certificate has this organisation; one that cannot be read has none,
/// and nobody will sign it.
fn asks_for(request: &Value, organisation: &str) -> bool {
    let pem = json::base64_decode(str_at(request, "/spec/request")).unwrap_or_default();
    let Ok((_, pem)) = parse_x509_pem(&pem) else {
        return false;
    };
    let Ok((_, wanted)) = X509CertificationRequest::from_der(&pem.contents) else {
        return false;
    };
    let subject = &wanted.certification_request_info.subject;
    subject
        .iter_organization()
        .any(|name| name.as_str() == Ok(organisation))
}

/// Who changes the verdict on a request must be let approve for its signer, and who
/// changes the certificate must be let sign.
///
/// # Errors
/// 403.
pub fn may_judge(
    app: &App,
    user: &User,
    resource: &Resource,
    new: &Value,
    old: &Value,
) -> Result<(), Status> {
    if !is_request(resource) || is_almighty(user) {
        return Ok(());
    }
    let verdicts = |request: &Value| -> Vec<Value> {
        let conditions = list_at(request, "/status/conditions").iter();
        let verdict = |c: &&Value| matches!(str_at(c, "/type"), "Approved" | "Denied");
        conditions.filter(verdict).cloned().collect()
    };
    let verb = if verdicts(new) != verdicts(old) {
        "approve"
    } else if new.pointer("/status") != old.pointer("/status") {
        "sign"
    } else {
        return Ok(());
    };
    let signer = str_at(old, "/spec/signerName");
    let domain = signer.split('/').next().unwrap_or_default();
    let index = app.rbac.index(&app.world);
    let may = |name: &str| {
        let ask = Ask {
            verb,
            group: GROUP,
            resource: "signers",
            subresource: "",
            namespace: "",
            name,
        };
        index.allows(user, &ask)
    };
    if may(signer) || may(&format!("{domain}/*")) {
        return Ok(());
    }
    let why = format!("user not permitted to {verb} requests with signerName {signer:?}");
    Err(Status::forbidden(
        resource,
        str_at(old, "/metadata/name"),
        &why,
    ))
}
