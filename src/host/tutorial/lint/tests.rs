//! Lessons with one mistake each.

use super::*;
use crate::finding::Severity;

const SOUND: &str = r#"---
format: 1
title: A rocket
summary: It flies.
minutes: 10
needs: [create]
images: [mongo]
---
This is about rockets.

## Start

Make a pod and look at it.

```run
kubectl create -f manifests/rocket.yaml
```
```run background
kubectl logs -f rocket
```
```file plan.yaml
kind: ConfigMap
```
```watch
- object: pod/rocket
  ready: true
```
```reset
kubectl delete pod rocket --ignore-not-found
```
```mistake
says: rocket
run: kubectl run rokcet --image=x
undo: kubectl delete pod rokcet --ignore-not-found
```

## Use the plan

It is used now.

```run
kubectl apply -f plan.yaml
curl -s http://rocket/
docker build -t rocket:2 app
```
```watch
- http: http://rocket/
  contains: fly
```
```reset
kubectl delete -f plan.yaml --ignore-not-found
```
"#;

fn folder(name: &str, text: &str) -> Folder {
    let files = [
        (LESSON, text),
        ("manifests/rocket.yaml", "kind: Pod\n"),
        ("app/Dockerfile", "FROM scratch\n"),
    ];
    let files = files.map(|(path, text)| (path.to_owned(), text.as_bytes().to_vec()));
    Folder::from_files(name, BTreeMap::from(files))
}

fn known() -> Known {
    Known {
        lessons: BTreeMap::from([
            ("create".to_owned(), vec![]),
            ("rocket".to_owned(), vec!["create".to_owned()]),
        ]),
        images: Some(BTreeSet::from(["mongo".to_owned()])),
    }
}

#[test]
fn a_sound_lesson_passes() {
    let findings = lint(&folder("03-rocket", SOUND), &known());
    assert!(findings.is_empty(), "{findings:#?}");
}

#[test]
fn every_mistake_is_found() {
    use Severity::{Error, Warning};
    let long = "x".repeat(80);
    let wide = format!("Make a pod\n\n```text\n{long}\n```\n");
    let wordy = "word ".repeat(200);
    for (from, to, severity, part) in [
        ("[create]", "[craete]", Error, "did you mean `create`"),
        ("[create]", "[rocket]", Error, "cannot need itself"),
        ("[mongo]", "[mango]", Error, "no image `mango`"),
        (
            "## Use the plan",
            "## Start",
            Error,
            "begins a step of this title too",
        ),
        ("Make a pod and look at it.\n", "", Error, "has no words"),
        ("This is about rockets.\n", "", Warning, "no introduction"),
        ("kubectl create", "helm create", Error, "cannot run `helm`"),
        ("kubectl create", "kubectl stray", Error, "`kubectl stray`"),
        (
            "kubectl create",
            "cadet delete --all",
            Error,
            "cannot run `cadet delete --all`",
        ),
        (
            "kubectl create",
            "cadet image save hello",
            Error,
            "`cadet image save`",
        ),
        (
            "kubectl create",
            "kubectl --context x create",
            Error,
            "another cluster",
        ),
        (
            "create -f manifests/rocket.yaml",
            "edit pod rocket",
            Error,
            "an editor",
        ),
        (
            "create -f manifests/rocket.yaml",
            "config use-context x",
            Error,
            "kubeconfig",
        ),
        (
            "create -f manifests/rocket.yaml",
            "apply -f -",
            Error,
            "nobody types",
        ),
        (
            "create -f manifests/rocket.yaml",
            "exec -it rocket -- sh",
            Warning,
            "a terminal",
        ),
        (
            "create -f manifests/rocket.yaml",
            "get pods -w",
            Error,
            "does not end by itself",
        ),
        (
            "create -f manifests/rocket.yaml",
            "get pods a[1]",
            Warning,
            "is a pattern",
        ),
        (
            "kubectl logs -f rocket",
            "kubectl get pods",
            Warning,
            "ends by itself",
        ),
        (
            "-f manifests/rocket.yaml",
            "-f manifests/rokcet.yaml",
            Error,
            "did you mean",
        ),
        (
            "-f manifests/rocket.yaml",
            "-f plan2.yaml",
            Error,
            "no file `plan2.yaml`",
        ),
        (
            "-f manifests/rocket.yaml",
            "-f ../x.yaml",
            Error,
            "leaves the lesson folder",
        ),
        (
            "-f manifests/rocket.yaml",
            "-f http://x/y.yaml",
            Error,
            "internet",
        ),
        ("rocket:2 app", "rocket:2 ap", Error, "no folder `ap`"),
        (
            "docker build -t rocket:2 app",
            "docker push x",
            Error,
            "docker push",
        ),
        (
            "docker build -t rocket:2 app",
            "docker run x",
            Warning,
            "stays behind",
        ),
        (
            "docker build -t rocket:2 app",
            "docker cp a b:/c",
            Error,
            "docker cp",
        ),
        (
            "docker build -t rocket:2 app",
            "docker pull x",
            Warning,
            "registry",
        ),
        (
            "docker build -t rocket:2 app",
            "cadet start",
            Error,
            "cadet start",
        ),
        ("curl -s", "curl -T f", Error, "no flag `-T`"),
        (
            "--ignore-not-found\n```\n```mistake",
            "\n```\n```mistake",
            Error,
            "reset fails",
        ),
        (
            "```reset\nkubectl delete -f plan.yaml --ignore-not-found\n```\n",
            "",
            Warning,
            "`reset`",
        ),
        (
            "```watch\n- object: pod/rocket\n  ready: true\n```\n",
            "",
            Error,
            "waits for nothing",
        ),
        ("  contains: fly\n", "", Warning, "any page"),
        (
            "  contains: fly\n",
            "  contains: fly\n- done: true\n",
            Warning,
            "beside other",
        ),
        (
            "  contains: fly\n",
            "  contains: fly\n- asked: list pods\n- output: kubectl get pods\n  contains: x\n",
            Warning,
            "may satisfy `asked`",
        ),
        ("Make a pod", wide.as_str(), Warning, "more than 76"),
        ("Make a pod", wordy.as_str(), Warning, "more than one reads"),
        ("Make a pod", "# Rockets\n\nMake", Warning, "front matter"),
        ("Make a pod", "<br> make", Warning, "HTML"),
        ("Make a pod", "![x](y)", Warning, "no pictures"),
        ("Make a pod", "\u{1b}[31mMake", Error, "control character"),
        (
            "## Start",
            "## Start with a title that no screen of eighty columns has room for",
            Warning,
            "longer than 50",
        ),
        (
            "kubectl create -f",
            "kubectl create --field-manager=somebody-with-a-very-long-name \
          --validate=strict -f",
            Warning,
            "more than 76",
        ),
    ] {
        let text = SOUND.replacen(from, to, 1);
        assert_ne!(text, SOUND, "{from}");
        let findings = lint(&folder("03-rocket", &text), &known());
        let found = findings
            .iter()
            .any(|finding| finding.severity == severity && finding.to_string().contains(part));
        assert!(found, "{to}: {findings:#?}");
        assert!(findings.iter().all(|f| f.fix.is_some()), "{findings:#?}");
    }
}

