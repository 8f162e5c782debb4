//! Makes objects, texts and patches out of the bytes of a fuzzer: real manifests, spoilt.

use serde_json::{Map, Value, json};

/// The bytes of an input, taken as choices. After their end every choice is the first.
pub struct Choices<'a>(pub &'a [u8]);

impl<'a> Choices<'a> {
    pub fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((first, rest)) => {
                self.0 = rest;
                *first
            }
            None => 0,
        }
    }

    /// A number below `count`, which is not 0.
    pub fn below(&mut self, count: usize) -> usize {
        let number = usize::from(self.byte());
        match count {
            ..=256 => number % count,
            _ => (number << 8 | usize::from(self.byte())) % count,
        }
    }

    pub fn pick<T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    pub fn chance(&mut self, of: usize) -> bool {
        self.below(of) == 1
    }

    /// Some of the bytes as they are.
    pub fn bytes(&mut self) -> &'a [u8] {
        let (taken, rest) = self
            .0
            .split_at(self.0.len().min(usize::from(self.byte() % 64)));
        self.0 = rest.get(..).unwrap_or_default();
        taken
    }

    pub fn text(&mut self) -> String {
        String::from_utf8_lossy(self.bytes()).into_owned()
    }

    /// Whether bytes are left.
    pub fn more(&self) -> bool {
        !self.0.is_empty()
    }
}

/// One object of each of the kinds with the most machinery.
pub fn manifests() -> Vec<Value> {
    let container = json!({"name": "c", "image": "nginx:1.27", "args": ["-c", "yes"],
        "env": [{"name": "A", "value": "1"}, {"name": "B", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
        "ports": [{"containerPort": 80, "name": "web"}, {"containerPort": 53, "protocol": "UDP"}],
        "resources": {"limits": {"cpu": "100m", "memory": "1.5Gi"}, "requests": {"cpu": 0.5}},
        "livenessProbe": {"httpGet": {"path": "/", "port": "web"}, "periodSeconds": 3},
        "volumeMounts": [{"name": "v", "mountPath": "/v"}]});
    let pod = json!({"containers": [container, {"name": "d", "image": "b"}],
        "volumes": [{"name": "v", "configMap": {"name": "m", "items": [{"key": "k", "path": "p"}]}}, {"name": "e", "emptyDir": {}}],
        "tolerations": [{"key": "a", "operator": "Exists"}], "nodeSelector": {"a": "b"},
        "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
            {"matchExpressions": [{"key": "k", "operator": "In", "values": ["v"]}]}]}}}});
    let meta = json!({"name": "web", "namespace": "default", "labels": {"app": "web", "tier": "1"},
        "annotations": {"a.b/c": "{\"x\": 1}"}, "finalizers": ["a/1", "b/2"],
        "ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "o", "uid": "u1"}]});
    vec![
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": pod,
            "status": {"phase": "Running", "podIPs": [{"ip": "10.0.0.1"}],
                "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-11-20T20:16:05Z"}]}}),
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta, "spec": {"replicas": 2,
            "selector": {"matchLabels": {"app": "web"}}, "strategy": {"rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 1}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": pod}}}),
        json!({"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": {"selector": {"app": "web"},
            "ports": [{"port": 80, "targetPort": "web", "name": "a"}, {"port": 80, "protocol": "UDP", "name": "b", "nodePort": 30000}]}}),
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta,
            "data": {"key": "v", "yes": "on"}, "binaryData": {"b": "AAEC"}}),
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": meta, "type": "Opaque",
            "data": {"k": "aGVsbG8="}, "stringData": {"s": "t"}}),
        json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": meta, "spec": {"schedule": "*/5 * * * *",
            "jobTemplate": {"spec": {"backoffLimit": 3, "template": {"spec": pod}}}}}),
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": meta, "spec": {"podSelector": {},
            "ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}}], "ports": [{"port": 80, "endPort": 90}]}]}}),
        json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "things.e.io"},
            "spec": {"group": "e.io", "scope": "Namespaced", "names": {"plural": "things", "kind": "Thing"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object",
                "properties": {"spec": {"type": "object", "properties": {"n": {"type": "integer", "minimum": 1, "default": 2},
                    "list": {"type": "array", "items": {"type": "string", "pattern": "^a+$"}, "x-kubernetes-list-type": "set"}},
                    "x-kubernetes-validations": [{"rule": "self.n > 0"}]}}}}}]}}),
    ]
}

/// A manifest with some of its places spoilt.
pub fn object(choices: &mut Choices<'_>) -> Value {
    let mut all = manifests();
    let mut object = all.swap_remove(choices.below(all.len()));
    for _ in 0..choices.below(6) {
        spoil(&mut object, choices);
    }
    object
}

