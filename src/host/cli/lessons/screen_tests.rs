//! What stands on the terminal after everything was drawn, cleared and drawn anew.

use std::collections::BTreeMap;
use std::fs::File;

use cadet_tutorial::event::Reason;
use cadet_tutorial::world::Stream;
use cadet_tutorial::{Folder, load};
use console::measure_text_width;

use super::*;

const LESSON: &str = "---
format: 1
title: A rocket
summary: A rocket.
minutes: 10
---
Welcome.

## The first stage

It burns first.

```run
kubectl get pods
```
```watch
- asked: list pods
```

## The second stage

Nothing to run here.

```watch
- done: true
```
";

/// A screen that writes into a file.
struct Watched {
    screen: Screen,
    file: tempfile::NamedTempFile,
}

impl Watched {
    fn new(columns: usize) -> Self {
        let files = BTreeMap::from([("lesson.md".to_owned(), LESSON.as_bytes().to_vec())]);
        let (lesson, _) = load::load(&Folder::from_files("01-rocket", files));
        let file = tempfile::NamedTempFile::new().unwrap();
        let open = || File::options().append(true).open(file.path()).unwrap();
        let term = Term::read_write_pair(open(), open());
        let mut screen = Screen::on(term, Arc::new(lesson));
        screen.columns = Some(columns);
        Self { screen, file }
    }

    fn tell(&mut self, events: &[Event]) {
        for event in events {
            self.screen.event(event);
        }
    }

    /// The lines a terminal would show.
    fn shown(&self) -> Vec<String> {
        emulate(&std::fs::read_to_string(self.file.path()).unwrap())
    }
}

/// As much of a terminal as the screen uses: lines, cursor up and down, clearing a line.
fn emulate(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut row = 0;
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        match c {
            '\n' => {
                row += 1;
                if row == lines.len() {
                    lines.push(String::new());
                }
            }
            '\r' => {}
            '\x1b' => {
                let end = rest.find(|c: char| c.is_ascii_alphabetic()).unwrap();
                let number = rest[1..end].parse().unwrap_or(1);
                match rest.as_bytes()[end] {
                    b'A' => row -= number,
                    b'B' => row = (row + number).min(lines.len() - 1),
                    b'K' => lines[row].clear(),
                    other => panic!("the emulator knows no {}", char::from(other)),
                }
                rest = &rest[end + 1..];
            }
            c => lines[row].push(c),
        }
    }
    lines
}

fn waiting(holds: bool) -> Event {
    let conditions = vec![LiveCondition {
        wanted: "kubectl lists pods".into(),
        holds,
        lines: vec!["nothing was asked yet".into()],
    }];
    Event::Live { conditions }
}

fn not_yet(reason: &str) -> Event {
    Event::NotYet {
        reason: reason.into(),
        by: Reason::Condition,
    }
}

fn first_step() -> [Event; 4] {
    [
        Event::Preparing {
            lesson: "rocket".into(),
        },
        Event::StepShown {
            step: 0,
            total: 2,
            title: "The first stage".into(),
        },
        waiting(false),
        not_yet("nobody asked"),
    ]
}

#[test]
fn the_live_part_stands_once_at_the_bottom() {
    console::set_colors_enabled(false);
    let mut watched = Watched::new(80);
    watched.screen.begin("/home/me/cadet-lessons/rocket", true);
    watched.tell(&first_step());
    watched.tell(&[not_yet("nobody asked for pods, and nothing else is wrong")]);
    let all = watched.shown().join("\n");
    assert_eq!(all.matches("waiting for").count(), 1, "{all}");
    assert_eq!(all.matches("not yet because").count(), 1, "{all}");
    assert_eq!(all.matches("[Enter] run").count(), 1, "{all}");
    assert!(all.contains("nothing else is wrong"), "{all}");
    assert!(!all.contains("making the place ready"), "{all}");
    let order = [
        "Welcome.",
        "Step 1 of 2",
        "  run   kubectl get pods",
        "waiting for",
        "[Enter]",
    ];
    let places: Vec<usize> = order.iter().map(|text| all.find(text).unwrap()).collect();
    assert!(places.is_sorted(), "{all}");
}

