//! Small words that stories are made of.

use cadet_api::json::{list_at, str_at};
use serde_json::Value;

/// `ReplicaSet` as `replica set`.
pub fn kind_words(kind: &str) -> String {
    let mut words = String::with_capacity(kind.len() + 4);
    let mut before_is_small = false;
    for c in kind.chars() {
        if c.is_uppercase() && before_is_small {
            words.push(' ');
        }
        before_is_small = c.is_lowercase();
        words.extend(c.to_lowercase());
    }
    words
}

/// `3 endpoints`, `1 endpoint`, `no endpoints`.
pub fn counted(number: usize, one: &str) -> String {
    match number {
        0 => format!("no {one}s"),
        1 => format!("1 {one}"),
        number => format!("{number} {one}s"),
    }
}

/// The condition of that type in an object's status.
pub fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    let mut conditions = list_at(object, "/status/conditions").iter();
    conditions.find(|condition| str_at(condition, "/type") == kind)
}

/// Its message, or its reason where there is none.
pub fn because(condition: &Value) -> &str {
    match str_at(condition, "/message") {
        "" => str_at(condition, "/reason"),
        message => message,
    }
}

/// The text between the first pair of double quotes.
pub fn quoted(text: &str) -> Option<&str> {
    text.split('"').nth(1).filter(|inside| !inside.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_made_of_names() {
        assert_eq!(kind_words("ReplicaSet"), "replica set");
        assert_eq!(kind_words("Pod"), "pod");
        assert_eq!(kind_words("CSIDriver"), "csidriver");
        assert_eq!(counted(0, "endpoint"), "no endpoints");
        assert_eq!(counted(1, "endpoint"), "1 endpoint");
        assert_eq!(counted(2, "endpoint"), "2 endpoints");
        assert_eq!(quoted("image \"a:1\" is \"b\""), Some("a:1"));
        assert_eq!(quoted("no quotes"), None);
    }
}
