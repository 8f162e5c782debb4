//! Who asks: the subject of a client certificate, or a loop inside the server.

use std::collections::BTreeMap;

use x509_parser::prelude::{FromDer, X509Certificate};

/// Group whose members may do everything.
pub const MASTERS: &str = "system:masters";
/// Group of node agents.
pub const NODES: &str = "system:nodes";
/// Prefix of a node agent's user name.
pub const NODE_USER_PREFIX: &str = "system:node:";

/// Someone as authorization sees them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    pub name: String,
    pub groups: Vec<String>,
    /// "" where there is none.
    pub uid: String,
    pub extra: BTreeMap<String, Vec<String>>,
}

/// A client certificate that names nobody.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadCertificate {
    #[error("read the client certificate: {0}")]
    Unreadable(String),
    #[error("the client certificate has no common name")]
    NoCommonName,
}

impl User {
    /// A user with groups, e.g. a loop of the server itself.
    pub fn new(name: impl Into<String>, groups: &[&str]) -> User {
        User {
            name: name.into(),
            groups: groups.iter().map(|g| (*g).to_owned()).collect(),
            uid: String::new(),
            extra: BTreeMap::new(),
        }
    }

    /// Whoever shows no certificate.
    pub fn anonymous() -> User {
        User::new("system:anonymous", &["system:unauthenticated"])
    }

    /// Common name and organisations of a certificate that TLS has already verified.
    pub fn from_certificate(der: &[u8]) -> Result<User, BadCertificate> {
        let (_, certificate) = X509Certificate::from_der(der)
            .map_err(|error| BadCertificate::Unreadable(error.to_string()))?;
        let subject = certificate.subject();
        let name = subject
            .iter_common_name()
            .find_map(|name| name.as_str().ok())
            .filter(|name| !name.is_empty())
            .ok_or(BadCertificate::NoCommonName)?;
        let mut groups: Vec<String> = subject
            .iter_organization()
            .filter_map(|name| name.as_str().ok())
            .map(str::to_owned)
            .collect();
        groups.push("system:authenticated".to_owned());
        Ok(User {
            name: name.to_owned(),
            groups,
            uid: String::new(),
            extra: BTreeMap::new(),
        })
    }

    pub fn is_anonymous(&self) -> bool {
        self.name == "system:anonymous"
    }

    pub fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|g| g == group)
    }

    /// The node whose agent this is.
    pub fn node(&self) -> Option<&str> {
        if !self.is_in(NODES) {
            return None;
        }
        self.name
            .strip_prefix(NODE_USER_PREFIX)
            .filter(|name| !name.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(name: Option<&str>, organisation: &[&str]) -> Vec<u8> {
        let mut parameters = rcgen::CertificateParams::default();
        let mut subject = rcgen::DistinguishedName::new();
        if let Some(name) = name {
            subject.push(rcgen::DnType::CommonName, name);
        }
        for organisation in organisation {
            subject.push(rcgen::DnType::OrganizationName, *organisation);
        }
        parameters.distinguished_name = subject;
        let key = rcgen::KeyPair::generate().expect("key");
        parameters
            .self_signed(&key)
            .expect("certificate")
            .der()
            .to_vec()
    }

    #[test]
    fn a_certificate_names_user_and_groups() {
        let user = User::from_certificate(&certificate(Some("system:node:n1"), &["system:nodes"]));
        let user = user.expect("named");
        assert_eq!(user.node(), Some("n1"));
        assert!(user.is_in("system:authenticated"));
        let admin = User::from_certificate(&certificate(Some("cadet-admin"), &["system:masters"]));
        assert!(admin.expect("named").is_in(MASTERS));
    }

    #[test]
    fn a_node_name_alone_makes_no_node() {
        assert_eq!(User::new("system:node:n1", &[]).node(), None);
        assert_eq!(User::new("system:node:", &[NODES]).node(), None);
        assert_eq!(User::new("n1", &[NODES]).node(), None);
    }

    #[test]
    fn certificates_that_name_nobody_are_refused() {
        assert_eq!(
            User::from_certificate(&certificate(None, &["system:masters"])),
            Err(BadCertificate::NoCommonName)
        );
        assert!(matches!(
            User::from_certificate(b"x"),
            Err(BadCertificate::Unreadable(_))
        ));
    }
}
