//! Small languages inside fields: quantities, schedules, rules.

use serde_json::json;
use time::OffsetDateTime;

use super::material::Choices;
use crate::cel::{Old, Program};
use crate::cron::Schedule;
use crate::quantity::Amount;

fn joined(choices: &mut Choices<'_>, words: &[&str], most: usize) -> String {
    let mut text = String::new();
    while choices.more() && text.len() < most {
        match choices.below(16) {
            0 => text.push_str(&choices.text()),
            _ => text.push_str(words[choices.below(words.len())]),
        }
    }
    text
}

/// A quantity is printed so that it reads the same, and sums do not overflow.
#[test]
fn quantity() {
    const WORDS: &[&str] = &[
        "0",
        "1",
        "9",
        "00",
        "999999999999999999999",
        ".",
        "-",
        "+",
        "e",
        "E",
        "n",
        "u",
        "m",
        "k",
        "M",
        "G",
        "T",
        "P",
        "Ki",
        "Mi",
        "Gi",
        "Ti",
        "Pi",
        "Ei",
        "i",
        " ",
        "e-9",
        "e30",
        "0.000000001",
    ];
    bolero::check!()
        .with_iterations(10_000)
        .for_each(|input: &[u8]| {
            let mut choices = Choices(input);
            let take = 1 + choices.below(24);
            let text = joined(&mut choices, WORDS, take);
            let Ok(read) = text.parse::<Amount>() else {
                return;
            };
            let printed = read.to_string();
            let again: Amount = printed
                .parse()
                .unwrap_or_else(|e| panic!("{text:?} as {printed:?}: {e}"));
            assert_eq!(again.quantity, read.quantity, "{text:?} as {printed:?}");
            let nothing = Amount::units(0);
            assert_eq!((read + nothing).quantity, read.quantity, "{text:?}");
            assert_eq!((read - read).quantity, nothing.quantity, "{text:?}");
            let _ = read + read + read;
            let _ = (read.quantity.millis(), read.quantity.value());
        });
}

/// A schedule names a later time, which it then names again from a minute before.
#[test]
fn cron() {
    const WORDS: &[&str] = &[
        "*",
        "?",
        " ",
        "/",
        "-",
        ",",
        "0",
        "1",
        "5",
        "12",
        "31",
        "59",
        "60",
        "99999999999",
        "mon",
        "jan",
        "SUN",
        "@every ",
        "@hourly",
        "1h",
        "1.5s",
        "9999999h",
        "TZ=UTC ",
        "L",
    ];
    let from = OffsetDateTime::from_unix_timestamp(1_790_000_000).expect("a time");
    bolero::check!()
        .with_iterations(3_000)
        .for_each(|input: &[u8]| {
            let mut choices = Choices(input);
            let text = match choices.chance(3) {
                true => joined(&mut choices, WORDS, 40),
                // Five fields are seldom met by chance.
                false => (0..5)
                    .map(|_| joined_field(&mut choices, WORDS))
                    .collect::<Vec<_>>()
                    .join(" "),
            };
            let Ok(schedule) = Schedule::parse(&text) else {
                return;
            };
            let from = from + time::Duration::seconds(i64::from(choices.byte()) * 86_399);
            if let Some(next) = schedule.next(from) {
                assert!(next > from, "{text:?}");
                if let Schedule::At { .. } = schedule {
                    assert_eq!(
                        schedule.next(next - time::Duration::minutes(1)),
                        Some(next),
                        "{text:?}"
                    );
                }
            }
        });
}

fn joined_field(choices: &mut Choices<'_>, words: &[&str]) -> String {
    let parts = 1 + choices.below(3);
    (0..parts)
        .map(|_| words[choices.below(words.len())].trim())
        .collect()
}

/// Any rule is refused, or answered within its budget.
#[test]
fn cel_rule() {
    const WORDS: &[&str] = &[
        "self",
        ".list",
        ".text",
        ".n",
        ".map",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        ",",
        ".",
        "?",
        ":",
        "!",
        "-",
        "+",
        " + ",
        "*",
        "/",
        "%",
        " == ",
        " != ",
        " < ",
        " in ",
        " && ",
        " || ",
        "'a'",
        "\"",
        "1",
        "0",
        "1u",
        "1.5",
        "true",
        "null",
        "x",
        "y",
        ".all(x, ",
        ".exists(y, ",
        ".map(x, ",
        ".filter(y, ",
        ".exists_one(x, ",
        "has(self.n)",
        "size(",
        "string(",
        "int(",
        ".replace('', self.text)",
        ".join()",
        ".join(self.text)",
        ".split('')",
        ".matches('(a*)*b')",
        ".sort()",
        ".distinct()",
        ".flatten()",
        ".slice(0, 1)",
        ".substring(1)",
        "[1, 2, 3]",
        "{'a': 1}",
        "optional.of(",
        "9223372036854775807",
        "dyn(",
        "type(",
        "b'a'",
        "r'\\'",
        "'''",
        "//",
        "\n",
    ];
    let this = json!({"list": (0..300).collect::<Vec<_>>(), "text": "a".repeat(2_000), "n": 1,
        "map": {"a": 1, "b": [{}, {}]}});
    bolero::check!()
        .with_iterations(3_000)
        .for_each(|input: &[u8]| {
            let mut choices = Choices(input);
            let mut rule = joined(&mut choices, WORDS, 400);
            if choices.chance(2) {
                // Close what is open, so that more rules can be read.
                let open = rule
                    .matches('(')
                    .count()
                    .saturating_sub(rule.matches(')').count());
                rule.push_str(&")".repeat(open));
            }
            if let Ok(program) = Program::compile(&rule) {
                let _ = program.holds(&this, Old::Was(&json!({})));
            }
        });
}

/// What loops within loops would take years, and what doubles its text would take all memory.
#[test]
fn rules_that_would_never_end_are_cut() {
    let this = json!({"list": (0..5_000).collect::<Vec<_>>(), "text": "a".repeat(30_000)});
    let nested = (0..8)
        .map(|n| format!("self.list.all(x{n}, "))
        .collect::<String>()
        + "true"
        + &")".repeat(8);
    let doubled = format!(
        "size(self.list.map(x, {})) > 0",
        vec!["self.text"; 50].join(" + ")
    );
    for rule in [
        nested.as_str(),
        &doubled,
        "size(self.text.replace('a', self.text)) > 0",
        "size(self.list.map(x, self.text).join(self.text)) > 0",
        "self.list.all(x, self.list == self.list.map(y, y))",
    ] {
        let program = Program::compile(rule).unwrap_or_else(|why| panic!("{rule}: {why}"));
        let error = program.holds(&this, Old::Nothing).expect_err(rule);
        assert!(error.contains("cost limit exceeded"), "{rule}: {error}");
    }
}

/// Trees as deep as a rule is long would overflow the stack.
#[test]
fn rules_nested_too_deeply_are_refused() {
    for rule in [
        format!("1{} == 1", " + 1".repeat(2_400)),
        format!("self{}", ".a".repeat(4_900)),
        format!("{}1{}", "[".repeat(4_000), "]".repeat(4_000)),
        format!("self{}", "[0]".repeat(3_000)),
        format!("{}true{}", "true ? (".repeat(900), ") : false".repeat(100)),
    ] {
        assert!(Program::compile(&rule).is_err(), "{}", &rule[..20]);
    }
    // Pairs of signs cancel out before anything nests.
    for sign in ["!", "-"] {
        let _ = Program::compile(&format!("{}self", sign.repeat(9_000)));
    }
}