/// What no field expects.
pub fn odd(choices: &mut Choices<'_>) -> Value {
    match choices.below(20) {
        0 => Value::Null,
        1 => json!(true),
        2 => json!(-1),
        3 => json!(i64::MIN),
        4 => json!(u64::MAX),
        5 => json!(1.5e300),
        6 => json!(-0.0),
        7 => json!(""),
        8 => json!("\u{0}\u{fffd}💥\u{202e}"),
        9 => json!("1e1000000Gi"),
        10 => json!("a".repeat(300)),
        11 => json!([]),
        12 => json!({}),
        13 => json!([null, {}, [[]]]),
        14 => json!({"$patch": "replace", "name": "c"}),
        15 => json!({"": {"": ""}, "a/b~c": 1, "$retainKeys": ["name"]}),
        16 => {
            let mut deep = json!("x");
            for level in 0..choices.below(60) {
                deep = if level % 2 == 0 {
                    json!([deep])
                } else {
                    json!({"a": deep})
                };
            }
            deep
        }
        17 => json!(choices.text()),
        18 => json!(choices.byte()),
        _ => json!("2026-11-20T20:16:05Z"),
    }
}

/// Changes one place of a value.
pub fn spoil(value: &mut Value, choices: &mut Choices<'_>) {
    let mut here = value;
    // Down to somewhere; each step may be the last.
    while !choices.chance(5) {
        let members = match here {
            Value::Object(members) => members.len(),
            Value::Array(items) => items.len(),
            _ => 0,
        };
        if members == 0 {
            break;
        }
        let at = choices.below(members);
        here = match here {
            Value::Array(items) => &mut items[at],
            Value::Object(members) => match members.values_mut().nth(at) {
                Some(member) => member,
                None => return,
            },
            _ => return,
        };
    }
    let new = odd(choices);
    match (here, choices.below(4)) {
        (Value::Object(members), 0) => {
            let name = choices.text();
            members.insert(name, new);
        }
        (Value::Object(members), 1) if !members.is_empty() => {
            let at = choices.below(members.len());
            let name = members.keys().nth(at).cloned().unwrap_or_default();
            members.remove(&name);
        }
        (Value::Object(members), 2) if !members.is_empty() => {
            let at = choices.below(members.len());
            if let Some(member) = members.values_mut().nth(at) {
                *member = new;
            }
        }
        (Value::Array(items), 0) => items.push(new),
        (Value::Array(items), 1) if !items.is_empty() => {
            let at = choices.below(items.len());
            items.push(items[at].clone());
        }
        (Value::Array(items), 2) if !items.is_empty() => {
            let at = choices.below(items.len());
            items.remove(at);
        }
        (Value::String(text), 0) => text.push_str(&choices.text()),
        (here, _) => *here = new,
    }
}

/// What breaks or bends a document when put into it.
const SPLINTERS: &[&[u8]] = &[
    b"",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"\"",
    b"\\",
    b"\\ud800",
    b"\\u0000",
    b"NaN",
    b"-",
    b"1e999",
    b"0x1",
    b"01",
    b"//",
    b"/**/",
    b"\xef\xbb\xbf",
    b"\xff",
    b"\xed\xa0\x80",
    b"\n",
    b"\t",
    b"\0",
    b"true",
    b"nul",
    b"- ",
    b": ",
    b"? ",
    b"&a ",
    b"*a",
    b"<<: ",
    b"!!binary ",
    b"|\n",
    b"---\n",
    b"...\n",
    b"{\"a\":1,\"a\":2}",
    b"yes",
    b"~",
    b"#",
    b"%YAML 1.1\n",
    b"'",
    b"\"kind\":\"X\",",
];

/// A text with pieces cut out, doubled, or put in.
pub fn splinter(text: &mut Vec<u8>, choices: &mut Choices<'_>) {
    for _ in 0..choices.below(5) {
        let at = choices.below(text.len() + 1);
        let until = (at + choices.below(20)).min(text.len());
        match choices.below(5) {
            0 => drop(text.drain(at..until)),
            1 => {
                let piece = text[at..until].to_vec();
                text.splice(at..at, piece);
            }
            2 => text.truncate(at),
            3 => drop(text.splice(at..until, choices.bytes().to_vec())),
            _ => drop(text.splice(at..at, choices.pick(SPLINTERS).to_vec())),
        }
    }
}

/// JSON text of a spoilt object, perhaps itself spoilt.
pub fn json_text(choices: &mut Choices<'_>) -> Vec<u8> {
    let object = object(choices);
    let mut text = match choices.chance(3) {
        true => serde_json::to_vec_pretty(&object),
        false => serde_json::to_vec(&object),
    }
    .expect("an object is JSON");
    splinter(&mut text, choices);
    text
}

/// Pointers to the places of an object, to speak of places that are there.
pub fn places(value: &Value, path: &str, out: &mut Vec<String>) {
    out.push(path.to_owned());
    let escape = |name: &str| name.replace('~', "~0").replace('/', "~1");
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                places(member, &format!("{path}/{}", escape(name)), out);
            }
        }
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                places(item, &format!("{path}/{at}"), out);
            }
        }
        _ => {}
    }
}

/// A part of an object: some of its members, at any depth.
pub fn part(value: &Value, choices: &mut Choices<'_>) -> Value {
    match value {
        Value::Object(members) => {
            let mut out = Map::new();
            for (name, member) in members {
                if !choices.chance(3) {
                    out.insert(name.clone(), part(member, choices));
                }
            }
            Value::Object(out)
        }
        Value::Array(items) if !choices.chance(4) => {
            Value::Array(items.iter().map(|item| part(item, choices)).collect())
        }
        other => other.clone(),
    }
}
