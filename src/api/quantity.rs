//! Quantities such as `100m`, `1.5Gi` or `2e3`: exact sums and comparisons.

use std::fmt;
use std::str::FromStr;

/// An amount in billionths, rounded up: upstream keeps no finer digits either.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Quantity {
    nanos: i128,
}

/// Upstream's two answers to a bad quantity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error(
        "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
    )]
    Format,
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

const NANO: i128 = 1_000_000_000;
/// Larger numbers are capped here, as upstream caps at 2^63-1.
const MAX: i128 = i64::MAX as i128 * NANO;

impl Quantity {
    /// Exactly `n` units.
    pub fn units(n: i64) -> Quantity {
        Quantity {
            nanos: i128::from(n) * NANO,
        }
    }

    /// Thousandths of a unit, rounded up: CPU in millicores.
    pub fn millis(self) -> i64 {
        clamp(div_up(self.nanos, NANO / 1000))
    }

    /// Whole units, rounded up: memory in bytes, pods.
    pub fn value(self) -> i64 {
        clamp(div_up(self.nanos, NANO))
    }

    /// The amount as a float, which has fewer digits.
    pub fn approximately(self) -> f64 {
        self.nanos as f64 / NANO as f64
    }

    /// Whether the amount is zero.
    pub fn is_zero(self) -> bool {
        self.nanos == 0
    }

    /// Whether the amount is below zero.
    pub fn is_negative(self) -> bool {
        self.nanos < 0
    }

    /// Whether the amount is a whole number of units.
    pub fn is_whole(self) -> bool {
        self.nanos % NANO == 0
    }
}

fn clamp(n: i128) -> i64 {
    i64::try_from(n).unwrap_or(if n < 0 { i64::MIN } else { i64::MAX })
}

fn div_up(n: i128, d: i128) -> i128 {
    let q = n / d;
    if n % d > 0 { q + 1 } else { q }
}

impl std::ops::Add for Quantity {
    type Output = Quantity;
    fn add(self, other: Quantity) -> Quantity {
        Quantity {
            nanos: (self.nanos + other.nanos).clamp(-MAX, MAX),
        }
    }
}

impl std::ops::Sub for Quantity {
    type Output = Quantity;
    fn sub(self, other: Quantity) -> Quantity {
        Quantity {
            nanos: (self.nanos - other.nanos).clamp(-MAX, MAX),
        }
    }
}

/// A quantity that is shown in the family of suffixes it was written in: sums of `Mi` and
/// `Gi` stay binary, as upstream's do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Amount {
    pub quantity: Quantity,
    binary: bool,
}

impl Amount {
    /// Exactly `n` units.
    pub fn units(n: i64) -> Amount {
        Amount {
            quantity: Quantity::units(n),
            binary: false,
        }
    }

    /// Reads a member of a resource list; a number counts as its text.
    pub fn of(value: &serde_json::Value) -> Option<Amount> {
        match value {
            serde_json::Value::String(text) => text.parse().ok(),
            serde_json::Value::Number(number) => number.to_string().parse().ok(),
            _ => None,
        }
    }

    fn with(self, quantity: Quantity, other: Amount) -> Amount {
        // Nothing has no family of its own.
        let binary = match self.quantity.is_zero() {
            true => other.binary,
            false => self.binary,
        };
        Amount { quantity, binary }
    }
}

impl FromStr for Amount {
    type Err = Error;

    fn from_str(s: &str) -> Result<Amount, Error> {
        Ok(Amount {
            quantity: s.parse()?,
            binary: s.ends_with('i'),
        })
    }
}

impl std::ops::Add for Amount {
    type Output = Amount;
    fn add(self, other: Amount) -> Amount {
        self.with(self.quantity + other.quantity, other)
    }
}

impl std::ops::Sub for Amount {
    type Output = Amount;
    fn sub(self, other: Amount) -> Amount {
        self.with(self.quantity - other.quantity, other)
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.binary && self.quantity.is_whole() {
            return f.write_str(&binary(self.quantity.value()));
        }
        self.quantity.fmt(f)
    }
}

impl FromStr for Quantity {
    type Err = Error;

