//! BSON's order of values, as bytes: two values compare exactly as their keys do.
//!
//! One encoding serves sorting, comparing, grouping and the unique indexes on disk,
//! so they cannot disagree. Layout: a type byte in BSON's canonical order, then a
//! payload whose byte order is the value order. Numbers of all types share one
//! payload (1, 1.0 and NumberLong(1) are equal): the nearest double, then how far
//! the exact integer lies from it. Decimal128 is compared at double precision.

use bson::{Bson, Document};

/// Canonical type bytes, ascending as MongoDB sorts types.
pub mod class {
    /// Sorts before everything.
    pub const MIN_KEY: u8 = 0x01;
    /// An empty array in an index or sort, and BSON's deprecated undefined.
    pub const UNDEFINED: u8 = 0x03;
    /// Null, and a missing field.
    pub const NULL: u8 = 0x05;
    /// Every number type.
    pub const NUMBER: u8 = 0x0a;
    /// Strings and symbols.
    pub const STRING: u8 = 0x0f;
    /// Embedded documents.
    pub const OBJECT: u8 = 0x14;
    /// Arrays.
    pub const ARRAY: u8 = 0x19;
    /// Binary data.
    pub const BINARY: u8 = 0x1e;
    /// Object ids.
    pub const OBJECT_ID: u8 = 0x23;
    /// Booleans.
    pub const BOOL: u8 = 0x28;
    /// Dates.
    pub const DATE: u8 = 0x2d;
    /// Internal timestamps.
    pub const TIMESTAMP: u8 = 0x32;
    /// Regular expressions as values.
    pub const REGEX: u8 = 0x37;
    /// Deprecated pointers into other collections.
    pub const DB_POINTER: u8 = 0x3c;
    /// JavaScript code.
    pub const CODE: u8 = 0x41;
    /// JavaScript code with a scope.
    pub const CODE_SCOPE: u8 = 0x46;
    /// Sorts after everything.
    pub const MAX_KEY: u8 = 0x7f;
}

/// Closes strings, documents and arrays; lower than any type byte.
const END: u8 = 0x00;

/// The canonical type of a value, one of [`class`].
pub fn class_of(value: &Bson) -> u8 {
    match value {
        Bson::MinKey => class::MIN_KEY,
        Bson::Undefined => class::UNDEFINED,
        Bson::Null => class::NULL,
        Bson::Double(_) | Bson::Int32(_) | Bson::Int64(_) | Bson::Decimal128(_) => class::NUMBER,
        Bson::String(_) | Bson::Symbol(_) => class::STRING,
        Bson::Document(_) => class::OBJECT,
        Bson::Array(_) => class::ARRAY,
        Bson::Binary(_) => class::BINARY,
        Bson::ObjectId(_) => class::OBJECT_ID,
        Bson::Boolean(_) => class::BOOL,
        Bson::DateTime(_) => class::DATE,
        Bson::Timestamp(_) => class::TIMESTAMP,
        Bson::RegularExpression(_) => class::REGEX,
        Bson::DbPointer(_) => class::DB_POINTER,
        Bson::JavaScriptCode(_) => class::CODE,
        Bson::JavaScriptCodeWithScope(_) => class::CODE_SCOPE,
        Bson::MaxKey => class::MAX_KEY,
    }
}

/// The key of one value.
pub fn key_of(value: &Bson) -> Vec<u8> {
    let mut out = Vec::with_capacity(16);
    append_key(&mut out, value);
    out
}

/// Appends the key of one value, so that compound keys are plain concatenations.
pub fn append_key(out: &mut Vec<u8>, value: &Bson) {
    out.push(class_of(value));
    append_payload(out, value);
}

fn append_payload(out: &mut Vec<u8>, value: &Bson) {
    match value {
        Bson::MinKey | Bson::MaxKey | Bson::Null | Bson::Undefined => {}
        Bson::Double(v) => append_number(out, *v, 0),
        Bson::Int32(v) => append_number(out, f64::from(*v), 0),
        Bson::Int64(v) => {
            let nearest = *v as f64;
            // At 2^63 the difference of nearest double and exact value is at most 512.
            let rest = i128::from(*v) - nearest as i128;
            append_number(out, nearest, rest as i16);
        }
        Bson::Decimal128(v) => append_number(out, v.to_string().parse().unwrap_or(f64::NAN), 0),
        Bson::String(v) | Bson::Symbol(v) => append_text(out, v),
        Bson::Document(v) => append_document(out, v),
        Bson::Array(v) => {
            for item in v {
                append_key(out, item);
            }
            out.push(END);
        }
        Bson::Binary(v) => {
            out.extend((v.bytes.len() as u32).to_be_bytes());
            out.push(u8::from(v.subtype));
            out.extend(&v.bytes);
        }
        Bson::ObjectId(v) => out.extend(v.bytes()),
        Bson::Boolean(v) => out.push(u8::from(*v)),
        Bson::DateTime(v) => append_signed(out, v.timestamp_millis()),
        Bson::Timestamp(v) => {
            out.extend(v.time.to_be_bytes());
            out.extend(v.increment.to_be_bytes());
        }
        Bson::RegularExpression(v) => {
            append_text(out, v.pattern.as_str());
            append_text(out, v.options.as_str());
        }
        // The crate keeps the fields of a DBPointer private; its text form is unique.
        Bson::DbPointer(v) => append_text(out, &format!("{v:?}")),
        Bson::JavaScriptCode(v) => append_text(out, v),
        Bson::JavaScriptCodeWithScope(v) => {
            append_text(out, &v.code);
            append_document(out, &v.scope);
        }
    }
}

