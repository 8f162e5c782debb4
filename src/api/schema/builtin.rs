//! The built-in types, read once from the table of facts beside this file.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use super::{Field, ListType, MapKey, Patch, Ref, Scalar, Shape, Struct};
use crate::resource::{self, Resource};

/// Written by scripts/schema-facts; its head explains the format.
pub const FACTS: &str = include_str!("kinds.txt");

static TYPES: LazyLock<HashMap<&'static str, Shape>> = LazyLock::new(|| read(FACTS));

static TEXT: Shape = Shape::Scalar(Scalar::Text);

/// A built-in type by its definition's name without `io.k8s.`: `api.core.v1.Pod`.
pub fn builtin(name: &str) -> Option<&'static Shape> {
    TYPES.get(name)
}

/// Every built-in type's name, sorted.
pub fn names() -> Vec<&'static str> {
    let mut all: Vec<_> = TYPES.keys().copied().collect();
    all.sort_unstable();
    all
}

/// The type of a built-in kind's objects, of the stored version where this one is of the
/// past.
pub fn of(res: &Resource) -> Option<&'static Shape> {
    if let Some(custom) = res.custom {
        return Some(&custom.shape);
    }
    builtin(&name_of(res))
}

/// The name of that type, for a built-in kind.
pub fn name_of(res: &Resource) -> String {
    // Versions of the past are read as their current form; so are those of what is only
    // answered, which differ in nothing.
    let current = res.is_past() || res.transient;
    let gv = if current { res.storage } else { res.gv };
    definition_of(gv.group, gv.version, res.kind)
}

/// `api.apps.v1.Deployment`: how the type of a kind is called.
pub fn definition_of(group: &str, version: &str, kind: &str) -> String {
    let package = match group {
        "" => "api.core",
        "apiextensions.k8s.io" => "apiextensions-apiserver.pkg.apis.apiextensions",
        "apiregistration.k8s.io" => "kube-aggregator.pkg.apis.apiregistration",
        "meta.k8s.io" => "apimachinery.pkg.apis.meta",
        group => {
            let first = group.split('.').next().unwrap_or(group);
            return format!("api.{first}.{version}.{kind}");
        }
    };
    format!("{package}.{version}.{kind}")
}

