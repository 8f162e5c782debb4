//! What a visitor reads when no endpoint can answer: what went wrong, and which command shows
//! more. Plain text, for terminals and browsers alike.

use axum::body::Body;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};

use crate::backends::Missing;
use crate::rules::{Port, Route, Target};

/// A page.
fn page(code: StatusCode, text: &str) -> Response<Body> {
    let reason = code.canonical_reason().unwrap_or_default();
    let mut response = Response::new(Body::from(format!(
        "{} {reason}\n\n{text}\n",
        code.as_u16()
    )));
    *response.status_mut() = code;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, plain);
    response
}

/// No rule and no default backend.
pub fn no_rule(host: &str, path: &str) -> Response<Body> {
    page(
        StatusCode::NOT_FOUND,
        &format!(
            "No Ingress has a rule for host {host:?} and path {path:?}, and none has a default backend.\n\n  \
             kubectl get ingress --all-namespaces    shows hosts\n  \
             kubectl describe ingress NAME           shows paths and backends"
        ),
    )
}

/// The cluster has not said yet what its Ingresses are.
pub fn not_yet() -> Response<Body> {
    page(
        StatusCode::SERVICE_UNAVAILABLE,
        "The cluster's Ingresses are not known yet; the controller has just started.",
    )
}

fn ingress(route: &Route) -> String {
    format!("The Ingress {}/{}", route.namespace, route.ingress)
}

/// A rule whose Service cannot answer.
pub fn dead(route: &Route, missing: &Missing) -> Response<Body> {
    let (Target::Service { name, port }, namespace) = (&route.target, &route.namespace) else {
        return resource(route);
    };
    let port = match port {
        Port::Name(name) => format!("port {name:?}"),
        Port::Number(number) => format!("port {number}"),
    };
    let (why, look) = match missing {
        Missing::Service => (
            "which does not exist",
            format!("kubectl get services -n {namespace}"),
        ),
        Missing::External => (
            "which is of type ExternalName and has no endpoints here",
            format!("kubectl describe service {name} -n {namespace}"),
        ),
        Missing::Port => (
            "which has no such port",
            format!("kubectl describe service {name} -n {namespace}"),
        ),
        Missing::Endpoints => (
            "which has no endpoint that is ready there",
            format!(
                "kubectl describe service {name} -n {namespace}    shows its selector\n  kubectl get pods -n {namespace} --show-labels"
            ),
        ),
    };
    page(
        StatusCode::SERVICE_UNAVAILABLE,
        &format!(
            "{} leads to {port} of the Service {namespace}/{name}, {why}.\n\n  {look}",
            ingress(route)
        ),
    )
}

/// A rule that leads to something else than a Service.
pub fn resource(route: &Route) -> Response<Body> {
    let what = match &route.target {
        Target::Resource { kind, name } => format!("{kind} {name:?}"),
        Target::Service { name, .. } => format!("Service {name:?}"),
    };
    page(
        StatusCode::SERVICE_UNAVAILABLE,
        &format!(
            "{} leads to the {what}; this controller serves Services only.",
            ingress(route)
        ),
    )
}

/// Endpoints that did not answer: 502 or 504.
pub fn no_answer(code: StatusCode, route: &Route, endpoint: &str, why: &str) -> Response<Body> {
    let Target::Service { name, .. } = &route.target else {
        return resource(route);
    };
    let namespace = &route.namespace;
    page(
        code,
        &format!(
            "{} leads to the Service {namespace}/{name}, whose endpoint {endpoint} gave no answer: {why}.\n\n  \
             kubectl get endpointslices -n {namespace} -l kubernetes.io/service-name={name}\n  \
             kubectl get pods -n {namespace} -o wide",
            ingress(route)
        ),
    )
}

/// What is no request for a path.
pub fn bad_request() -> Response<Body> {
    page(
        StatusCode::BAD_REQUEST,
        "Ingress serves requests for a path.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_page_names_what_is_missing() {
        let route = Route {
            namespace: "shop".into(),
            ingress: "front".into(),
            target: Target::Service {
                name: "web".into(),
                port: Port::Name("http".into()),
            },
        };
        for missing in [
            Missing::Service,
            Missing::Port,
            Missing::Endpoints,
            Missing::External,
        ] {
            assert_eq!(dead(&route, &missing).status(), 503);
        }
        assert_eq!(no_rule("h", "/").status(), 404);
    }
}
