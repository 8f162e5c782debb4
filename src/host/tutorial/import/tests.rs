//! Scenarios of other people, as lessons.

use super::*;
use crate::lint::{Known, lint};

fn scenario(index: Value, files: &[(&str, &str)]) -> Imported {
    let mut all: BTreeMap<String, Vec<u8>> = files
        .iter()
        .map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec()))
        .collect();
    all.insert("index.json".to_owned(), index.to_string().into_bytes());
    import(&Folder::from_files("pods", all)).unwrap()
}

fn text(imported: &Imported) -> &str {
    std::str::from_utf8(&imported.files[LESSON]).unwrap()
}

fn as_lesson(imported: &Imported) -> Folder {
    Folder::from_files("01-pods", imported.files.clone())
}

fn whole() -> Imported {
    let index = serde_json::json!({
        "title": "First: \"pods\"",
        "description": "Pods and what they are for.",
        "time": "10-15 minutes",
        "details": {
            "intro": {"text": "intro.md", "background": "setup.sh"},
            "steps": [
                {"title": "Make one", "text": "step1/text.md", "verify": "step1/verify.sh"},
                {"title": "Look", "text": "step2.md", "foreground": "wait.sh"}
            ],
            "finish": {"text": "finish.md"},
            "assets": {"host01": [{"file": "*.yaml", "target": "/root"},
                                  {"file": "none", "target": "/opt"}]}
        },
        "backend": {"imageid": "kubernetes-kubeadm-2nodes"}
    });
    scenario(
        index,
        &[
            ("intro.md", "# Welcome\n\nThis is about pods.\n"),
            ("setup.sh", "#!/bin/bash\nkubectl create namespace space\n"),
            (
                "step1/text.md",
                "## One\n\nMake it:\n\n```\nkubectl apply -f pod.yaml -n space\n\
                           ```{{exec}}\n\nThen `ls -l`{{exec}}.\n",
            ),
            (
                "step1/verify.sh",
                "#!/bin/bash\nkubectl get pod web -n space | grep Running\n\
                             kubectl -n space get svc/web >/dev/null\nkubectl get pods\n\
                             test -f /root/x --> y\n",
            ),
            ("step2.md", "Watch them.\n\n`kubectl get pods -w`{{exec}}\n"),
            ("wait.sh", "while ! kubectl get nodes; do sleep 1; done\n"),
            ("finish.md", "Well done.\n"),
            ("assets/pod.yaml", "kind: Pod\n"),
            ("assets/notes.txt", "no"),
        ],
    )
}

#[test]
fn a_scenario_becomes_a_lesson_that_loads() {
    let imported = whole();
    let lesson = crate::load::sound(&as_lesson(&imported)).unwrap_or_else(|findings| {
        panic!("{findings:#?}\n{}", text(&imported));
    });
    assert_eq!(lesson.title, "First: \"pods\"");
    assert_eq!((lesson.minutes, lesson.nodes), (10, 2));
    let titles: Vec<&str> = lesson
        .steps
        .iter()
        .map(|step| step.title.as_str())
        .collect();
    assert_eq!(titles, ["Make one", "Look", "What you have done"]);
    assert!(lesson.files.contains_key("pod.yaml"));
    assert!(!lesson.files.contains_key("notes.txt"));
    let runs = |step: usize| -> Vec<String> {
        let runs = lesson.steps[step].runs();
        runs.flat_map(|run| run.script.commands())
            .map(|command| command.text.clone())
            .collect()
    };
    assert_eq!(
        runs(0),
        [
            "kubectl create namespace space",
            "kubectl apply -f pod.yaml -n space"
        ]
    );
    assert_eq!(runs(1), ["kubectl get pods -w"]);
    assert!(lesson.steps[1].runs().all(|run| run.background));
    let watch: Vec<String> = lesson.steps[0]
        .watch
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(watch, ["pod/web there", "service/web there"]);
    let reset: Vec<&str> = lesson.steps[0]
        .reset
        .iter()
        .flat_map(|reset| reset.commands())
        .map(|command| command.text.as_str())
        .collect();
    assert_eq!(
        reset,
        [
            "kubectl delete -f pod.yaml -n space --ignore-not-found",
            "kubectl delete namespace space --ignore-not-found",
        ]
    );
    let known = Known::default();
    let errors: Vec<_> = lint(&as_lesson(&imported), &known)
        .into_iter()
        .filter(|finding| finding.is_error())
        .collect();
    assert!(errors.is_empty(), "{errors:#?}");
}

#[test]
fn what_is_lost_is_said() {
    let imported = whole();
    let has = |part: &str| imported.notes.iter().any(|note| note.contains(part));
    for part in [
        "`ls` is only shown",
        "step1/verify.sh decided whether the step was done",
        "wait.sh ran by itself and was not carried over",
        "the asset `none` of host01 was not found",
    ] {
        assert!(has(part), "{part}: {:#?}", imported.notes);
    }
    let text = text(&imported);
    assert!(text.contains("Cadet does not run this script"));
    assert!(
        text.contains("test -f /root/x -- > y"),
        "a remark stays closed:\n{text}"
    );
    assert!(text.contains("while ! kubectl get nodes"));
}

#[test]
fn a_page_alone_is_a_lesson_of_one_step() {
    let imported = scenario(
        serde_json::json!({"title": "One page", "details": {"text": "text.md"}}),
        &[("text.md", "Read this.\n")],
    );
    let lesson = crate::load::sound(&as_lesson(&imported)).unwrap();
    assert_eq!(lesson.steps.len(), 1);
    assert_eq!(lesson.steps[0].title, "One page");
}

#[test]
fn folders_that_are_no_scenario_are_told() {
    let with = |files: &[(&str, &str)]| {
        let files = files.iter();
        let files = files.map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec()));
        import(&Folder::from_files("x", files.collect())).unwrap_err()
    };
    assert!(matches!(with(&[]), ImportError::NoIndex(_)));
    assert!(matches!(
        with(&[("index.json", "{")]),
        ImportError::BadIndex(_)
    ));
    assert!(matches!(
        with(&[("index.json", "{}")]),
        ImportError::NoSteps
    ));
}

#[test]
fn undoing_is_known_where_it_is_plain() {
    let undo = |text: &str| super::undo(&command::parse(text, 1).unwrap());
    for (text, wanted) in [
        (
            "kubectl run web --image=x",
            Some("kubectl delete pod web --ignore-not-found"),
        ),
        (
            "kubectl create deployment web --image=x",
            Some("kubectl delete deployment web --ignore-not-found"),
        ),
        (
            "kubectl expose deployment/web --port=80",
            Some("kubectl delete service web --ignore-not-found"),
        ),
        ("kubectl scale deployment web --replicas=3", None),
    ] {
        assert_eq!(undo(text).as_deref(), wanted, "{text}");
    }
    assert!(matches("*.yaml", "a.yaml") && !matches("*.yaml", "b/a.yaml"));
    assert!(matches("*", "b/a.txt") && matches("a.txt", "a.txt") && !matches("a", "b"));
}
