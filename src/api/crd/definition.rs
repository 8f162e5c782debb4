//! The CustomResourceDefinition itself: its defaults and rules, its status, and the table
//! rows that follow from it.

use std::collections::HashMap;

use regex::Regex;
use serde_json::{Value, json};

use super::path::JsonPath;
use super::schema::object_shape;
use super::{Cell, Custom, Scale};
use crate::cel::Program;
use crate::columns::{AGE, Column};
use crate::field::{Error, index};
use crate::json::{bool_at, child, list_at, map_at, str_at};
use crate::names;
use crate::resource::{Gv, Resource, Subresource};
use crate::validate::texts;

/// Held by definitions until their objects are gone.
pub const FINALIZER: &str = "customresourcecleanup.apiextensions.k8s.io";

const VERBS: &[&str] = &[
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "create",
    "update",
    "watch",
];
const PART: &[&str] = &["get", "patch", "update"];

/// What tells one definition's rows from another's: rows are made once for each.
pub fn key(definition: &Value) -> String {
    definition
        .get("spec")
        .map(Value::to_string)
        .unwrap_or_default()
}

/// The version objects are stored in.
pub fn storage_version(definition: &Value) -> Option<&str> {
    list_at(definition, "/spec/versions")
        .iter()
        .find(|v| bool_at(v, "/storage"))
        .map(|v| str_at(v, "/name"))
}

fn leak(text: &str) -> &'static str {
    text.to_owned().leak()
}

fn leak_all(list: &[Value]) -> &'static [&'static str] {
    let all: Vec<&'static str> = list.iter().filter_map(Value::as_str).map(leak).collect();
    all.leak()
}

/// The rows a definition adds to the table: the stored version's, then the other served
/// ones, newest first. They are leaked, because rows live as long as the program; the
/// caller makes them once per distinct definition.
pub fn rows(definition: &Value) -> Vec<&'static Resource> {
    let Some(storage) = storage_version(definition) else {
        return Vec::new();
    };
    let mut versions: Vec<&Value> = list_at(definition, "/spec/versions").iter().collect();
    versions.sort_by_key(|v| std::cmp::Reverse(names::version_rank(str_at(v, "/name"))));
    let mut stored: Option<&'static Resource> = None;
    let mut rows = Vec::new();
    let ordered = versions
        .iter()
        .filter(|v| str_at(v, "/name") == storage)
        .chain(versions.iter().filter(|v| str_at(v, "/name") != storage));
    for version in ordered {
        let row: &'static Resource = Box::leak(Box::new(row(definition, version, stored)));
        if stored.is_none() {
            stored = Some(row);
        }
        rows.push(row);
    }
    rows
}

fn row(definition: &Value, version: &Value, stored: Option<&'static Resource>) -> Resource {
    let names = |key: &str| str_at(definition, &format!("/spec/names/{key}"));
    let gv = Gv {
        group: leak(str_at(definition, "/spec/group")),
        version: leak(str_at(version, "/name")),
    };
    let kind = leak(names("kind"));
    let mut subresources = Vec::new();
    if version.pointer("/subresources/scale").is_some() {
        subresources.push(Subresource {
            name: "scale",
            gv: Gv {
                group: "autoscaling",
                version: "v1",
            },
            kind: "Scale",
            verbs: PART,
        });
    }
    if version.pointer("/subresources/status").is_some() {
        subresources.push(Subresource {
            name: "status",
            gv,
            kind,
            verbs: PART,
        });
    }
    let served = bool_at(version, "/served");
    Resource {
        gv,
        kind,
        list_kind: leak(names("listKind")),
        plural: leak(names("plural")),
        singular: leak(names("singular")),
        namespaced: str_at(definition, "/spec/scope") == "Namespaced",
        short_names: leak_all(list_at(definition, "/spec/names/shortNames")),
        categories: leak_all(list_at(definition, "/spec/names/categories")),
        // A version that is stored and not served has a row nobody can ask.
        verbs: if served { VERBS } else { &[] },
        subresources: subresources.leak(),
        fields: &[],
        storage: stored.map_or(gv, |row| row.gv),
        stored_row: stored,
        transient: false,
        custom: Some(Box::leak(Box::new(custom(version)))),
        history: "",
    }
}

