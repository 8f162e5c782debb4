//! Help, versions, completion, error topics, shapes of output.

use crate::support::Sealed;

#[test]
fn help_names_every_verb_with_an_example() {
    let home = Sealed::new();
    let help = home.ok(&["--help"]).out;
    for verb in [
        "start",
        "stop",
        "delete",
        "status",
        "list",
        "ssh",
        "logs",
        "kubectl",
        "tunnel",
        "service",
        "docker-env",
        "open",
        "trace",
        "why",
        "tutorial",
        "class",
        "image",
        "doctor",
        "version",
        "completion",
    ] {
        assert!(
            help.contains(&format!("  {verb} ")),
            "{verb} missing in\n{help}"
        );
        let own = home.ok(&[verb, "--help"]).out;
        assert_eq!(
            home.ok(&["help", verb]).out.lines().next(),
            own.lines().next()
        );
        for line in own.lines().chain(help.lines()) {
            assert!(line.chars().count() <= 100, "too wide: {line}");
        }
    }
    assert!(
        home.files().is_empty(),
        "help must not write: {:?}",
        home.files()
    );
}

#[test]
fn completion_scripts_know_the_verbs() {
    let home = Sealed::new();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        assert!(
            home.ok(&["completion", shell]).out.contains("tunnel"),
            "{shell}"
        );
    }
}

#[test]
fn every_error_id_has_a_story() {
    let home = Sealed::new();
    let list = home.ok(&["help", "errors"]).out;
    let ids: Vec<_> = list
        .lines()
        .filter_map(|l| l.split_whitespace().next())
        .collect();
    assert!(ids.len() > 30, "{list}");
    for id in ids {
        assert!(home.ok(&["help", &id.to_lowercase()]).out.starts_with(id));
    }
    home.run(&["help", "nonsense"])
        .fails_with("PROGRAM_USAGE", 14);
}

#[test]
fn version_speaks_both_ways() {
    let home = Sealed::new();
    assert!(home.ok(&["version"]).out.starts_with("cadet 0."));
    let json: serde_json::Value =
        serde_json::from_str(&home.ok(&["version", "-o", "json"]).out).unwrap();
    assert!(json["cadet"].is_string());
}

#[test]
fn errors_are_events_in_json() {
    let home = Sealed::new();
    let run = home.run(&["-o", "json", "stop"]);
    let event: serde_json::Value = serde_json::from_str(run.out.trim()).unwrap();
    assert_eq!(event["type"], "error");
    assert_eq!(event["id"], "GUEST_NOT_FOUND");
    assert_eq!(run.code, 85);
    assert!(run.err.is_empty(), "{run}");
}
