//! Bodies as Go writes them, and every kind of the table with every field set.

use super::*;
use k8s_pb::api::{apps::v1 as apps, core::v1 as core};
use k8s_pb::apiextensions_apiserver::pkg::apis::apiextensions::v1 as extensions;
use k8s_pb::apimachinery::pkg::{api::resource, apis::meta::v1 as meta, runtime, util::intstr};
use prost::Message;

fn envelope(version: &str, kind: &str, raw: Vec<u8>) -> Vec<u8> {
    let unknown = runtime::Unknown {
        type_meta: Some(runtime::TypeMeta {
            api_version: Some(version.into()),
            kind: Some(kind.into()),
        }),
        raw: Some(raw),
        content_encoding: Some(String::new()),
        content_type: Some(String::new()),
    };
    [MAGIC, &unknown.encode_to_vec()].concat()
}

fn text(t: &str) -> Option<String> {
    Some(t.to_owned())
}

#[test]
fn a_deployment_as_go_would_write_it() {
    let container = core::Container {
        name: text("c"),
        image: text("nginx"),
        working_dir: text(""),
        stdin: Some(false),
        ports: vec![core::ContainerPort {
            name: text(""),
            host_port: Some(0),
            container_port: Some(80),
            ..Default::default()
        }],
        resources: Some(core::ResourceRequirements {
            limits: [(
                "cpu".to_owned(),
                resource::Quantity {
                    string: text("100m"),
                },
            )]
            .into(),
            ..Default::default()
        }),
        liveness_probe: Some(core::Probe {
            handler: Some(core::ProbeHandler {
                http_get: Some(core::HttpGetAction {
                    path: text("/"),
                    port: Some(intstr::IntOrString {
                        r#type: Some(1),
                        int_val: Some(0),
                        str_val: text("web"),
                    }),
                    ..Default::default()
                }),
                ..Default::default()
            }),
            initial_delay_seconds: Some(0),
            ..Default::default()
        }),
        ..Default::default()
    };
    let deployment = apps::Deployment {
        metadata: Some(meta::ObjectMeta {
            name: text("web"),
            namespace: text(""),
            creation_timestamp: Some(meta::Time {
                seconds: Some(0),
                nanos: Some(0),
            }),
            labels: [("app".to_owned(), "web".to_owned())].into(),
            generation: Some(0),
            ..Default::default()
        }),
        spec: Some(apps::DeploymentSpec {
            replicas: Some(0),
            min_ready_seconds: Some(0),
            template: Some(core::PodTemplateSpec {
                spec: Some(core::PodSpec {
                    containers: vec![container],
                    host_network: Some(false),
                    automount_service_account_token: Some(false),
                    ..Default::default()
                }),
                ..Default::default()
            }),
            strategy: Some(apps::DeploymentStrategy::default()),
            ..Default::default()
        }),
        status: Some(apps::DeploymentStatus {
            replicas: Some(0),
            ..Default::default()
        }),
    };
    let body = envelope("apps/v1", "Deployment", deployment.encode_to_vec());
    assert_eq!(
        decode(&body).unwrap(),
        json!({"apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "web", "labels": {"app": "web"}},
            "spec": {"replicas": 0, "strategy": {}, "template": {"spec": {
                "automountServiceAccountToken": false,
                "containers": [{"name": "c", "image": "nginx",
                    "ports": [{"containerPort": 80}],
                    "resources": {"limits": {"cpu": "100m"}},
                    "livenessProbe": {"httpGet": {"path": "/", "port": "web"}}}]}}},
            "status": {}})
    );
}

#[test]
fn data_is_base64_and_missing_map_values_are_empty() {
    let secret = core::Secret {
        data: [
            ("k".to_owned(), b"hello".to_vec()),
            ("e".to_owned(), vec![]),
        ]
        .into(),
        ..Default::default()
    };
    let read = decode(&envelope("v1", "Secret", secret.encode_to_vec())).unwrap();
    assert_eq!(read["data"], json!({"k": "aGVsbG8=", "e": ""}));
}

