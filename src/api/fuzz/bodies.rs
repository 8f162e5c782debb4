//! What is read out of bodies and records: JSON in part, protobuf, fields.

use k8s_pb::api::apps::v1 as apps;
use k8s_pb::api::core::v1 as core;
use k8s_pb::apimachinery::pkg::api::resource::Quantity;
use k8s_pb::apimachinery::pkg::apis::meta::v1 as meta;
use prost::Message;
use serde_json::Value;

use super::material::{self, Choices};
use crate::{fieldcheck, json, json_syntax, protobuf, skim, strategy};

/// What is skimmed out of a document is what reading the whole of it finds.
#[test]
fn json_skim() {
    bolero::check!()
        .with_iterations(2_000)
        .for_each(|input: &[u8]| {
            let mut choices = Choices(input);
            let text = material::json_text(&mut choices);
            let whole: Result<Value, _> = serde_json::from_slice(&text);
            let pointers = [
                "/metadata",
                "/spec/nodeName",
                "/status/phase",
                "/spec/containers/0",
            ];
            let read = skim::skim(&text, &pointers);
            let mistake = json_syntax::mistake(&text);
            // Of what is left out only the syntax is looked at.
            let allowed = read.is_ok() == whole.is_ok() || read.is_ok() && mistake.is_none();
            assert!(allowed, "{}", String::from_utf8_lossy(&text));
            if let (Ok(whole), Ok(read)) = (&whole, &read) {
                for pointer in &pointers[..3] {
                    let (in_whole, in_read) = (json::at(whole, pointer), json::at(read, pointer));
                    // What has no members stands for itself in the whole and as null in the part.
                    assert_eq!(
                        in_read,
                        in_whole,
                        "{pointer} in {}",
                        String::from_utf8_lossy(&text)
                    );
                }
            }
            let _ = fieldcheck::duplicates(&text);
            // Two readers of the same grammar: what Go's takes and ours does not is no syntax.
            match &whole {
                Ok(_) => assert_eq!(mistake, None, "{}", String::from_utf8_lossy(&text)),
                Err(error) if mistake.is_none() => {
                    let words = error.to_string();
                    let known = [
                        "surrogate",
                        "unicode",
                        "number out of range",
                        "recursion limit",
                        "hex escape",
                    ];
                    assert!(
                        known.iter().any(|known| words.contains(known)),
                        "{words}: {}",
                        String::from_utf8_lossy(&text)
                    );
                }
                Err(_) => {}
            }
        });
}

/// Objects of any form pass checks of fields, defaults and validation without a panic, and
/// what was made complete stays as it is.
#[test]
fn fields() {
    bolero::check!()
        .with_iterations(2_000)
        .for_each(|input: &[u8]| {
            let mut choices = Choices(input);
            let mut object = material::object(&mut choices);
            let Some(resource) = super::row_of(&object) else {
                return;
            };
            if strategy::check_body(resource, &object).is_err()
                || fieldcheck::check(resource, &object).is_err()
            {
                return;
            }
            json::drop_nulls(&mut object);
            crate::defaults::apply(resource, &mut object);
            let once = object.clone();
            crate::defaults::apply(resource, &mut object);
            assert_eq!(object, once, "defaults of {resource:?} are not stable");
            let _ = crate::validate::create(resource, &object);
        });
}

