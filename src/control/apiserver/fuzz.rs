//! Fuzz targets: what a request brings before anything is done with it.

#[allow(dead_code)] // a part of it is enough here
#[path = "../../api/fuzz/material.rs"]
mod material;

use bytes::Bytes;
use cadet_api::json;
use cadet_api::resource;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Uri};
use serde_json::Value;

use self::material::Choices;
use crate::body::{self, Decoded};
use crate::kinds::Kinds;
use crate::negotiate;
use crate::query::{ListOptions, Parameters, Write, WriteOptions};
use crate::target::Target;

fn decode(media: &'static str, text: &[u8]) -> Result<Decoded, u16> {
    let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(media))]);
    let text = Bytes::copy_from_slice(text);
    let decoded = body::decode("Pod", &headers, text).map_err(|status| {
        assert!(status.message.len() < 1_000, "{}", status.message);
        status.code
    })?;
    assert!(decoded.value.is_object());
    assert!(json::depth(&decoded.value) <= json::MAX_DEPTH);
    let again: Value = serde_json::from_slice(&decoded.json).expect("what goes on is JSON");
    assert_eq!(again, decoded.value);
    Ok(decoded)
}

/// A body is an object of bounded depth or a 400.
#[test]
fn json_body() {
    bolero::check!()
        .with_iterations(2_000)
        .for_each(|input: &[u8]| {
            let mut choices = Choices(input);
            let text = match choices.chance(8) {
                true => choices.0.to_vec(),
                false => material::json_text(&mut choices),
            };
            match decode("application/json", &text) {
                Ok(decoded) => assert_eq!(decoded.json, text),
                Err(code) => assert_eq!(code, 400),
            }
        });
}

/// What YAML takes in a string as it is; the rest must be escaped, other than in JSON.
fn is_printable(text: &[u8]) -> bool {
    let odd = |c: char| matches!(c, '\u{7f}'..='\u{9f}' | '\u{feff}' | '\u{fffe}'..='\u{ffff}');
    !String::from_utf8_lossy(text).contains(odd)
}

/// JSON is YAML and means the same in it; other YAML is an object or a 400, whatever it
/// expands to.
#[test]
fn yaml_body() {
    bolero::check!()
        .with_iterations(1_500)
        .for_each(|input: &[u8]| {
            let mut choices = Choices(input);
            if choices.chance(8) {
                if let Err(code) = decode("application/yaml", choices.0) {
                    assert_eq!(code, 400);
                }
                return;
            }
            let object = material::object(&mut choices);
            let mut text = match choices.below(3) {
                0 => serde_json::to_string(&object).expect("JSON"),
                1 => serde_json::to_string_pretty(&object).expect("JSON"),
                _ => serde_saphyr::to_string(&object).expect("YAML"),
            }
            .into_bytes();
            if choices.chance(2) {
                material::splinter(&mut text, &mut choices);
                if let Err(code) = decode("application/yaml", &text) {
                    assert_eq!(code, 400);
                }
            } else if json::depth(&object) < 40 && is_printable(&text) {
                // A few texts of JSON are no YAML: long keys, some characters.
                let Ok(read) = decode("application/yaml", &text) else {
                    return;
                };
                assert_eq!(read.value, object, "{}", String::from_utf8_lossy(&text));
            }
        });
}

const WORDS: &[&str] = &[
    "limit",
    "continue",
    "resourceVersion",
    "resourceVersionMatch",
    "labelSelector",
    "fieldSelector",
    "timeoutSeconds",
    "watch",
    "dryRun",
    "fieldValidation",
    "sendInitialEvents",
    "allowWatchBookmarks",
    "=",
    "&",
    "1",
    "-1",
    "0",
    "true",
    "Exact",
    "NotOlderThan",
    "All",
    "Strict",
    "%00",
    "%ff",
    "%",
    "%2",
    "%3D",
    "+",
    "eyJ2IjoxfQ",
    "a%3Db",
    ";",
    "[]",
    "99999999999999999999",
    "metadata.name%3Dx",
    "%F0%9F%92%A5",
];

/// Queries and paths of any form are understood or refused.
#[test]
fn query_and_path() {
    let pods = resource::find("", "v1", "pods").expect("pods");
    let kinds = Kinds::default();
    bolero::check!()
        .with_iterations(5_000)
        .for_each(|input: &[u8]| {
            let mut choices = Choices(input);
            let mut query = String::new();
            while choices.more() && query.len() < 200 {
                query.push_str(WORDS[choices.below(WORDS.len())]);
            }
            let pieces = [
                "api",
                "apis",
                "v1",
                "apps",
                "namespaces",
                "pods",
                "x",
                "%2F",
                "",
                "..",
                "%ff",
                "log",
                "proxy",
                "status",
            ];
            let path: String = (0..choices.below(9))
                .map(|_| format!("/{}", pieces[choices.below(pieces.len())]))
                .collect();
            let Ok(uri) = format!("/{path}?{query}").parse::<Uri>() else {
                return;
            };
            let _ = Target::of(uri.path(), &kinds);
            let Ok(parameters) = Parameters::of(&uri) else {
                return;
            };
            for watch in [true, false] {
                if let Err(status) = ListOptions::of(&parameters, pods, watch) {
                    assert!([400, 422].contains(&status.code), "{query}: {status:?}");
                }
            }
            for write in [Write::Create, Write::Update, Write::Patch, Write::Apply] {
                if let Err(status) = WriteOptions::of(&parameters, write) {
                    assert_eq!(status.code, 422, "{query}: {status:?}");
                }
            }
        });
}

#[test]
fn accept_header() {
    const WORDS: &[&str] = &[
        "application/json",
        "application/",
        "*/*",
        "*",
        ",",
        ";",
        "as=Table",
        "as=",
        "v=v1",
        "v=",
        "g=meta.k8s.io",
        "q=0.5",
        "q=",
        "q=nan",
        "q=-1",
        "q=1e9",
        " ",
        "=",
        "application/yaml",
        "text/html",
        "as=PartialObjectMetadata",
    ];
    bolero::check!()
        .with_iterations(3_000)
        .for_each(|input: &[u8]| {
            let mut choices = Choices(input);
            let mut text = String::new();
            while choices.more() && text.len() < 300 {
                text.push_str(WORDS[choices.below(WORDS.len())]);
            }
            let Ok(value) = HeaderValue::from_str(&text) else {
                return;
            };
            let headers = HeaderMap::from_iter([(ACCEPT, value)]);
            for code in [
                negotiate::form(&headers).err().map(|status| status.code),
                negotiate::discovery_form(&headers)
                    .err()
                    .map(|status| status.code),
            ] {
                assert!(matches!(code, None | Some(406)), "{text}");
            }
        });
}