fn append_document(out: &mut Vec<u8>, document: &Document) {
    for (name, value) in document {
        // BSON compares a field's type first, then its name, then its value.
        out.push(class_of(value));
        append_text(out, name);
        append_payload(out, value);
    }
    out.push(END);
}

fn append_number(out: &mut Vec<u8>, nearest: f64, rest: i16) {
    // NaN sorts before all numbers; zero has one key, whatever its sign.
    let bits = if nearest.is_nan() {
        0
    } else {
        let bits = (nearest + 0.0).to_bits();
        if bits >> 63 == 1 {
            !bits
        } else {
            bits | 1 << 63
        }
    };
    out.extend(bits.to_be_bytes());
    out.extend(((rest as u16) ^ 0x8000).to_be_bytes());
}

fn append_signed(out: &mut Vec<u8>, value: i64) {
    out.extend(((value as u64) ^ 1 << 63).to_be_bytes());
}

/// Zero bytes inside are escaped, so that the terminator sorts below any continuation.
fn append_text(out: &mut Vec<u8>, text: &str) {
    for byte in text.bytes() {
        out.push(byte);
        if byte == 0 {
            out.push(0xff);
        }
    }
    out.extend([0, 0]);
}

/// Flips a key so that it sorts in descending order.
pub fn reverse(key: &mut [u8]) {
    for byte in key {
        *byte = !*byte;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::{DateTime, bson, doc, oid::ObjectId};

    #[test]
    fn canonical_order_holds() {
        let ascending = vec![
            Bson::MinKey,
            Bson::Undefined,
            Bson::Null,
            Bson::Double(f64::NAN),
            Bson::Double(f64::NEG_INFINITY),
            Bson::Int64(i64::MIN),
            Bson::Double(-1.5),
            Bson::Int32(-1),
            Bson::Int32(0),
            Bson::Double(0.5),
            Bson::Int32(1),
            Bson::Int64((1 << 53) - 1),
            Bson::Double((1i64 << 53) as f64),
            Bson::Int64((1 << 53) + 1),
            Bson::Int64(i64::MAX),
            Bson::Double(i64::MAX as f64),
            Bson::Double(f64::INFINITY),
            bson!(""),
            bson!("a"),
            bson!("a\0"),
            bson!("a\0b"),
            bson!("ab"),
            bson!("b"),
            bson!({}),
            bson!({ "a": 1 }),
            bson!({ "a": 1, "b": 1 }),
            bson!({ "a": 2 }),
            bson!({ "b": 1 }),
            bson!({ "a": "text" }),
            bson!([]),
            bson!([1]),
            bson!([1, 2]),
            bson!([2]),
            Bson::ObjectId(ObjectId::from_bytes([0; 12])),
            Bson::ObjectId(ObjectId::from_bytes([1; 12])),
            bson!(false),
            bson!(true),
            Bson::DateTime(DateTime::from_millis(-5)),
            Bson::DateTime(DateTime::from_millis(5)),
            Bson::MaxKey,
        ];
        for (i, a) in ascending.iter().enumerate() {
            for (j, b) in ascending.iter().enumerate() {
                assert_eq!(key_of(a).cmp(&key_of(b)), i.cmp(&j), "{a:?} against {b:?}");
            }
        }
    }

    #[test]
    fn numbers_are_equal_across_types() {
        assert_eq!(key_of(&Bson::Int32(7)), key_of(&Bson::Int64(7)));
        assert_eq!(key_of(&Bson::Int32(7)), key_of(&Bson::Double(7.0)));
        assert_eq!(key_of(&Bson::Double(-0.0)), key_of(&Bson::Int32(0)));
        let decimal: bson::Decimal128 = "7".parse().unwrap();
        assert_eq!(key_of(&Bson::Decimal128(decimal)), key_of(&Bson::Int32(7)));
        assert_eq!(
            key_of(&Bson::Document(doc! { "a": 1 })),
            key_of(&Bson::Document(doc! { "a": 1.0 }))
        );
    }

    #[test]
    fn reversed_keys_descend() {
        let mut low = key_of(&bson!("a"));
        let mut high = key_of(&bson!("ab"));
        reverse(&mut low);
        reverse(&mut high);
        assert!(low > high);
    }
}
