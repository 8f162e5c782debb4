//! Formats by name: `format.dns1123Label().validate("a_b")` gives what is wrong.

use cel::objects::Opaque;

use super::{Function, Owner, function, none, opaque, ours, some, strings, text_of};
use crate::{clock, json, names};

const NAME: &str = "kubernetes.NamedFormat";

#[derive(Debug, PartialEq, Eq)]
struct Format(&'static str);

impl Opaque for Format {
    fn runtime_type_name(&self) -> &str {
        NAME
    }
}

macro_rules! named {
    ($call:literal, $name:literal) => {
        function!(Owner::Nobody, $call, 0, |_| Ok(opaque(Format($name))))
    };
}

const NAMES: &[&str] = &[
    "dns1123Label",
    "dns1123Subdomain",
    "dns1035Label",
    "qualifiedName",
    "dns1123LabelPrefix",
    "dns1123SubdomainPrefix",
    "dns1035LabelPrefix",
    "labelValue",
    "uri",
    "uuid",
    "byte",
    "date",
    "datetime",
];

pub(super) const ALL: &[Function] = &[
    function!(Owner::Nobody, "format.named", 1, |args| {
        let asked = text_of(args, 0)?;
        let known = NAMES.iter().find(|name| **name == asked);
        Ok(known.map_or_else(none, |name| some(opaque(Format(name)))))
    }),
    named!("format.dns1123Label", "dns1123Label"),
    named!("format.dns1123Subdomain", "dns1123Subdomain"),
    named!("format.dns1035Label", "dns1035Label"),
    named!("format.qualifiedName", "qualifiedName"),
    named!("format.dns1123LabelPrefix", "dns1123LabelPrefix"),
    named!("format.dns1123SubdomainPrefix", "dns1123SubdomainPrefix"),
    named!("format.dns1035LabelPrefix", "dns1035LabelPrefix"),
    named!("format.labelValue", "labelValue"),
    named!("format.uri", "uri"),
    named!("format.uuid", "uuid"),
    named!("format.byte", "byte"),
    named!("format.date", "date"),
    named!("format.datetime", "datetime"),
    function!(Owner::Ours(NAME), "validate", 1, |args| {
        let found = wrong(ours::<Format>(args, 0)?.0, text_of(args, 1)?);
        Ok(match found.is_empty() {
            true => none(),
            false => some(strings(found)),
        })
    }),
];

fn wrong(format: &str, text: &str) -> Vec<String> {
    let prefix = || {
        text.strip_suffix('-')
            .map_or(text.to_owned(), |t| format!("{t}a"))
    };
    let unless = |right: bool, why: &str| match right {
        true => vec![],
        false => vec![why.to_owned()],
    };
    match format {
        "dns1123Label" => names::dns_label(text),
        "dns1123Subdomain" => names::dns_subdomain(text),
        "dns1035Label" => names::dns1035_label(text),
        "qualifiedName" => names::qualified_name(text),
        "dns1123LabelPrefix" => names::dns_label(&prefix()),
        "dns1123SubdomainPrefix" => names::dns_subdomain(&prefix()),
        "dns1035LabelPrefix" => names::dns1035_label(&prefix()),
        "labelValue" => names::label_value(text),
        "uri" => unless(text.contains(':') || text.starts_with('/'), "invalid URI"),
        "uuid" => {
            let digits = |(at, c): (usize, char)| match at {
                8 | 13 | 18 | 23 => c == '-',
                _ => c.is_ascii_hexdigit(),
            };
            let right = text.len() == 36 && text.char_indices().all(digits);
            unless(right, "does not match the UUID format")
        }
        "byte" => unless(json::base64_decode(text).is_ok(), "invalid base64"),
        "date" => {
            let right = clock::parse(&format!("{text}T00:00:00Z")).is_some();
            unless(right, "invalid date")
        }
        _ => unless(clock::parse(text).is_some(), "invalid datetime"),
    }
}
