//! What a class did, without names: comma-separated values (RFC 4180).
//!
//! Learners are numbered in an order that is drawn anew for each export, so that neither the
//! alphabet nor the order of joining gives a name away.

use crate::error::Result;
use crate::key;
use crate::message::StepState;
use crate::roll::{Learner, Roll};

/// One line per learner and step.
///
/// # Errors
/// [`crate::ClassError::Key`] when the system gives no random numbers.
pub fn steps(roll: &Roll) -> Result<String> {
    let salt: [u8; 32] = key::secret()?;
    let mut out = String::from("learner,lesson,step,state,seconds,hints\r\n");
    let mut shuffled: Vec<([u8; 32], &Learner)> = roll
        .learners()
        .map(|(id, learner)| {
            let drawn = [&salt[..], id.as_bytes()].concat();
            (key::fingerprint_of(&drawn), learner)
        })
        .collect();
    shuffled.sort_by_key(|(drawn, _)| *drawn);
    let reporting = shuffled.iter().filter(|(_, l)| !l.lessons.is_empty());
    for (number, (_, learner)) in reporting.enumerate() {
        for (lesson, standing) in &learner.lessons {
            for (index, step) in standing.steps.iter().enumerate() {
                let state = match step.state {
                    StepState::Open if index == standing.step => "open",
                    StepState::Open => continue,
                    StepState::Done => "done",
                    StepState::Solved => "solved",
                    StepState::Skipped => "skipped",
                };
                // Names of lessons are letters, digits and -_. (see `Roll::report`).
                out.push_str(&format!(
                    "{},{lesson},{},{state},{},{}\r\n",
                    number + 1,
                    index + 1,
                    step.seconds,
                    step.hints
                ));
            }
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::{Identity, PublicKey};
    use crate::message::Joining;
    use crate::need::after;

    #[test]
    fn no_name_no_key_and_no_words_leave_the_class() {
        let mut roll = Roll::default();
        let mut secrets = Vec::new();
        for name in ["Ada", "Grace", "=HYPERLINK(1)"] {
            let key = PublicKey::parse(&Identity::generate().unwrap().public()).unwrap();
            let joining = Joining {
                name: name.into(),
                reports: name != "Grace",
            };
            roll.join(&key, 1, &joining, 1).unwrap();
            if joining.reports {
                roll.report(&key, 2, after("telescope", 2, 4, 30), 1)
                    .unwrap();
            }
            secrets.extend([name.to_owned(), key.id(), key.text()]);
        }
        let table = steps(&roll).unwrap();
        for secret in secrets {
            assert!(!table.contains(&secret), "{table}");
        }
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines.len(), 1 + 2 * 3, "{table}");
        assert!(lines.contains(&"1,telescope,1,done,30,0"), "{table}");
        assert!(lines.contains(&"2,telescope,3,open,30,0"), "{table}");
    }
}
