//! Bodies in Kubernetes' protobuf form, as kubectl since 1.32 sends them: `k8s\0`, then a
//! `runtime.Unknown` with the type and the object's own bytes. Read by the numbers of the
//! schema's table into the JSON the same client would have sent.

mod wire;

use serde_json::{Map, Value, json};
use time::OffsetDateTime;

use self::wire::{Reader, Wire};
use crate::schema::{self, Field, Scalar, Shape, Struct};
use crate::{clock, defaults, resource};

/// What every such body opens with (apimachinery's serializer/protobuf).
pub const MAGIC: &[u8] = b"k8s\0";

/// Deeper than any kind nests, shallow enough for any stack.
const DEPTH: usize = 100;

/// Most values one body may make: two bytes can make one, and each costs memory.
const VALUES: usize = 300_000;

/// Why a body could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error(
        "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]"
    )]
    NoMagic,
    #[error("unexpected end of the message")]
    Cut,
    #[error("a number has more than ten bytes")]
    Varint,
    #[error("wire type {0} is not used by Kubernetes")]
    WireType(u8),
    #[error("field {field} has wire type {found}")]
    Mismatch { field: String, found: u8 },
    #[error("field {0} is not UTF-8")]
    Utf8(String),
    #[error("field {0} holds no JSON")]
    Json(String),
    #[error("the message is nested too deeply")]
    Depth,
    #[error("the message has too many values")]
    TooMany,
    #[error("contentEncoding {0:?} is not supported")]
    Encoding(String),
    #[error("no kind {kind:?} is registered for version {version:?} in protobuf")]
    Unknown { kind: String, version: String },
    #[error("field {0} cannot be read in protobuf form: send JSON")]
    Unsupported(String),
}

/// Whether a body is in this form.
pub fn is_protobuf(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC)
}

/// Reads a body into the object it stands for, `apiVersion` and `kind` included.
///
/// # Errors
/// [`Error`]; bytes of any kind never panic, and memory is bounded by the body's length.
pub fn decode(bytes: &[u8]) -> Result<Value, Error> {
    let rest = bytes.strip_prefix(MAGIC).ok_or(Error::NoMagic)?;
    let (mut version, mut kind, mut raw) = (String::new(), String::new(), &[][..]);
    for part in Reader(rest) {
        match part? {
            (1, Wire::Bytes(meta)) => {
                for part in Reader(meta) {
                    match part? {
                        (1, Wire::Bytes(b)) => version = text("apiVersion", b)?,
                        (2, Wire::Bytes(b)) => kind = text("kind", b)?,
                        _ => {}
                    }
                }
            }
            (2, Wire::Bytes(b)) => raw = b,
            (3, Wire::Bytes(b)) if !b.is_empty() => {
                return Err(Error::Encoding(text("contentEncoding", b)?));
            }
            _ => {}
        }
    }
    let (group, plain) = version.split_once('/').unwrap_or(("", &version));
    // DeleteOptions and other options travel under any group's version.
    let name = match kind.as_str() {
        "DeleteOptions" => schema::definition_of("meta.k8s.io", "v1", &kind),
        _ => schema::definition_of(group, plain, &kind),
    };
    // Old versions of what is only answered differ in nothing.
    let answered = || {
        let row = resource::find_kind(&version, &kind).filter(|row| row.transient);
        row.and_then(schema::of)
    };
    let shape = schema::builtin(&name).or_else(answered);
    let shape = shape
        .and_then(Shape::as_struct)
        .ok_or_else(|| Error::Unknown {
            kind: kind.clone(),
            version: version.clone(),
        })?;
    let mut decoder = Decoder { left: VALUES };
    let mut object = Map::new();
    object.insert("apiVersion".into(), json!(version));
    object.insert("kind".into(), json!(kind));
    decoder.message(shape, 0, raw, 0, false, &mut object)?;
    Ok(Value::Object(object))
}

struct Decoder {
    left: usize,
}

impl Decoder {
    /// Reads the fields of a message into `out`: those of the embedded message `outer`, or
    /// with 0 the message's own. `status` is true below an object's status, where Go's
    /// types hold plain numbers.
    fn message(
        &mut self,
        shape: &Struct,
        outer: u32,
        bytes: &[u8],
        depth: usize,
        status: bool,
        out: &mut Map<String, Value>,
    ) -> Result<(), Error> {
        if depth > DEPTH {
            return Err(Error::Depth);
        }
        for part in Reader(bytes) {
            let (number, wire) = part?;
            let found = shape
                .fields
                .iter()
                .find(|(_, f)| f.number == number && f.outer == outer);
            if let Some((name, field)) = found {
                let status = status || &**name == "status";
                let kept = field.required || may_be_empty(shape, name);
                self.field(name, field, kept, (wire, depth, status), out)?;
            } else if let (0, Wire::Bytes(inner)) = (outer, wire)
                && shape
                    .fields
                    .values()
                    .any(|f| f.outer == number && number != 0)
            {
                self.message(shape, number, inner, depth + 1, status, out)?;
            }
            // A field newer than our table is skipped, as protobuf asks.
        }
        Ok(())
    }

