//! Versions: `semver("1.2.3").isLessThan(semver("1.10.0"))`.

use std::cmp::Ordering;

use cel::Value;
use cel::objects::Opaque;

use super::{Function, Owner, function, opaque, order, ours, text_of};

const NAME: &str = "kubernetes.Semver";
const OURS: Owner = Owner::Ours(NAME);

#[derive(Debug, PartialEq, Eq)]
struct Version {
    numbers: [u64; 3],
    before: Vec<String>,
}

impl Opaque for Version {
    fn runtime_type_name(&self) -> &str {
        NAME
    }
}

pub(super) const ALL: &[Function] = &[
    function!(Owner::Nobody, "semver", 1, |args| {
        let bad = || "Invalid Semantic Version".to_owned();
        read(text_of(args, 0)?).map(opaque).ok_or_else(bad)
    }),
    function!(Owner::Nobody, "isSemver", 1, |args| {
        Ok(Value::Bool(read(text_of(args, 0)?).is_some()))
    }),
    function!(OURS, "major", 0, |args| number(args, 0)),
    function!(OURS, "minor", 0, |args| number(args, 1)),
    function!(OURS, "patch", 0, |args| number(args, 2)),
    function!(OURS, "compareTo", 1, |args| Ok(order(compare(args)?))),
    function!(OURS, "isLessThan", 1, |args| {
        Ok(Value::Bool(compare(args)? == Ordering::Less))
    }),
    function!(OURS, "isGreaterThan", 1, |args| {
        Ok(Value::Bool(compare(args)? == Ordering::Greater))
    }),
];

fn read(text: &str) -> Option<Version> {
    let (rest, build) = text.split_once('+').unwrap_or((text, "0"));
    let (core, before) = match rest.split_once('-') {
        Some((core, before)) => (core, before.split('.').map(str::to_owned).collect()),
        None => (rest, vec![]),
    };
    let right = |part: &str| {
        !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
    };
    let whole = |part: &str| {
        let plain = part == "0" || !part.starts_with('0');
        let digits = part.chars().all(|c| c.is_ascii_digit());
        part.parse().ok().filter(|_| plain && digits)
    };
    let fits = build.split('.').all(right) && before.iter().all(|part: &String| right(part));
    let numbers: Vec<u64> = core.split('.').map(whole).collect::<Option<_>>()?;
    let numbers = numbers.try_into().ok().filter(|_| fits)?;
    Some(Version { numbers, before })
}

fn number(args: &[Value], at: usize) -> Result<Value, String> {
    let n = ours::<Version>(args, 0)?.numbers[at];
    Ok(Value::Int(i64::try_from(n).unwrap_or(i64::MAX)))
}

fn compare(args: &[Value]) -> Result<Ordering, String> {
    let (a, b) = (ours::<Version>(args, 0)?, ours::<Version>(args, 1)?);
    let numbers = a.numbers.cmp(&b.numbers);
    let mut parts = Ordering::Equal;
    for (x, y) in a.before.iter().zip(&b.before) {
        parts = parts.then_with(|| match (x.parse::<u64>(), y.parse::<u64>()) {
            (Ok(x), Ok(y)) => x.cmp(&y),
            (Ok(_), Err(_)) => Ordering::Less,
            (Err(_), Ok(_)) => Ordering::Greater,
            _ => x.cmp(y),
        });
    }
    let count = a.before.len().cmp(&b.before.len());
    // Words behind the numbers say that it comes before the version without.
    let words = match (a.before.is_empty(), b.before.is_empty()) {
        (false, false) => parts.then(count),
        (a, b) => a.cmp(&b),
    };
    Ok(numbers.then(words))
}
