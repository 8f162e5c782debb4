//! Reading request bodies: bounded, whatever they claim to be.

use axum::body::Body;
use bytes::Bytes;
use cadet_api::protobuf;
use cadet_api::status::Status;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
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
}

/// Decodes an object sent with create, update or delete.
pub fn decode(headers: &HeaderMap, bytes: Bytes) -> Result<Decoded, Status> {
    match media_type(headers)?.as_str() {
        JSON | "*/*" => decode_json(bytes),
        YAML | "application/x-yaml" | "text/yaml" => decode_yaml(&bytes),
        PROTOBUF => decode_protobuf(&bytes),
        _ => Err(Status::unsupported_media_type(&[JSON, YAML, PROTOBUF])),
    }
}

/// Decodes JSON that must be an object. serde_json bounds the depth at 128 levels.
pub fn decode_json(bytes: Bytes) -> Result<Decoded, Status> {
    let value: Value = serde_json::from_slice(&bytes).map_err(|error| {
        Status::bad_request(format!(
            "couldn't get version/kind; json parse error: {error}"
        ))
    })?;
    check_object(&value)?;
    Ok(Decoded { value, json: bytes })
}

/// A configuration to apply: YAML, of which JSON is a part.
pub struct Applied {
    pub value: Value,
    /// The body itself if it is JSON.
    pub json: Option<Bytes>,
}

/// Decodes the body of a server-side apply.
pub fn decode_applied(bytes: Bytes) -> Result<Applied, Status> {
    if let Ok(value) = serde_json::from_slice::<Value>(&bytes) {
        check_object(&value)?;
        return Ok(Applied {
            value,
            json: Some(bytes),
        });
    }
    let value = decode_yaml(&bytes)?.value;
    Ok(Applied { value, json: None })
}

fn decode_protobuf(bytes: &Bytes) -> Result<Decoded, Status> {
    let value = protobuf::decode(bytes).map_err(|error| match error {
        protobuf::Error::Unknown { .. } | protobuf::Error::Unsupported(_) => {
            Status::failure(415, "UnsupportedMediaType", error.to_string())
        }
        error => Status::bad_request(format!(
            "couldn't get version/kind; protobuf error: {error}"
        )),
    })?;
    let json = serde_json::to_vec(&value).map_err(Status::internal)?;
    Ok(Decoded {
        value,
        json: json.into(),
    })
}

fn decode_yaml(bytes: &Bytes) -> Result<Decoded, Status> {
    let bad = |error: String| {
        Status::bad_request(format!("error converting YAML to JSON: yaml: {error}"))
    };
    let text = std::str::from_utf8(bytes).map_err(|error| bad(error.to_string()))?;
    let value: Value = serde_saphyr::from_str(text).map_err(|error| bad(error.to_string()))?;
    check_object(&value)?;
    let json = serde_json::to_vec(&value).map_err(|error| bad(error.to_string()))?;
    Ok(Decoded {
        value,
        json: json.into(),
    })
}

fn check_object(value: &Value) -> Result<(), Status> {
    if value.is_object() {
        return Ok(());
    }
    let found = cadet_api::json::type_name(value);
    Err(Status::bad_request(format!(
        "couldn't get version/kind; json parse error: json: cannot unmarshal {found} into Go value of type struct {{ APIVersion string; Kind string }}"
    )))
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
        decode(&headers(content_type), Bytes::from_static(body))
            .err()
            .map(|s| s.code)
    }

    #[test]
    fn bodies_are_read_by_their_type_and_json_is_the_default() {
        let body = Bytes::from_static(b"{\"kind\":\"Pod\"}");
        assert_eq!(
            decode(&HeaderMap::new(), body).map(|d| d.value["kind"].clone()),
            Ok("Pod".into())
        );
        assert_eq!(code("application/json; charset=utf-8", b"{}"), None);
        let yaml = Bytes::from_static(b"kind: Pod\nmetadata:\n  name: yes-man\n");
        let read = decode(&headers("application/yaml"), yaml).expect("yaml");
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
