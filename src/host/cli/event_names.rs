//! The names of events that `-o json` prints, which programs rely on: a name that was once given
//! stays, and means what it meant. `cadet help event-names` lists them.

/// Every value of the field `type`, and what it tells. Rows of lists (profiles, nodes, images …)
/// have no type: the command says what they are.
pub const EVENTS: &[(&str, &str)] = &[
    // Every command.
    ("step.started", "a step of the command begins"),
    (
        "step.progress",
        "what the step is doing; percent where a share is known",
    ),
    ("step.done", "the step is done, after so many seconds"),
    ("step.failed", "the step failed; an error follows"),
    ("warning", "worth knowing; the work goes on"),
    ("note", "a sentence for people"),
    ("error", "the command failed: id, exit code, why, fix"),
    ("done", "the command did what it was asked to"),
    // One command each.
    ("plan", "what a step of start would do (--dry-run)"),
    ("tunnel", "a tunnel serves"),
    ("door.opened", "a port of this computer leads to a Service"),
    ("door.closed", "it does so no more"),
    (
        "forward.opened",
        "a port of this computer leads to what was named",
    ),
    ("forward.aimed", "the pod it leads to from now on, or none"),
    ("service", "addresses of a Service"),
    ("open", "the address of a pod"),
    ("dashboard", "the address of the dashboard, and a token"),
    ("dockerEnv", "variables to set and unset"),
    ("image", "an image in the cluster"),
    ("mounted", "a lent folder is there"),
    ("event", "an event of the cluster"),
    ("log", "a line of a log file of this computer"),
    ("why", "the cause of an object's fault"),
    ("checkup", "a code for the teacher, or what one says"),
    // Lessons.
    ("lesson", "a lesson begins, or is told of"),
    ("preparing", "images, namespace and files are made ready"),
    ("step.shown", "a step's text, and its commands"),
    ("doing", "a command or file of the step is being done"),
    ("output", "a piece of a command's output"),
    ("ended", "a command ended"),
    ("live", "how the step's conditions stand"),
    ("not.yet", "why the step is not done"),
    ("checked", "the answer to check"),
    ("hint", "one more hint"),
    ("no.more.hints", "all hints were given"),
    ("completed", "the step is done"),
    ("skipped", "the step was left as it is"),
    ("was.reset", "steps were brought back"),
    ("lesson.completed", "the last step was left"),
    ("trouble", "something could not be done; the lesson goes on"),
    ("status", "the step or the class one is in"),
    ("finding", "a mistake in a lesson's files"),
    ("report", "what came of a lesson that was played unattended"),
    (
        "left.out",
        "a lesson that this cluster cannot play, and why",
    ),
    // Classes.
    ("serving", "a class is served"),
    ("moved", "the class is reached elsewhere"),
    ("joined", "a learner has joined"),
    ("asks", "a learner asks for help"),
    ("help", "the teacher sees the call"),
    ("left", "the class was left"),
    ("saved", "the class's rows are on the disk again"),
    ("not.saved", "they are not, and why"),
    ("fetched", "an image came for the class"),
    ("not.fetched", "it did not, and why"),
    ("board", "addresses of the board"),
    ("pace", "how far the class is"),
];

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// Names that the sources in `place` give to the field `type`. Kubernetes writes its types
    /// with capitals.
    fn given(place: &Path, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(place).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                given(&path, found);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                for rest in text.split("\"type\": \"").skip(1) {
                    let name = rest.split('"').next().unwrap_or_default();
                    if name.starts_with(|c: char| c.is_ascii_lowercase()) {
                        found.push(name.to_owned());
                    }
                }
            }
        }
    }

    #[test]
    fn every_event_has_a_name_that_was_given_for_good() {
        let mut found = Vec::new();
        given(
            &Path::new(env!("CARGO_MANIFEST_DIR")).join("src/host/cli"),
            &mut found,
        );
        assert!(found.len() > 50, "{found:?}");
        for name in found {
            assert!(EVENTS.iter().any(|(known, _)| *known == name), "{name}");
        }
    }

    #[test]
    fn no_name_means_two_things() {
        for (i, (name, about)) in EVENTS.iter().enumerate() {
            assert!(!about.is_empty(), "{name}");
            assert!(EVENTS[..i].iter().all(|(other, _)| other != name), "{name}");
        }
    }
}
