//! What conditions say, of objects as the cluster tells them.

use serde_json::json;

use super::*;
use crate::condition::{HttpRequest, KindName, Where};
use crate::world::Ended;

fn target(kind: &str, name: &str) -> Target {
    Target {
        kind: KindName::built_in(kind),
        name: name.to_owned(),
        namespace: Some("default".to_owned()),
    }
}

fn ready() -> Wanted {
    Wanted {
        ready: Some(true),
        ..Wanted::default()
    }
}

fn fits(texts: &[&str]) -> Wanted {
    Wanted {
        fits: texts
            .iter()
            .map(|text| Where::parse(text).unwrap())
            .collect(),
        ..Wanted::default()
    }
}

fn many(selector: Option<&str>, count: &str) -> Many {
    Many {
        kind: KindName::built_in("pods"),
        namespace: Some("default".to_owned()),
        selector: selector.map(str::to_owned),
        field: None,
        count: Compare::parse(count).unwrap(),
    }
}

fn told(what: What, facts: &Facts) -> Verdict {
    judge(&Condition { what, line: 1 }, facts)
}

fn reason(what: What, facts: &Facts) -> String {
    let verdict = told(what, facts);
    assert!(!verdict.holds && !verdict.live.is_empty());
    verdict.reason.unwrap()
}

fn pod(name: &str, app: &str, ready: bool) -> Value {
    let status = if ready { "True" } else { "False" };
    json!({
        "metadata": {"name": name, "namespace": "default", "uid": format!("uid-{name}"),
                     "labels": {"app": app}},
        "spec": {"nodeName": "cadet", "containers": [{"name": "c"}]},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": status}],
                   "containerStatuses": [{"name": "c", "ready": ready, "restartCount": 2,
                                          "state": {"running": {}}}]}
    })
}

fn pods(pods: &[Value]) -> Facts {
    Facts::default().with("pod", Some("default"), pods.to_vec())
}

#[test]
fn an_object_is_missed_by_its_name() {
    let object = || What::Object(target("pod", "web"), ready());
    assert_eq!(reason(object(), &Facts::default()), SILENT);
    assert_eq!(
        reason(object(), &pods(&[])),
        "there is no pod/web in namespace default yet"
    );
    assert_eq!(
        reason(object(), &pods(&[pod("wbe", "web", true)])),
        "there is no pod/web in namespace default; there is pod/wbe"
    );
}

#[test]
fn an_object_is_compared_with_what_is_wanted() {
    let facts = pods(&[pod("web", "web", false)]);
    let verdict = told(What::Object(target("pod", "web"), ready()), &facts);
    assert_eq!(
        verdict.reason.as_deref(),
        Some("pod/web is Running: container c runs and is not ready")
    );
    assert_eq!(verdict.subject, Some(target("pod", "web")));
    let not_ready = Wanted {
        ready: Some(false),
        ..Wanted::default()
    };
    assert!(told(What::Object(target("pod", "web"), not_ready), &facts).holds);
    let facts = pods(&[pod("web", "web", true)]);
    let verdict = told(What::Object(target("po", "web"), ready()), &facts);
    assert!(verdict.holds);
    assert_eq!(verdict.live, ["pod/web is Running and ready"]);
    let wanted = fits(&["metadata.labels.app == api", "status.phase == Running"]);
    assert_eq!(
        reason(What::Object(target("pod", "web"), wanted), &facts),
        "pod/web: metadata.labels.app is web; wanted is api"
    );
    let wanted = fits(&["status.phase == Succeeded"]);
    assert_eq!(
        reason(What::Object(target("pod", "web"), wanted), &facts),
        "pod/web is Running and ready; wanted is Succeeded"
    );
}