fn custom(version: &Value) -> Custom {
    let schema = version
        .pointer("/schema/openAPIV3Schema")
        .cloned()
        .unwrap_or_else(|| json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}));
    let (mut columns, mut cells) = (Vec::new(), Vec::new());
    for column in list_at(version, "/additionalPrinterColumns") {
        let kind = str_at(column, "/type");
        // Checked when the definition was taken in.
        let Ok(path) = JsonPath::parse(str_at(column, "/jsonPath")) else {
            continue;
        };
        columns.push(Column {
            name: leak(str_at(column, "/name")),
            kind: leak(kind),
            format: leak(str_at(column, "/format")),
            description: leak(str_at(column, "/description")),
            priority: u8::try_from(crate::json::int_at(column, "/priority").unwrap_or(0))
                .unwrap_or(1),
        });
        cells.push(Cell {
            path,
            date: kind == "date",
        });
    }
    if columns.is_empty()
        && let Ok(path) = JsonPath::parse(".metadata.creationTimestamp")
    {
        columns.push(AGE);
        cells.push(Cell { path, date: true });
    }
    let pointer = |key: &str| {
        let path = str_at(version, &format!("/subresources/scale/{key}"));
        (!path.is_empty()).then(|| path.replace('.', "/"))
    };
    let scale = pointer("specReplicasPath").map(|spec| Scale {
        spec,
        status: pointer("statusReplicasPath").unwrap_or_default(),
        selector: pointer("labelSelectorPath"),
    });
    let deprecation =
        bool_at(version, "/deprecated").then(|| str_at(version, "/deprecationWarning").to_owned());
    let mut programs = HashMap::new();
    compile(&schema, &mut programs);
    Custom {
        shape: object_shape(&schema),
        programs,
        schema,
        columns,
        cells,
        scale,
        deprecation,
    }
}

/// Compiles all rules below a schema.
fn compile(schema: &Value, programs: &mut HashMap<String, Program>) {
    for rule in list_at(schema, "/x-kubernetes-validations") {
        for key in ["/rule", "/messageExpression"] {
            let text = str_at(rule, key);
            if !text.is_empty()
                && !programs.contains_key(text)
                && let Ok(program) = Program::compile(text)
                    .or_else(|_| Program::compile_message(text, &Value::Null, true))
            {
                programs.insert(text.to_owned(), program);
            }
        }
    }
    for (_, inner) in map_at(schema, "/properties").into_iter().flatten() {
        compile(inner, programs);
    }
    for key in ["items", "additionalProperties"] {
        if let Some(inner) = schema.get(key) {
            compile(inner, programs);
        }
    }
}

/// Fills in what a definition leaves open.
pub fn defaults(definition: &mut Value) {
    let Some(root) = definition.as_object_mut() else {
        return;
    };
    let spec = child(root, "spec");
    crate::json::default(child(spec, "conversion"), "strategy", "None");
    let names = child(spec, "names");
    let kind = names
        .get("kind")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    crate::json::default(names, "singular", kind.to_lowercase());
    crate::json::default(names, "listKind", format!("{kind}List"));
}

/// The status of a definition that is served: its names are taken, it is established.
pub fn status(definition: &Value, now: &str) -> Value {
    let condition = |kind: &str, reason: &str, message: &str| {
        json!({"type": kind, "status": "True", "lastTransitionTime": now,
            "reason": reason, "message": message})
    };
    let mut stored: Vec<&str> = list_at(definition, "/status/storedVersions")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    if let Some(storage) = storage_version(definition)
        && !stored.contains(&storage)
    {
        stored.push(storage);
    }
    let kept = list_at(definition, "/status/conditions");
    let conditions = if kept.is_empty() {
        json!([
            condition("NamesAccepted", "NoConflicts", "no conflicts found"),
            condition(
                "Established",
                "InitialNamesAccepted",
                "the initial names have been accepted"
            ),
        ])
    } else {
        json!(kept)
    };
    json!({
        "conditions": conditions,
        "acceptedNames": definition.pointer("/spec/names"),
        "storedVersions": stored,
    })
}