fn messages() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let text = |t: &str| Some(t.to_owned());
    let metadata = Some(meta::ObjectMeta {
        name: text("web"),
        labels: [("app".to_owned(), "web".to_owned())].into(),
        ..Default::default()
    });
    let pod = core::PodSpec {
        containers: vec![core::Container {
            name: text("c"),
            image: text("nginx"),
            resources: Some(core::ResourceRequirements {
                limits: [("cpu".to_owned(), Quantity { string: text("1") })].into(),
                ..Default::default()
            }),
            ports: vec![core::ContainerPort {
                container_port: Some(80),
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    let deployment = apps::Deployment {
        metadata: metadata.clone(),
        spec: Some(apps::DeploymentSpec {
            replicas: Some(2),
            template: Some(core::PodTemplateSpec {
                spec: Some(pod.clone()),
                ..Default::default()
            }),
            ..Default::default()
        }),
        ..Default::default()
    };
    let secret = core::Secret {
        metadata: metadata.clone(),
        data: [("k".to_owned(), b"v".to_vec())].into(),
        ..Default::default()
    };
    let pod = core::Pod {
        metadata,
        spec: Some(pod),
        ..Default::default()
    };
    vec![
        ("v1", "Pod", pod.encode_to_vec()),
        ("apps/v1", "Deployment", deployment.encode_to_vec()),
        ("v1", "Secret", secret.encode_to_vec()),
    ]
}

fn envelope(version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let mut meta = vec![];
    prost::encoding::string::encode(1, &version.to_owned(), &mut meta);
    prost::encoding::string::encode(2, &kind.to_owned(), &mut meta);
    let mut body = protobuf::MAGIC.to_vec();
    prost::encoding::bytes::encode(1, &meta, &mut body);
    prost::encoding::bytes::encode(2, &raw.to_vec(), &mut body);
    body
}

/// Pieces of protobuf that spoil a message: tags of every wire type, endless varints, lengths
/// beyond the end, groups.
const PIECES: &[&[u8]] = &[
    &[0x0a, 0x00],
    &[0x08, 0x01],
    &[0x09, 0, 0, 0, 0, 0, 0, 0, 0],
    &[0x0d, 0, 0, 0, 0],
    &[0x0b],
    &[0x0c],
    &[0x0f],
    &[0xff; 11],
    &[0x80, 0x80, 0x00],
    &[0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f],
    &[0x12, 0x02, 0xff, 0xfe],
    &[0xfa, 0xff, 0xff, 0xff, 0x0f, 0x01, 0x00],
    &[0x00, 0x00],
    &[0x12, 0x80],
    &[
        0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01,
    ],
];

/// Bytes of any kind are read or refused; what is read is what prost reads.
#[test]
fn protobuf() {
    let messages = messages();
    bolero::check!()
        .with_iterations(4_000)
        .for_each(|input: &[u8]| {
            let mut choices = Choices(input);
            if choices.chance(8) {
                let mut body = protobuf::MAGIC.to_vec();
                body.extend_from_slice(choices.0);
                let _ = protobuf::decode(&body);
                return;
            }
            let (version, kind, raw) = &messages[choices.below(messages.len())];
            let mut raw = raw.clone();
            for _ in 0..choices.below(4) {
                let at = choices.below(raw.len() + 1);
                let until = (at + choices.below(6)).min(raw.len());
                match choices.below(4) {
                    0 => drop(raw.splice(at..until, choices.bytes().to_vec())),
                    1 => drop(raw.splice(at..at, PIECES[choices.below(PIECES.len())].to_vec())),
                    2 => drop(raw.drain(at..until)),
                    _ => {
                        if let Some(byte) = raw.get_mut(at) {
                            *byte = byte.wrapping_add(choices.byte());
                        }
                    }
                }
            }
            let ours = protobuf::decode(&envelope(version, kind, &raw));
            if let Ok(object) = &ours {
                let text = serde_json::to_vec(object).expect("JSON");
                assert_eq!(
                    serde_json::from_slice::<Value>(&text).ok().as_ref(),
                    Some(object)
                );
            }
            // Strings that are not UTF-8 are both refused; names and images must agree.
            match (*kind, ours) {
                ("Pod", Ok(object)) => {
                    let Ok(typed) = core::Pod::decode(&*raw) else {
                        return;
                    };
                    let name = typed.metadata.unwrap_or_default().name.unwrap_or_default();
                    assert_eq!(json::str_at(&object, "/metadata/name"), name);
                    let images: Vec<String> = typed
                        .spec
                        .unwrap_or_default()
                        .containers
                        .into_iter()
                        .map(|c| c.image.unwrap_or_default())
                        .collect();
                    let read: Vec<&str> = json::list_at(&object, "/spec/containers")
                        .iter()
                        .map(|c| json::str_at(c, "/image"))
                        .collect();
                    assert_eq!(read, images);
                }
                ("Secret", Ok(object)) => {
                    let Ok(typed) = core::Secret::decode(&*raw) else {
                        return;
                    };
                    let read = json::map_at(&object, "/data").map_or(0, |data| data.len());
                    assert_eq!(read, typed.data.len());
                }
                _ => {}
            }
        });
}
