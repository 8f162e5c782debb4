//! The pages of a scenario: Markdown with marks behind commands.
//!
//! `` `kubectl get pods`{{exec}} `` in a line, a mark behind the closing fence of a block;
//! `{{execute}}`, `{{exec interrupt}}` and `{{execute HOST1}}` mean the same, `{{copy}}` and
//! `{{open}}` run nothing.

/// One part of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    Prose(String),
    Shown {
        info: String,
        text: String,
    },
    /// Marked to be run.
    Commands(String),
}

/// Parts a page. A heading becomes a small one, because `##` begins a step of a lesson.
pub(super) fn parts(text: &str) -> Vec<Part> {
    let mut out = Vec::new();
    let mut prose: Vec<String> = Vec::new();
    // Commands marked within the paragraph: they are run behind it.
    let mut marked: Vec<String> = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let bare = line.trim_start();
        let fence = ["```", "~~~"]
            .into_iter()
            .find(|fence| bare.starts_with(*fence));
        let alone = fence.filter(|fence| !bare[3..].contains(&fence[..1]));
        if let Some(fence) = alone {
            end(&mut prose, &mut marked, &mut out);
            let info = bare.trim_start_matches(['`', '~']).trim().to_owned();
            let mut inside = String::new();
            let mut run = info.contains("{{exec");
            for line in lines.by_ref() {
                let bare = line.trim_start();
                if let Some(rest) = bare.strip_prefix(fence) {
                    run |= rest.contains("{{exec");
                    break;
                }
                inside.push_str(line);
                inside.push('\n');
            }
            let info = info
                .split("{{")
                .next()
                .unwrap_or_default()
                .trim()
                .to_owned();
            out.push(match run {
                true => Part::Commands(inside),
                false => Part::Shown { info, text: inside },
            });
            continue;
        }
        if bare.is_empty() {
            end(&mut prose, &mut marked, &mut out);
            continue;
        }
        prose.push(heading(&unmarked(line, &mut marked)));
    }
    end(&mut prose, &mut marked, &mut out);
    out
}

fn end(prose: &mut Vec<String>, marked: &mut Vec<String>, out: &mut Vec<Part>) {
    if !prose.is_empty() {
        let text = prose.join("\n");
        let text = text.trim().to_owned();
        // A line that was nothing but a command is said by the block below it.
        let only_command = marked.len() == 1 && text == format!("`{}`", marked[0]);
        if !text.is_empty() && !only_command {
            out.push(Part::Prose(text));
        }
        prose.clear();
    }
    if !marked.is_empty() {
        out.push(Part::Commands(format!("{}\n", marked.join("\n"))));
        marked.clear();
    }
}

/// The line without its marks; the commands marked to be run go to `marked`.
fn unmarked(line: &str, marked: &mut Vec<String>) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some(at) = rest.find("`{{") {
        let (before, after) = rest.split_at(at + 1);
        let Some((mark, next)) = after[2..].split_once("}}") else {
            break;
        };
        out.push_str(before);
        let inner = before[..before.len() - 1]
            .rsplit('`')
            .next()
            .unwrap_or_default();
        if mark.starts_with("exec") && !inner.trim().is_empty() {
            marked.push(inner.trim().to_owned());
        }
        rest = next;
    }
    out.push_str(rest);
    out
}

fn heading(line: &str) -> String {
    let hashes = line.len() - line.trim_start_matches('#').len();
    match (1..=2).contains(&hashes) && line[hashes..].starts_with(' ') {
        true => format!("###{}", &line[hashes..]),
        false => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prose(text: &str) -> Part {
        Part::Prose(text.to_owned())
    }

    fn commands(text: &str) -> Part {
        Part::Commands(text.to_owned())
    }

    #[test]
    fn marks_are_read_within_lines_and_behind_blocks() {
        let text = "# Pods\nRun `kubectl get pods`{{exec}} and `kubectl get nodes`{{execute}}, \
                    but copy `x`{{copy}}.\n\n```\nkubectl get svc\n```{{exec}}\n\n```yaml\na: 1\n\
                    ```{{copy}}\n\n`kubectl version`{{exec interrupt}}\n";
        assert_eq!(
            parts(text),
            [
                prose("### Pods\nRun `kubectl get pods` and `kubectl get nodes`, but copy `x`."),
                commands("kubectl get pods\nkubectl get nodes\n"),
                commands("kubectl get svc\n"),
                Part::Shown {
                    info: "yaml".to_owned(),
                    text: "a: 1\n".to_owned()
                },
                commands("kubectl version\n"),
            ]
        );
    }

    #[test]
    fn headings_become_small_ones() {
        assert_eq!(
            parts("## A\n\n### B\n\n#no"),
            [prose("### A"), prose("### B"), prose("#no"),]
        );
    }

    #[test]
    fn what_is_not_marked_stays() {
        assert_eq!(parts("a `b` c"), [prose("a `b` c")]);
        assert_eq!(parts("a `b`{{c"), [prose("a `b`{{c")]);
        assert_eq!(parts("```inline``` code"), [prose("```inline``` code")]);
    }
}
