//! `cadet trace`: one object's life, from the request to the running container and back, as
//! the server saw it.

use clap::Args;
use serde_json::Value;

use crate::Context;
use crate::cluster::{Cluster, Failure};
use crate::error::{CliError, Result};
use crate::reach::Reach;
use crate::story::{Line, Printer, merged};

/// Flags of `cadet trace`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  cadet trace deployment/hello-hapi\n  cadet trace pod telescope-pod --follow\n  cadet trace svc/web -n shop -o json"
)]
pub struct TraceArgs {
    /// What to tell of: KIND/NAME, or KIND and NAME
    #[arg(required = true, num_args = 1..=2, value_name = "KIND/NAME")]
    object: Vec<String>,
    #[command(flatten)]
    reach: Reach,
    /// Go on as it happens, until nothing of the object is left
    #[arg(short, long)]
    follow: bool,
}

/// Width of what is printed where no terminal says otherwise.
const WIDTH: u16 = 80;

/// Acts after which something is in the way.
const TROUBLE: [&str; 6] = [
    "unschedulable",
    "waiting",
    "warning",
    "failed",
    "stuck",
    "unready",
];
/// Acts after which it is not any more.
const FINE: [&str; 7] = [
    "scheduled",
    "started",
    "running",
    "ready",
    "succeeded",
    "available",
    "rolled-out",
];

/// Prints it.
pub async fn run(cx: &Context, args: TraceArgs) -> Result<u8> {
    let (kind, name) = object_of(&args.object)?;
    let reached = args.reach.open(cx)?;
    let path = format!(
        "/debug/story?kind={}&name={}&namespace={}",
        escaped(kind),
        escaped(name),
        escaped(&reached.namespace)
    );
    let title = format!("{kind}/{name}");
    if args.follow {
        return follow(cx, &reached.cluster, &path, name, &title).await;
    }
    let told = reached.cluster.try_get(&path).await;
    let story = told.map_err(|failure| refused(failure, &path, &title))?;
    let items = story["items"].as_array().cloned().unwrap_or_default();
    if cx.ui.json() {
        for item in &items {
            cx.ui.object(item);
        }
        return Ok(0);
    }
    let lines: Vec<Line> = items
        .iter()
        .map(|item| line_of(item, &path))
        .collect::<Result<_>>()?;
    let is_alive = story["alive"] == true;
    let next = next(&title, &reached.namespace, &lines, is_alive);
    let mut printer = Printer::new(name, width());
    for line in merged(lines, name) {
        for row in printer.rows(&line) {
            cx.ui.line(row);
        }
    }
    if let Some(next) = next {
        cx.ui.line(format!("  next: {next}"));
    }
    Ok(0)
}

async fn follow(
    cx: &Context,
    cluster: &Cluster,
    path: &str,
    name: &str,
    title: &str,
) -> Result<u8> {
    let watch = format!("{path}&watch=1");
    let opened = cluster.lines(&watch).await;
    let mut lines = opened.map_err(|failure| refused(failure, path, title))?;
    let mut printer = Printer::new(name, width());
    while let Some(item) = lines.next().await.map_err(|failure| failure.told(path))? {
        if cx.ui.json() {
            cx.ui.object(&item);
            continue;
        }
        for row in printer.rows(&line_of(&item, path)?) {
            cx.ui.line(row);
        }
    }
    Ok(0)
}

/// Kind and name, in either form.
fn object_of(words: &[String]) -> Result<(&str, &str)> {
    let parts = match words {
        [one] => one.split_once('/'),
        [kind, name] if !kind.contains('/') => Some((kind.as_str(), name.as_str())),
        _ => None,
    };
    parts
        .filter(|(kind, name)| !kind.is_empty() && !name.is_empty() && !name.contains('/'))
        .ok_or_else(|| {
            let what = format!("{:?} names no object", words.join(" "));
            CliError::new("PROGRAM_USAGE", what)
                .why("an object is a kind and a name, as in pod/web")
                .fix("cadet trace --help\nkubectl get all")
        })
}

fn line_of(item: &Value, path: &str) -> Result<Line> {
    serde_json::from_value(item.clone()).map_err(|e| {
        CliError::new("CLUSTER_API", "the server's story cannot be read")
            .why(format!("{e}, in the answer from {path}"))
    })
}