#[test]
fn output_scrolls_above_and_completion_changes_the_keys() {
    console::set_colors_enabled(false);
    let mut watched = Watched::new(80);
    watched.tell(&first_step());
    watched.tell(&[
        Event::Doing {
            doing: Doing::Command,
            what: "kubectl get pods".into(),
        },
        Event::Output {
            stream: Stream::Out,
            text: "NAME   REA".into(),
        },
        Event::Output {
            stream: Stream::Out,
            text: "DY\nweb    1/1\nlast".into(),
        },
    ]);
    assert!(watched.screen.is_busy());
    let all = watched.shown().join("\n");
    assert!(all.contains("NAME   READY\nweb    1/1\n"), "{all}");
    assert!(
        all.contains("end the command") && !all.contains("[Enter]"),
        "{all}"
    );
    watched.tell(&[
        Event::Ended {
            what: "kubectl get pods".into(),
            code: 1,
            seconds: 0.1,
        },
        Event::Completed {
            step: 0,
            total: 2,
            seconds: 200,
            how: How::Done,
        },
    ]);
    let all = watched.shown().join("\n");
    assert!(all.contains("\nlast\n"), "{all}");
    assert!(all.contains("ended with exit code 1"), "{all}");
    assert!(all.contains("✓ done, after 3 min 20 s"), "{all}");
    assert!(
        all.contains("[Enter] go on") && !all.contains("waiting for"),
        "{all}"
    );
    watched.screen.end();
    let all = watched.shown().join("\n");
    assert!(!all.contains("[Enter]"), "{all}");
}

#[test]
fn trouble_is_told_once_and_steps_without_commands_offer_next() {
    console::set_colors_enabled(false);
    let mut watched = Watched::new(80);
    let trouble = Event::Trouble {
        what: "the cluster does not answer".into(),
        fix: Some("cadet start".into()),
    };
    watched.tell(&[
        Event::StepShown {
            step: 1,
            total: 2,
            title: "The second stage".into(),
        },
        trouble.clone(),
        trouble,
    ]);
    let all = watched.shown().join("\n");
    assert_eq!(all.matches("does not answer").count(), 1, "{all}");
    assert!(all.contains("fix   cadet start"), "{all}");
    assert!(
        all.contains("[n] next") && !all.contains("[Enter] run"),
        "{all}"
    );
}

#[test]
fn forty_columns_are_enough() {
    console::set_colors_enabled(false);
    let mut watched = Watched::new(40);
    watched.screen.begin("/home/me/cadet-lessons/rocket", true);
    watched.tell(&first_step());
    watched
        .screen
        .note("your own app/main.py is kept as app/main.py.yours");
    for line in watched.shown() {
        assert!(measure_text_width(&line) < 40, "{line}");
    }
}

/// What a machine without a registry says before the first step.
const INSTEAD: &str = "docker.io/meteorhacks/telescope: The image of 2015 has a format that \
    today's Docker refuses and knows one kind of processor only, so Cadet's own link-sharing \
    app runs.\n";

#[test]
fn words_about_images_are_broken_between_words() {
    console::set_colors_enabled(false);
    for columns in [80, 40] {
        let mut watched = Watched::new(columns);
        let output = |text: &str| Event::Output {
            stream: Stream::Out,
            text: text.into(),
        };
        let (first, second) = INSTEAD.split_at(60);
        watched.tell(&[
            Event::Preparing {
                lesson: "rocket".into(),
            },
            output(first),
            output(second),
        ]);
        let lines = watched.shown();
        for line in &lines {
            assert!(measure_text_width(line) < columns, "{columns}: {line}");
        }
        let shown: Vec<&str> = lines.iter().flat_map(|l| l.split_whitespace()).collect();
        let said: Vec<&str> = INSTEAD.split_whitespace().collect();
        let found = shown.windows(said.len()).any(|part| part == said);
        assert!(
            found,
            "each word is whole, at {columns} columns: {lines:#?}"
        );
        // What a command prints is not ours to break.
        let long = "x ".repeat(60);
        watched.tell(&first_step()[1..]);
        watched.tell(&[output(&format!("{long}\n"))]);
        assert!(watched.shown().contains(&long), "{:#?}", watched.shown());
    }
}