/// What is wrong with a definition.
pub fn validate_definition(o: &Value) -> Vec<Error> {
    let mut errors = Vec::new();
    let e = &mut errors;
    let (group, plural) = (str_at(o, "/spec/group"), str_at(o, "/spec/names/plural"));
    let name = str_at(o, "/metadata/name");
    if name != format!("{plural}.{group}") {
        e.push(Error::invalid(
            "metadata.name",
            name,
            "must be spec.names.plural+\".\"+spec.group",
        ));
    }
    if group.is_empty() {
        e.push(Error::required("spec.group", ""));
    } else if !group.contains('.') {
        e.push(Error::invalid(
            "spec.group",
            group,
            "should be a domain with at least one dot",
        ));
    } else {
        texts(e, "spec.group", group, names::dns_subdomain(group));
    }
    if group.ends_with(".k8s.io") || group.ends_with(".kubernetes.io") {
        let annotation = map_at(o, "/metadata/annotations")
            .is_some_and(|a| a.contains_key("api-approved.kubernetes.io"));
        if !annotation {
            e.push(Error::required(
                "metadata.annotations[api-approved.kubernetes.io]",
                "protected groups must have approval annotation \"api-approved.kubernetes.io\", see https://github.com/kubernetes/enhancements/pull/1111",
            ));
        }
    }
    match str_at(o, "/spec/scope") {
        "" => e.push(Error::required("spec.scope", "")),
        "Namespaced" | "Cluster" => {}
        other => e.push(Error::not_supported(
            "spec.scope",
            other,
            &["Cluster", "Namespaced"],
        )),
    }
    for key in ["plural", "singular", "kind", "listKind"] {
        let value = str_at(o, &format!("/spec/names/{key}"));
        let at = format!("spec.names.{key}");
        if value.is_empty() {
            e.push(Error::required(&at, ""));
        } else {
            let why = names::dns1035_label(&value.to_lowercase());
            texts(e, &at, value, why);
        }
    }
    let strategy = str_at(o, "/spec/conversion/strategy");
    if strategy != "None" {
        // Said plainly: a webhook would have to be called for every read.
        e.push(Error::not_supported(
            "spec.conversion.strategy",
            strategy,
            &["None"],
        ));
    }
    versions(e, o);
    errors
}

fn versions(e: &mut Vec<Error>, o: &Value) {
    let versions = list_at(o, "/spec/versions");
    if versions.is_empty() {
        e.push(Error::required(
            "spec.versions",
            "must have exactly one version marked as storage version",
        ));
        return;
    }
    if versions.iter().filter(|v| bool_at(v, "/storage")).count() != 1 {
        e.push(Error::invalid(
            "spec.versions",
            json!(
                versions
                    .iter()
                    .map(|v| str_at(v, "/name"))
                    .collect::<Vec<_>>()
            ),
            "must have exactly one version marked as storage version",
        ));
    }
    let mut seen: Vec<&str> = Vec::new();
    for (i, version) in versions.iter().enumerate() {
        let path = index("spec.versions", i);
        let name = str_at(version, "/name");
        texts(e, &format!("{path}.name"), name, names::dns1035_label(name));
        if seen.contains(&name) {
            e.push(Error::invalid(
                &format!("{path}.name"),
                name,
                "must contain unique version names",
            ));
        }
        seen.push(name);
        for (j, column) in list_at(version, "/additionalPrinterColumns")
            .iter()
            .enumerate()
        {
            let at = format!("{path}.additionalPrinterColumns[{j}]");
            let json_path = str_at(column, "/jsonPath");
            if json_path.is_empty() {
                e.push(Error::required(&format!("{at}.jsonPath"), ""));
            } else if let Err(why) = JsonPath::parse(json_path) {
                e.push(Error::invalid(&format!("{at}.jsonPath"), json_path, why));
            }
            let kind = str_at(column, "/type");
            let known = ["boolean", "date", "integer", "number", "string"];
            if !known.contains(&kind) {
                let why = "must be one of boolean,date,integer,number,string";
                e.push(Error::invalid(&format!("{at}.type"), kind, why));
            }
        }
        let at = format!("{path}.schema.openAPIV3Schema");
        match version.pointer("/schema/openAPIV3Schema") {
            None => e.push(Error::required(&at, "schemas are required")),
            Some(schema) => {
                if str_at(schema, "/type") != "object" {
                    let kind = str_at(schema, "/type");
                    let place = format!("{at}.type");
                    if kind.is_empty() {
                        e.push(Error::required(&place, "must not be empty at the root"));
                    } else {
                        e.push(Error::invalid(&place, kind, "must be object at the root"));
                    }
                }
                structural(e, schema, &at, true, 0);
            }
        }
    }
}

