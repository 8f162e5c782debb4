//! Lessons as authors write them, sound and not.

use super::*;
use crate::finding::Severity;

/// A lesson that has every sort of block.
pub(crate) const WHOLE: &str = r#"---
format: 1
title: A rocket in one pod
summary: A first flight.
minutes: 10
---
Welcome aboard.

```text
  /\
```

## Start the engine

A pod is the smallest thing the cluster runs. This one has one container.

```run
# the manifest is in your lesson folder
kubectl create -f manifests/rocket.yaml
kubectl label pod rocket \
  stage=first
```
```run background
kubectl get pods -w
```
Then write a plan:
```file plan.txt
to the moon
```
```watch
- object: pod/rocket
  ready: true
- file: plan.txt
  contains: moon
```
```hint
Look at the pod.
```
```hint
Look closer.
```
```not-yet
- when: [{object: pod/rocket, where: ["status.phase == Pending"]}]
  say: The image is
    on its way.
```
```reset
kubectl delete pod rocket --ignore-not-found
```
```mistake
says: no pod/rocket
run: |
  kubectl run rokcet --image=rocket:1
undo: kubectl delete pod rokcet --ignore-not-found
file:
  plan.txt: to the sun
```

## Fill the tank

```guest
fallocate -l 1M /tank
```
```watch
- done: true
```
```solve
kubectl get pods
```
"#;

pub(crate) fn folder(text: &str) -> Folder {
    let manifest = b"kind: Pod\n".to_vec();
    let files = BTreeMap::from([
        (LESSON.to_owned(), text.as_bytes().to_vec()),
        ("manifests/rocket.yaml".to_owned(), manifest),
    ]);
    Folder::from_files("03-rocket", files)
}

fn told(text: &str) -> Vec<(u32, Severity, String)> {
    let (_, findings) = load(&folder(text));
    let told = findings.into_iter();
    told.map(|f| (f.line, f.severity, f.text)).collect()
}

#[test]
fn a_whole_lesson_is_read() {
    let lesson = sound(&folder(WHOLE)).unwrap_or_else(|findings| panic!("{findings:#?}"));
    assert_eq!(
        (lesson.name.as_str(), lesson.number, lesson.minutes),
        ("rocket", Some(3), 10)
    );
    assert_eq!(lesson.digest.len(), 64);
    assert_eq!(
        lesson.files.keys().collect::<Vec<_>>(),
        ["manifests/rocket.yaml"]
    );
    assert_eq!(lesson.introduction.len(), 2);
    let titles: Vec<&str> = lesson.steps.iter().map(|s| s.title.as_str()).collect();
    assert_eq!(titles, ["Start the engine", "Fill the tank"]);
    let first = &lesson.steps[0];
    assert_eq!(first.line, 13);
    let runs: Vec<&Run> = first.runs().collect();
    assert_eq!(runs.len(), 2);
    assert!(!runs[0].background && runs[1].background);
    let commands: Vec<(u32, usize)> = runs[0]
        .script
        .commands()
        .map(|c| (c.line, c.argv.len()))
        .collect();
    assert_eq!(commands, [(19, 4), (20, 5)]);
    let file = first.file_blocks().next().unwrap();
    assert_eq!(
        (file.path.as_str(), file.content.as_str()),
        ("plan.txt", "to the moon\n")
    );
    assert_eq!(first.watch.len(), 2);
    assert_eq!(first.watch[0].line, 31);
    assert_eq!(first.hints, ["Look at the pod.", "Look closer."]);
    assert_eq!(first.not_yet[0].say, "The image is on its way.");
    assert_eq!(first.reset.as_ref().unwrap().commands().count(), 1);
    let mistake = &first.mistakes[0];
    assert_eq!(mistake.says, "no pod/rocket");
    let planted = mistake.run.as_ref().unwrap().commands().next().unwrap();
    assert_eq!(planted.argv[2], "rokcet");
    assert_eq!(mistake.undo.as_ref().unwrap().commands().count(), 1);
    assert_eq!(mistake.files["plan.txt"], "to the sun");
    let second = &lesson.steps[1];
    assert_eq!(second.guest_blocks().count(), 1);
    assert_eq!(second.solve.as_ref().unwrap().commands().count(), 1);
}

