//! Bodies that are no objects, in each form.

use http::Method;
use serde_json::json;

use super::{Ground, MAP, MAPS};

const JSON: &str = "application/json";
const YAML: &str = "application/yaml";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const PREFIX: &str = "the object provided is unrecognized (must be of type ConfigMap): ";
const PARSE: &str = "couldn't get version/kind; json parse error: ";

#[tokio::test]
async fn broken_json_is_told_in_upstreams_words() {
    let ground = Ground::new().await;
    for (body, why) in [
        ("", "unexpected end of JSON input (<empty>)"),
        (
            "{\"kind\":\"ConfigMap\"",
            "unexpected end of JSON input ({\"kind\":\"ConfigMap\")",
        ),
        ("{} x", "invalid character 'x' after top-level value ({} x)"),
        (
            "{\"data\":{\"a\":NaN}}",
            "invalid character 'N' looking for beginning of value ({\"data\":{\"a\":NaN}})",
        ),
        (
            "{kind: ConfigMap}",
            "invalid character 'k' looking for beginning of object key string ({kind: ConfigMap})",
        ),
        (
            "{\"a\":\"\u{1}\"}",
            "invalid character '\\x01' in string literal ({\"a\":\"\u{1}\"})",
        ),
        (
            "\u{feff}{}",
            "invalid character 'ï' looking for beginning of value (efbbbf7b7d)",
        ),
        (
            "{\"metadata\":{\"name\":\"a-name-that-is-long\"}",
            "unexpected end of JSON input ({\"metadata\":{\"name\":\"a-name-th ...)",
        ),
    ] {
        let refusal = ground.refusal(Method::POST, MAPS, JSON, body).await;
        assert_eq!(
            refusal,
            (
                400,
                "BadRequest".to_owned(),
                format!("{PREFIX}{PARSE}{why}")
            )
        );
    }
    let array = ground.refusal(Method::POST, MAPS, JSON, "[]").await;
    assert!(
        array
            .2
            .contains("json: cannot unmarshal array into Go value of type struct"),
        "{array:?}"
    );
    for body in [
        &b"{\"data\":{\"a\":1e999}}"[..],
        b"{\"data\":{\"a\":\"\\ud800\"}}",
        b"{\"data\":{\"a\":\"\xff\xfe\"}}",
        b"\xff\xfe{\0}\0",
        b"\x1f\x8b\x08\0\0\0\0\0",
    ] {
        let refusal = ground.refusal(Method::POST, MAPS, JSON, body).await;
        assert_eq!(
            (refusal.0, refusal.1.as_str()),
            (400, "BadRequest"),
            "{refusal:?}"
        );
        assert!(
            refusal.2.starts_with(&format!("{PREFIX}{PARSE}")),
            "{refusal:?}"
        );
    }
    ground.unharmed().await;
}