/// Rules of structural schemas (apiextensions' "structural" doc): every place has a type,
/// patterns compile, defaults fit.
fn structural(e: &mut Vec<Error>, schema: &Value, at: &str, root: bool, depth: usize) {
    if depth > 60 {
        e.push(Error::invalid(at, "", "is nested too deeply"));
        return;
    }
    let kind = str_at(schema, "/type");
    let int_or_string = bool_at(schema, "/x-kubernetes-int-or-string");
    let open = bool_at(schema, "/x-kubernetes-preserve-unknown-fields");
    if kind.is_empty() && !int_or_string && !open && !root {
        e.push(Error::required(
            &format!("{at}.type"),
            "must not be empty for specified object fields",
        ));
    }
    if !matches!(
        kind,
        "" | "object" | "array" | "string" | "integer" | "number" | "boolean"
    ) {
        e.push(Error::not_supported(
            &format!("{at}.type"),
            kind,
            &["array", "boolean", "integer", "number", "object", "string"],
        ));
    }
    if let Some(pattern) = schema.get("pattern").and_then(Value::as_str)
        && let Err(why) = Regex::new(pattern)
    {
        e.push(Error::invalid(
            &format!("{at}.pattern"),
            pattern,
            format!("must be a valid regular expression, but isn't: {why}"),
        ));
    }
    if let Some(rules) = schema
        .get("x-kubernetes-validations")
        .and_then(Value::as_array)
    {
        for (i, rule) in rules.iter().enumerate() {
            let place = format!("{at}.x-kubernetes-validations[{i}]");
            super::rules::check_rule(schema, rule, &place, e);
        }
    }
    if let Some(default) = schema.get("default") {
        for mut wrong in super::check::validate_part(schema, default) {
            wrong.field = match wrong.field.as_str() {
                "" => format!("{at}.default"),
                field => format!("{at}.default.{field}"),
            };
            e.push(wrong);
        }
    }
    if kind == "array" && schema.get("items").is_none() {
        e.push(Error::required(&format!("{at}.items"), "must be specified"));
    }
    if str_at(schema, "/x-kubernetes-list-type") == "map"
        && list_at(schema, "/x-kubernetes-list-map-keys").is_empty()
    {
        e.push(Error::required(
            &format!("{at}.x-kubernetes-list-map-keys"),
            "must not be empty if x-kubernetes-list-type is map",
        ));
    }
    for (name, inner) in map_at(schema, "/properties").into_iter().flatten() {
        let place = format!("{at}.properties[{name}]");
        // The root's metadata may say no more than that it is an object.
        if root && name == "metadata" {
            continue;
        }
        structural(e, inner, &place, false, depth + 1);
    }
    for key in ["items", "additionalProperties"] {
        if let Some(inner) = schema.get(key).filter(|s| s.is_object()) {
            structural(e, inner, &format!("{at}.{key}"), false, depth + 1);
        }
    }
}

/// What may not change of a definition.
pub fn update_rules(new: &Value, old: &Value) -> Vec<Error> {
    let mut errors = Vec::new();
    for (field, pointer) in [
        ("spec.group", "/spec/group"),
        ("spec.names.plural", "/spec/names/plural"),
        ("spec.names.kind", "/spec/names/kind"),
        ("spec.scope", "/spec/scope"),
    ] {
        if new.pointer(pointer) != old.pointer(pointer) {
            let value = new.pointer(pointer).cloned().unwrap_or_default();
            errors.push(Error::invalid(field, value, "field is immutable"));
        }
    }
    for stored in list_at(old, "/status/storedVersions")
        .iter()
        .filter_map(Value::as_str)
    {
        let there = list_at(new, "/spec/versions")
            .iter()
            .any(|v| str_at(v, "/name") == stored);
        if !there {
            let all: Vec<&str> = list_at(new, "/spec/versions")
                .iter()
                .map(|v| str_at(v, "/name"))
                .collect();
            errors.push(Error::invalid(
                "status.storedVersions[0]",
                stored,
                format!("missing from spec.versions; {stored} was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in {stored} and removes {stored} from status.storedVersions (versions now: {})", all.join(", ")),
            ));
        }
    }
    errors
}
