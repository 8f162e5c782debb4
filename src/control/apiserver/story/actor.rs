//! Who did something: from the user and the program of a request to a word for people.

use cadet_api::json::{list_at, str_at};
use serde_json::Value;

use crate::journal::Writer;
use crate::object::Object;

/// See the module's opening.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    pub who: String,
    pub part: String,
}

impl Actor {
    pub fn new(who: impl Into<String>, part: impl Into<String>) -> Actor {
        Actor {
            who: who.into(),
            part: part.into(),
        }
    }

    /// Who wrote an object, for a reader of that name. `orphaned` is that the object's owner
    /// is on its way out.
    pub fn of(writer: &Writer, asker: &str, object: &Object, orphaned: bool) -> Actor {
        let user = writer.user.as_str();
        match user {
            "system:kube-scheduler" => return Actor::new("scheduler", ""),
            "system:kube-controller-manager" => {
                return Actor::new("controller", controller(writer, object, orphaned));
            }
            "system:apiserver" => return Actor::new("server", ""),
            _ if user == asker => return Actor::new("you", tool(writer)),
            _ => {}
        }
        if user.starts_with("system:node:") {
            return Actor::new("agent", "");
        }
        if let Some(part) = user.strip_prefix("system:cadet-") {
            return Actor::new("controller", part);
        }
        match user.strip_prefix("system:serviceaccount:") {
            Some(account) => Actor::new("account", account.replacen(':', "/", 1)),
            None => Actor::new(user, tool(writer)),
        }
    }

    /// Who wrote an object last, or first, by its own record of its managers.
    pub fn by_record(value: &Value, first: bool) -> Actor {
        let records = list_at(value, "/metadata/managedFields").iter();
        let record = match first {
            true => records.min_by_key(|record| str_at(record, "/time")),
            false => records.max_by_key(|record| str_at(record, "/time")),
        };
        let Some(record) = record else {
            return Actor::new("somebody", "");
        };
        let manager = str_at(record, "/manager");
        let is_pod = str_at(value, "/kind") == "Pod";
        match manager {
            "kube-scheduler" => Actor::new("scheduler", ""),
            "kube-controller-manager" => Actor::new("controller", ""),
            "kube-apiserver" => Actor::new("server", ""),
            "kubelet" => Actor::new("agent", ""),
            // Programs that give no name; only agents write the status of pods.
            _ if is_pod && str_at(record, "/subresource") == "status" => Actor::new("agent", ""),
            "unknown" => Actor::new("somebody", ""),
            manager => Actor::new(
                "you",
                by_manager(manager).unwrap_or_else(|| manager.to_owned()),
            ),
        }
    }

    /// Whoever an event names as its author.
    pub fn of_event(event: &Value) -> Actor {
        let component = match str_at(event, "/source/component") {
            "" => str_at(event, "/reportingComponent"),
            component => component,
        };
        match component {
            "kubelet" => Actor::new("agent", ""),
            "default-scheduler" => Actor::new("scheduler", ""),
            "" => Actor::new("somebody", ""),
            component => match component.strip_suffix("-controller") {
                Some(part) => Actor::new("controller", part),
                None => Actor::new(component, ""),
            },
        }
    }
}

/// Which controller it was: all of them are one user.
fn controller(writer: &Writer, object: &Object, orphaned: bool) -> String {
    let mut owners = object.owner_references().iter();
    let owner = owners.find(|owner| owner.controller);
    let own = || object.resource.kind.to_lowercase();
    match owner {
        _ if orphaned => "garbage".to_owned(),
        _ if writer.subresource == "scale" => "autoscaler".to_owned(),
        _ if writer.subresource == "status" => own(),
        Some(owner) => owner.kind.to_lowercase(),
        None => own(),
    }
}

/// The program, as its user would call it: `kubectl apply`.
fn tool(writer: &Writer) -> String {
    let program = writer.agent.split(['/', ' ']).next().unwrap_or_default();
    if let Some(command) = by_manager(&writer.manager) {
        return command;
    }
    if program != "kubectl" {
        return program.to_owned();
    }
    let verb = match (writer.verb, writer.subresource) {
        (_, "scale") => "scale",
        (_, "eviction") => "drain",
        ("patch", _) => "apply",
        ("delete" | "deletecollection", _) => "delete",
        (verb, _) => verb,
    };
    format!("kubectl {verb}")
}

