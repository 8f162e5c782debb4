//! A class's day, without a network.

use super::*;
use crate::identity::Identity;
use crate::message::StepState;

fn key() -> PublicKey {
    PublicKey::parse(&Identity::generate().unwrap().public()).unwrap()
}

fn joining(name: &str) -> Joining {
    Joining {
        name: name.into(),
        reports: true,
    }
}

fn report(step: usize) -> Report {
    let done = StepReport {
        seconds: 60,
        hints: 1,
        state: StepState::Done,
    };
    Report {
        lesson: "telescope".into(),
        step,
        steps: (0..4)
            .map(|i| {
                if i < step {
                    done
                } else {
                    StepReport::default()
                }
            })
            .collect(),
        open: true,
    }
}

#[test]
fn a_second_ada_has_a_number_and_nobody_takes_a_name() {
    let mut roll = Roll::default();
    let (a, b) = (key(), key());
    assert_eq!(roll.join(&a, 1, &joining("Ada"), 10).unwrap().name, "Ada");
    assert_eq!(
        roll.join(&b, 1, &joining(" ada "), 10).unwrap().name,
        "ada 2"
    );
    // Joining again is the same learner.
    assert_eq!(roll.join(&a, 2, &joining("Ada"), 11).unwrap().name, "Ada");
    assert_eq!(roll.len(), 2);
}

#[test]
fn requests_cannot_be_repeated() {
    let mut roll = Roll::default();
    let a = key();
    roll.join(&a, 5, &joining("Ada"), 10).unwrap();
    assert_eq!(roll.report(&a, 5, report(1), 11), Err(No::Number(5)));
    assert_eq!(roll.report(&a, 4, report(1), 11), Err(No::Number(5)));
    assert_eq!(roll.join(&a, 5, &joining("Eve"), 11), Err(No::Number(5)));
    roll.report(&a, 6, report(1), 11).unwrap();
    assert_eq!(roll.me(&key(), 1, 12), Err(No::NotJoined));
}

#[test]
fn who_does_not_agree_reports_nothing_and_who_changes_their_mind_is_cleared() {
    let mut roll = Roll::default();
    let a = key();
    let silent = Joining {
        name: "Ada".into(),
        reports: false,
    };
    roll.join(&a, 1, &silent, 1).unwrap();
    assert!(matches!(
        roll.report(&a, 2, report(1), 2),
        Err(No::Malformed(_))
    ));
    roll.join(&a, 3, &joining("Ada"), 3).unwrap();
    roll.report(&a, 4, report(2), 4).unwrap();
    roll.join(&a, 5, &silent, 5).unwrap();
    let (_, learner) = roll.learners().next().unwrap();
    assert!(learner.lessons.is_empty() && learner.lesson.is_none());
}

#[test]
fn help_keeps_its_place_until_the_teacher_has_been_there() {
    let mut roll = Roll::default();
    let a = key();
    roll.join(&a, 1, &joining("Ada"), 1).unwrap();
    let call = |words: &str| Call {
        asks: true,
        words: words.into(),
    };
    assert!(roll.call(&a, 2, &call("it hangs"), 100).unwrap().asked);
    roll.call(&a, 3, &call("still"), 200).unwrap();
    let help = roll.learners().next().unwrap().1.help.clone().unwrap();
    assert_eq!((help.since, help.words.as_str()), (100, "still"));
    assert!(roll.helped(&a.id()));
    assert!(!roll.me(&a, 4, 300).unwrap().asked);
    assert!(!roll.helped("nobody"));
}

#[test]
fn who_leaves_may_be_forgotten() {
    let mut roll = Roll::default();
    let (a, b) = (key(), key());
    for key in [&a, &b] {
        roll.join(key, 1, &joining("Ada"), 1).unwrap();
        roll.report(key, 2, report(2), 2).unwrap();
    }
    roll.take_changes();
    roll.leave(&a, 3, true, 3).unwrap();
    roll.leave(&b, 3, false, 3).unwrap();
    assert!(roll.is_empty());
    let changes = roll.take_changes();
    let gone = changes.iter().filter(|(_, row)| row.is_none()).count();
    assert_eq!((changes.len(), gone), (2, 1));
    assert_eq!(roll.report(&b, 4, report(3), 4), Err(No::NotJoined));
    roll.join(&b, 5, &joining("Ada"), 5).unwrap();
    assert_eq!(roll.len(), 1);
}

#[test]
fn rows_come_back() {
    let mut roll = Roll::default();
    let a = key();
    roll.join(&a, 1, &joining("Ada"), 1).unwrap();
    roll.report(&a, 2, report(3), 2).unwrap();
    let rows = roll.take_changes();
    assert!(roll.take_changes().is_empty());
    let kept = rows
        .iter()
        .map(|(id, row)| (id.as_str(), row.as_deref().unwrap()));
    let again = Roll::load(kept).unwrap();
    assert!(again.learners().eq(roll.learners()));
    assert!(Roll::load([("x", &b"{"[..])].into_iter()).is_none());
    roll.put_back(rows.into_iter().map(|(id, _)| id));
    assert_eq!(roll.take_changes().len(), 1);
}

#[test]
fn a_class_has_an_end_and_a_door() {
    let mut roll = Roll::default();
    for _ in 0..MOST_LEARNERS {
        roll.join(&key(), 1, &joining("x"), 1).unwrap();
    }
    assert_eq!(roll.join(&key(), 1, &joining("x"), 1), Err(No::Full));
    let mut roll = Roll::default();
    let a = key();
    roll.join(&a, 1, &joining("Ada"), 1).unwrap();
    roll.closed = true;
    assert_eq!(roll.join(&key(), 1, &joining("Eve"), 1), Err(No::Closed));
    roll.join(&a, 2, &joining("Ada"), 1).unwrap();
}

#[test]
fn what_cannot_be_is_refused() {
    let mut roll = Roll::default();
    let a = key();
    for name in ["", "  ", "\u{202e}\u{200b}", "\n\t\0"] {
        assert!(matches!(
            roll.join(&a, 1, &joining(name), 1),
            Err(No::Malformed(_))
        ));
    }
    roll.join(&a, 1, &joining("Ada"), 1).unwrap();
    let bad = [
        Report {
            lesson: "../etc".into(),
            ..report(1)
        },
        Report {
            lesson: "x".repeat(61),
            ..report(1)
        },
        Report {
            step: 9,
            ..report(1)
        },
        Report {
            steps: vec![StepReport::default(); MOST_STEPS + 1],
            ..report(1)
        },
    ];
    for report in bad {
        assert!(matches!(
            roll.report(&a, 2, report, 1),
            Err(No::Malformed(_))
        ));
    }
    for n in 0..MOST_LESSONS as u64 {
        let lesson = format!("l{n}");
        roll.report(
            &a,
            2 + n,
            Report {
                lesson,
                ..report(1)
            },
            1,
        )
        .unwrap();
    }
    assert!(matches!(
        roll.report(&a, 1000, report(1), 1),
        Err(No::Malformed(_))
    ));
}

#[test]
fn names_stay_on_their_line() {
    assert_eq!(tidy("  Ada \n  Lovelace ", 40), "Ada Lovelace");
    assert_eq!(
        tidy("<script>alert(1)</script>", 40),
        "<script>alert(1)</script>"
    );
    assert_eq!(tidy("a\u{202e}b", 40), "a b");
    assert_eq!(tidy(&"x".repeat(99), 40).chars().count(), 40);
    assert_eq!(tidy("日本語", 2), "日本");
}
