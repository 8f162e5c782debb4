//! What a certificate signing request (PKCS#10) asks for.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::cri_attributes::ParsedCriAttribute;
use x509_parser::extensions::{GeneralName, ParsedExtension, X509Extension};
use x509_parser::oid_registry::OID_X509_EXT_SUBJECT_ALT_NAME;
use x509_parser::prelude::FromDer;

/// The bytes of a request's PEM block.
///
/// # Errors
/// Upstream's words for a block that is none.
pub fn unwrap(text: &[u8]) -> Result<Vec<u8>, String> {
    match x509_parser::pem::parse_x509_pem(text) {
        Ok((_, block)) if block.label == "CERTIFICATE REQUEST" => Ok(block.contents),
        _ => Err("PEM block type must be CERTIFICATE REQUEST".to_owned()),
    }
}

/// A PEM block with lines of 64 letters.
pub fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut out = format!("-----BEGIN {label}-----\n");
    for (at, letter) in text.chars().enumerate() {
        if at > 0 && at % 64 == 0 {
            out.push('\n');
        }
        out.push(letter);
    }
    out + &format!("\n-----END {label}-----\n")
}

/// A request that was read.
pub struct Request<'a>(X509CertificationRequest<'a>);

impl<'a> Request<'a> {
    /// Reads a request and makes sure that who wrote it has the key.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(der: &'a [u8]) -> Result<Request<'a>, String> {
        let (rest, request) =
            X509CertificationRequest::from_der(der).map_err(|error| error.to_string())?;
        if !rest.is_empty() {
            return Err("asn1: syntax error: trailing data".to_owned());
        }
        let request = Request(request);
        request
            .0
            .verify_signature()
            .map_err(|error| format!("unable to verify certificate request signature: {error}"))?;
        Ok(request)
    }

    /// The wanted subject, in DER.
    pub fn subject(&self) -> &[u8] {
        self.0.certification_request_info.subject.as_raw()
    }

    /// The key the certificate is for, in DER.
    pub fn public_key(&self) -> &[u8] {
        self.0.certification_request_info.subject_pki.raw
    }

    pub fn common_name(&self) -> &str {
        let subject = &self.0.certification_request_info.subject;
        let names = subject.iter_common_name();
        // Go's parser takes the last one.
        names.last().and_then(|n| n.as_str().ok()).unwrap_or("")
    }

    pub fn organizations(&self) -> Vec<&str> {
        let subject = &self.0.certification_request_info.subject;
        let names = subject.iter_organization();
        names.filter_map(|n| n.as_str().ok()).collect()
    }

    fn names_extension(&self) -> Option<&X509Extension<'_>> {
        let attributes = self.0.certification_request_info.iter_attributes();
        attributes
            .filter_map(|attribute| match attribute.parsed_attribute() {
                ParsedCriAttribute::ExtensionRequest(asked) => Some(&asked.extensions),
                _ => None,
            })
            .flatten()
            .find(|extension| extension.oid == OID_X509_EXT_SUBJECT_ALT_NAME)
    }

    /// The extension of alternative names, in DER.
    pub fn alternative_names(&self) -> Option<&[u8]> {
        self.names_extension().map(|extension| extension.value)
    }

    fn count(&self, of_kind: impl Fn(&GeneralName<'_>) -> bool) -> usize {
        let parsed = self.names_extension().map(X509Extension::parsed_extension);
        match parsed {
            Some(ParsedExtension::SubjectAlternativeName(names)) => {
                names.general_names.iter().filter(|n| of_kind(n)).count()
            }
            _ => 0,
        }
    }

    pub fn dns_names(&self) -> usize {
        self.count(|name| matches!(name, GeneralName::DNSName(_)))
    }

    pub fn addresses(&self) -> usize {
        self.count(|name| matches!(name, GeneralName::IPAddress(_)))
    }

    pub fn emails(&self) -> usize {
        self.count(|name| matches!(name, GeneralName::RFC822Name(_)))
    }

    pub fn uris(&self) -> usize {
        self.count(|name| matches!(name, GeneralName::URI(_)))
    }
}