#[tokio::test]
async fn depth_and_aliases_do_not_grow() {
    let ground = Ground::new().await;
    let before = super::resident();
    let deep = |open: &str, close: &str| open.repeat(10_000) + "1" + &close.repeat(10_000);
    let mut bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
    for n in 1..12 {
        bomb += &format!(
            "a{n}: &a{n} [{}]\n",
            vec![format!("*a{}", n - 1); 10].join(",")
        );
    }
    let merges = (1..25).fold("m0: &m0 {k: v}\n".to_owned(), |text, n| {
        text + &format!(
            "m{n}: &m{n} {{<<: *m{0}, a{n}: *m{0}, b{n}: *m{0}}}\n",
            n - 1
        )
    });
    for (media, body) in [
        (JSON, deep("{\"a\":", "}")),
        (JSON, format!("{{\"a\":{}}}", deep("[", "]"))),
        (JSON, "[".repeat(100_000)),
        (YAML, deep("{a: ", "}")),
        (YAML, deep("- ", "")),
        (YAML, deep("[", "]")),
        (YAML, deep("? ", "")),
        (YAML, bomb),
        (YAML, merges),
        (
            YAML,
            format!(
                "a: &a {}\nb: [{}]",
                "x".repeat(1_000_000),
                vec!["*a"; 200_000].join(",")
            ),
        ),
        (YAML, "a: &a [*a]".to_owned()),
        (YAML, format!("a: {}", "!!x ".repeat(50_000))),
        (YAML, "*".repeat(100_000)),
    ] {
        let beginning = body.chars().take(40).collect::<String>();
        let refusal = ground
            .refusal(Method::POST, MAPS, media, body.clone())
            .await;
        assert_eq!(
            (refusal.0, refusal.1.as_str()),
            (400, "BadRequest"),
            "{beginning}: {refusal:?}"
        );
        assert!(refusal.2.len() < 2_000, "{beginning}");
        let path = format!("{MAP}?fieldManager=me");
        let applied = ground
            .refusal(Method::PATCH, &path, "application/apply-patch+yaml", body)
            .await;
        assert_eq!(applied.0, 400, "{beginning}: {applied:?}");
        assert!(
            applied.2.starts_with("error decoding YAML: "),
            "{applied:?}"
        );
    }
    assert!(super::resident() < before + (256 << 20));
    ground.unharmed().await;
}

#[tokio::test]
async fn keys_twice_and_fields_unknown_are_refused_or_told() {
    let ground = Ground::new().await;
    let body =
        "{\"metadata\":{\"name\":\"twice\"},\"data\":{\"k\":\"1\",\"k\":\"2\"},\"datta\":{}}";
    let strict = format!("{MAPS}?fieldValidation=Strict");
    let refusal = ground.refusal(Method::POST, &strict, JSON, body).await;
    assert_eq!(
        refusal.2,
        "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: strict decoding error: \
         unknown field \"datta\", duplicate field \"data.k\""
    );
    ground.unharmed().await;
    let many: String = (0..20_000)
        .map(|n| format!(",\"f{n}\":1,\"f{n}\":2"))
        .collect();
    let body = format!("{{\"metadata\":{{\"name\":\"many\"}}{many}}}");
    let refusal = ground
        .refusal(Method::POST, &strict, JSON, body.clone())
        .await;
    assert_eq!(refusal.0, 400);
    assert!(refusal.2.len() < 20_000, "{}", refusal.2.len());
    ground.unharmed().await;
    let warned = ground.send(Method::POST, MAPS, JSON, body).await;
    assert_eq!(warned.code, 201);
    assert!(
        warned
            .warnings()
            .iter()
            .map(|warning| warning.len())
            .sum::<usize>()
            < 20_000
    );
}

#[tokio::test]
async fn forms_nobody_knows_are_415() {
    let ground = Ground::new().await;
    let known = "the body of the request was in an unknown format - accepted media types include: \
                 application/json, application/yaml, application/vnd.kubernetes.protobuf";
    for media in [
        "text/plain",
        "application/xml",
        "///",
        "json",
        "application/cbor",
        "multipart/form-data; boundary=x",
    ] {
        let refusal = ground.refusal(Method::POST, MAPS, media, "{}").await;
        assert_eq!(
            refusal,
            (415, "UnsupportedMediaType".to_owned(), known.to_owned()),
            "{media}"
        );
    }
    let headers = [("content-type", JSON), ("content-encoding", "gzip")];
    let packed = ground
        .client
        .send(Method::POST, MAPS, &headers, "\u{1f}")
        .await;
    assert_eq!(
        packed.refused(415).split(" - ").next(),
        Some("the body of the request was in an unknown format")
    );
    let patch = ground
        .refusal(Method::PATCH, MAP, "application/json", "{}")
        .await;
    assert_eq!(
        patch.2,
        "the body of the request was in an unknown format - accepted media types include: \
         application/json-patch+json, application/merge-patch+json, \
         application/strategic-merge-patch+json, application/apply-patch+yaml"
    );
    for accept in [
        "application/xml",
        "text/html;q=1",
        "garbage;;;",
        "application/json;as=Nonsense;v=v9",
    ] {
        let answer = ground
            .client
            .send(Method::GET, MAP, &[("accept", accept)], "")
            .await;
        assert_eq!(answer.code, 406, "{accept}");
    }
    ground.unharmed().await;
}

