//! Images that are not there: what the engine and the registry said.

use cadet_api::json::{list_at, str_at};
use serde_json::Value;

use super::{Case, Part, volume};
use crate::answer::Answer;
use crate::cause::Cause;
use crate::events;
use crate::facts::name;
use crate::kind::Kind;
use crate::owner;
use crate::words::{ago, between, short};

/// A container that waits for its image.
pub fn explain(case: &Case<'_>, part: &Part<'_>) -> Option<Answer> {
    let image = str_at(part.spec, "/image");
    let reason = part.waiting();
    match reason {
        "ErrImagePull" | "ImagePullBackOff" | "RegistryUnavailable" => {}
        "ErrImageNeverPull" => return Some(never(case, part, image)),
        "InvalidImageName" => {
            let headline = format!(
                "{} does not start because {image:?} is no name an image can have.",
                case.subject()
            );
            let answer = Answer::new(Cause::ImageName, headline).with(
                "evidence",
                short(str_at(part.status, "/state/waiting/message"), 200),
            );
            return Some(rename(case, part, answer));
        }
        "ImageInspectError" => {
            let headline = format!(
                "{} does not start because the engine cannot read image {image}.",
                case.subject()
            );
            let said = short(str_at(part.status, "/state/waiting/message"), 200);
            return Some(Answer::new(Cause::ImagePull, headline).with("engine", said));
        }
        "ContainerCreating" | "PodInitializing" | "" => return pulling(case, part, image),
        _ => return None,
    }
    let said = said(case, part);
    let answer = judge(case, part, image, said);
    let since = events::latest(&case.events, &["Pulling"]).map(events::first_time);
    Some(
        answer.with("registry", short(cause_of(said), 260)).since(
            since
                .and_then(|at| ago(at, case.facts.now))
                .or_else(|| case.since_created()),
        ),
    )
}

/// The whole of what was said; back-off messages of older kubelets lack the cause.
fn said<'a>(case: &Case<'a>, part: &'a Part<'_>) -> &'a str {
    let waiting = str_at(part.status, "/state/waiting/message");
    if waiting.contains("ErrImagePull: ") || part.waiting() == "ErrImagePull" {
        return waiting;
    }
    let mut told =
        case.events.iter().rev().filter(|event| {
            str_at(event, "/reason") == "Failed" && events::is_of(event, part.name())
        });
    told.find(|event| events::message(event).contains("ull image"))
        .map_or(waiting, |event| events::message(event))
}

/// The registry's own words, without those of the kubelet and the engine before them.
fn cause_of(text: &str) -> &str {
    let mut rest = text;
    for mark in [
        "ErrImagePull: ",
        "rpc error: code = Unknown desc = ",
        "rpc error: code = NotFound desc = ",
        "Error response from daemon: ",
    ] {
        if let Some((_, after)) = rest.split_once(mark) {
            rest = after;
        }
    }
    rest
}