    fn from_str(s: &str) -> Result<Quantity, Error> {
        let (negative, rest) = match s.as_bytes().first() {
            Some(b'-') => (true, &s[1..]),
            Some(b'+') => (false, &s[1..]),
            _ => (false, s),
        };
        let end = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let (number, suffix) = rest.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if fraction.contains('.') || (whole.is_empty() && fraction.is_empty()) {
            return Err(Error::Format);
        }
        let scale = Scale::parse(suffix)?;
        let nanos = scale.apply(whole, fraction);
        Ok(Quantity {
            nanos: if negative { -nanos } else { nanos },
        })
    }
}

/// A suffix: times 2^x or times 10^x.
enum Scale {
    Binary(u32),
    Decimal(i32),
}

impl Scale {
    fn parse(suffix: &str) -> Result<Scale, Error> {
        Ok(match suffix {
            "" => Scale::Decimal(0),
            "n" => Scale::Decimal(-9),
            "u" => Scale::Decimal(-6),
            "m" => Scale::Decimal(-3),
            "k" => Scale::Decimal(3),
            "M" => Scale::Decimal(6),
            "G" => Scale::Decimal(9),
            "T" => Scale::Decimal(12),
            "P" => Scale::Decimal(15),
            "E" => Scale::Decimal(18),
            "Ki" => Scale::Binary(10),
            "Mi" => Scale::Binary(20),
            "Gi" => Scale::Binary(30),
            "Ti" => Scale::Binary(40),
            "Pi" => Scale::Binary(50),
            "Ei" => Scale::Binary(60),
            other => {
                let exponent = other.strip_prefix(['e', 'E']).ok_or({
                    if other.chars().all(|c| "eEinumkKMGTP".contains(c)) {
                        Error::Suffix
                    } else {
                        Error::Format
                    }
                })?;
                Scale::Decimal(exponent.parse().map_err(|_| Error::Suffix)?)
            }
        })
    }

    /// `whole.fraction` times the scale in billionths, rounded up and capped.
    fn apply(&self, whole: &str, fraction: &str) -> i128 {
        // Digits beyond these cannot change the result except by rounding up.
        let keep = fraction.len().min(18);
        let lost = fraction[keep..].bytes().any(|b| b != b'0');
        let digits: String = whole.trim_start_matches('0').to_owned() + &fraction[..keep];
        let Ok(mut n) = digits.trim_start_matches('0').parse::<i128>().or_else(|e| {
            if digits.bytes().all(|b| b == b'0') {
                Ok(0)
            } else {
                Err(e)
            }
        }) else {
            return MAX;
        };
        if n == 0 && !lost {
            return 0;
        }
        let mut ten = 9 - keep as i32;
        match self {
            Scale::Decimal(e) => ten = ten.saturating_add(*e),
            Scale::Binary(e) => match n.checked_mul(1i128 << e) {
                Some(v) => n = v,
                None => return MAX,
            },
        }
        let scaled = if ten >= 0 {
            10i128
                .checked_pow(ten as u32)
                .and_then(|p| n.checked_mul(p))
                .unwrap_or(MAX)
        } else {
            match 10i128.checked_pow(ten.unsigned_abs()) {
                Some(p) => div_up(n, p),
                None => 1,
            }
        };
        let scaled = if lost {
            scaled.saturating_add(1)
        } else {
            scaled
        };
        scaled.min(MAX)
    }
}

impl fmt::Display for Quantity {
    /// Decimal form with the largest suffix that loses nothing: `1500m`, `2`, `3k`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const STEPS: &[(i128, &str)] = &[
            (NANO * 1_000_000_000_000_000_000, "E"),
            (NANO * 1_000_000_000_000_000, "P"),
            (NANO * 1_000_000_000_000, "T"),
            (NANO * 1_000_000_000, "G"),
            (NANO * 1_000_000, "M"),
            (NANO * 1_000, "k"),
            (NANO, ""),
            (NANO / 1_000, "m"),
            (NANO / 1_000_000, "u"),
            (1, "n"),
        ];
        if self.nanos == 0 {
            return f.write_str("0");
        }
        for (unit, suffix) in STEPS {
            if self.nanos % unit == 0 {
                return write!(f, "{}{suffix}", self.nanos / unit);
            }
        }
        Ok(())
    }
}

