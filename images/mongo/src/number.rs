//! Arithmetic over BSON's number types: narrow stays narrow, overflow widens.

use bson::Bson;

use crate::refusal::{Answer, Refusal};

/// Which calculation to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arithmetic {
    /// a + b
    Add,
    /// a − b
    Subtract,
    /// a × b
    Multiply,
}

/// What to do when 64 bits are not enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overflow {
    /// Go on as a double, as aggregation does.
    Widen,
    /// Refuse, as updates do: a stored integer must not become inexact silently.
    Refuse,
}

enum Number {
    Int(i64, bool),
    Double(f64),
}

/// True for the number types the stand-in calculates with.
pub fn is_number(value: &Bson) -> bool {
    matches!(
        value,
        Bson::Int32(_) | Bson::Int64(_) | Bson::Double(_) | Bson::Decimal128(_)
    )
}

fn number(value: &Bson) -> Answer<Number> {
    match value {
        Bson::Int32(v) => Ok(Number::Int(i64::from(*v), true)),
        Bson::Int64(v) => Ok(Number::Int(*v, false)),
        Bson::Double(v) => Ok(Number::Double(*v)),
        Bson::Decimal128(_) => Err(Refusal::not_supported("arithmetic on Decimal128")),
        other => Err(Refusal::type_mismatch(format!(
            "a number is needed, not {other}"
        ))),
    }
}

/// A number as double, for averages and ordering of scores.
pub fn as_double(value: &Bson) -> Answer<f64> {
    Ok(match number(value)? {
        Number::Int(v, _) => v as f64,
        Number::Double(v) => v,
    })
}

/// Calculates; two 32-bit integers stay 32 bits wide where the result fits.
///
/// # Errors
/// `TypeMismatch` for what is no number, `BadValue` on overflow if that is refused.
pub fn calculate(what: Arithmetic, a: &Bson, b: &Bson, overflow: Overflow) -> Answer<Bson> {
    match (number(a)?, number(b)?) {
        (Number::Int(x, x_narrow), Number::Int(y, y_narrow)) => {
            let exact = match what {
                Arithmetic::Add => x.checked_add(y),
                Arithmetic::Subtract => x.checked_sub(y),
                Arithmetic::Multiply => x.checked_mul(y),
            };
            match (exact, overflow) {
                (Some(value), _) => Ok(match i32::try_from(value) {
                    Ok(narrow) if x_narrow && y_narrow => Bson::Int32(narrow),
                    _ => Bson::Int64(value),
                }),
                (None, Overflow::Widen) => Ok(Bson::Double(in_doubles(what, x as f64, y as f64))),
                (None, Overflow::Refuse) => Err(Refusal::bad_value(format!(
                    "the result of {x} and {y} does not fit into 64 bits"
                ))),
            }
        }
        (x, y) => {
            let double = |n| match n {
                Number::Int(v, _) => v as f64,
                Number::Double(v) => v,
            };
            Ok(Bson::Double(in_doubles(what, double(x), double(y))))
        }
    }
}

fn in_doubles(what: Arithmetic, x: f64, y: f64) -> f64 {
    match what {
        Arithmetic::Add => x + y,
        Arithmetic::Subtract => x - y,
        Arithmetic::Multiply => x * y,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn narrow_stays_narrow_and_overflow_widens() {
        let add = |a, b| calculate(Arithmetic::Add, &a, &b, Overflow::Widen).unwrap();
        assert_eq!(add(Bson::Int32(1), Bson::Int32(2)), Bson::Int32(3));
        assert_eq!(
            add(Bson::Int32(i32::MAX), Bson::Int32(1)),
            Bson::Int64(i64::from(i32::MAX) + 1)
        );
        assert_eq!(add(Bson::Int64(1), Bson::Int32(2)), Bson::Int64(3));
        assert_eq!(add(Bson::Int32(1), Bson::Double(0.5)), Bson::Double(1.5));
        assert!(matches!(
            add(Bson::Int64(i64::MAX), Bson::Int32(1)),
            Bson::Double(_)
        ));
    }

    #[test]
    fn updates_refuse_overflow_and_text() {
        let refused = calculate(
            Arithmetic::Add,
            &Bson::Int64(i64::MAX),
            &Bson::Int32(1),
            Overflow::Refuse,
        );
        assert_eq!(refused.unwrap_err().code, 2);
        let refused = calculate(
            Arithmetic::Add,
            &Bson::String("1".into()),
            &Bson::Int32(1),
            Overflow::Refuse,
        );
        assert_eq!(refused.unwrap_err().code, 14);
    }
}