#[test]
fn garbage_is_an_error_and_never_a_panic() {
    assert_eq!(decode(b"{}"), Err(Error::NoMagic));
    assert!(matches!(
        decode(&envelope("v1", "Thing", vec![])),
        Err(Error::Unknown { .. })
    ));
    let good = envelope(
        "v1",
        "Pod",
        core::Pod {
            metadata: Some(meta::ObjectMeta {
                name: text("a"),
                ..Default::default()
            }),
            ..Default::default()
        }
        .encode_to_vec(),
    );
    for at in 4..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0xff;
        let _ = decode(&bad);
        let _ = decode(&good[..at]);
    }
    // {metadata: {managedFields: …}} cannot nest for ever, a schema can.
    let mut deep = vec![];
    for _ in 0..2_000 {
        let mut outer = vec![];
        prost::encoding::bytes::encode(24, &deep, &mut outer);
        deep = outer;
    }
    let _ = decode(&envelope(
        "apiextensions.k8s.io/v1",
        "CustomResourceDefinition",
        deep,
    ));
    let many = [0x1a, 0].repeat(400_000);
    assert!(decode(&envelope("v1", "Endpoints", many)).is_ok());
    let many = [0x12, 0].repeat(400_000);
    assert_eq!(
        decode(&envelope("v1", "Endpoints", many)),
        Err(Error::TooMany)
    );
}

#[test]
fn definitions_of_custom_kinds_have_schemas_in_schemas() {
    use extensions::{
        CustomResourceDefinition, CustomResourceDefinitionSpec, CustomResourceDefinitionVersion,
        CustomResourceValidation, Json, JsonSchemaProps, JsonSchemaPropsOrArray,
        JsonSchemaPropsOrBool, JsonSchemaPropsOrStringArray,
    };
    let of = |kind: &str| JsonSchemaProps {
        r#type: text(kind),
        nullable: Some(false),
        unique_items: Some(false),
        ..Default::default()
    };
    let mut root = of("object");
    let mut list = of("array");
    list.items = Some(Box::new(JsonSchemaPropsOrArray {
        schema: Some(Box::new(of("string"))),
        j_son_schemas: vec![],
    }));
    let mut pair = of("array");
    pair.items = Some(Box::new(JsonSchemaPropsOrArray {
        schema: None,
        j_son_schemas: vec![of("string"), of("integer")],
    }));
    let mut map = of("object");
    map.additional_properties = Some(Box::new(JsonSchemaPropsOrBool {
        allows: Some(true),
        schema: Some(Box::new(of("boolean"))),
    }));
    let mut open = of("object");
    open.additional_properties = Some(Box::new(JsonSchemaPropsOrBool {
        allows: Some(true),
        schema: None,
    }));
    let mut some = of("string");
    some.default = Some(Json {
        raw: Some(b"\"a\"".to_vec()),
    });
    some.r#enum = vec![
        Json {
            raw: Some(b"\"a\"".to_vec()),
        },
        Json {
            raw: Some(b"null".to_vec()),
        },
    ];
    root.dependencies = [(
        "a".to_owned(),
        JsonSchemaPropsOrStringArray {
            schema: None,
            property: vec!["b".to_owned()],
        },
    )]
    .into();
    root.properties = [
        ("list".to_owned(), list),
        ("pair".to_owned(), pair),
        ("map".to_owned(), map),
        ("open".to_owned(), open),
        ("some".to_owned(), some),
    ]
    .into();
    let definition = CustomResourceDefinition {
        spec: Some(CustomResourceDefinitionSpec {
            group: text("a.b"),
            preserve_unknown_fields: Some(false),
            versions: vec![CustomResourceDefinitionVersion {
                name: text("v1"),
                served: Some(true),
                storage: Some(false),
                deprecated: Some(false),
                schema: Some(CustomResourceValidation {
                    open_apiv3_schema: Some(root),
                }),
                ..Default::default()
            }],
            ..Default::default()
        }),
        ..Default::default()
    };
    let (version, kind) = ("apiextensions.k8s.io/v1", "CustomResourceDefinition");
    let read = decode(&envelope(version, kind, definition.encode_to_vec())).unwrap();
    assert_eq!(
        read["spec"]["versions"],
        json!([{"name": "v1", "served": true, "storage": false, "schema": {"openAPIV3Schema": {
            "type": "object", "dependencies": {"a": ["b"]}, "properties": {
                "list": {"type": "array", "items": {"type": "string"}},
                "pair": {"type": "array", "items": [{"type": "string"}, {"type": "integer"}]},
                "map": {"type": "object", "additionalProperties": {"type": "boolean"}},
                "open": {"type": "object", "additionalProperties": true},
                "some": {"type": "string", "default": "a", "enum": ["a", null]}}}}}])
    );
    assert_eq!(read["spec"]["group"], "a.b");
}