/// The command of kubectl that calls itself so.
fn by_manager(manager: &str) -> Option<String> {
    let verb = manager.strip_prefix("kubectl-")?;
    let verb = verb.strip_prefix("client-side-").unwrap_or(verb);
    Some(format!("kubectl {verb}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::Kinds;
    use crate::object::{key_of, to_stored};
    use cadet_api::resource::find;
    use cadet_store::Entry;
    use serde_json::json;

    fn pod(owner: Option<&str>) -> Object {
        let pods = find("", "v1", "pods").expect("pods");
        let owners = owner.map(|kind| {
            json!([{"apiVersion": "apps/v1", "kind": kind, "name": "o", "uid": "u", "controller": true}])
        });
        let value = json!({"metadata": {"name": "x", "namespace": "d", "ownerReferences": owners}});
        let entry = Entry {
            key: key_of(pods, "d", "x").into(),
            value: to_stored(pods, &value),
            created: 1,
            modified: 1,
        };
        Object::from_entry(&entry, &Kinds::default()).expect("readable")
    }

    fn writer(user: &str, agent: &str, manager: &str, verb: &'static str) -> Writer {
        Writer {
            user: user.to_owned(),
            agent: agent.to_owned(),
            manager: manager.to_owned(),
            verb,
            ..Writer::default()
        }
    }

    #[test]
    fn users_and_programs_become_words() {
        let object = pod(None);
        let kubectl = "kubectl/v1.33.0 (linux/amd64) kubernetes/abc";
        for (user, agent, manager, verb, who, part) in [
            (
                "lee",
                kubectl,
                "kubectl-client-side-apply",
                "patch",
                "you",
                "kubectl apply",
            ),
            (
                "lee",
                kubectl,
                "kubectl-create",
                "create",
                "you",
                "kubectl create",
            ),
            ("lee", kubectl, "kubectl", "patch", "you", "kubectl apply"),
            ("lee", kubectl, "", "delete", "you", "kubectl delete"),
            ("lee", "curl/8.5", "", "create", "you", "curl"),
            ("lee", "", "", "create", "you", ""),
            (
                "kim",
                kubectl,
                "kubectl-edit",
                "patch",
                "kim",
                "kubectl edit",
            ),
            ("system:kube-scheduler", "", "", "create", "scheduler", ""),
            ("system:node:n1", "", "", "patch", "agent", ""),
            (
                "system:serviceaccount:ci:robot",
                "",
                "",
                "create",
                "account",
                "ci/robot",
            ),
            ("system:apiserver", "", "", "", "server", ""),
            (
                "system:cadet-ingress",
                "",
                "",
                "patch",
                "controller",
                "ingress",
            ),
        ] {
            let actor = Actor::of(&writer(user, agent, manager, verb), "lee", &object, false);
            assert_eq!(
                actor,
                Actor::new(who, part),
                "{user} {agent} {manager} {verb}"
            );
        }
    }

    #[test]
    fn controllers_are_told_apart_by_what_they_touch() {
        let mut manager = writer("system:kube-controller-manager", "", "", "create");
        let mut part = |owner, orphaned, subresource| {
            manager.subresource = subresource;
            Actor::of(&manager, "lee", &pod(owner), orphaned).part
        };
        assert_eq!(part(Some("ReplicaSet"), false, ""), "replicaset");
        assert_eq!(part(Some("ReplicaSet"), true, ""), "garbage");
        assert_eq!(part(Some("ReplicaSet"), false, "status"), "pod");
        assert_eq!(part(None, false, ""), "pod");
        assert_eq!(part(None, false, "scale"), "autoscaler");
    }

    #[test]
    fn an_objects_own_record_names_its_writers() {
        let value = json!({"kind": "Pod", "metadata": {"managedFields": [
            {"manager": "kubectl-create", "time": "2026-01-01T00:00:00Z"},
            {"manager": "unknown", "time": "2026-01-01T00:00:09Z", "subresource": "status"}]}});
        assert_eq!(
            Actor::by_record(&value, true),
            Actor::new("you", "kubectl create")
        );
        assert_eq!(Actor::by_record(&value, false), Actor::new("agent", ""));
        assert_eq!(
            Actor::by_record(&json!({}), true),
            Actor::new("somebody", "")
        );
    }

    #[test]
    fn events_name_their_authors() {
        let event = |component: &str| json!({"source": {}, "reportingComponent": component});
        for (component, who, part) in [
            ("kubelet", "agent", ""),
            ("default-scheduler", "scheduler", ""),
            ("deployment-controller", "controller", "deployment"),
            ("my-operator", "my-operator", ""),
        ] {
            assert_eq!(Actor::of_event(&event(component)), Actor::new(who, part));
        }
    }
}
