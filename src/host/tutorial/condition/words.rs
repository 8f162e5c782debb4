//! Conditions in words, as the learner sees what a step waits for.

use std::fmt;

use super::{Ask, Compare, Condition, Expect, Http, Many, Order, Wanted, What};

impl Compare {
    /// Whether a number is as wanted.
    pub fn fits(self, number: i64) -> bool {
        match self.op {
            Order::Equal => number == self.than,
            Order::NotEqual => number != self.than,
            Order::AtLeast => number >= self.than,
            Order::AtMost => number <= self.than,
            Order::More => number > self.than,
            Order::Less => number < self.than,
        }
    }

    /// Parses `4`, `== 4`, `>= 3`, `<5`.
    pub fn parse(text: &str) -> Option<Compare> {
        let text = text.trim();
        let signs = [
            ("==", Order::Equal),
            ("!=", Order::NotEqual),
            (">=", Order::AtLeast),
            ("<=", Order::AtMost),
            (">", Order::More),
            ("<", Order::Less),
        ];
        let signed = signs
            .into_iter()
            .find_map(|(sign, op)| Some((op, text.strip_prefix(sign)?)));
        let (op, number) = signed.unwrap_or((Order::Equal, text));
        let than = number.trim().parse().ok()?;
        Some(Compare { op, than })
    }
}

/// `4`, `3 or more`.
impl fmt::Display for Compare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let than = self.than;
        match self.op {
            Order::Equal => write!(f, "{than}"),
            Order::NotEqual => write!(f, "other than {than}"),
            Order::AtLeast => write!(f, "{than} or more"),
            Order::AtMost => write!(f, "{than} or fewer"),
            Order::More => write!(f, "more than {than}"),
            Order::Less => write!(f, "fewer than {than}"),
        }
    }
}

/// `pod/web ready`, `4 pods (app=web) ready`, `http://web/ answers with "hello"`.
impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.what {
            What::Object(target, wanted) => write!(f, "{target}{}", like(wanted, "there")),
            What::Objects(many, wanted) => write!(f, "{many}{}", like(wanted, "")),
            What::Absent(target) => write!(f, "{target} gone"),
            What::Http(http) => write!(f, "{http}"),
            What::Output(command, expect) => write!(f, "`{}` prints {expect}", command.text),
            What::File(path, expect) if *expect == Expect::default() => write!(f, "file {path}"),
            What::File(path, expect) => write!(f, "file {path} has {expect}"),
            What::Asked(ask) => write!(f, "you ask the cluster to {ask}"),
            What::Done => f.write_str("you have done it"),
        }
    }
}

impl fmt::Display for Many {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let noun = match self.count {
            Compare {
                op: Order::Equal,
                than: 1,
            } => self.kind.singular(),
            _ => self.kind.plural(),
        };
        match self.count {
            Compare {
                op: Order::Equal,
                than: 0,
            } => write!(f, "no {}", self.kind.singular())?,
            count => write!(f, "{count} {noun}")?,
        }
        let picked: Vec<&str> = [&self.selector, &self.field]
            .into_iter()
            .filter_map(|text| text.as_deref())
            .collect();
        match picked.is_empty() {
            true => Ok(()),
            false => write!(f, " ({})", picked.join(", ")),
        }
    }
}

impl fmt::Display for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} answers", self.request.url)?;
        if let Some(status) = self.status {
            write!(f, " {status}")?;
        }
        match self.expect == Expect::default() {
            true => Ok(()),
            false => write!(f, " with {}", self.expect),
        }
    }
}

impl fmt::Display for Expect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.contains, &self.matches) {
            (Some(text), None) => write!(f, "\"{text}\""),
            (None, Some(pattern)) => write!(f, "something like /{pattern}/"),
            (Some(text), Some(pattern)) => write!(f, "\"{text}\" and something like /{pattern}/"),
            (None, None) => f.write_str("anything"),
        }
    }
}

/// `list pods`, `create pods/exec`.
impl fmt::Display for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.resource)?;
        if !self.subresource.is_empty() {
            write!(f, "/{}", self.subresource)?;
        }
        match &self.name {
            Some(name) => write!(f, " {name}"),
            None => Ok(()),
        }
    }
}

/// What an object is to be like, after its name; `plain` where nothing is said.
fn like(wanted: &Wanted, plain: &str) -> String {
    let mut words: Vec<String> = Vec::new();
    if wanted.since_step {
        words.push("made in this step".to_owned());
    }
    match wanted.ready {
        Some(true) => words.push("ready".to_owned()),
        Some(false) => words.push("not ready".to_owned()),
        None => {}
    }
    words.extend(wanted.fits.iter().map(|w| w.text.clone()));
    if let Some(restarts) = wanted.restarts {
        words.push(format!("restarted {restarts} times"));
    }
    if words.is_empty() && !plain.is_empty() {
        words.push(plain.to_owned());
    }
    match words.is_empty() {
        true => String::new(),
        false => format!(" {}", words.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_compared() {
        for (text, number, want) in [
            ("4", 4, true),
            ("4", 5, false),
            (">= 3", 3, true),
            (">=3", 2, false),
            ("<= 3", 3, true),
            ("> 3", 3, false),
            ("< 3", 2, true),
            ("!= 0", 0, false),
            ("== 0", 0, true),
        ] {
            assert_eq!(
                Compare::parse(text).unwrap().fits(number),
                want,
                "{text} {number}"
            );
        }
        for bad in ["", "x", ">=", "3 pods", "=> 3"] {
            assert_eq!(Compare::parse(bad), None, "{bad}");
        }
        assert_eq!(Compare::parse(">= 3").unwrap().to_string(), "3 or more");
    }
}
