//! What each of Kubernetes' own signers signs, in upstream's words.

use std::collections::BTreeSet;

use super::request::Request;

pub const CLIENT: &str = "kubernetes.io/kube-apiserver-client";
pub const KUBELET_CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";
pub const KUBELET_SERVING: &str = "kubernetes.io/kubelet-serving";

const NODES: &str = "system:nodes";
const NODE_PREFIX: &str = "system:node:";

/// Whether the signer may sign; `None` for signers that are not the cluster's.
pub fn check(signer: &str, request: &Request<'_>, usages: &[String]) -> Option<Result<(), String>> {
    match signer {
        CLIENT => Some(client(usages)),
        KUBELET_CLIENT => Some(kubelet_client(request, usages)),
        KUBELET_SERVING => Some(kubelet_serving(request, usages)),
        _ => None,
    }
}

fn client(usages: &[String]) -> Result<(), String> {
    for usage in usages {
        if !["client auth", "digital signature", "key encipherment"].contains(&usage.as_str()) {
            return Err(format!("invalid usage for client certificate: {usage}"));
        }
    }
    match usages.iter().any(|usage| usage == "client auth") {
        true => Ok(()),
        false => Err("missing required usage for client certificate: client auth".to_owned()),
    }
}

/// The purpose and digital signature, and for RSA keys' sake key encipherment or not.
fn usages_are(purpose: &str, usages: &[String]) -> Result<(), String> {
    let asked: BTreeSet<&str> = usages.iter().map(String::as_str).collect();
    let mut least: BTreeSet<&str> = ["digital signature", purpose].into();
    let fits = asked == least;
    least.insert("key encipherment");
    if fits || asked == least {
        return Ok(());
    }
    let wanted: Vec<&str> = least.into_iter().collect();
    Err(format!("usages did not match [{}]", wanted.join(" ")))
}

fn refuse(when: bool, why: &str) -> Result<(), String> {
    match when {
        true => Err(why.to_owned()),
        false => Ok(()),
    }
}

const NO_NODES: &str = "subject organization is not system:nodes";
const NO_EMAIL: &str = "Email subjectAltNames are not allowed";
const NO_URI: &str = "URI subjectAltNames are not allowed";
const NO_NODE: &str = "subject common name does not begin with system:node:";

/// What a node's client certificate may ask for.
pub fn kubelet_client(request: &Request<'_>, usages: &[String]) -> Result<(), String> {
    refuse(request.organizations() != [NODES], NO_NODES)?;
    let no_dns = "DNS subjectAltNames are not allowed";
    refuse(request.dns_names() > 0, no_dns)?;
    refuse(request.emails() > 0, NO_EMAIL)?;
    let no_address = "IP subjectAltNames are not allowed";
    refuse(request.addresses() > 0, no_address)?;
    refuse(request.uris() > 0, NO_URI)?;
    refuse(!request.common_name().starts_with(NODE_PREFIX), NO_NODE)?;
    usages_are("client auth", usages)
}

fn kubelet_serving(request: &Request<'_>, usages: &[String]) -> Result<(), String> {
    refuse(request.organizations() != [NODES], NO_NODES)?;
    let nameless = request.dns_names() + request.addresses() == 0;
    refuse(nameless, "DNS or IP subjectAltName is required")?;
    refuse(request.emails() > 0, NO_EMAIL)?;
    refuse(request.uris() > 0, NO_URI)?;
    usages_are("server auth", usages)?;
    refuse(!request.common_name().starts_with(NODE_PREFIX), NO_NODE)
}

#[cfg(test)]
mod tests {
    use super::super::request::unwrap;
    use super::*;
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    struct Asked {
        organization: &'static str,
        name: &'static str,
        names: Vec<SanType>,
        usages: &'static [&'static str],
    }

    fn verdict(signer: &str, asked: Asked) -> Option<Result<(), String>> {
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name = rcgen::DistinguishedName::new();
        let subject = &mut parameters.distinguished_name;
        subject.push(DnType::OrganizationName, asked.organization);
        subject.push(DnType::CommonName, asked.name);
        parameters.subject_alt_names = asked.names;
        let key = KeyPair::generate().unwrap();
        let text = parameters.serialize_request(&key).unwrap().pem().unwrap();
        let der = unwrap(text.as_bytes()).unwrap();
        let usages: Vec<String> = asked.usages.iter().map(|u| (*u).to_owned()).collect();
        check(signer, &Request::parse(&der).unwrap(), &usages)
    }

    const FULL: &[&str] = &["digital signature", "key encipherment", "client auth"];
    const SERVING: &[&str] = &["server auth", "digital signature"];

    fn node(names: Vec<SanType>, usages: &'static [&'static str]) -> Asked {
        let (organization, name) = ("system:nodes", "system:node:a");
        Asked {
            organization,
            name,
            names,
            usages,
        }
    }

    #[test]
    fn every_signer_has_its_rules() {
        let dns = || vec![SanType::DnsName("a".try_into().unwrap())];
        let mail = || vec![SanType::Rfc822Name("a@b.c".try_into().unwrap())];
        let address = || vec![SanType::IpAddress([10, 0, 0, 1].into())];
        let uri = || vec![SanType::URI("spiffe://a/b".try_into().unwrap())];
        let person = |usages| Asked {
            organization: "devs",
            name: "jo",
            names: vec![],
            usages,
        };
        for (signer, asked, want) in [
            (CLIENT, person(&["client auth"][..]), ""),
            (CLIENT, person(FULL), ""),
            (
                CLIENT,
                person(&["client auth", "server auth"]),
                "invalid usage for client certificate: server auth",
            ),
            (
                CLIENT,
                person(&["digital signature"]),
                "missing required usage for client certificate: client auth",
            ),
            (KUBELET_CLIENT, node(vec![], FULL), ""),
            (
                KUBELET_CLIENT,
                node(vec![], &FULL[..1]),
                "usages did not match [client auth digital signature key encipherment]",
            ),
            (KUBELET_CLIENT, person(FULL), NO_NODES),
            (
                KUBELET_CLIENT,
                node(dns(), FULL),
                "DNS subjectAltNames are not allowed",
            ),
            (
                KUBELET_CLIENT,
                node(address(), FULL),
                "IP subjectAltNames are not allowed",
            ),
            (KUBELET_CLIENT, node(mail(), FULL), NO_EMAIL),
            (KUBELET_CLIENT, node(uri(), FULL), NO_URI),
            (
                KUBELET_CLIENT,
                Asked {
                    name: "jo",
                    ..node(vec![], FULL)
                },
                NO_NODE,
            ),
            (KUBELET_SERVING, node(dns(), SERVING), ""),
            (KUBELET_SERVING, node(address(), SERVING), ""),
            (
                KUBELET_SERVING,
                node(vec![], SERVING),
                "DNS or IP subjectAltName is required",
            ),
            (
                KUBELET_SERVING,
                node(dns(), FULL),
                "usages did not match [digital signature key encipherment server auth]",
            ),
        ] {
            let said = verdict(signer, asked).expect("ours").err();
            assert_eq!(said.as_deref().unwrap_or(""), want, "{signer}");
        }
        assert!(verdict("example.com/mine", person(FULL)).is_none());
    }
}