    fn field(
        &mut self,
        name: &str,
        field: &Field,
        kept: bool,
        (wire, depth, status): (Wire<'_>, usize, bool),
        out: &mut Map<String, Value>,
    ) -> Result<(), Error> {
        self.left = self.left.checked_sub(1).ok_or(Error::TooMany)?;
        match field.shape.get() {
            Shape::List { item, .. } => {
                let list = out.entry(name).or_insert_with(|| json!([]));
                let value = self.value(name, item.get(), wire, depth, status)?;
                if let Some(list) = list.as_array_mut() {
                    list.push(value);
                }
            }
            Shape::Map { value, .. } => {
                let (key, value) = self.pair(name, value.get(), wire, depth, status)?;
                let map = out.entry(name).or_insert_with(|| json!({}));
                if let Some(map) = map.as_object_mut() {
                    map.insert(key, value);
                }
            }
            Shape::Struct(inner) => {
                // A message that comes in two parts is one message (protobuf.dev, encoding).
                let slot = out.entry(name).or_insert_with(|| json!({}));
                if let Some(members) = slot.as_object_mut() {
                    self.message(inner, 0, wire.bytes(name)?, depth + 1, status, members)?;
                }
            }
            shape => {
                let value = self.value(name, shape, wire, depth, status)?;
                // Of a field that comes twice the last counts, even if it is empty.
                if kept || !is_left_out(name, &value, status) {
                    out.insert(name.to_owned(), value);
                } else {
                    out.remove(name);
                }
            }
        }
        Ok(())
    }

    /// One entry of a map: a message of key and value.
    fn pair(
        &mut self,
        name: &str,
        shape: &Shape,
        wire: Wire<'_>,
        depth: usize,
        status: bool,
    ) -> Result<(String, Value), Error> {
        let (mut key, mut value) = (String::new(), None);
        for part in Reader(wire.bytes(name)?) {
            match part? {
                (1, Wire::Bytes(b)) => key = text(name, b)?,
                // A list inside a map is a message of its own (ExtraValue).
                (2, Wire::Bytes(b)) if matches!(shape, Shape::List { .. }) => {
                    let mut items = vec![];
                    for part in Reader(b) {
                        if let (1, Wire::Bytes(b)) = part? {
                            self.left = self.left.checked_sub(1).ok_or(Error::TooMany)?;
                            items.push(json!(text(name, b)?));
                        }
                    }
                    value = Some(Value::Array(items));
                }
                (2, wire) => value = Some(self.value(name, shape, wire, depth, status)?),
                _ => {}
            }
        }
        // A value left out is the empty one: protobuf's rule for maps.
        let empty = match shape {
            Shape::Scalar(Scalar::Int32 | Scalar::Int64) => json!(0),
            Shape::Struct(_) | Shape::Map { .. } => json!({}),
            Shape::List { .. } => json!([]),
            _ => json!(""),
        };
        Ok((key, value.unwrap_or(empty)))
    }

    fn value(
        &mut self,
        name: &str,
        shape: &Shape,
        wire: Wire<'_>,
        depth: usize,
        status: bool,
    ) -> Result<Value, Error> {
        match shape {
            Shape::Scalar(scalar) => scalar_value(name, *scalar, wire),
            Shape::Struct(inner) => {
                let mut map = Map::new();
                self.message(inner, 0, wire.bytes(name)?, depth + 1, status, &mut map)?;
                Ok(Value::Object(map))
            }
            Shape::Any => any(name, wire.bytes(name)?),
            Shape::OrElse(inner) => {
                let inner = inner.get().as_struct();
                let inner = inner.ok_or_else(|| Error::Unsupported(name.to_owned()))?;
                self.choice(name, inner, wire.bytes(name)?, depth, status)
            }
            Shape::List { .. } | Shape::Map { .. } => Err(Error::Unsupported(name.to_owned())),
        }
    }

    /// Where a schema may stand or something simpler (JSONSchemaPropsOrArray, OrBool and
    /// OrStringArray): a message with one number for each. The bool is always there.
    fn choice(
        &mut self,
        name: &str,
        schema: &Struct,
        bytes: &[u8],
        depth: usize,
        status: bool,
    ) -> Result<Value, Error> {
        let (mut one, mut list, mut allowed) = (None, vec![], None);
        for part in Reader(bytes) {
            self.left = self.left.checked_sub(1).ok_or(Error::TooMany)?;
            let read = |decoder: &mut Self, bytes| -> Result<Value, Error> {
                let mut map = Map::new();
                decoder.message(schema, 0, bytes, depth + 1, status, &mut map)?;
                Ok(Value::Object(map))
            };
            match (part?, name) {
                ((1, Wire::Number(n)), _) => allowed = Some(n != 0),
                ((2, Wire::Bytes(b)), "additionalProperties" | "additionalItems")
                | ((1, Wire::Bytes(b)), _) => one = Some(read(self, b)?),
                ((2, Wire::Bytes(b)), "items") => list.push(read(self, b)?),
                ((2, Wire::Bytes(b)), _) => list.push(json!(text(name, b)?)),
                _ => {}
            }
        }
        Ok(match (one, allowed) {
            (Some(schema), _) => schema,
            (None, Some(allowed)) => json!(allowed),
            (None, None) => Value::Array(list),
        })
    }
}

fn scalar_value(name: &str, scalar: Scalar, wire: Wire<'_>) -> Result<Value, Error> {
    Ok(match scalar {
        Scalar::Text => json!(text(name, wire.bytes(name)?)?),
        Scalar::Bytes => json!(defaults::base64_encode(wire.bytes(name)?)),
        Scalar::Bool => json!(wire.number(name)? != 0),
        // Negative numbers come as ten bytes of two's complement.
        Scalar::Int32 | Scalar::Int64 => json!(wire.number(name)? as i64),
        Scalar::Float => match wire {
            Wire::Eight(bits) => json!(f64::from_bits(bits)),
            other => return Err(other.mismatch(name)),
        },
        Scalar::Quantity => {
            let mut out = json!("0");
            for part in Reader(wire.bytes(name)?) {
                if let (1, Wire::Bytes(b)) = part? {
                    out = json!(text(name, b)?);
                }
            }
            out
        }
        Scalar::IntOrText => {
            let (mut is_text, mut int, mut string) = (false, 0, String::new());
            for part in Reader(wire.bytes(name)?) {
                match part? {
                    (1, Wire::Number(n)) => is_text = n != 0,
                    (2, Wire::Number(n)) => int = n as i64,
                    (3, Wire::Bytes(b)) => string = text(name, b)?,
                    _ => {}
                }
            }
            if is_text { json!(string) } else { json!(int) }
        }
        Scalar::Time | Scalar::MicroTime => {
            let (mut seconds, mut nanos) = (0_i64, 0_i64);
            for part in Reader(wire.bytes(name)?) {
                match part? {
                    (1, Wire::Number(n)) => seconds = n as i64,
                    (2, Wire::Number(n)) => nanos = n as i64,
                    _ => {}
                }
            }
            if (seconds, nanos) == (0, 0) {
                return Ok(Value::Null);
            }
            let nanos = i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
            match OffsetDateTime::from_unix_timestamp_nanos(nanos) {
                Ok(at) if scalar == Scalar::Time => json!(clock::rfc3339(at)),
                Ok(at) => json!(clock::rfc3339_micro(at)),
                Err(_) => Value::Null,
            }
        }
    })
}

/// A message that wraps JSON text: RawExtension, FieldsV1.
fn any(name: &str, bytes: &[u8]) -> Result<Value, Error> {
    for part in Reader(bytes) {
        if let (1, Wire::Bytes(raw)) = part? {
            return serde_json::from_slice(raw).map_err(|_| Error::Json(name.to_owned()));
        }
    }
    Ok(json!({}))
}

/// Fields that Go's types hold as plain numbers or truths, so that an unset one comes as
/// zero; its JSON form leaves those out. Pointers come only when set, zero or not.
const PLAIN: &[&str] = &[
    "hostNetwork",
    "hostPID",
    "hostIPC",
    "stdin",
    "stdinOnce",
    "tty",
    "readOnly",
    "unschedulable",
    "publishNotReadyAddresses",
    "paused",
    "globalDefault",
    "hostPort",
    "nodePort",
    "healthCheckNodePort",
    "initialDelaySeconds",
    "timeoutSeconds",
    "periodSeconds",
    "successThreshold",
    "failureThreshold",
    "minReadySeconds",
    "generation",
    "observedGeneration",
    "count",
    "deprecatedCount",
    "number",
    "sslEnabled",
    "chapAuthDiscovery",
    "chapAuthSession",
    "insecureSkipTLSVerify",
    "preserveUnknownFields",
    "deprecated",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "uniqueItems",
    "nullable",
    "x-kubernetes-embedded-resource",
    "x-kubernetes-int-or-string",
];

/// Texts that Go's types hold as pointers, for which empty means something else than
/// nothing: no class, no name.
const POINTED: &[(&str, &str)] = &[
    ("api.core.v1.PersistentVolumeClaimSpec", "storageClassName"),
    ("api.coordination.v1.LeaseSpec", "holderIdentity"),
    ("api.discovery.v1.EndpointPort", "name"),
    ("api.networking.v1.IngressSpec", "ingressClassName"),
];

fn may_be_empty(shape: &Struct, name: &str) -> bool {
    POINTED.iter().any(|(owner, field)| {
        let owner = || schema::builtin(owner).and_then(Shape::as_struct);
        *field == name && owner().is_some_and(|owner| std::ptr::eq(owner, shape))
    })
}

fn is_left_out(name: &str, value: &Value, status: bool) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Bool(false) => PLAIN.contains(&name) || status,
        Value::Number(n) if n.as_i64() == Some(0) => PLAIN.contains(&name) || status,
        _ => false,
    }
}

fn text(name: &str, bytes: &[u8]) -> Result<String, Error> {
    String::from_utf8(bytes.to_vec()).map_err(|_| Error::Utf8(name.to_owned()))
}

#[cfg(test)]
mod tests;