fn read(facts: &'static str) -> HashMap<&'static str, Shape> {
    let kinds = kinds();
    let mut types = HashMap::new();
    let mut current: Option<(&'static str, Struct)> = None;
    let mut finish = |done: Option<(&'static str, Struct)>| {
        if let Some((name, fields)) = done {
            types.insert(name, Shape::Struct(fields));
        }
    };
    for line in facts.lines().filter(|line| !line.starts_with('#')) {
        if let Some(words) = line.strip_prefix(' ') {
            let mut words = words.split(' ');
            let (Some(name), Some(number), Some(shape)) =
                (words.next(), words.next(), words.next())
            else {
                continue;
            };
            if let Some((_, fields)) = &mut current {
                let field = field(number, shape, words);
                fields.fields.insert(name.into(), field);
            }
            continue;
        }
        finish(current.take());
        let mut words = line.split(' ');
        if let Some(name) = words.next() {
            let atomic = words.next() == Some("atomic");
            let mut fields = Struct {
                atomic,
                ..Struct::default()
            };
            // The table leaves out what all kinds carry.
            if kinds.contains(name) {
                for key in ["apiVersion", "kind"] {
                    fields.fields.insert(key.into(), type_field());
                }
            }
            current = Some((name, fields));
        }
    }
    finish(current.take());
    types
}

/// The types of whole objects, which carry `apiVersion` and `kind`.
fn kinds() -> HashSet<String> {
    let mut kinds = HashSet::new();
    for res in resource::all() {
        kinds.insert(definition_of(res.gv.group, res.gv.version, res.kind));
        for part in res.subresources {
            kinds.insert(definition_of(part.gv.group, part.gv.version, part.kind));
        }
    }
    kinds
}

fn type_field() -> Field {
    Field {
        shape: Ref::Static(&TEXT),
        required: false,
        number: 0,
        outer: 0,
        patch: Patch::default(),
    }
}

fn field<'a>(number: &str, shape: &'static str, marks: impl Iterator<Item = &'a str>) -> Field
where
    'static: 'a,
{
    let (outer, inner) = number.split_once('.').unwrap_or(("0", number));
    let mut field = Field {
        shape: Ref::Static(&Shape::Any),
        required: false,
        number: inner.parse().unwrap_or(0),
        outer: outer.parse().unwrap_or(0),
        patch: Patch::default(),
    };
    let (mut list_type, mut atomic) = (ListType::Atomic, false);
    for mark in marks {
        match mark.split_once('=') {
            None => match mark {
                "required" => field.required = true,
                "set" => list_type = ListType::Set,
                "atomic" => atomic = true,
                "patch" => field.patch.set = true,
                "retain" => field.patch.retain_keys = true,
                "replace" => field.patch.replace = true,
                _ => {}
            },
            Some(("map", keys)) => list_type = ListType::Map(map_keys(keys)),
            Some(("patch", key)) => field.patch.key = Some(key.to_owned().leak()),
            Some(_) => {}
        }
    }
    field.shape = shape_of(shape, list_type, atomic);
    field
}

fn map_keys(text: &str) -> Vec<MapKey> {
    text.split(',')
        .map(|key| {
            let (name, default) = key.split_once(':').unwrap_or((key, ""));
            MapKey {
                name: name.into(),
                default: (!default.is_empty()).then(|| default.into()),
            }
        })
        .collect()
}

fn shape_of(text: &'static str, list_type: ListType, atomic: bool) -> Ref {
    if let Some(item) = text.strip_prefix("[]") {
        let item = shape_of(item, ListType::Atomic, false);
        return Ref::Shared(Shape::List { item, list_type }.into());
    }
    if let Some(value) = text.strip_prefix("{}") {
        let value = shape_of(value, ListType::Atomic, false);
        return Ref::Shared(Shape::Map { value, atomic }.into());
    }
    let scalar = match text {
        "text" => Scalar::Text,
        "int32" => Scalar::Int32,
        "int64" => Scalar::Int64,
        "float" => Scalar::Float,
        "bool" => Scalar::Bool,
        "bytes" => Scalar::Bytes,
        "quantity" => Scalar::Quantity,
        "int-or-text" => Scalar::IntOrText,
        "time" => Scalar::Time,
        "micro-time" => Scalar::MicroTime,
        "any" => return Ref::Static(&Shape::Any),
        "schema-or-list" | "schema-or-bool" | "schema-or-texts" => {
            let schema = "apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps";
            return Ref::Shared(Shape::OrElse(Ref::Named(schema)).into());
        }
        name => return Ref::Named(name),
    };
    Ref::Shared(Shape::Scalar(scalar).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_and_every_named_type_is_in_the_table() {
        for res in resource::all() {
            assert!(of(res).is_some(), "{} {}", res.gv.api_version(), res.kind);
        }
        fn named(r: &Ref, from: &str) {
            match r {
                Ref::Named(name) => assert!(builtin(name).is_some(), "{name} of {from}"),
                Ref::Shared(shape) => match shape.as_ref() {
                    Shape::List { item, .. } => named(item, from),
                    Shape::Map { value, .. } => named(value, from),
                    _ => {}
                },
                Ref::Static(_) => {}
            }
        }
        for name in names() {
            for field in builtin(name).unwrap().as_struct().unwrap().fields.values() {
                named(&field.shape, name);
            }
        }
    }

    #[test]
    fn fields_have_their_types_numbers_and_merge_keys() {
        let pod = builtin("api.core.v1.Pod").unwrap();
        let containers = pod.member("spec").unwrap().as_struct().unwrap();
        let containers = &containers.fields["containers"];
        assert_eq!((containers.number, containers.required), (2, true));
        assert_eq!(containers.patch.key, Some("name"));
        let Shape::List { item, .. } = containers.shape.get() else {
            panic!("a list");
        };
        let ports = &item.get().as_struct().unwrap().fields["ports"];
        let Shape::List { list_type, .. } = ports.shape.get() else {
            panic!("a list");
        };
        let ListType::Map(keys) = list_type else {
            panic!("known by keys");
        };
        assert_eq!(keys[1].default, Some("TCP".into()));
        let selector = builtin("apimachinery.pkg.apis.meta.v1.LabelSelector").unwrap();
        assert!(selector.as_struct().unwrap().atomic);
        let probe = builtin("api.core.v1.Probe").unwrap().as_struct().unwrap();
        assert_eq!(
            (probe.fields["exec"].outer, probe.fields["exec"].number),
            (1, 1)
        );
    }
}