fn judge(case: &Case<'_>, part: &Part<'_>, image: &str, said: &str) -> Answer {
    let subject = case.subject();
    let has = |words: &str| said.contains(words);
    let any = |all: &[&str]| all.iter().any(|words| said.contains(words));
    let new = |cause, words: String| {
        Answer::new(cause, format!("{subject} does not start because {words}"))
    };
    if any(&[
        "no matching manifest for",
        "no match for platform",
        "does not match the specified platform",
    ]) {
        let wanted = between(said, "no matching manifest for ", " in ").unwrap_or("this node");
        let node = case
            .node()
            .map_or("", |node| str_at(node, "/status/nodeInfo/architecture"));
        let answer = new(
            Cause::ImageArchitecture,
            format!("image {image} is not made for {wanted}."),
        )
        .with(
            "evidence",
            format!("node {} is {node}", str_at(case.pod, "/spec/nodeName")),
        );
        return rename(case, part, answer).then(format!("docker manifest inspect {image}"));
    }
    if any(&[
        "toomanyrequests",
        "pull rate limit",
        "429 Too Many Requests",
    ]) {
        return new(
            Cause::ImageLimit,
            format!(
                "the registry has sent too many images to this address and refuses {image} for now."
            ),
        )
        .then("docker login");
    }
    if has("no space left on device") {
        return volume::full(case);
    }
    // Docker Hub answers for a repository that does not exist as for one that is private.
    if any(&["pull access denied", "repository does not exist"]) {
        let secrets = list_at(case.pod, "/spec/imagePullSecrets");
        let missing = events::latest(&case.events, &["FailedToRetrieveImagePullSecret"]);
        if let Some(event) = missing {
            return denied(case, image, "its pull secret cannot be read")
                .with("event", short(events::message(event), 160));
        }
        if !secrets.is_empty() {
            return denied(
                case,
                image,
                "the registry refuses its pull secret, or has no such image",
            );
        }
        let answer = new(Cause::ImageName, format!("the registry has no public image {image}: the name is wrong, or the image is private."))
            .with("evidence", "the pod has no imagePullSecrets".to_owned());
        return rename(case, part, answer);
    }
    if any(&[
        "unauthorized",
        "authentication required",
        "no basic auth credentials",
        "403 Forbidden",
        "401 Unauthorized",
        "denied: ",
        "authorization failed",
    ]) {
        let missing = events::latest(&case.events, &["FailedToRetrieveImagePullSecret"]);
        let has_secret = !list_at(case.pod, "/spec/imagePullSecrets").is_empty();
        let words = match (missing, has_secret) {
            (Some(_), _) => "its pull secret cannot be read",
            (None, true) => "the registry refuses its pull secret",
            (None, false) => "the registry wants a login and the pod has no imagePullSecrets",
        };
        let answer = denied(case, image, words);
        return match missing {
            Some(event) => answer.with("event", short(events::message(event), 160)),
            None => answer,
        };
    }
    if any(&[
        "manifest unknown",
        "not found: manifest",
        "failed to resolve reference",
        "name unknown",
    ]) && any(&["not found", "unknown"])
        && !unreachable(said)
    {
        let answer = new(
            Cause::ImageName,
            format!("the registry has no image {image}: its name or tag is wrong."),
        );
        return rename(case, part, answer);
    }
    if unreachable(said) {
        let host = registry(image);
        let words = match between(said, "lookup ", " ").or_else(|| between(said, "lookup ", ":")) {
            Some(host) if said.contains("no such host") => {
                format!("the name of its registry, {host}, cannot be found.")
            }
            _ => format!("its registry {host} does not answer."),
        };
        return new(Cause::ImageRegistry, words)
            .with("evidence", format!("image {image}"))
            .then(format!("cadet ssh -- curl -sSI https://{host}/v2/"));
    }
    if any(&[
        "x509:",
        "certificate",
        "server gave HTTP response to HTTPS client",
    ]) {
        let host = registry(image);
        return new(
            Cause::ImageRegistry,
            format!("the engine does not trust its registry {host}."),
        )
        .with("evidence", format!("image {image}"));
    }
    new(Cause::ImagePull, format!("image {image} cannot be pulled."))
        .then(case.kubectl(&format!("describe pod {}", name(case.pod))))
}

fn unreachable(said: &str) -> bool {
    [
        "no such host",
        "connection refused",
        "i/o timeout",
        "no route to host",
        "network is unreachable",
        "Client.Timeout exceeded",
        "context deadline exceeded",
        "did not answer for",
        "connection reset by peer",
        "TLS handshake timeout",
        "server misbehaving",
        "Temporary failure in name resolution",
        "proxyconnect tcp",
    ]
    .iter()
    .any(|words| said.contains(words))
}

/// The registry that an image's name names.
fn registry(image: &str) -> &str {
    match image.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => host,
        _ => "registry-1.docker.io",
    }
}

