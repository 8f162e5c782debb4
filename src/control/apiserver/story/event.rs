//! What an event tells that no change of an object does: acts of agents, warnings. Pure.

use cadet_api::json::str_at;
use serde_json::Value;

use super::line::Told;
use super::words::quoted;
use crate::moment::Moment;

/// Events that repeat what the change of an object has told already, with its cause.
const REPEATED: [&str; 6] = [
    "FailedScheduling",
    "SuccessfulCreate",
    "SuccessfulDelete",
    "ScalingReplicaSet",
    "Completed",
    "SuccessfulRescale",
];

/// What becomes of an event.
#[derive(Debug, Clone, PartialEq)]
pub enum News {
    /// Nothing.
    Known,
    /// The pod was given its node, for this reason.
    Placed(String),
    /// A container was made; how long its start takes counts from what came before.
    Made,
    /// A container was started.
    Started(String),
    /// An image is being fetched: told once, whatever the progress.
    Pulling(String),
    Told(Told),
}

/// Reads an event.
pub fn news(event: &Value) -> News {
    let (reason, message) = (str_at(event, "/reason"), str_at(event, "/message"));
    let told = |act, text: String| News::Told(Told::new(act, text));
    match reason {
        "Scheduled" => {
            let annotations = event.pointer("/metadata/annotations");
            let why = annotations.and_then(|all| all.get("cadet.dev/why"));
            News::Placed(why.and_then(Value::as_str).unwrap_or_default().to_owned())
        }
        reason if REPEATED.contains(&reason) => News::Known,
        "Created" => News::Made,
        "Started" => News::Started(container(event).to_owned()),
        "Pulling" => News::Pulling(quoted(message).unwrap_or(message).to_owned()),
        "Pulled" => {
            let image = quoted(message).unwrap_or_default();
            match took(message) {
                Some(took) => told("pulled", format!("pulled {image} in {took}")),
                None => told("image", format!("pulled nothing: image {image} is present")),
            }
        }
        "Killing" => match message.strip_prefix("Stopping container ") {
            Some(name) => told("stopping", format!("stopping container {name}")),
            None => told("stopping", message.to_owned()),
        },
        reason => {
            let act = match str_at(event, "/type") {
                "Warning" => "warning",
                _ => "event",
            };
            told(act, format!("{reason}: {}", message.trim()))
        }
    }
}

/// When it happened, as well as it is known: the author's own word to the microsecond, if
/// its clock agrees with ours, else the arrival.
pub fn moment(event: &Value, arrived: Moment) -> Moment {
    /// Longest an event may have been under way; a larger difference is one of clocks.
    const UNDER_WAY: std::time::Duration = std::time::Duration::from_secs(30);
    match Moment::parse(str_at(event, "/eventTime")) {
        Some(said) if said <= arrived && arrived.since(said) <= UNDER_WAY => said,
        _ => arrived,
    }
}

/// The container an event is about: `spec.containers{name}`.
pub fn container(event: &Value) -> &str {
    let path = str_at(event, "/involvedObject/fieldPath");
    let inside = path.split_once('{').map_or("", |(_, rest)| rest);
    inside.strip_suffix('}').unwrap_or(inside)
}

/// `3.2s` of `Successfully pulled image "a" in 3.2s (3.2s including waiting).`
fn took(message: &str) -> Option<&str> {
    let (_, rest) = message.split_once("\" in ")?;
    rest.split(' ').next()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn told(reason: &str, kind: &str, message: &str) -> News {
        news(&json!({"reason": reason, "type": kind, "message": message,
            "involvedObject": {"fieldPath": "spec.containers{app}"}}))
    }

    #[test]
    fn acts_of_agents_are_told_in_few_words() {
        let text = |reason, message| match told(reason, "Normal", message) {
            News::Told(told) => format!("{}: {}", told.act, told.text),
            other => format!("{other:?}"),
        };
        assert_eq!(
            text(
                "Pulled",
                "Container image \"a:1\" already present on machine and can be accessed by the pod"
            ),
            "image: pulled nothing: image a:1 is present"
        );
        assert_eq!(
            text(
                "Pulled",
                "Successfully pulled image \"a:1\" in 3.2s (3.2s including waiting). Image size: 9 bytes."
            ),
            "pulled: pulled a:1 in 3.2s"
        );
        assert_eq!(
            text("Killing", "Stopping container app"),
            "stopping: stopping container app"
        );
        assert_eq!(
            told("Started", "Normal", "Container started"),
            News::Started("app".into())
        );
        assert_eq!(
            told("Pulling", "Normal", "Pulling image \"a:1\": 3 of 9 MiB"),
            News::Pulling("a:1".into())
        );
        assert_eq!(told("Created", "Normal", "Container created"), News::Made);
    }

    #[test]
    fn what_changes_have_told_is_not_told_again_and_warnings_always_are() {
        assert_eq!(
            told("SuccessfulCreate", "Normal", "Created pod: x"),
            News::Known
        );
        assert_eq!(
            told("Unhealthy", "Warning", "Readiness probe failed: no\n"),
            News::Told(Told::new(
                "warning",
                "Unhealthy: Readiness probe failed: no"
            ))
        );
        let placed = json!({"reason": "Scheduled", "metadata": {"annotations": {"cadet.dev/why": "the only node"}}});
        assert_eq!(news(&placed), News::Placed("the only node".into()));
        assert_eq!(
            told("Scheduled", "Normal", "Successfully assigned"),
            News::Placed(String::new())
        );
    }

    #[test]
    fn an_authors_time_counts_unless_its_clock_is_wrong() {
        let at = |text: &str| Moment::parse(text).expect("a time");
        let arrived = at("2026-01-01T00:00:10.5Z");
        let moment = |said: &str| moment(&json!({"eventTime": said}), arrived);
        assert_eq!(
            moment("2026-01-01T00:00:10.400001Z"),
            at("2026-01-01T00:00:10.400001Z")
        );
        for wrong in ["2026-01-01T00:00:11Z", "2025-12-31T00:00:00Z", ""] {
            assert_eq!(moment(wrong), arrived, "{wrong}");
        }
        assert_eq!(super::moment(&json!({"eventTime": null}), arrived), arrived);
    }
}