#[test]
fn every_mistake_is_told_with_its_line() {
    for (from, to, line, part) in [
        ("## Fill the tank", "##", 59, "no title"),
        ("```guest", "```gust", 61, "no block `gust`"),
        ("```text", "```wacth", 9, "no block `wacth`"),
        ("```text", "```run", 9, "before the first step"),
        (
            "run background",
            "run backgruond",
            23,
            "has no `backgruond`",
        ),
        (
            "```hint\nLook at",
            "```hint now\nLook at",
            36,
            "takes nothing",
        ),
        ("Look at the pod.", " ", 36, "is empty"),
        (
            "file plan.txt",
            "file ../plan.txt",
            27,
            "leaves the lesson folder",
        ),
        ("file plan.txt", "file", 27, "is empty"),
        ("-f manifests/rocket.yaml", "-f a | b", 19, "needs a shell"),
        ("  ready: true", "  redy: true", 32, "no key `redy`"),
        ("  say:", "  tell:", 44, "no key `tell`"),
        ("says:", "sais:", 50, "does not say what"),
        ("```solve", "```watch", 67, "two blocks `watch`"),
        ("format: 1\n", "format: 1\ntitel: x\n", 3, "no key `titel`"),
        ("Welcome", "\u{7}Welcome\r", 7, "CR LF"),
    ] {
        let text = WHOLE.replacen(from, to, 1);
        assert_ne!(text, WHOLE, "{from}");
        let told = told(&text);
        let found = told
            .iter()
            .any(|(at, _, said)| *at == line && said.contains(part));
        assert!(found, "{to}: {told:#?}");
    }
}

#[test]
fn all_mistakes_are_told_at_once() {
    let text = WHOLE
        .replace("ready: true", "redy: true")
        .replace("says:", "sais:");
    let told = told(&text);
    assert!(told.len() >= 3, "{told:#?}");
    assert!(told.is_sorted(), "{told:#?}");
}

#[test]
fn files_that_are_no_text_are_told() {
    let (_, findings) = load(&Folder::from_files("x", BTreeMap::new()));
    assert_eq!(findings[0].line, 0);
    assert!(findings[0].text.contains("no lesson.md"));
    let mut bytes = b"\xef\xbb\xbf---\nformat: 1\n---\n".to_vec();
    bytes.extend(b"\xff\n");
    let files = BTreeMap::from([(LESSON.to_owned(), bytes)]);
    let (_, findings) = load(&Folder::from_files("x", files));
    let texts: Vec<(u32, &str)> = findings.iter().map(|f| (f.line, f.text.as_str())).collect();
    assert!(texts.contains(&(4, "this line is not UTF-8")), "{texts:?}");
    assert!(
        texts.contains(&(1, "the file begins with a byte order mark")),
        "{texts:?}"
    );
}

#[test]
fn text_without_front_matter_is_told_once() {
    let told = told("## One\n\nHello.\n");
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].2.contains("front matter"));
}

#[test]
fn an_open_block_is_told_where_it_opens() {
    let told = told(&format!("{WHOLE}\n```run\nkubectl get pods\n"));
    assert!(
        told.iter()
            .any(|(line, _, text)| *line == 71 && text.contains("not closed"))
    );
}

#[test]
fn a_block_that_stands_between_is_told_once_in_the_model() {
    // What could not be read is left out; what follows it is read all the same.
    let text = WHOLE.replacen(
        "- object: pod/rocket\n  ready",
        "- objekt: pod/rocket\n  ready",
        1,
    );
    let (lesson, findings) = load(&folder(&text));
    assert_eq!(lesson.steps[0].watch.len(), 1);
    assert!(findings.iter().any(Finding::is_error));
    assert!(sound(&folder(&text)).is_err());
}