fn length(value: usize, out: &mut Vec<u8>) {
    let mut value = value;
    while value > 0x7f {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    length(bytes.len(), &mut out);
    out.extend_from_slice(bytes);
    out
}

fn protobuf(kind: &str, raw: &[u8]) -> Vec<u8> {
    let meta = [field(1, b"v1"), field(2, kind.as_bytes())].concat();
    [&b"k8s\0"[..], &field(1, &meta), &field(2, raw)].concat()
}

#[tokio::test]
async fn broken_protobuf_is_a_400() {
    let ground = Ground::new().await;
    let before = super::resident();
    let nested = (0..10_000).fold(vec![], |inner, _| {
        let inner: Vec<u8> = inner;
        if inner.len() > 500_000 {
            inner
        } else {
            field(1, &inner)
        }
    });
    let metadata = |bytes: &[u8]| protobuf("ConfigMap", &field(1, bytes));
    for (what, body) in [
        ("no magic", b"{}".to_vec()),
        ("nothing after the magic", b"k8s\0\xff".to_vec()),
        ("a name that is a number", metadata(&[0x08, 1])),
        ("a group", protobuf("ConfigMap", &[0x0b, 0x0c])),
        ("a wire type that is none", protobuf("ConfigMap", &[0x0f])),
        (
            "a length beyond the end",
            protobuf("ConfigMap", &[0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f]),
        ),
        (
            "a length of 64 bits",
            protobuf(
                "ConfigMap",
                &[
                    0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01,
                ],
            ),
        ),
        ("a varint without end", protobuf("ConfigMap", &[0x80; 40])),
        ("a name that is not UTF-8", metadata(&field(1, b"\xff\xfe"))),
        (
            "a content encoding",
            [protobuf("ConfigMap", b""), field(3, b"gzip")].concat(),
        ),
    ] {
        let refusal = ground.refusal(Method::POST, MAPS, PROTOBUF, body).await;
        assert_eq!(
            (refusal.0, refusal.1.as_str()),
            (400, "BadRequest"),
            "{what}: {refusal:?}"
        );
        assert!(refusal.2.starts_with(PREFIX), "{what}: {refusal:?}");
    }
    for body in [
        protobuf("ConfigMap", &nested),
        protobuf("ConfigMap", &[0x12, 0].repeat(1_000_000)),
    ] {
        let answer = ground.send(Method::POST, MAPS, PROTOBUF, body).await;
        assert!(
            (400..500).contains(&answer.code.as_u16()),
            "{}",
            answer.text
        );
    }
    let stranger = ground
        .refusal(Method::POST, MAPS, PROTOBUF, protobuf("Nonsense", b""))
        .await;
    assert_eq!(stranger.0, 415);
    ground.unharmed().await;
    assert!(super::resident() < before + (256 << 20));
    // What is newer than our table is passed over: an unknown field is no mistake.
    let newer = [field(1, &field(1, b"newer")), field(15, b"?")].concat();
    let newer = ground
        .send(Method::POST, MAPS, PROTOBUF, protobuf("ConfigMap", &newer))
        .await;
    assert_eq!(newer.code, 201, "{}", newer.text);
}

#[tokio::test]
async fn bad_patches_of_each_kind_change_nothing() {
    let ground = Ground::new().await;
    let before = super::resident();
    let patch = |kind: &str| format!("application/{kind}-patch+json");
    let doubling: Vec<_> = (0..60)
        .map(|n| json!({"op": "copy", "from": "", "path": format!("/{n}")}))
        .collect();
    let ladder: Vec<_> = (1..1_200)
        .map(|n| json!({"op": "add", "path": "/a".repeat(n), "value": {}}))
        .collect();
    let many = vec![json!({"op": "test", "path": "/kind", "value": "ConfigMap"}); 10_001];
    let mut wrong: Vec<String> = vec![];
    let undone = json!([{"op": "add", "path": "/data/new", "value": "x"}, {"op": "test", "path": "/data/key", "value": "other"}]);
    for (kind, body, code, message) in [
        (
            "json",
            "{".to_owned(),
            400,
            "error decoding patch: unexpected end of JSON input",
        ),
        (
            "merge",
            "{\"a\" 1}".to_owned(),
            400,
            "error decoding patch: invalid character '1' after object key",
        ),
        (
            "strategic-merge",
            "nul".to_owned(),
            400,
            "error decoding patch: unexpected end of JSON input",
        ),
        (
            "json",
            "{}".to_owned(),
            400,
            "error decoding patch: json: cannot unmarshal object into Go value of type []interface {}",
        ),
        ("merge", "[]".to_owned(), 400, "error decoding patch: "),
        // Of this kind alone upstream passes the decoder's words on as they are.
        (
            "strategic-merge",
            "[]".to_owned(),
            400,
            "json: cannot unmarshal array into Go value of type map[string]interface {}",
        ),
        (
            "json",
            json!(many).to_string(),
            413,
            "Request entity too large: The allowed maximum operations in a JSON patch is 10000, got 10001",
        ),
        (
            "json",
            json!(doubling).to_string(),
            413,
            "Request entity too large: Unable to complete the copy, the accumulated size increase of copy is ",
        ),
        (
            "json",
            json!(ladder).to_string(),
            400,
            "error decoding patch: exceeded max depth",
        ),
        (
            "json",
            undone.to_string(),
            422,
            "the server rejected our request due to an error in our request",
        ),
        (
            "json",
            json!([{"op": "replace", "path": "", "value": 1}]).to_string(),
            400,
            "couldn't get version/kind; json parse error: json: cannot unmarshal number into Go value",
        ),
        (
            "json",
            json!([{"op": "remove", "path": ""}]).to_string(),
            422,
            "the server rejected our request due to an error in our request",
        ),
        (
            "json",
            json!([{"op": "replace", "path": "/metadata", "value": null}]).to_string(),
            400,
            "the name of the object (good based on URL) was undeterminable: name must be provided",
        ),
        (
            "merge",
            json!({"metadata": []}).to_string(),
            422,
            " \"\" is invalid: patch: Invalid value: \"{",
        ),
        (
            "merge",
            json!({"data": {"key": 1}}).to_string(),
            422,
            " \"\" is invalid: patch: Invalid value: \"{",
        ),
        (
            "merge",
            json!({"metadata": {"managedFields": [{"fieldsV1": {"f:a": 1}}, 7]}}).to_string(),
            422,
            " \"\" is invalid: patch: Invalid value: \"{",
        ),
        // What upstream has no code for counts as the server's fault, without a reason.
        (
            "strategic-merge",
            json!({"$patch": "explode"}).to_string(),
            500,
            "unknown patch type: explode in map",
        ),
        (
            "strategic-merge",
            json!({"metadata": {"$retainKeys": 1}}).to_string(),
            400,
            "invalid patch format of retainKeys",
        ),
        (
            "strategic-merge",
            json!({"metadata": {"ownerReferences": ["a"]}}).to_string(),
            500,
            "expected a map, but received a string",
        ),
    ] {
        let refusal = ground
            .refusal(Method::PATCH, MAP, &patch(kind), body.clone())
            .await;
        let body: String = body.chars().take(80).collect();
        let fits = refusal.0 == code && refusal.2.starts_with(message);
        if !fits {
            wrong.push(format!("{kind} {body}: {refusal:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(super::resident() < before + (256 << 20));
    ground.unharmed().await;
}