/// `bytes` with the largest binary suffix that loses nothing: `512Mi`.
pub fn binary(bytes: i64) -> String {
    for (shift, suffix) in [
        (60, "Ei"),
        (50, "Pi"),
        (40, "Ti"),
        (30, "Gi"),
        (20, "Mi"),
        (10, "Ki"),
    ] {
        let unit = 1i64 << shift;
        if bytes != 0 && bytes % unit == 0 {
            return format!("{}{suffix}", bytes / unit);
        }
    }
    bytes.to_string()
}

/// The canonical text of a quantity, keeping its family of suffixes: `1.5Gi` → `1536Mi`,
/// `0.1` → `100m`, `1000m` → `1`.
///
/// # Errors
/// `text` is no quantity.
pub fn canonical(text: &str) -> Result<String, Error> {
    let q: Quantity = text.parse()?;
    if text.ends_with('i') && q.is_whole() {
        return Ok(binary(q.value()));
    }
    if text.contains(['e', 'E']) && !text.ends_with('E') {
        // Exponents stay exponents; they are rare enough to keep as they are.
        return Ok(text.to_owned());
    }
    Ok(q.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn q(s: &str) -> Quantity {
        s.parse().unwrap()
    }

    #[test]
    fn suffixes_scale() {
        assert_eq!(q("100m").millis(), 100);
        assert_eq!(q("0.1").millis(), 100);
        assert_eq!(q("1.5Gi").value(), 1_610_612_736);
        assert_eq!(q("2e3").value(), 2000);
        assert_eq!(q("2E-3").millis(), 2);
        assert_eq!(q("1E").value(), 1_000_000_000_000_000_000);
        assert_eq!(q("-5").value(), -5);
        assert_eq!(q(".5").millis(), 500);
        assert_eq!(q("5.").value(), 5);
        assert_eq!(q("000").value(), 0);
    }

    #[test]
    fn rounding_is_up_and_large_numbers_are_capped() {
        assert_eq!(q("1m").value(), 1);
        assert_eq!(q("0.0000000001").to_string(), "1n");
        assert_eq!(q("99999999999999999999999").value(), i64::MAX);
        assert_eq!(q("9e99").value(), i64::MAX);
        assert_eq!(q("99999Ei").value(), i64::MAX);
        assert!(q("1023Mi") < q("1Gi"));
        assert_eq!(q("500m") + q("0.5"), q("1"));
    }

    #[test]
    fn canonical_forms() {
        for (from, to) in [
            ("1.5Gi", "1536Mi"),
            ("1024Mi", "1Gi"),
            ("0.5", "500m"),
            ("1000m", "1"),
            ("1000", "1k"),
            ("0", "0"),
            ("0Mi", "0"),
            ("100u", "100u"),
            ("-1Gi", "-1Gi"),
        ] {
            assert_eq!(canonical(from).unwrap(), to, "{from}");
        }
    }

    #[test]
    fn sums_keep_the_family_of_their_first_amount() {
        let a = |s: &str| s.parse::<Amount>().unwrap();
        assert_eq!((a("512Mi") + a("1Gi")).to_string(), "1536Mi");
        assert_eq!((Amount::default() + a("512Mi")).to_string(), "512Mi");
        assert_eq!((a("1Gi") - a("512Mi")).to_string(), "512Mi");
        assert_eq!((a("250m") + a("1")).to_string(), "1250m");
        assert_eq!(Amount::units(3).to_string(), "3");
    }

    #[test]
    fn nonsense_is_refused() {
        for s in ["", "x", "1.2.3", "1 Gi", "-", "."] {
            assert_eq!(s.parse::<Quantity>(), Err(Error::Format), "{s:?}");
        }
        assert_eq!("1Kib".parse::<Quantity>(), Err(Error::Format));
        for s in ["1KiM", "1mm", "1e", "1K"] {
            assert_eq!(s.parse::<Quantity>(), Err(Error::Suffix), "{s:?}");
        }
    }
}