fn denied(case: &Case<'_>, image: &str, why: &str) -> Answer {
    let headline = format!(
        "{} does not start because it may not pull image {image}: {why}.",
        case.subject()
    );
    let create = format!(
        "create secret docker-registry pull --docker-server={} --docker-username=NAME --docker-password=PASSWORD",
        registry(image)
    );
    let account = match str_at(case.pod, "/spec/serviceAccountName") {
        "" => "default",
        account => account,
    };
    let patch = format!(
        r#"patch serviceaccount {account} -p '{{"imagePullSecrets":[{{"name":"pull"}}]}}'"#
    );
    Answer::new(Cause::ImageDenied, headline)
        .then(case.kubectl(&create))
        .then(case.kubectl(&patch))
}

fn never(case: &Case<'_>, part: &Part<'_>, image: &str) -> Answer {
    let node = str_at(case.pod, "/spec/nodeName");
    let headline = format!(
        "{} does not start because image {image} is not on node {node}, and imagePullPolicy is Never.",
        case.subject()
    );
    let near = case
        .node()
        .map(|node| list_at(node, "/status/images"))
        .unwrap_or_default()
        .iter()
        .flat_map(|entry| list_at(entry, "/names"))
        .filter_map(Value::as_str)
        .filter(|known| !known.contains('@'));
    let answer = Answer::new(Cause::ImageNever, headline).with(
        "evidence",
        format!("{}: imagePullPolicy: Never", part.title()),
    );
    let answer = match crate::words::nearest(image, near) {
        Some(known) => answer.with("evidence", format!("the node has {known}")),
        None => answer,
    };
    let answer = answer
        .then("cadet ssh -- docker image ls".to_owned())
        .since(case.since_created());
    rename(case, part, answer)
}

/// Adds the command that gives the container another image.
fn rename(case: &Case<'_>, part: &Part<'_>, answer: Answer) -> Answer {
    let (kind, root) = owner::root(case.facts, case.pod);
    match kind {
        Kind::Job | Kind::CronJob => answer.then(owner::edit(case.facts, case.pod)),
        _ => answer.then(case.kubectl(&format!(
            "set image {}/{root} {}=IMAGE",
            kind.name(),
            part.name()
        ))),
    }
}

/// An image on its way is no fault.
fn pulling(case: &Case<'_>, part: &Part<'_>, image: &str) -> Option<Answer> {
    if part.is_running() || part.end().is_some() {
        return None;
    }
    let mine: Vec<&Value> = case
        .events
        .iter()
        .copied()
        .filter(|event| events::is_of(event, part.name()))
        .collect();
    let last = events::latest(
        &mine,
        &["Pulling", "Pulled", "Failed", "BackOff", "Created"],
    )?;
    if str_at(last, "/reason") != "Pulling" {
        return None;
    }
    let begun = mine
        .iter()
        .filter(|event| str_at(event, "/reason") == "Pulling")
        .map(|event| events::first_time(event))
        .min()?;
    let text = events::message(last);
    let share = text.split("\": ").nth(1).unwrap_or_default();
    let headline = format!(
        "{} is waiting for image {image}, which is still on its way; nothing is to be done.",
        case.subject()
    );
    Some(
        Answer::new(Cause::Pulling, headline)
            .with("pulled", share)
            .since(ago(begun, case.facts.now))
            .then(case.kubectl(&format!("get pod {} --watch", name(case.pod)))),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_registry_is_the_first_part_if_it_looks_like_a_host() {
        assert_eq!(registry("nginx"), "registry-1.docker.io");
        assert_eq!(registry("me/app:1"), "registry-1.docker.io");
        assert_eq!(registry("localhost:5000/app"), "localhost:5000");
        assert_eq!(registry("ghcr.io/me/app"), "ghcr.io");
    }

    #[test]
    fn the_kubelets_words_are_left_out() {
        let text = "Back-off pulling image \"x\": ErrImagePull: Error response from daemon: manifest unknown";
        assert_eq!(cause_of(text), "manifest unknown");
    }
}