/// Refusals in words that fit the question.
fn refused(failure: Failure, path: &str, title: &str) -> CliError {
    match failure {
        // Of other servers: the path itself is what they do not know.
        Failure::Status { code: 404, message } if message.contains("requested resource") => {
            CliError::new("CLUSTER_NO_STORY", "this cluster keeps no stories")
                .why("its API server is not Cadet's, or an older one")
                .fix(format!("kubectl describe {title}\nkubectl get events"))
        }
        Failure::Status { code: 404, message } => CliError::new("CLUSTER_NOT_FOUND", message)
            .why("it is not there, and has not been lately")
            .fix("kubectl get all"),
        Failure::Status { code: 400, message } => {
            CliError::new("PROGRAM_USAGE", message).fix("kubectl api-resources")
        }
        failure => failure.told(path),
    }
}

/// What to type after a story.
fn next(title: &str, namespace: &str, lines: &[Line], is_alive: bool) -> Option<String> {
    let scope = match namespace {
        "default" => String::new(),
        namespace => format!(" -n {namespace}"),
    };
    let troubled = lines.iter().rev().find_map(|line| match line.act.as_str() {
        act if TROUBLE.contains(&act) => Some(true),
        act if FINE.contains(&act) => Some(false),
        _ => None,
    });
    match (is_alive, troubled) {
        (true, Some(true)) => Some(format!("cadet why {title}{scope}")),
        (true, _) => Some(format!("cadet trace {title}{scope} --follow")),
        (false, _) => None,
    }
}

fn width() -> usize {
    let size = console::Term::stdout().size_checked();
    usize::from(size.map_or(WIDTH, |(_, columns)| columns))
}

/// A value of a query (RFC 3986, section 2.3: what needs no escape).
fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let each = text.bytes().map(|byte| match plain(byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    });
    each.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn an_object_is_named_in_either_form_or_refused() {
        for good in [&["pod/web"][..], &["pod", "web"]] {
            let given = words(good);
            assert_eq!(object_of(&given).ok(), Some(("pod", "web")));
        }
        for bad in [
            &["web"][..],
            &["pod/"],
            &["/web"],
            &["a/b/c"],
            &["pod/web", "x"],
            &["pod", "a/b"],
        ] {
            let error = object_of(&words(bad)).expect_err("refused");
            assert_eq!(error.topic.id, "PROGRAM_USAGE", "{bad:?}");
        }
    }

    #[test]
    fn whatever_is_typed_stays_one_value() {
        assert_eq!(escaped("deployments.apps"), "deployments.apps");
        assert_eq!(escaped("a&watch=1 ü"), "a%26watch%3D1%20%C3%BC");
    }

    #[test]
    fn the_next_thing_to_type_fits_the_end_of_the_story() {
        let acts = |acts: &[&str]| -> Vec<Line> {
            let line = |act: &&str| Line {
                act: (*act).to_owned(),
                ..Line::default()
            };
            acts.iter().map(line).collect()
        };
        let next = |all: &[&str], alive| next("pod/x", "shop", &acts(all), alive);
        let why = Some("cadet why pod/x -n shop".to_owned());
        let follow = Some("cadet trace pod/x -n shop --follow".to_owned());
        assert_eq!(next(&["created", "unschedulable"], true), why);
        assert_eq!(next(&["unschedulable", "scheduled", "ready"], true), follow);
        assert_eq!(next(&["ready", "unready", "endpoints"], true), why);
        assert_eq!(next(&["created"], true), follow);
        assert_eq!(next(&["ready", "gone"], false), None);
    }

    #[test]
    fn refusals_are_told_in_words_that_fit() {
        let of = |code: u16, message: &str| {
            let message = message.to_owned();
            let error = refused(Failure::Status { code, message }, "/debug/story", "pod/x");
            error.topic.id
        };
        assert_eq!(of(404, "pods \"x\" not found"), "CLUSTER_NOT_FOUND");
        let unknown = "the server could not find the requested resource";
        assert_eq!(of(404, unknown), "CLUSTER_NO_STORY");
        assert_eq!(of(400, "kind: there is no \"dragon\""), "PROGRAM_USAGE");
        assert_eq!(of(403, "forbidden"), "CLUSTER_API");
        let line = json!({"time": "2026-01-01T00:00:00.000000Z", "exact": true, "act": "ready"});
        assert_eq!(line_of(&line, "/").expect("a line").act, "ready");
        assert!(line_of(&json!("x"), "/").is_err());
    }
}
