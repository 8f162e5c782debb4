//! Small phrases: durations, numbers, labels, commands.

use cadet_api::clock;
use serde_json::{Map, Value};
use time::OffsetDateTime;

/// "41 s", "3 min 20 s", "3 h 12 min", "2 d 4 h".
#[must_use]
pub fn duration(seconds: i64) -> String {
    match seconds.max(0) {
        s @ 0..120 => format!("{s} s"),
        s @ 120..600 if s % 60 != 0 => format!("{} min {} s", s / 60, s % 60),
        s @ 120..3600 => format!("{} min", s / 60),
        s @ 3600..86400 => format!("{} h {} min", s / 3600, s % 3600 / 60),
        s => format!("{} d {} h", s / 86400, s % 86400 / 3600),
    }
}

/// Seconds from `then` (RFC 3339) to `now`.
#[must_use]
pub fn seconds_since(then: &str, now: OffsetDateTime) -> Option<i64> {
    Some((now - clock::parse(then)?).whole_seconds())
}

/// How long it is since `then`, in words.
#[must_use]
pub fn ago(then: &str, now: OffsetDateTime) -> Option<String> {
    seconds_since(then, now).map(duration)
}

/// "1 pod", "3 pods".
#[must_use]
pub fn count(number: usize, one: &str) -> String {
    match number {
        1 => format!("1 {one}"),
        _ => format!("{number} {one}s"),
    }
}

/// "a", "a and b", "a, b and c".
#[must_use]
pub fn and(parts: &[String]) -> String {
    match parts {
        [] => String::new(),
        [one] => one.clone(),
        [rest @ .., last] => format!("{} and {last}", rest.join(", ")),
    }
}

/// `app=web,tier=front`, in the order of the keys.
#[must_use]
pub fn labels(map: Option<&Map<String, Value>>) -> String {
    let mut all: Vec<String> = map
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    all.sort();
    all.join(",")
}

/// A command of kubectl in a namespace.
#[must_use]
pub fn kubectl(namespace: &str, command: &str) -> String {
    match namespace {
        "" | "default" => format!("kubectl {command}"),
        // A command inside the pod comes after ` -- `.
        _ => match command.split_once(" -- ") {
            Some((ours, theirs)) => format!("kubectl {ours} -n {namespace} -- {theirs}"),
            None => format!("kubectl {command} -n {namespace}"),
        },
    }
}

/// One line, cut after so many characters.
#[must_use]
pub fn short(text: &str, most: usize) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= most {
        return line;
    }
    let cut: String = line.chars().take(most.saturating_sub(1)).collect();
    format!("{}…", cut.trim_end())
}

/// What stands between two marks.
#[must_use]
pub fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(before)?;
    let (inner, _) = rest.split_once(after)?;
    Some(inner)
}

/// How many slips lead from one word to another: letters that are wrong, lacking, too many or
/// exchanged with their neighbour (optimal string alignment). To find what was meant.
#[must_use]
#[allow(clippy::needless_range_loop)] // a table, whose cells look at their neighbours
pub fn distance(one: &str, other: &str) -> usize {
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    let mut rows = vec![vec![0; other.len() + 1]; one.len() + 1];
    for i in 0..=one.len() {
        for j in 0..=other.len() {
            if i == 0 || j == 0 {
                rows[i][j] = i + j;
                continue;
            }
            let wrong = rows[i - 1][j - 1] + usize::from(one[i - 1] != other[j - 1]);
            let mut best = wrong.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
            let exchanged =
                i > 1 && j > 1 && one[i - 1] == other[j - 2] && one[i - 2] == other[j - 1];
            if exchanged {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[one.len()][other.len()]
}

/// The nearest of some names, if it may have been meant.
#[must_use]
pub fn nearest<'a>(wanted: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let most = (wanted.chars().count() / 3).clamp(1, 4);
    let best = known
        .map(|name| (distance(wanted, name), name))
        .min_by_key(|(far, _)| *far)?;
    let contained = best.1.contains(wanted) || wanted.contains(best.1);
    (best.0 <= most || contained).then_some(best.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phrases_read_well() {
        assert_eq!(duration(41), "41 s");
        assert_eq!(duration(200), "3 min 20 s");
        assert_eq!(duration(600), "10 min");
        assert_eq!(duration(11_520), "3 h 12 min");
        assert_eq!(duration(187_200), "2 d 4 h");
        assert_eq!(
            (count(1, "pod"), count(0, "pod")),
            ("1 pod".into(), "0 pods".into())
        );
        assert_eq!(and(&["a".into(), "b".into(), "c".into()]), "a, b and c");
        assert_eq!(kubectl("default", "get pods"), "kubectl get pods");
        assert_eq!(
            kubectl("shop", "exec pod/a -- ls -n"),
            "kubectl exec pod/a -n shop -- ls -n"
        );
        assert_eq!(short("a\n b  c", 9), "a b c");
        assert_eq!(short("abcdef", 4), "abc…");
    }

    #[test]
    fn misspelt_names_are_recognised_and_others_are_not() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!((distance("wbe", "web"), distance("", "ab")), (1, 2));
        assert_eq!(
            nearest("frontent", ["frontend", "db"].into_iter()),
            Some("frontend")
        );
        assert_eq!(nearest("db", ["frontend", "mail"].into_iter()), None);
        assert_eq!(
            nearest("web", ["web-server"].into_iter()),
            Some("web-server")
        );
    }
}