#[test]
fn restarts_and_newness_count() {
    let mut facts = pods(&[pod("web", "web", true)]);
    let restarts = |text: &str| Wanted {
        restarts: Compare::parse(text),
        ..Wanted::default()
    };
    assert!(told(What::Object(target("pod", "web"), restarts(">= 1")), &facts).holds);
    assert_eq!(
        reason(What::Object(target("pod", "web"), restarts("> 2")), &facts),
        "pod/web was restarted 2 times; wanted is more than 2"
    );
    let new = || {
        let wanted = Wanted {
            since_step: true,
            ..Wanted::default()
        };
        What::Object(target("pod", "web"), wanted)
    };
    facts.before = Some(facts.uids());
    assert_eq!(
        reason(new(), &facts),
        "pod/web is still the one from before this step"
    );
    facts.before = Some(Default::default());
    assert!(told(new(), &facts).holds);
}

#[test]
fn objects_are_counted() {
    let facts = pods(&[
        pod("a", "web", true),
        pod("b", "web", false),
        pod("c", "x", true),
    ]);
    let objects = |count: &str, wanted: Wanted| What::Objects(many(Some("app=web"), count), wanted);
    assert!(told(objects("2", Wanted::default()), &facts).holds);
    assert!(told(objects(">= 1", ready()), &facts).holds);
    let verdict = told(objects("2", ready()), &facts);
    assert_eq!(
        verdict.reason.as_deref(),
        Some("1 of 2 pods ready; pod/b is Running: container c runs and is not ready")
    );
    assert_eq!(verdict.subject, Some(target("pods", "b")));
    assert_eq!(verdict.live.len(), 2);
    assert_eq!(
        reason(objects("1", Wanted::default()), &facts),
        "2 pods; wanted is 1"
    );
    assert_eq!(
        reason(objects("0", Wanted::default()), &facts),
        "there are still 2 pods (a, b)"
    );
    let ready_web = fits(&["metadata.labels.app == web"]);
    assert!(told(What::Objects(many(None, "2"), ready_web), &facts).holds);
    let by_field = Many {
        field: Some("status.phase=Pending".to_owned()),
        ..many(None, "0")
    };
    assert!(told(What::Objects(by_field, Wanted::default()), &facts).holds);
}

#[test]
fn labels_that_match_nothing_are_explained() {
    let facts = pods(&[pod("a", "wbe", true)]);
    let objects = What::Objects(many(Some("app=web"), ">= 1"), ready());
    assert_eq!(
        reason(objects, &facts),
        "no pod matches app=web; pods there are labelled app=wbe"
    );
    let objects = What::Objects(many(Some("app=web"), "1"), ready());
    assert_eq!(
        reason(objects, &pods(&[])),
        "there is no pod with app=web in namespace default yet"
    );
}

#[test]
fn absence_is_a_state() {
    let absent = || What::Absent(target("pod", "web"));
    assert!(told(absent(), &pods(&[])).holds);
    let mut going = pod("web", "web", true);
    assert_eq!(
        reason(absent(), &pods(std::slice::from_ref(&going))),
        "pod/web is still there"
    );
    going["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    assert_eq!(
        reason(absent(), &pods(&[going])),
        "pod/web is being deleted and not yet gone"
    );
}

#[test]
fn answers_of_the_web_are_read() {
    let request = HttpRequest {
        url: "http://web/".to_owned(),
        headers: Vec::new(),
    };
    let http = |status, contains: Option<&str>| {
        What::Http(Http {
            request: request.clone(),
            status,
            expect: Expect {
                contains: contains.map(str::to_owned),
                matches: None,
            },
        })
    };
    let facts = |answer: Result<HttpAnswer, String>| {
        let mut facts = Facts::default();
        facts
            .fetched
            .insert(Probe::Http(request.clone()), Fetched::Http(answer));
        facts
    };
    let answer = |status, body: &str| {
        let body = body.to_owned();
        facts(Ok(HttpAnswer { status, body }))
    };
    assert!(told(http(None, Some("hello")), &answer(204, "oh hello")).holds);
    assert!(told(http(Some(404), None), &answer(404, "")).holds);
    assert_eq!(
        reason(http(None, None), &answer(502, "")),
        "http://web/ answers 502"
    );
    assert_eq!(
        reason(http(Some(200), None), &answer(404, "")),
        "http://web/ answers 404; wanted is 200"
    );
    assert_eq!(
        reason(http(None, Some("hello")), &answer(200, "bye")),
        "http://web/ answers 200, and \"hello\" is missing"
    );
    assert_eq!(
        reason(
            http(None, None),
            &facts(Err("connection refused".to_owned()))
        ),
        "http://web/ does not answer: connection refused"
    );
    assert_eq!(
        reason(http(None, None), &Facts::default()),
        "http://web/ has not been asked yet"
    );
}

