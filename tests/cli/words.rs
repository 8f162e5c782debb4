//! Help, versions, completion, error topics, shapes of output.

use std::process::Command;

use crate::support::{Run, Sealed};

#[test]
fn help_names_every_verb_with_an_example() {
    let home = Sealed::new();
    let help = home.ok(&["--help"]).out;
    for verb in [
        "start",
        "stop",
        "pause",
        "unpause",
        "snapshot",
        "delete",
        "node",
        "status",
        "list",
        "profile",
        "config",
        "ssh",
        "logs",
        "kubectl",
        "update-context",
        "ip",
        "events",
        "top",
        "tunnel",
        "service",
        "port-forward",
        "docker-env",
        "open",
        "dashboard",
        "trace",
        "why",
        "tutorial",
        "class",
        "image",
        "addons",
        "mirror",
        "cp",
        "mount",
        "disk",
        "doctor",
        "version",
        "completion",
    ] {
        assert!(
            help.contains(&format!("  {verb} ")),
            "{verb} missing in\n{help}"
        );
        let own = home.ok(&[verb, "--help"]).out;
        assert!(
            own.contains("Example") && own.contains(&format!("cadet {verb}")),
            "{own}"
        );
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

/// What a shell is offered at the end of `words`, flags aside; fish's answers are the plainest to read.
fn offered(home: &Sealed, words: &[&str]) -> Vec<String> {
    let mut command = home.command(&["--", "cadet"]);
    let run = Run::of(command.args(words).env("CADET_COMPLETE", "fish"));
    assert_eq!(run.code, 0, "{run}");
    let first = |line: &str| line.split('\t').next().unwrap_or_default().to_owned();
    let offered = run.out.lines().map(first);
    offered.filter(|word| !word.starts_with('-')).collect()
}

#[test]
fn completion_knows_verbs_and_the_names_of_this_computer() {
    let home = Sealed::new();
    let tutorials = concat!(env!("CARGO_MANIFEST_DIR"), "/tutorials");
    assert!(offered(&home, &["tu"]).contains(&"tunnel".to_owned()));
    assert!(offered(&home, &["profile", ""]).contains(&"list".to_owned()));
    assert!(home.files().is_empty(), "asking must not write");
    home.profile_of("class", &[2, 3]);
    home.profile("cadet");
    assert_eq!(offered(&home, &["-p", ""]), ["cadet", "class"]);
    assert_eq!(offered(&home, &["profile", "cl"]), ["class"]);
    assert_eq!(offered(&home, &["node", "stop", ""]), ["cadet"]);
    let nodes = offered(&home, &["-p", "class", "node", "stop", "class-"]);
    assert_eq!(nodes, ["class-2", "class-3"]);
    home.ok(&["profile", "class", "--keep-context"]);
    let nodes = offered(&home, &["ssh", "--node", "class-"]);
    assert_eq!(nodes, ["class-2", "class-3"]);
    assert_eq!(offered(&home, &["config", "set", "mem"]), ["memory"]);
    assert_eq!(offered(&home, &["addons", "enable", "ing"]), ["ingress"]);
    assert!(offered(&home, &["help", "HOST_DISK"]).contains(&"HOST_DISK_FULL".to_owned()));
    let all = offered(&home, &["tutorial", "start", ""]);
    for lesson in std::fs::read_dir(tutorials).unwrap().flatten() {
        if !lesson.path().join("lesson.md").is_file() {
            continue;
        }
        let folder = lesson.file_name().into_string().unwrap();
        let name = folder.trim_start_matches(|c: char| c.is_ascii_digit() || c == '-');
        assert!(all.iter().any(|l| l == name), "{name} is not in {all:?}");
    }
}

/// Each script is read by its shell, where that is installed; all call this program.
#[test]
fn completion_scripts_are_sound_in_five_shells() {
    let home = Sealed::new();
    for (shell, check) in [
        ("bash", "-n"),
        ("zsh", "-n"),
        ("fish", "--no-execute"),
        ("powershell", ""),
        ("elvish", "-compileonly"),
    ] {
        let script = home.ok(&["completion", shell]).out;
        assert!(script.contains("CADET_COMPLETE"), "{script}");
        assert!(script.contains("/cadet"), "{script}");
        let file = home.dir.path().join("script");
        std::fs::write(&file, &script).unwrap();
        let read = Command::new(shell).arg(check).arg(&file).output();
        match read {
            Ok(read) => assert!(read.status.success(), "{shell}: {read:?}\n{script}"),
            Err(e) => assert_eq!(e.kind(), std::io::ErrorKind::NotFound, "{shell}: {e}"),
        }
    }
}

/// bash itself, with the script, completes as a user would have it.
#[test]
fn bash_completes_a_line() {
    let home = Sealed::new();
    home.profile_of("class", &[2]);
    let script = home.ok(&["completion", "bash"]).out;
    let asked = format!(
        "{script}\nCOMP_WORDS=(cadet -p class node stop class-); COMP_CWORD=5; COMP_TYPE=9\n\
         _clap_complete_cadet cadet class- stop\nprintf '%s\\n' \"${{COMPREPLY[@]}}\""
    );
    let mut bash = Command::new("bash");
    bash.args(["--norc", "-c", &asked])
        .env("CADET_HOME", home.home());
    let run = Run::of(&mut bash);
    assert_eq!(run.out.trim_end(), "class-2", "{run}");
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

/// Whatever a program asks for, every line of the answer is JSON.
#[test]
fn every_answer_can_be_read_by_a_program() {
    let home = Sealed::new();
    home.profile_of("cadet", &[2]);
    home.credentials("cadet");
    for words in [
        "status",
        "list",
        "version",
        "profile",
        "profile list",
        "profile cadet",
        "update-context",
        "config list",
        "config view",
        "config set memory 1g",
        "config get memory",
        "config unset memory",
        "addons list",
        "addons disable ingress",
        "addons enable metrics",
        "image list",
        "mirror status",
        "mirror on",
        "mirror off",
        "node list",
        "snapshot list",
        "disk show",
        "logs --machine",
        "tutorial list",
        "tutorial status",
        "tutorial lint",
        "docker-env --unset",
        "help errors",
        "help event-names",
        "help HOST_DISK_FULL",
        "help node add",
        "start --dry-run",
        "stop",
        "ip",
        "top",
        "port-forward web 80",
        "delete --yes",
    ] {
        let words: Vec<&str> = words.split(' ').chain(["-o", "json"]).collect();
        let run = home.run(&words);
        assert!(run.err.is_empty(), "{words:?}: {run}");
        for line in run.out.lines() {
            let read = serde_json::from_str::<serde_json::Value>(line);
            assert!(read.is_ok_and(|v| v.is_object()), "{words:?}: {line}");
        }
    }
}

#[test]
fn names_of_events_are_told() {
    let home = Sealed::new();
    let told = home.ok(&["help", "event-names"]).out;
    for name in ["step.done", "door.opened", "not.yet", "forward.aimed"] {
        assert!(told.lines().any(|l| l.starts_with(name)), "{name}: {told}");
    }
    let add = home.ok(&["help", "node", "add"]).out;
    assert!(add.contains("cadet node add --memory"), "{add}");
}

/// `cadet --help` in a terminal of its own (script(1)), with these variables.
fn in_a_terminal(home: &Sealed, variables: &[(&str, &str)]) -> String {
    let line = format!("{} --help", env!("CARGO_BIN_EXE_cadet"));
    let mut command = Command::new("script");
    command
        .args(["-qec", &line, "/dev/null"])
        .env("HOME", home.dir.path())
        .env("TERM", "xterm")
        .env_remove("NO_COLOR")
        .envs(variables.iter().copied())
        .stdin(std::process::Stdio::null());
    Run::of(&mut command).out
}

/// Colour is a help that is never needed: it goes where there is no terminal, and with NO_COLOR.
#[test]
fn colour_is_for_terminals_that_want_it() {
    let home = Sealed::new();
    let escape = '\u{1b}';
    assert!(in_a_terminal(&home, &[]).contains(escape));
    let plain = in_a_terminal(&home, &[("NO_COLOR", "1")]);
    assert!(
        plain.contains("First steps") && !plain.contains(escape),
        "{plain}"
    );
    for words in [&["--help"][..], &["list"], &["fly"], &["tutorial"]] {
        let run = home.run(words);
        assert!(
            !run.out.contains(escape) && !run.err.contains(escape),
            "{run}"
        );
    }
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
