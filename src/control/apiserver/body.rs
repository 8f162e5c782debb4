//! Reading request bodies: bounded, whatever they claim to be.

use axum::body::Body;
use bytes::Bytes;
use cadet_api::json::MAX_DEPTH;
use cadet_api::status::Status;
use cadet_api::{fieldcheck, json_syntax, protobuf};
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde_json::Value;

/// Longest body taken, in bytes; that of upstream's API server.
pub const LIMIT: usize = 3 * 1024 * 1024;

const JSON: &str = "application/json";
const YAML: &str = "application/yaml";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

/// Reads a body to its end, or to the limit.
pub async fn read(body: Body) -> Result<Bytes, Status> {
    match Limited::new(body, LIMIT).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.downcast_ref::<LengthLimitError>().is_some() => {
            Err(Status::body_too_large(LIMIT))
        }
        Err(error) => Err(Status::bad_request(format!(
            "the body could not be read: {error}"
        ))),
    }
}

/// The media type of a body without parameters; JSON when the client does not say.
pub fn media_type(headers: &HeaderMap) -> Result<String, Status> {
    let Some(value) = headers.get(CONTENT_TYPE) else {
        return Ok(JSON.to_owned());
    };
    let text = value
        .to_str()
        .map_err(|_| Status::unsupported_media_type(&[JSON, YAML]))?
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    Ok(if text.is_empty() {
        JSON.to_owned()
    } else {
        text
    })
}

/// A decoded body together with the JSON it was decoded from.
#[derive(Debug)]
pub struct Decoded {
    pub value: Value,
    pub json: Bytes,
    /// A key stands twice in the JSON: only then is there more to learn from it than from
    /// the value.
    pub repeats: bool,
}

/// Decodes what a client sends where the API takes a `kind`.
///
/// # Errors
/// 415 for a form we do not know, 400 for what is not of its form.
pub fn decode(kind: &str, headers: &HeaderMap, bytes: Bytes) -> Result<Decoded, Status> {
    if let Some(coding) = headers.get(CONTENT_ENCODING)
        && !coding.as_bytes().eq_ignore_ascii_case(b"identity")
    {
        return Err(Status::failure(
            415,
            "UnsupportedMediaType",
            "the body of the request was in an unknown format - a content encoding is not accepted",
        ));
    }
    let sent = bytes.clone();
    let decoded = match media_type(headers)?.as_str() {
        JSON | "*/*" => decode_json(bytes),
        YAML | "application/x-yaml" | "text/yaml" => decode_yaml(&bytes),
        PROTOBUF => decode_protobuf(&bytes)?,
        _ => return Err(Status::unsupported_media_type(&[JSON, YAML, PROTOBUF])),
    };
    decoded.map_err(|why| {
        Status::bad_request(format!(
            "the object provided is unrecognized (must be of type {kind}): {why} ({})",
            summary(&sent)
        ))
    })
}

/// The beginning of a body, for whoever looks for the mistake in it: upstream's form.
fn summary(bytes: &[u8]) -> String {
    const SHOWN: usize = 30;
    let shown = &bytes[..bytes.len().min(SHOWN)];
    let more = if bytes.len() > SHOWN { " ..." } else { "" };
    match bytes.first() {
        None => "<empty>".to_owned(),
        Some(b'{') => format!("{}{more}", String::from_utf8_lossy(shown)),
        Some(_) => {
            let hex: String = shown.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("{hex}{more}")
        }
    }
}

/// Why bytes are no JSON, in Go's words where Go would find it too.
pub fn json_mistake(bytes: &[u8], error: &serde_json::Error) -> String {
    json_syntax::mistake(bytes).unwrap_or_else(|| {
        let words = error.to_string();
        match words.contains("recursion limit") {
            true => "exceeded max depth".to_owned(),
            false => words,
        }
    })
}

/// Decodes JSON that must be an object.
fn decode_json(bytes: Bytes) -> Result<Decoded, String> {
    const PREFIX: &str = "couldn't get version/kind; json parse error";
    let value: Value = serde_json::from_slice(&bytes)
        .map_err(|error| format!("{PREFIX}: {}", json_mistake(&bytes, &error)))?;
    check_object(&value).map_err(|why| format!("{PREFIX}: {why}"))?;
    Ok(Decoded {
        repeats: fieldcheck::repeats(&bytes, &value),
        value,
        json: bytes,
    })
}

/// A configuration to apply: YAML, of which JSON is a part.
pub struct Applied {
    pub value: Value,
    /// The body itself if it is JSON.
    pub json: Option<Bytes>,
}

/// Decodes the body of a server-side apply.
pub fn decode_applied(bytes: Bytes) -> Result<Applied, Status> {
    let bad = |why| Status::bad_request(format!("error decoding YAML: {why}"));
    if let Ok(value) = serde_json::from_slice::<Value>(&bytes) {
        check_object(&value).map_err(bad)?;
        return Ok(Applied {
            value,
            json: Some(bytes),
        });
    }
    let value =
        yaml_value(&bytes).map_err(|why| bad(format!("error converting YAML to JSON: {why}")))?;
    check_object(&value).map_err(bad)?;
    Ok(Applied { value, json: None })
}