#[test]
fn what_is_sent_to_doors_of_objects() {
    use k8s_pb::api::{
        authentication::v1 as authentication, authorization::v1 as authorization,
        autoscaling::v1 as autoscaling, policy::v1 as policy,
    };
    let named = |name: &str| meta::ObjectMeta {
        name: text(name),
        ..Default::default()
    };
    let options = meta::DeleteOptions {
        grace_period_seconds: Some(0),
        preconditions: Some(meta::Preconditions {
            uid: text("u"),
            ..Default::default()
        }),
        propagation_policy: text("Background"),
        dry_run: vec!["All".to_owned()],
        ..Default::default()
    };
    let told = json!({"gracePeriodSeconds": 0, "preconditions": {"uid": "u"},
        "propagationPolicy": "Background", "dryRun": ["All"]});
    let read = |version: &str, kind: &str, raw: Vec<u8>| {
        let mut read = decode(&envelope(version, kind, raw)).unwrap();
        assert_eq!(
            (&read["apiVersion"], &read["kind"]),
            (&json!(version), &json!(kind))
        );
        for key in ["apiVersion", "kind"] {
            read.as_object_mut().unwrap().remove(key);
        }
        read
    };
    for version in ["v1", "apps/v1", "meta.k8s.io/v1"] {
        assert_eq!(
            read(version, "DeleteOptions", options.encode_to_vec()),
            told
        );
    }
    let eviction = policy::Eviction {
        metadata: Some(named("p")),
        delete_options: Some(options),
    };
    assert_eq!(
        read("policy/v1", "Eviction", eviction.encode_to_vec()),
        json!({"metadata": {"name": "p"}, "deleteOptions": told})
    );
    let request = authentication::TokenRequest {
        spec: Some(authentication::TokenRequestSpec {
            audiences: vec!["a".to_owned()],
            expiration_seconds: Some(600),
            bound_object_ref: Some(authentication::BoundObjectReference {
                kind: text("Pod"),
                name: text("p"),
                ..Default::default()
            }),
        }),
        ..Default::default()
    };
    assert_eq!(
        read(
            "authentication.k8s.io/v1",
            "TokenRequest",
            request.encode_to_vec()
        )["spec"],
        json!({"audiences": ["a"], "expirationSeconds": 600, "boundObjectRef": {"kind": "Pod", "name": "p"}})
    );
    let review = authorization::SubjectAccessReview {
        spec: Some(authorization::SubjectAccessReviewSpec {
            user: text("jo"),
            groups: vec!["g".to_owned()],
            extra: [(
                "k".to_owned(),
                authorization::ExtraValue {
                    items: vec!["v".to_owned()],
                },
            )]
            .into(),
            resource_attributes: Some(authorization::ResourceAttributes {
                verb: text("get"),
                resource: text("pods"),
                ..Default::default()
            }),
            ..Default::default()
        }),
        ..Default::default()
    };
    assert_eq!(
        read(
            "authorization.k8s.io/v1",
            "SubjectAccessReview",
            review.encode_to_vec()
        )["spec"],
        json!({"user": "jo", "groups": ["g"], "extra": {"k": ["v"]},
            "resourceAttributes": {"verb": "get", "resource": "pods"}})
    );
    let scale = autoscaling::Scale {
        metadata: Some(named("d")),
        spec: Some(autoscaling::ScaleSpec { replicas: Some(3) }),
        status: None,
    };
    assert_eq!(
        read("autoscaling/v1", "Scale", scale.encode_to_vec()),
        json!({"metadata": {"name": "d"}, "spec": {"replicas": 3}})
    );
    let binding = core::Binding {
        metadata: Some(named("p")),
        target: Some(core::ObjectReference {
            kind: text("Node"),
            name: text("n"),
            ..Default::default()
        }),
    };
    assert_eq!(
        read("v1", "Binding", binding.encode_to_vec()),
        json!({"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}})
    );
}

#[test]
fn an_empty_text_counts_where_it_means_something() {
    let claim = core::PersistentVolumeClaim {
        spec: Some(core::PersistentVolumeClaimSpec {
            storage_class_name: text(""),
            volume_name: text(""),
            ..Default::default()
        }),
        ..Default::default()
    };
    let read = decode(&envelope(
        "v1",
        "PersistentVolumeClaim",
        claim.encode_to_vec(),
    ))
    .unwrap();
    assert_eq!(read["spec"], json!({"storageClassName": ""}));
}

/// Writes values along their shapes as protobuf, and what they are in JSON.
#[derive(Default)]
struct Writer<'a> {
    /// Types on the way to here; one inside itself stays empty.
    path: Vec<&'a Struct>,
}

fn put(number: u32, wire: u8, out: &mut Vec<u8>) {
    varint(u64::from(number << 3 | u32::from(wire)), out);
}

fn varint(mut n: u64, out: &mut Vec<u8>) {
    while n > 0x7f {
        out.push((n & 0x7f) as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

fn bytes(number: u32, content: &[u8], out: &mut Vec<u8>) {
    put(number, 2, out);
    varint(content.len() as u64, out);
    out.extend(content);
}

impl<'a> Writer<'a> {
    fn message(&mut self, shape: &'a Struct) -> (Vec<u8>, Value) {
        let (mut out, mut told) = (vec![], Map::new());
        if self.path.iter().any(|above| std::ptr::eq(*above, shape)) {
            return (out, Value::Object(told));
        }
        self.path.push(shape);
        let mut embedded: std::collections::BTreeMap<u32, Vec<u8>> = Default::default();
        for (name, field) in &shape.fields {
            // What has no number is not in protobuf.
            if field.number == 0 {
                continue;
            }
            let into = match field.outer {
                0 => &mut out,
                outer => embedded.entry(outer).or_default(),
            };
            let value = self.field(field.number, field.shape.get(), into);
            told.insert(name.to_string(), value);
        }
        for (number, content) in embedded {
            bytes(number, &content, &mut out);
        }
        self.path.pop();
        (out, Value::Object(told))
    }

    fn field(&mut self, number: u32, shape: &'a Shape, out: &mut Vec<u8>) -> Value {
        match shape {
            Shape::List { item, .. } => {
                let one = self.field(number, item.get(), out);
                let two = self.field(number, item.get(), out);
                json!([one, two])
            }
            Shape::Map { value, .. } => {
                let mut pair = vec![];
                bytes(1, b"key", &mut pair);
                let told = match value.get() {
                    Shape::List { .. } => {
                        let mut items = vec![];
                        bytes(1, b"x", &mut items);
                        bytes(2, &items, &mut pair);
                        json!(["x"])
                    }
                    shape => self.field(2, shape, &mut pair),
                };
                bytes(number, &pair, out);
                json!({"key": told})
            }
            Shape::Struct(inner) => {
                let (content, told) = self.message(inner);
                bytes(number, &content, out);
                told
            }
            Shape::OrElse(_) => {
                let mut content = vec![];
                put(1, 0, &mut content);
                varint(1, &mut content);
                bytes(number, &content, out);
                json!(true)
            }
            Shape::Any => {
                let mut content = vec![];
                bytes(1, b"{\"f:a\":{}}", &mut content);
                bytes(number, &content, out);
                json!({"f:a": {}})
            }
            Shape::Scalar(scalar) => Writer::scalar(*scalar, number, out),
        }
    }

    fn scalar(scalar: Scalar, number: u32, out: &mut Vec<u8>) -> Value {
        let mut inner = vec![];
        match scalar {
            Scalar::Text => {
                bytes(number, "tést".as_bytes(), out);
                return json!("tést");
            }
            Scalar::Bytes => {
                bytes(number, &[0, 255], out);
                return json!("AP8=");
            }
            Scalar::Bool => {
                put(number, 0, out);
                varint(1, out);
                return json!(true);
            }
            Scalar::Int32 | Scalar::Int64 => {
                put(number, 0, out);
                varint(-7_i64 as u64, out);
                return json!(-7);
            }
            Scalar::Float => {
                put(number, 1, out);
                out.extend(1.5_f64.to_bits().to_le_bytes());
                return json!(1.5);
            }
            Scalar::Quantity => bytes(1, b"1500m", &mut inner),
            Scalar::IntOrText => {
                put(1, 0, &mut inner);
                varint(1, &mut inner);
                bytes(3, b"50%", &mut inner);
            }
            Scalar::Time | Scalar::MicroTime => {
                put(1, 0, &mut inner);
                varint(1_700_000_000, &mut inner);
                put(2, 0, &mut inner);
                varint(5_000, &mut inner);
            }
        }
        bytes(number, &inner, out);
        match scalar {
            Scalar::Quantity => json!("1500m"),
            Scalar::IntOrText => json!("50%"),
            Scalar::MicroTime => json!("2023-11-14T22:13:20.000005Z"),
            _ => json!("2023-11-14T22:13:20Z"),
        }
    }
}

#[test]
fn every_field_of_every_kind_is_read() {
    let mut seen = 0;
    for resource in crate::resource::all() {
        let shape = schema::of(resource).and_then(Shape::as_struct);
        // Versions of the past were never sent so.
        let Some(shape) = shape.filter(|_| !resource.is_past()) else {
            continue;
        };
        let (raw, mut told) = Writer::default().message(shape);
        let version = resource.gv.api_version();
        told["apiVersion"] = json!(version);
        told["kind"] = json!(resource.kind);
        let read = decode(&envelope(&version, resource.kind, raw));
        assert!(
            read.as_ref() == Ok(&told),
            "{version} {}: {:?}",
            resource.kind,
            read.map(|read| first_difference("", &read, &told))
        );
        seen += 1;
    }
    assert!(seen > 50, "{seen}");
}

fn first_difference(path: &str, a: &Value, b: &Value) -> String {
    match (a, b) {
        (Value::Object(x), Value::Object(y)) => {
            for key in x.keys().chain(y.keys()) {
                let (one, two) = (x.get(key), y.get(key));
                if one != two {
                    let path = format!("{path}.{key}");
                    return match (one, two) {
                        (Some(one), Some(two)) => first_difference(&path, one, two),
                        other => format!("{path}: {other:?}"),
                    };
                }
            }
            path.to_owned()
        }
        (Value::Array(x), Value::Array(y)) if x.len() == y.len() => {
            let at = x.iter().zip(y).position(|(x, y)| x != y).unwrap_or(0);
            first_difference(&format!("{path}[{at}]"), &x[at], &y[at])
        }
        _ => format!("{path}: {a} is not {b}"),
    }
}
