//! A lesson to begin with: small, whole, and sound.

use std::collections::BTreeMap;

use crate::folder::LESSON;
use crate::front::is_label;

/// A name that cannot be one of a lesson.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` cannot be the name of a lesson: lower-case letters, digits and - only")]
pub struct BadName(pub String);

/// The files of a new lesson. `folder` is its folder's name, with or without a number.
///
/// # Errors
/// The name cannot be one of a lesson.
pub fn files(folder: &str, title: &str) -> Result<BTreeMap<String, Vec<u8>>, BadName> {
    if !is_label(folder) {
        return Err(BadName(folder.to_owned()));
    }
    let title = match title.trim() {
        "" => "A lesson without a name",
        title => title,
    };
    // A JSON text is a YAML text, whatever it has in it.
    let title = serde_json::Value::from(title).to_string();
    let text = TEXT.replacen("TITLE", &title, 1);
    Ok(BTreeMap::from([
        (LESSON.to_owned(), text.into_bytes()),
        ("manifests/hello.yaml".to_owned(), MANIFEST.into()),
    ]))
}

const MANIFEST: &str = "\
apiVersion: v1
kind: ConfigMap
metadata:
  name: hello
data:
  greeting: good day
";

const TEXT: &str = r#"---
format: 1
title: TITLE
summary: What the learner can do afterwards, in one line.
minutes: 10
---
Say here what this lesson is about and why it is worth ten minutes. Two or three
sentences are enough.

<!-- Notes like this one are for authors; nobody else sees them. All blocks and
conditions are described in tutorials/README.md. Check the lesson with
`cadet tutorial lint ./FOLDER`, play it with `cadet tutorial play ./FOLDER --mistakes`. -->

## Give the cluster something to keep

A ConfigMap holds settings that programs read. This one has a single greeting; it
is in `manifests/hello.yaml` in your lesson folder.

```run
kubectl create -f manifests/hello.yaml
```
```watch
- object: configmap/hello
  where: ["data.greeting exists"]
```
```hint
The command stands above; Enter runs it.
```
```reset
kubectl delete configmap hello --ignore-not-found
```
```mistake
says: there is configmap/helo
run: kubectl create configmap helo --from-literal=greeting=hi
undo: kubectl delete configmap helo --ignore-not-found
```

## Look at what it keeps

The cluster gives back what it was given, with a few things of its own added.

```run
kubectl get configmap hello -o yaml
```
```watch
- asked: get configmaps hello
```
```reset
# Looking changes nothing.
kubectl get configmap hello --ignore-not-found
```

## Change it without being told how

Let the greeting be `good night`. There is more than one way; `kubectl patch` is one.

```watch
- object: configmap/hello
  where: ["data.greeting == \"good night\""]
```
```hint
`kubectl patch configmap hello --help` has examples.
```
```not-yet
- when: [{object: configmap/hello, where: ["data.greeting == \"good day\""]}]
  say: The greeting is still "good day".
```
```solve
kubectl patch configmap hello --type=merge -p '{"data":{"greeting":"good night"}}'
```
```reset
kubectl apply -f manifests/hello.yaml
```
```mistake
says: still "good day"
run: kubectl label configmap hello greeting=good-night
undo: kubectl label configmap hello greeting-
```
"#;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::folder::Folder;
    use crate::lint::{Known, lint};

    #[test]
    fn a_new_lesson_is_sound() {
        let files = files("04-hello", "A \"greeting\": kept").unwrap();
        let folder = Folder::from_files("04-hello", files);
        let findings = lint(&folder, &Known::default());
        assert!(findings.is_empty(), "{findings:#?}");
        let lesson = crate::load::sound(&folder).unwrap();
        assert_eq!(lesson.title, "A \"greeting\": kept");
        assert_eq!(lesson.steps.len(), 3);
        assert_eq!(
            lesson.steps[2].solve.as_ref().unwrap().commands().count(),
            1
        );
    }

    #[test]
    fn bad_names_are_refused() {
        for bad in ["", "A", "a b", "../x", "-a"] {
            assert_eq!(files(bad, "x"), Err(BadName(bad.to_owned())), "{bad}");
        }
        assert!(files("hello", "").is_ok());
    }
}