#[test]
fn a_step_nobody_can_solve_is_found() {
    let text = format!("{SOUND}\n## Drill\n\nFind out.\n\n```watch\n- absent: pod/x\n```\n");
    let findings = lint(&folder("03-rocket", &text), &known());
    assert!(findings.iter().any(|f| f.text.contains("nobody can solve")));
    let text =
        format!("{text}```solve\nkubectl delete pod x\n```\n```reset\nkubectl get pods\n```\n");
    let findings = lint(&folder("03-rocket", &text), &known());
    assert!(findings.is_empty(), "{findings:#?}");
}

#[test]
fn lessons_do_not_need_each_other_in_a_circle() {
    let needing = |name: &str, needs: &str| {
        folder(
            name,
            &SOUND.replace("[create]", needs).replace("[mongo]", "[]"),
        )
    };
    let folders = [
        needing("01-a", "[c]"),
        needing("02-b", "[a]"),
        needing("03-c", "[b]"),
        needing("04-d", "[a]"),
    ];
    let findings = lint_all(&folders, &[]);
    let circles: Vec<&str> = findings
        .iter()
        .filter(|f| f.text.contains("in a circle"))
        .map(|f| f.path.as_str())
        .collect();
    assert_eq!(
        circles,
        ["01-a/lesson.md", "02-b/lesson.md", "03-c/lesson.md"]
    );
    let first = findings.iter().find(|f| f.text.contains("circle")).unwrap();
    assert!(first.text.ends_with("a → c → b → a"), "{}", first.text);
}

#[test]
fn names_and_numbers_are_used_once() {
    let plain = SOUND.replace("[create]", "[]").replace("[mongo]", "[]");
    let folders = ["01-a", "02-a", "02-b", "loose"].map(|name| folder(name, &plain));
    let told: Vec<String> = lint_all(&folders, &[])
        .iter()
        .map(ToString::to_string)
        .collect();
    let has = |part: &str| told.iter().any(|text| text.contains(part));
    assert!(
        has("02-a/lesson.md: error: this lesson has the name of 01-a"),
        "{told:#?}"
    );
    assert!(
        has("02-b/lesson.md: warning: this lesson has the number of 02-a"),
        "{told:#?}"
    );
    assert!(has("the folder `loose` has no number"), "{told:#?}");
    assert_eq!(told.len(), 3, "{told:#?}");
}

/// The lesson in the page for authors is one that can be played.
#[test]
fn the_example_of_the_readme_is_sound() {
    let readme = include_str!("../../../../tutorials/README.md");
    let (_, rest) = readme.split_once("````markdown\n").expect("an example");
    let (example, _) = rest.split_once("````\n").expect("its end");
    let files = [
        (LESSON, example.as_bytes().to_vec()),
        ("manifests/hello.yaml", b"kind: Deployment\n".to_vec()),
    ];
    let files = files.map(|(path, bytes)| (path.to_owned(), bytes));
    let folder = Folder::from_files("20-comes-back", BTreeMap::from(files));
    let known = Known {
        lessons: BTreeMap::from([("create".to_owned(), vec![])]),
        images: Some(BTreeSet::from(["hello".to_owned()])),
    };
    let findings = lint(&folder, &known);
    assert!(findings.is_empty(), "{findings:#?}");
    let lesson = crate::load::sound(&folder).unwrap();
    assert_eq!(lesson.steps.len(), 3);
    assert!(lesson.steps.iter().all(|step| step.mistakes.len() == 1));
}
