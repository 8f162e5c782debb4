//! Rules for certificate signing requests, and for who says what in their conditions.

use std::collections::HashSet;

use serde_json::Value;

use crate::field::{Error, index};
use crate::json::{base64_decode, int_at, list_at, str_at};
use crate::strategy::Part;

/// What a certificate may be asked for (the `KeyUsage` constants of certificates.k8s.io/v1).
const USAGES: [&str; 23] = [
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];
const LEAST_SECONDS: i64 = 600;

pub(super) fn request(o: &Value) -> Vec<Error> {
    let mut errors = Vec::new();
    let e = &mut errors;
    let text = str_at(o, "/spec/request");
    let pem = base64_decode(text).unwrap_or_default();
    let marker = b"-----BEGIN CERTIFICATE REQUEST-----";
    if !pem.windows(marker.len()).any(|part| part == marker) {
        let why = "PEM block type must be CERTIFICATE REQUEST";
        e.push(Error::invalid("spec.request", text, why));
    }
    let usages = list_at(o, "/spec/usages");
    if usages.is_empty() {
        e.push(Error::required("spec.usages", "usages is required"));
    }
    let mut seen = HashSet::new();
    for (i, usage) in usages.iter().enumerate() {
        let usage = usage.as_str().unwrap_or_default();
        let at = index("spec.usages", i);
        if !USAGES.contains(&usage) {
            e.push(Error::not_supported(&at, usage, &USAGES));
        } else if !seen.insert(usage) {
            e.push(Error::duplicate(&at, usage));
        }
    }
    signer(e, str_at(o, "/spec/signerName"));
    if let Some(n) = int_at(o, "/spec/expirationSeconds")
        && n < LEAST_SECONDS
    {
        let why = "may not specify a duration less than 600 seconds (10 minutes)";
        e.push(Error::invalid("spec.expirationSeconds", n, why));
    }
    errors
}

fn signer(e: &mut Vec<Error>, name: &str) {
    let at = "spec.signerName";
    if name.is_empty() {
        e.push(Error::required(at, ""));
        return;
    }
    match name.split_once('/') {
        Some((domain, path)) if domain.contains('.') && !path.is_empty() => {}
        _ => {
            let why =
                "must be a fully qualified domain and path of the form 'example.com/signer-name'";
            e.push(Error::invalid(at, name, why));
        }
    }
    if name == "kubernetes.io/legacy-unknown" {
        let why = "the legacy signerName is not allowed via this API version";
        e.push(Error::invalid(at, name, why));
    }
}

/// Who approves sets the verdict, who signs says how it went, and neither takes it back.
pub(super) fn update(new: &Value, old: &Value, part: Part) -> Vec<Error> {
    let mut errors = Vec::new();
    let e = &mut errors;
    let path = "status.conditions";
    let (now, before) = (
        list_at(new, "/status/conditions"),
        list_at(old, "/status/conditions"),
    );
    let mut seen = HashSet::new();
    for (i, condition) in now.iter().enumerate() {
        let at = index(path, i);
        let (kind, status) = (str_at(condition, "/type"), str_at(condition, "/status"));
        if kind.is_empty() {
            e.push(Error::required(&format!("{at}.type"), ""));
        }
        let verdict = matches!(kind, "Approved" | "Denied" | "Failed");
        let known: &[&str] = match verdict {
            true => &["True"],
            false => &["True", "False", "Unknown"],
        };
        super::one_of(e, &format!("{at}.status"), status, known);
        if !seen.insert(kind) {
            e.push(Error::duplicate(&format!("{at}.type"), kind));
        }
    }
    if seen.contains("Approved") && seen.contains("Denied") {
        let why = "Approved and Denied conditions are mutually exclusive";
        e.push(Error::invalid(path, now.to_vec(), why));
    }
    for kind in ["Approved", "Denied", "Failed"] {
        let find = |list: &[Value]| list.iter().find(|c| str_at(c, "/type") == kind).cloned();
        let act = match (find(now), find(before)) {
            (None, Some(_)) => "remove",
            (Some(_), None) if part != Part::Approval && kind != "Failed" => "add",
            (Some(a), Some(b)) if a != b && part != Part::Approval && kind != "Failed" => "modify",
            _ => continue,
        };
        let why = format!("updates may not {act} a condition of type {kind:?}");
        e.push(Error::forbidden(path, why));
    }
    let certificate = "/status/certificate";
    let had = str_at(old, certificate);
    if part == Part::Status && !had.is_empty() && str_at(new, certificate) != had {
        let why = "updates may not modify certificate content";
        e.push(Error::forbidden("status.certificate", why));
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn words(errors: &[Error]) -> Vec<String> {
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_request_names_its_signer_and_usages() {
        let bad = json!({"spec": {"request": "eA==", "signerName": "a", "usages": ["x", "any", "any"], "expirationSeconds": 5}});
        let w = words(&request(&bad));
        assert_eq!(w.len(), 5, "{w:?}");
        assert_eq!(
            w[0],
            "spec.request: Invalid value: \"eA==\": PEM block type must be CERTIFICATE REQUEST"
        );
        assert_eq!(w[2], "spec.usages[2]: Duplicate value: \"any\"");
    }

    #[test]
    fn a_verdict_comes_by_its_door_and_stays() {
        let verdict =
            |kind: &str| json!({"status": {"conditions": [{"type": kind, "status": "True"}]}});
        let (none, yes) = (json!({}), verdict("Approved"));
        assert!(update(&yes, &none, Part::Approval).is_empty());
        assert_eq!(
            words(&update(&yes, &none, Part::Status)),
            ["status.conditions: Forbidden: updates may not add a condition of type \"Approved\""]
        );
        assert_eq!(
            words(&update(&verdict("Denied"), &yes, Part::Approval)),
            [
                "status.conditions: Forbidden: updates may not remove a condition of type \"Approved\""
            ]
        );
        assert!(update(&verdict("Failed"), &none, Part::Status).is_empty());
        let not = json!({"status": {"conditions": [{"type": "Approved", "status": "False"}]}});
        assert_eq!(
            words(&update(&not, &none, Part::Approval)),
            [
                "status.conditions[0].status: Unsupported value: \"False\": supported values: \"True\""
            ]
        );
    }
}
