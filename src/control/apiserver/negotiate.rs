//! Which form of an answer a client accepts.

use cadet_api::status::Status;
use http::HeaderMap;
use http::header::ACCEPT;

/// How objects are written in an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Json,
    /// A Table of this version of meta.k8s.io.
    Table(&'static str),
    /// Metadata only, of this version of meta.k8s.io.
    Metadata(&'static str),
}

/// How discovery is written in an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiscoveryForm {
    /// One document for all groups, of this version of apidiscovery.k8s.io.
    Aggregated(&'static str),
    Legacy,
}

const OFFERED: &[&str] = &["application/json"];

/// One clause of an Accept header.
#[derive(Debug, Default)]
struct Clause<'a> {
    media: &'a str,
    kind: Option<&'a str>,
    group: Option<&'a str>,
    version: Option<&'a str>,
    /// In thousandths.
    quality: u16,
}

/// The form of an object or list. The first clause we can serve wins.
pub fn form(headers: &HeaderMap) -> Result<Form, Status> {
    first(headers, |clause| {
        if !is_json(clause.media) {
            return None;
        }
        let meta = clause.group.is_none_or(|group| group == "meta.k8s.io");
        let version = match clause.version {
            Some("v1") => Some("v1"),
            Some("v1beta1") => Some("v1beta1"),
            _ => None,
        };
        match (clause.kind, version) {
            (None, _) => Some(Form::Json),
            (Some("Table"), Some(version)) if meta => Some(Form::Table(version)),
            (Some("PartialObjectMetadata" | "PartialObjectMetadataList"), Some(version))
                if meta =>
            {
                Some(Form::Metadata(version))
            }
            _ => None,
        }
    })
    .unwrap_or(Ok(Form::Json))
}

/// The form of `/api` and `/apis`.
pub fn discovery_form(headers: &HeaderMap) -> Result<DiscoveryForm, Status> {
    first(headers, |clause| {
        if !is_json(clause.media) {
            return None;
        }
        match (clause.kind, clause.group, clause.version) {
            (None, ..) => Some(DiscoveryForm::Legacy),
            (Some("APIGroupDiscoveryList"), Some("apidiscovery.k8s.io"), Some("v2")) => {
                Some(DiscoveryForm::Aggregated("v2"))
            }
            (Some("APIGroupDiscoveryList"), Some("apidiscovery.k8s.io"), Some("v2beta1")) => {
                Some(DiscoveryForm::Aggregated("v2beta1"))
            }
            _ => None,
        }
    })
    .unwrap_or(Ok(DiscoveryForm::Legacy))
}

/// Plain JSON documents: refuses clients that want none.
pub fn json_only(headers: &HeaderMap) -> Result<(), Status> {
    first(headers, |clause| is_json(clause.media).then_some(())).unwrap_or(Ok(()))
}

fn is_json(media: &str) -> bool {
    matches!(media, "application/json" | "application/*" | "*/*")
}

/// `None` without an Accept header; otherwise what the best clause gives, or 406.
fn first<T>(
    headers: &HeaderMap,
    pick: impl Fn(&Clause<'_>) -> Option<T>,
) -> Option<Result<T, Status>> {
    let text: Vec<&str> = headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .collect();
    let text = text.join(",");
    let mut clauses: Vec<Clause<'_>> = text
        .split(',')
        .map(parse)
        .filter(|clause| !clause.media.is_empty())
        .collect();
    if clauses.is_empty() {
        return None;
    }
    // Stable: clauses of one quality stay in the client's order.
    clauses.sort_by_key(|clause| std::cmp::Reverse(clause.quality));
    let best = clauses
        .iter()
        .filter(|clause| clause.quality > 0)
        .find_map(pick);
    Some(best.ok_or_else(|| Status::not_acceptable(OFFERED)))
}

fn parse(clause: &str) -> Clause<'_> {
    let mut parts = clause.split(';').map(str::trim);
    let mut parsed = Clause {
        media: parts.next().unwrap_or_default(),
        quality: 1000,
        ..Clause::default()
    };
    for part in parts {
        match part.split_once('=') {
            Some(("as", kind)) => parsed.kind = Some(kind),
            Some(("g", group)) => parsed.group = Some(group),
            Some(("v", version)) => parsed.version = Some(version),
            Some(("q", quality)) => {
                let quality = quality.parse::<f32>().unwrap_or(1.0).clamp(0.0, 1.0);
                parsed.quality = (quality * 1000.0) as u16;
            }
            _ => {}
        }
    }
    parsed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accept(text: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, text.parse().expect("header"));
        headers
    }

    #[test]
    fn kubectls_headers_get_what_they_prefer_and_we_have() {
        let table = "application/json;as=Table;v=v1;g=meta.k8s.io,\
                     application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
        assert_eq!(form(&accept(table)).ok(), Some(Form::Table("v1")));
        let protobuf_first = "application/vnd.kubernetes.protobuf,application/json";
        assert_eq!(form(&accept(protobuf_first)).ok(), Some(Form::Json));
        let metadata = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,\
                        application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
        assert_eq!(form(&accept(metadata)).ok(), Some(Form::Metadata("v1")));
        assert_eq!(form(&HeaderMap::new()).ok(), Some(Form::Json));
        assert_eq!(form(&accept("*/*")).ok(), Some(Form::Json));
        let xml = form(&accept("application/xml")).expect_err("406");
        assert_eq!(xml.code, 406);
    }

    #[test]
    fn quality_decides_before_order_and_zero_is_a_refusal() {
        let headers = accept("application/json;q=0.1,application/json;as=Table;v=v1;q=0.9");
        assert_eq!(form(&headers).ok(), Some(Form::Table("v1")));
        assert!(form(&accept("application/json;q=0")).is_err());
    }

    #[test]
    fn discovery_is_aggregated_for_those_who_ask() {
        let new = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,\
                   application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";
        assert_eq!(
            discovery_form(&accept(new)).ok(),
            Some(DiscoveryForm::Aggregated("v2"))
        );
        let old = "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";
        assert_eq!(
            discovery_form(&accept(old)).ok(),
            Some(DiscoveryForm::Aggregated("v2beta1"))
        );
        assert_eq!(
            discovery_form(&accept("application/json")).ok(),
            Some(DiscoveryForm::Legacy)
        );
    }
}
