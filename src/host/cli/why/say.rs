//! Says an answer: lines for people, one object for programs.

use cadet_why::{Answer, Mood, Target};
use serde_json::{Value, json};

/// Column of what stands behind a label.
const LABEL: usize = 10;

/// The block for people, folded at `width` columns; commands are never folded.
pub fn lines(answer: &Answer, width: usize) -> Vec<String> {
    let mut out = fold(&answer.headline, width);
    let mut row = |label: &str, text: &str| {
        // Label, two blanks before it and one behind.
        let room = width.saturating_sub(LABEL + 3);
        for (i, part) in fold(text, room).into_iter().enumerate() {
            let label = if i == 0 { label } else { "" };
            out.push(format!("  {label:<LABEL$} {part}"));
        }
    };
    let mut before = "";
    for (label, text) in &answer.evidence {
        let shown = if label == before { "" } else { label.as_str() };
        row(shown, text);
        before = label;
    }
    if let Some(since) = &answer.since {
        row("since", since);
    }
    if !answer.confident && answer.cause.mood() == Mood::Fault {
        row("sure", "no: this is possible, and not proven");
    }
    for (i, command) in answer.next.iter().enumerate() {
        let label = if i == 0 { "next" } else { "" };
        out.push(format!("  {label:<LABEL$} {command}"));
    }
    out
}

/// Breaks a text at blanks into lines of at most `width` columns.
fn fold(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// The object for programs.
pub fn object(target: &Target, answer: &Answer) -> Value {
    let evidence: Vec<Value> = answer
        .evidence
        .iter()
        .map(|(label, text)| json!({"label": label, "text": text}))
        .collect();
    json!({
        "type": "why", "object": target.to_string(), "namespace": target.namespace,
        "cause": answer.cause.id(), "fault": answer.is_fault(), "confident": answer.confident,
        "headline": answer.headline, "evidence": evidence, "since": answer.since,
        "next": answer.next,
    })
}

#[cfg(test)]
mod tests {
    use cadet_why::{Cause, Kind};

    use super::*;

    fn answer() -> Answer {
        Answer::new(
            Cause::NoRoom,
            "pod/hello is Pending because no node has room for it.",
        )
        .with("evidence", "asks for 3 CPU; node cadet has 2")
        .with("evidence", "node other has 1")
        .since(Some("40 s".into()))
        .then("kubectl get nodes")
        .then("kubectl get pods")
    }

    #[test]
    fn an_answer_reads_as_the_storyboard() {
        let text = lines(&answer(), usize::MAX).join("\n");
        assert_eq!(
            text,
            "pod/hello is Pending because no node has room for it.\n\
             \x20 evidence   asks for 3 CPU; node cadet has 2\n\
             \x20            node other has 1\n\
             \x20 since      40 s\n\
             \x20 next       kubectl get nodes\n\
             \x20            kubectl get pods"
        );
    }

    #[test]
    fn narrow_terminals_get_folded_lines_and_whole_commands() {
        let text = lines(&answer(), 40);
        assert_eq!(text[0], "pod/hello is Pending because no node has");
        assert!(
            text.iter().all(|line| line.chars().count() <= 40),
            "{text:#?}"
        );
        let long = answer().then("kubectl ".repeat(20));
        let last = lines(&long, 40).pop().unwrap();
        assert!(last.chars().count() > 100);
    }

    #[test]
    fn doubt_is_told() {
        let text = lines(&answer().unsure(), 80).join("\n");
        assert!(text.contains("not proven"), "{text}");
        let target = Target::new(Kind::Pod, "d", "hello");
        let object = object(&target, &answer());
        assert_eq!(object["cause"], "NO_ROOM");
        assert_eq!(
            (&object["fault"], &object["confident"]),
            (&json!(true), &json!(true))
        );
    }
}