#[test]
fn output_and_files_are_read() {
    let command = crate::command::parse("kubectl get pods", 1).unwrap();
    let expect = |text: &str| Expect {
        contains: Some(text.to_owned()),
        matches: None,
    };
    let mut facts = Facts::default();
    let ended = |code, out: &str, error: &str| {
        Fetched::Output(Ok(Ended {
            code,
            out: out.to_owned(),
            error: error.to_owned(),
        }))
    };
    let output = || What::Output(command.clone(), expect("web"));
    facts
        .fetched
        .insert(Probe::Output(command.clone()), ended(0, "web 1/1\n", ""));
    assert!(told(output(), &facts).holds);
    facts.fetched.insert(
        Probe::Output(command.clone()),
        ended(1, "", "no such thing\nx"),
    );
    assert_eq!(
        reason(output(), &facts),
        "`kubectl get pods` fails: no such thing"
    );
    facts
        .fetched
        .insert(Probe::Output(command.clone()), ended(0, "", ""));
    assert_eq!(
        reason(output(), &facts),
        "in what `kubectl get pods` prints, nothing is where \"web\" is wanted"
    );
    let pattern = Expect {
        contains: None,
        matches: Some(regex::Regex::new("^from +flask").unwrap()),
    };
    let file = || What::File("app/main.py".to_owned(), pattern.clone());
    let probe = Probe::File("app/main.py".to_owned());
    facts.fetched.insert(probe.clone(), Fetched::File(Ok(None)));
    assert_eq!(
        reason(file(), &facts),
        "there is no file app/main.py in your lesson folder yet"
    );
    facts.fetched.insert(
        probe.clone(),
        Fetched::File(Ok(Some("import os".to_owned()))),
    );
    assert_eq!(
        reason(file(), &facts),
        "in app/main.py, nothing is like /^from +flask/"
    );
    facts
        .fetched
        .insert(probe, Fetched::File(Ok(Some("from  flask".to_owned()))));
    assert!(told(file(), &facts).holds);
}

#[test]
fn requests_are_remembered() {
    let ask = |text: &str| What::Asked(crate::condition::read::ask(text).unwrap());
    let asked = |verb: &str, resource: &str, subresource: &str, name: &str| Asked {
        verb: verb.to_owned(),
        resource: resource.to_owned(),
        subresource: subresource.to_owned(),
        name: name.to_owned(),
        code: 200,
        ..Asked::default()
    };
    let mut facts = Facts::default();
    assert_eq!(
        reason(ask("list pods"), &facts),
        "the cluster was not yet asked to list pods"
    );
    facts.asked.push(asked("get", "pods", "", "web"));
    assert_eq!(
        reason(ask("list pods"), &facts),
        "the last you asked was to get pods web; wanted is to list pods"
    );
    assert!(told(ask("get pods"), &facts).holds);
    assert!(told(ask("get pods web"), &facts).holds);
    assert!(!told(ask("get pods api"), &facts).holds);
    facts.asked.push(asked("get", "pods", "exec", "web"));
    assert!(told(ask("create pods/exec web"), &facts).holds);
    assert!(!told(ask("create pods"), &facts).holds);
}

#[test]
fn nothing_to_wait_for_never_holds() {
    assert!(!judge_all(&[], &Facts::default()).0);
    let done = [Condition {
        what: What::Done,
        line: 1,
    }];
    assert!(!judge_all(&done, &Facts::default()).0);
    let facts = Facts {
        ran: true,
        ..Facts::default()
    };
    assert!(judge_all(&done, &facts).0);
}
