//! GET of `pods/log`: what a container printed, streamed from the node it runs on.

use axum::response::Response;
use cadet_api::json;
use cadet_api::status::Status;
use http::header::{CONTENT_TYPE, HeaderValue};
use http_body_util::BodyExt;
use serde_json::Value;

use crate::call::ObjectCall;
use crate::kubelet;

/// Parameters passed on as they are.
const PASSED_ON: &[&str] = &[
    "follow",
    "previous",
    "timestamps",
    "sinceSeconds",
    "sinceTime",
    "tailLines",
    "limitBytes",
];

/// Longest error text taken from an agent, in bytes.
const ERROR_LIMIT: usize = 8 * 1024;

pub async fn run(call: &ObjectCall) -> Result<Response, Status> {
    let pod = call
        .app
        .world
        .get(call.resource(), call.namespace(), call.name())
        .ok_or_else(|| call.not_found())?
        .value();
    let container = container_of(&pod, call.parameters.get("container"))?;
    let node = json::str_at(&pod, "/spec/nodeName");
    if node.is_empty() {
        // Nothing has run yet: upstream answers with an empty log.
        return Ok(plain(Response::new(axum::body::Body::empty())));
    }
    let mut query = String::new();
    for name in PASSED_ON {
        if let Some(value) = call.parameters.get(name) {
            let separator = if query.is_empty() { '?' } else { '&' };
            query.push_str(&format!("{separator}{name}={}", escape(value)));
        }
    }
    let path = format!(
        "/containerLogs/{}/{}/{container}{query}",
        call.namespace(),
        call.name()
    );
    let answer = kubelet::get(&call.app, node, &path).await?;
    if answer.status().is_success() {
        return Ok(plain(answer));
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

fn plain(mut response: Response) -> Response {
    let mut clean = Response::new(axum::body::Body::empty());
    std::mem::swap(clean.body_mut(), response.body_mut());
    clean
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    clean
}

/// The container asked for, or the only one there is.
fn container_of(pod: &Value, asked: Option<&str>) -> Result<String, Status> {
    let name = json::str_at(pod, "/metadata/name");
    let names = |path: &str| -> Vec<&str> {
        json::list_at(pod, path)
            .iter()
            .map(|c| json::str_at(c, "/name"))
            .collect()
    };
    let (main, init) = (names("/spec/containers"), names("/spec/initContainers"));
    if let Some(asked) = asked {
        if main.contains(&asked) || init.contains(&asked) {
            return Ok(asked.to_owned());
        }
        return Err(Status::bad_request(format!(
            "container {asked} is not valid for pod {name}"
        )));
    }
    match main.as_slice() {
        [one] => Ok((*one).to_owned()),
        many => Err(Status::bad_request(format!(
            "a container name must be specified for pod {name}, choose one of: [{}]{}",
            many.join(" "),
            match init.as_slice() {
                [] => String::new(),
                init => format!(" or one of the init containers: [{}]", init.join(" ")),
            }
        ))),
    }
}

/// Percent-encodes a query value.
fn escape(value: &str) -> String {
    let mut out = String::new();
    for byte in value.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.push(byte as char);
            }
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_container_is_named_or_the_only_one() {
        let pod = json!({"metadata": {"name": "p"},
            "spec": {"containers": [{"name": "a"}, {"name": "b"}],
                     "initContainers": [{"name": "i"}]}});
        assert_eq!(container_of(&pod, Some("i")), Ok("i".to_owned()));
        assert_eq!(
            container_of(&pod, None).err().map(|s| s.message).as_deref(),
            Some(
                "a container name must be specified for pod p, choose one of: [a b] or one of the init containers: [i]"
            )
        );
        assert_eq!(
            container_of(&pod, Some("x"))
                .err()
                .map(|s| s.message)
                .as_deref(),
            Some("container x is not valid for pod p")
        );
        let single = json!({"spec": {"containers": [{"name": "a"}]}});
        assert_eq!(container_of(&single, None), Ok("a".to_owned()));
    }

    #[test]
    fn query_values_cannot_smuggle_parameters() {
        assert_eq!(escape("1&follow=true#"), "1%26follow%3Dtrue%23");
    }
}
