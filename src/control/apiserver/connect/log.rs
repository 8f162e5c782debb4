//! GET of `pods/log`: what a container printed, streamed from the node it runs on.

use axum::body::Body;
use axum::response::Response;
use cadet_api::field;
use cadet_api::json;
use cadet_api::status::{Cause, Details, Status};
use http::Request;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use http_body_util::BodyExt;

use super::containers::container_of;
use super::kubelet;
use super::query::Query;
use super::stream::pod_of;
use crate::call::ObjectCall;
use crate::query::Parameters;

/// Parameters passed on as they are, once checked.
const PASSED_ON: &[&str] = &[
    "sinceSeconds",
    "sinceTime",
    "tailLines",
    "limitBytes",
    "stream",
];
const FLAGS: &[&str] = &["follow", "previous", "timestamps"];
/// Which output is wanted; upstream's `PodLogOptions.stream`.
const OUTPUTS: &[&str] = &["All", "Stderr", "Stdout"];

/// Longest error text taken from an agent, in bytes.
const ERROR_LIMIT: usize = 8 * 1024;

pub async fn run(call: &ObjectCall) -> Result<Response, Status> {
    let pod = pod_of(call)?;
    check(call.name(), &call.parameters)?;
    let container = container_of(&pod, call.parameters.get("container"))?;
    let node = json::str_at(&pod, "/spec/nodeName");
    if node.is_empty() {
        // Nothing has run yet: upstream answers with an empty log.
        return Ok(plain(Body::empty()));
    }
    let mut query = Query::default();
    for name in FLAGS {
        if call.parameters.flag(name) {
            query.push(name, "true");
        }
    }
    for name in PASSED_ON {
        if let Some(value) = call.parameters.get(name) {
            query.push(name, value);
        }
    }
    let path = format!(
        "/containerLogs/{}/{}/{container}{}",
        call.namespace(),
        call.name(),
        query.text()
    );
    let request = Request::get(path)
        .body(Body::empty())
        .map_err(|error| Status::bad_request(error.to_string()))?;
    let answer = kubelet::send(&call.app, node, request).await?;
    if answer.status().is_success() {
        return Ok(plain(Body::new(answer.into_body())));
    }
    let code = answer.status().as_u16();
    let text = match http_body_util::Limited::new(answer.into_body(), ERROR_LIMIT)
        .collect()
        .await
    {
        Ok(body) => String::from_utf8_lossy(&body.to_bytes()).trim().to_owned(),
        Err(error) => format!("(its answer could not be read: {error})"),
    };
    Err(match code {
        400..=499 => Status::bad_request(text),
        _ => Status::internal(format!("the agent of node {node} answered {code}: {text}")),
    })
}

fn plain(body: Body) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    response
}

/// Upstream's rules for `PodLogOptions`, in upstream's words.
fn check(pod: &str, parameters: &Parameters) -> Result<(), Status> {
    let number = |name: &str| parameters.number::<i64>(name);
    let mut errors = Vec::new();
    let tail = number("tailLines")?;
    if let Some(tail) = tail.filter(|tail| *tail < 0) {
        let why = "must be greater than or equal to 0";
        errors.push(field::Error::invalid("tailLines", tail, why));
    }
    for name in ["limitBytes", "sinceSeconds"] {
        if let Some(value) = number(name)?.filter(|value| *value < 1) {
            errors.push(field::Error::invalid(name, value, "must be greater than 0"));
        }
    }
    if parameters.get("sinceSeconds").is_some() && parameters.get("sinceTime").is_some() {
        errors.push(field::Error::forbidden(
            "",
            "at most one of `sinceTime` or `sinceSeconds` may be specified",
        ));
    }
    if let Some(stream) = parameters.get("stream") {
        if !OUTPUTS.contains(&stream) {
            errors.push(field::Error::not_supported("stream", stream, OUTPUTS));
        } else if stream != "All" && tail.is_some() {
            errors.push(field::Error::forbidden(
                "",
                "`tailLines` and specific `stream` are mutually exclusive for now",
            ));
        }
    }
    if errors.is_empty() {
        return Ok(());
    }
    let sentences: Vec<String> = errors.iter().map(ToString::to_string).collect();
    let all = match sentences.as_slice() {
        [one] => one.clone(),
        many => format!("[{}]", many.join(", ")),
    };
    let causes = errors.iter().map(|error| Cause {
        reason: error.reason().to_owned(),
        message: error.body(),
        field: error.field.clone(),
    });
    let mut status = Status::failure(
        422,
        "Invalid",
        format!("PodLogOptions {pod:?} is invalid: {all}"),
    );
    status.details = Some(Box::new(Details {
        name: pod.to_owned(),
        kind: "PodLogOptions".to_owned(),
        causes: causes.collect(),
        ..Details::default()
    }));
    Err(status)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(query: &str) -> Result<(), Status> {
        let uri = format!("/log?{query}").parse().expect("uri");
        check("p", &Parameters::of(&uri).expect("query"))
    }

    #[test]
    fn options_are_checked_in_upstreams_words() {
        for good in [
            "",
            "tailLines=0",
            "limitBytes=1&sinceSeconds=5",
            "stream=Stdout",
        ] {
            assert_eq!(checked(good), Ok(()), "{good}");
        }
        for (bad, says) in [
            (
                "tailLines=-1",
                "PodLogOptions \"p\" is invalid: tailLines: Invalid value: -1: must be greater than or equal to 0",
            ),
            (
                "limitBytes=0",
                "PodLogOptions \"p\" is invalid: limitBytes: Invalid value: 0: must be greater than 0",
            ),
            (
                "sinceSeconds=1&sinceTime=2026-01-01T00:00:00Z",
                "at most one of",
            ),
            (
                "stream=Both",
                "supported values: \"All\", \"Stderr\", \"Stdout\"",
            ),
            ("stream=Stderr&tailLines=1", "mutually exclusive"),
        ] {
            let status = checked(bad).expect_err("refused");
            assert_eq!(status.code, 422, "{bad}");
            assert!(status.message.contains(says), "{bad}: {}", status.message);
        }
        assert_eq!(checked("tailLines=many").expect_err("refused").code, 400);
    }
}