fn decode_protobuf(bytes: &Bytes) -> Result<Result<Decoded, String>, Status> {
    let value = match protobuf::decode(bytes) {
        Ok(value) => value,
        Err(error @ (protobuf::Error::Unknown { .. } | protobuf::Error::Unsupported(_))) => {
            return Err(Status::failure(
                415,
                "UnsupportedMediaType",
                error.to_string(),
            ));
        }
        Err(error) => return Ok(Err(error.to_string())),
    };
    let json = serde_json::to_vec(&value).map_err(Status::internal)?;
    Ok(check_object(&value).map(|()| Decoded {
        value,
        json: json.into(),
        repeats: false,
    }))
}

/// Most that aliases may make of a document, in bytes: each stands for something not longer
/// than the document itself.
const EXPANDED: usize = 64 * 1024 * 1024;
/// Most pieces they may be replaced by.
const REPLAYED: usize = 100_000;

fn yaml_value(bytes: &[u8]) -> Result<Value, String> {
    let replayed = REPLAYED.min(EXPANDED / bytes.len().max(1));
    let options = serde_saphyr::options! {
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: replayed },
    };
    let text =
        std::str::from_utf8(bytes).map_err(|_| "yaml: invalid leading UTF-8 octet".to_owned())?;
    serde_saphyr::from_str_with_options(text, options).map_err(|error| format!("yaml: {error}"))
}

fn decode_yaml(bytes: &Bytes) -> Result<Decoded, String> {
    let value = yaml_value(bytes)?;
    check_object(&value)
        .map_err(|why| format!("couldn't get version/kind; json parse error: {why}"))?;
    let json = serde_json::to_vec(&value).map_err(|error| error.to_string())?;
    Ok(Decoded {
        value,
        json: json.into(),
        repeats: false,
    })
}

/// Refuses what is no object, or nests deeper than objects may.
fn check_object(value: &Value) -> Result<(), String> {
    if !value.is_object() {
        let found = cadet_api::json::type_name(value);
        return Err(format!(
            "json: cannot unmarshal {found} into Go value of type struct {{ APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \"json:\\\"kind,omitempty\\\"\" }}"
        ));
    }
    match cadet_api::json::depth(value) > MAX_DEPTH {
        true => Err("exceeded max depth".to_owned()),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(content_type: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, content_type.parse().expect("header"));
        headers
    }

    fn code(content_type: &str, body: &'static [u8]) -> Option<u16> {
        decode("Pod", &headers(content_type), Bytes::from_static(body))
            .err()
            .map(|s| s.code)
    }

    #[test]
    fn bodies_are_read_by_their_type_and_json_is_the_default() {
        let body = Bytes::from_static(b"{\"kind\":\"Pod\"}");
        assert_eq!(
            decode("Pod", &HeaderMap::new(), body).map(|d| d.value["kind"].clone()),
            Ok("Pod".into())
        );
        assert_eq!(code("application/json; charset=utf-8", b"{}"), None);
        let yaml = Bytes::from_static(b"kind: Pod\nmetadata:\n  name: yes-man\n");
        let read = decode("Pod", &headers("application/yaml"), yaml).expect("yaml");
        assert_eq!(read.value["metadata"]["name"], "yes-man");
        assert_eq!(
            code("application/vnd.kubernetes.protobuf", b"{}"),
            Some(400)
        );
        assert_eq!(code("text/plain", b"{}"), Some(415));
    }

    #[test]
    fn nonsense_is_a_bad_request_and_never_a_panic() {
        assert_eq!(code("application/json", b"{"), Some(400));
        assert_eq!(code("application/json", b"[]"), Some(400));
        assert_eq!(code("application/json", b""), Some(400));
        assert_eq!(code("application/json", b"\xff\xfe"), Some(400));
        let nested = |levels: usize| format!("{}1{}", "{\"a\":".repeat(levels), "}".repeat(levels));
        let read = |text: String| decode("Pod", &HeaderMap::new(), text.into()).map(drop);
        assert_eq!(read(nested(MAX_DEPTH)), Ok(()));
        let why = read(nested(MAX_DEPTH + 1)).expect_err("too deep").message;
        assert!(why.contains("exceeded max depth"), "{why}");
        assert_eq!(code("application/yaml", b"- a"), Some(400));
        let deep: &'static [u8] = Vec::leak(b"{\"a\":".repeat(100_000));
        assert_eq!(code("application/json", deep), Some(400));
        let deep: &'static [u8] = Vec::leak(b"[".repeat(100_000));
        assert_eq!(code("application/yaml", deep), Some(400));
    }

    #[tokio::test]
    async fn a_body_beyond_the_limit_is_cut_off_with_413() {
        assert_eq!(
            read(Body::from(vec![b' '; LIMIT])).await.map(|b| b.len()),
            Ok(LIMIT)
        );
        let long = read(Body::from(vec![b' '; LIMIT + 1])).await;
        assert_eq!(long.err().map(|s| s.code), Some(413));
    }
}
