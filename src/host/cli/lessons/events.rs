//! A lesson as JSON, one event a line: the engine's own events under names like the rest of
//! Cadet's (`step.shown`, `not.yet`), and the words of each step.

use std::sync::Arc;

use cadet_tutorial::event::Event;
use cadet_tutorial::model::{Block, Lesson};
use serde_json::{Value, json};

use super::session::Voice;
use crate::ui;

/// See the module.
pub struct Events {
    lesson: Arc<Lesson>,
}

impl Events {
    /// Events of `lesson`.
    pub fn new(lesson: Arc<Lesson>) -> Self {
        Self { lesson }
    }
}

impl Voice for Events {
    fn begin(&mut self, folder: &str, _: bool) {
        ui::say(
            &json!({"type": "lesson", "lesson": self.lesson.name, "title": self.lesson.title,
                "minutes": self.lesson.minutes, "steps": self.lesson.steps.len(),
                "folder": folder})
            .to_string(),
        );
    }

    fn event(&mut self, event: &Event) {
        let mut line = named(event);
        if let Event::StepShown { step, .. } = event
            && let Some(step) = self.lesson.steps.get(*step)
        {
            let mut text = Vec::new();
            let mut run = Vec::new();
            for block in &step.blocks {
                match block {
                    Block::Prose { text: words, .. } => text.push(words.as_str()),
                    Block::Run(block) => {
                        run.extend(block.script.commands().map(|c| c.text.as_str()));
                    }
                    Block::Shown { .. } | Block::File(_) | Block::Guest(_) => {}
                }
            }
            line["text"] = json!(text.join("\n\n"));
            line["run"] = json!(run);
        }
        ui::say(&line.to_string());
    }

    fn note(&mut self, text: &str) {
        ui::say(&json!({"type": "note", "message": text}).to_string());
    }

    fn is_busy(&self) -> bool {
        false
    }

    fn end(&mut self) {}
}

/// The event with its name in our manner: `stepShown` is `step.shown`.
pub fn named(event: &Event) -> Value {
    let mut line = json!(event);
    let name = line["event"].as_str().unwrap_or_default();
    let mut dotted = String::new();
    for c in name.chars() {
        if c.is_ascii_uppercase() {
            dotted.push('.');
        }
        dotted.push(c.to_ascii_lowercase());
    }
    if let Some(fields) = line.as_object_mut() {
        fields.remove("event");
        fields.insert("type".into(), json!(dotted));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dotted_as_everywhere() {
        let event = Event::NoMoreHints { total: 2 };
        assert_eq!(named(&event), json!({"type": "no.more.hints", "total": 2}));
        let event = Event::StepShown {
            step: 0,
            total: 3,
            title: "One".into(),
        };
        assert_eq!(named(&event)["type"], "step.shown");
    }
}
