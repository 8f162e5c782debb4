//! Conditions as authors write them, sound and not.

use super::*;
use crate::yaml;

fn read(text: &str) -> (Vec<Condition>, Vec<(u32, String)>) {
    let mut findings = Findings::new("l");
    let node = yaml::parse(text, 1, &mut findings).expect("YAML");
    let conditions = list(&node, "lesson", &mut findings);
    let told = findings.all.iter().map(|f| (f.line, f.text.clone()));
    (conditions, told.collect())
}

fn sound(text: &str) -> Vec<String> {
    let (conditions, findings) = read(text);
    assert!(findings.is_empty(), "{findings:?}");
    conditions.iter().map(ToString::to_string).collect()
}

fn wrong(text: &str) -> Vec<(u32, String)> {
    let (_, findings) = read(text);
    assert!(!findings.is_empty(), "no mistake found in {text}");
    findings
}

#[test]
fn every_sort_of_condition_is_read() {
    let text = r#"
- object: pod/telescope-pod
  ready: true
- object: deployment/web
  where: ["spec.replicas == 4", "status.availableReplicas >= 4"]
- object: pod/web
  restarts: ">= 1"
  since: step
- objects: pods
  selector: app=web
  count: 4
  ready: true
- absent: pod/web-1
- http: http://web.default.svc.cluster.local:3000/
  status: 200
  contains: Telescope
  header: "Host: a.example"
- output: kubectl get pods -o wide
  contains: telescope
- file: app/main.py
  contains: flask
- asked: list pods
- asked: create pods/exec web
- done: true
"#;
    assert_eq!(
        sound(text),
        [
            "pod/telescope-pod ready",
            "deployment/web spec.replicas == 4, status.availableReplicas >= 4",
            "pod/web made in this step, restarted 1 or more times",
            "4 pods (app=web) ready",
            "pod/web-1 gone",
            "http://web.default.svc.cluster.local:3000/ answers 200 with \"Telescope\"",
            "`kubectl get pods -o wide` prints \"telescope\"",
            "file app/main.py has \"flask\"",
            "you ask the cluster to list pods",
            "you ask the cluster to create pods/exec web",
            "you have done it",
        ]
    );
}

#[test]
fn namespaces_are_the_lessons_unless_said_otherwise() {
    let text = "- object: pod/a\n- object: pod/a\n  namespace: other\n- object: node/n\n\
                    - objects: pods\n  namespace: \"*\"\n- object: rocket.example.com/r\n";
    let (conditions, findings) = read(text);
    assert!(findings.is_empty(), "{findings:?}");
    let places: Vec<Option<&str>> = conditions
        .iter()
        .map(|condition| match &condition.what {
            What::Object(target, _) => target.namespace.as_deref(),
            What::Objects(many, _) => many.namespace.as_deref(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(
        places,
        [Some("lesson"), Some("other"), None, None, Some("lesson")]
    );
}

#[test]
fn what_must_be_watched_is_known() {
    let (conditions, _) = read(
        "- object: pod/a\n- objects: po\n- object: deployment/d\n  ready: true\n\
             - object: svc/s\n  ready: true\n- object: node/n\n- http: http://a/\n",
    );
    let needs: Vec<(String, Option<String>)> = super::super::needs(&conditions)
        .into_iter()
        .map(|need| (need.kind.singular(), need.namespace))
        .collect();
    let here = |kind: &str| (kind.to_owned(), Some("lesson".to_owned()));
    assert_eq!(
        needs,
        [
            here("pod"),
            here("event"),
            here("deployment"),
            here("service"),
            here("endpointslice"),
            ("node".to_owned(), None),
        ]
    );
    assert!(conditions[5].probe().is_some());
}

#[test]
fn mistakes_are_told_where_they_are() {
    for (text, line, part) in [
        ("- objekt: pod/a\n", 1, "does not say what to look at"),
        ("- object: pod/a\n  absent: pod/b\n", 1, "several things"),
        ("- object: pod\n", 1, "names no object"),
        ("- object: pdo/a\n", 1, "no kind `pdo`"),
        ("- object: pod/A_b\n", 1, "cannot be the name"),
        ("- object: pod/a\n  redy: true\n", 2, "no key `redy`"),
        (
            "- object: pod/a\n  ready: yes\n",
            2,
            "neither true nor false",
        ),
        (
            "- object: configmap/a\n  ready: true\n",
            2,
            "as soon as it is there",
        ),
        (
            "- object: node/a\n  namespace: x\n",
            2,
            "live in no namespace",
        ),
        ("- object: pod/a\n  namespace: \"*\"\n", 1, "one namespace"),
        ("- object: pod/a\n  where: [\"spec.x\"]\n", 2, "no operator"),
        (
            "- object: pod/a\n  where:\n    - spec.x\n",
            3,
            "no operator",
        ),
        ("- object: pod/a\n  restarts: many\n", 2, "is no number"),
        ("- object: job/a\n  restarts: 1\n", 2, "only pods"),
        ("- object: pod/a\n  since: ever\n", 2, "not known"),
        (
            "- objects: pods\n  selector: \"=x\"\n",
            2,
            "no label selector",
        ),
        (
            "- objects: pods\n  field: spec.x=1\n",
            2,
            "no field selector",
        ),
        ("- objects: pods\n  count: few\n", 2, "is no number"),
        ("- http: web/\n", 1, "no web address"),
        ("- http: http://web/\n  status: 99\n", 2, "no whole number"),
        ("- http: http://web/\n  header: x\n", 2, "no header"),
        ("- http: http://web/\n  matches: \"(\"\n", 2, "no pattern"),
        ("- http: http://web/\n  contains: \"\"\n", 2, "empty one"),
        (
            "- output: kubectl get pods\n",
            1,
            "what the command must print",
        ),
        ("- output: a | b\n  contains: x\n", 1, "needs a shell"),
        ("- file: ../x\n", 1, "leaves the lesson folder"),
        ("- asked: see pods\n", 1, "no verb"),
        ("- asked: list pod\n", 1, "no resource"),
        ("- asked: create pods/exek\n", 1, "no part"),
        ("- asked: list\n", 1, "not understood"),
        ("- done: false\n", 1, "says nothing"),
        ("object: pod/a\n", 1, "as a list"),
        ("- pod/a\n", 1, "`key: value`"),
    ] {
        let told = wrong(text);
        assert!(
            told.iter()
                .any(|(at, said)| *at == line && said.contains(part)),
            "{text}: {told:?}"
        );
    }
}
