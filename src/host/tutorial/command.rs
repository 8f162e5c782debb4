//! Commands of lessons: split into words as a shell would, without a shell.
//!
//! Quoting follows POSIX.1-2017, Shell Command Language, 2.2. What only a shell can do (pipes,
//! variables, redirections, patterns) is refused, because Enter runs the words as they are.

use crate::model::{Command, Script, ScriptLine};

/// Why a line is no command.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    #[error("the command is empty")]
    Empty,
    #[error("a quote ({0}) is opened and not closed")]
    OpenQuote(char),
    #[error("the command ends with a lone \\")]
    LoneBackslash,
    #[error("`{0}` needs a shell, and commands of lessons run without one")]
    Shell(String),
}

impl CommandError {
    /// What the author can do.
    pub fn fix(&self) -> String {
        match self {
            CommandError::Empty => "write a command, or remove the line".to_owned(),
            CommandError::OpenQuote(quote) => format!("close it with {quote}"),
            CommandError::LoneBackslash => {
                "remove it, or continue the command in the next line".to_owned()
            }
            CommandError::Shell(what) => match what.as_str() {
                "|" => "ask the program itself: `-o jsonpath=…`, `-l`, `--field-selector`",
                "&&" | ";" => "write each command in a line of its own",
                "&" => "use a block `run background`",
                ">" | "<" => "give the learner the content in a `file` block",
                "$" | "`" => "write the value itself; in single quotes a $ is only a $",
                "~" => "name files below the lesson folder",
                "=" => "leave the variable out; programs get no variables here",
                _ => "put it in single quotes, or write it another way",
            }
            .to_owned(),
        }
    }
}

/// One command of several lines (continued by `\`) as a [`Command`].
///
/// # Errors
/// The text is no command that can run without a shell.
pub fn parse(text: &str, line: u32) -> Result<Command, CommandError> {
    let argv = split(text)?;
    match argv.first() {
        None => Err(CommandError::Empty),
        Some(word) if is_assignment(word) => Err(CommandError::Shell("=".to_owned())),
        Some(_) => Ok(Command {
            text: text.trim().to_owned(),
            argv,
            line,
        }),
    }
}

/// The lines of a script: remarks and commands; `first` is the line number of its first line.
/// Every line that is no command comes back with its number.
pub fn script(text: &str, first: u32) -> (Script, Vec<(u32, CommandError)>) {
    let mut script = Script::default();
    let mut wrong = Vec::new();
    let mut open: Option<(String, u32)> = None;
    for (number, line) in (first..).zip(text.lines()) {
        let trimmed = line.trim();
        if open.is_none() {
            if trimmed.is_empty() {
                continue;
            }
            if let Some(remark) = trimmed.strip_prefix('#') {
                let remark = ScriptLine::Remark(remark.trim().to_owned());
                script.lines.push(remark);
                continue;
            }
        }
        let (mut whole, start) = match open.take() {
            Some((before, start)) => (format!("{before}\n{line}"), start),
            None => (line.to_owned(), number),
        };
        if continues(&whole) {
            open = Some((whole, start));
            continue;
        }
        whole.truncate(whole.trim_end().len());
        match parse(&whole, start) {
            Ok(command) => script.lines.push(ScriptLine::Command(command)),
            Err(error) => wrong.push((start, error)),
        }
    }
    if let Some((_, start)) = open {
        wrong.push((start, CommandError::LoneBackslash));
    }
    (script, wrong)
}

/// An odd number of backslashes at the very end carries the command into the next line.
fn continues(text: &str) -> bool {
    let slashes = text.chars().rev().take_while(|c| *c == '\\').count();
    slashes % 2 == 1
}

/// The words of a command.
///
/// # Errors
/// A quote is open, or a shell is needed.
pub fn split(text: &str) -> Result<Vec<String>, CommandError> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = text.chars().peekable();
    let shell = |what: &str| Err(CommandError::Shell(what.to_owned()));
    while let Some(c) = chars.next() {
        match c {
            ' ' | '\t' | '\n' => words.extend(word.take()),
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next() {
                        Some('\'') => break,
                        Some(c) => word.push(c),
                        None => return Err(CommandError::OpenQuote('\'')),
                    }
                }
            }
            '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next() {
                        Some('"') => break,
                        Some('\\') => match chars.next() {
                            Some('\n') => {}
                            Some(c @ ('$' | '`' | '"' | '\\')) => word.push(c),
                            Some(c) => word.extend(['\\', c]),
                            None => return Err(CommandError::OpenQuote('"')),
                        },
                        Some(c @ ('$' | '`')) => return shell(&c.to_string()),
                        Some(c) => word.push(c),
                        None => return Err(CommandError::OpenQuote('"')),
                    }
                }
            }
            '\\' => match chars.next() {
                // A continued line: the two are gone, and they do not part words by themselves.
                Some('\n') => {}
                Some(c) => word.get_or_insert_default().push(c),
                None => return Err(CommandError::LoneBackslash),
            },
            '#' if word.is_none() => break,
            '&' if chars.peek() == Some(&'&') => return shell("&&"),
            '|' | '&' | ';' | '<' | '>' | '(' | ')' | '$' | '`' => return shell(&c.to_string()),
            '~' if word.is_none() => return shell("~"),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Ok(words)
}

/// Characters that one shell or another takes for a pattern when they stand outside quotes: what
/// Enter runs as it is, the learner's own terminal may not.
pub fn unquoted_pattern(text: &str) -> Option<char> {
    let mut quote: Option<char> = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some('"') | None, '\\') => {
                chars.next();
            }
            (None, '\'' | '"') => quote = Some(c),
            (None, '*' | '?' | '[' | ']' | '{' | '}') => return Some(c),
            _ => {}
        }
    }
    None
}

/// `NAME=value`, as a shell understands it before a command.
fn is_assignment(word: &str) -> bool {
    let Some((name, _)) = word.split_once('=') else {
        return false;
    };
    let letter = |c: char| c.is_ascii_alphabetic() || c == '_';
    name.starts_with(letter) && name.chars().all(|c| letter(c) || c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        split(text).unwrap()
    }

    #[test]
    fn words_are_split_as_a_shell_splits_them() {
        assert_eq!(words("kubectl get  pods"), ["kubectl", "get", "pods"]);
        assert_eq!(words("a 'b c' \"d e\" f\\ g"), ["a", "b c", "d e", "f g"]);
        assert_eq!(words("a''b \"\" x"), ["ab", "", "x"]);
        assert_eq!(words(r#"a "x\"y\\z\w""#), ["a", r#"x"y\z\w"#]);
        assert_eq!(words("a '$x|y>z'"), ["a", "$x|y>z"]);
        assert_eq!(words("a \\\n  --b"), ["a", "--b"]);
        assert_eq!(words("a # not this"), ["a"]);
        assert_eq!(words("a b#c"), ["a", "b#c"]);
        assert_eq!(
            words("--image=hello:2 x={.a[0]}"),
            ["--image=hello:2", "x={.a[0]}"]
        );
    }

    #[test]
    fn what_needs_a_shell_is_refused() {
        for (text, what) in [
            ("a | b", "|"),
            ("a && b", "&&"),
            ("a & b", "&"),
            ("a; b", ";"),
            ("a > f", ">"),
            ("a < f", "<"),
            ("a $(b)", "$"),
            ("a \"$b\"", "$"),
            ("a `b`", "`"),
            ("a ~/x", "~"),
            ("(a)", "("),
        ] {
            assert_eq!(split(text), Err(CommandError::Shell(what.into())), "{text}");
        }
        assert_eq!(
            parse("A=1 kubectl", 1),
            Err(CommandError::Shell("=".into()))
        );
        assert_eq!(split("a 'b"), Err(CommandError::OpenQuote('\'')));
        assert_eq!(split("a \"b"), Err(CommandError::OpenQuote('"')));
        assert_eq!(split("a \\"), Err(CommandError::LoneBackslash));
        assert_eq!(parse("  ", 1), Err(CommandError::Empty));
    }

    #[test]
    fn a_script_has_commands_and_remarks_with_their_lines() {
        let text = "# first\nkubectl get pods\n\nkubectl run web \\\n  --image=hello\n# last\n";
        let (script, wrong) = super::script(text, 10);
        assert!(wrong.is_empty());
        assert_eq!(script.lines.len(), 4);
        assert_eq!(script.lines[0], ScriptLine::Remark("first".into()));
        let commands: Vec<&Command> = script.commands().collect();
        assert_eq!(commands[0].line, 11);
        assert_eq!(commands[1].line, 13);
        assert_eq!(commands[1].text, "kubectl run web \\\n  --image=hello");
        assert_eq!(commands[1].argv, ["kubectl", "run", "web", "--image=hello"]);
    }

    #[test]
    fn every_bad_line_of_a_script_is_told() {
        let (script, wrong) = super::script("a | b\nkubectl get pods\nb 'c\nd \\", 5);
        assert_eq!(script.commands().count(), 1);
        let lines: Vec<u32> = wrong.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [5, 7, 8]);
        assert!(wrong.iter().all(|(_, error)| !error.fix().is_empty()));
    }

    #[test]
    fn patterns_outside_quotes_are_seen() {
        assert_eq!(unquoted_pattern("curl http://a/?b=1"), Some('?'));
        assert_eq!(
            unquoted_pattern("kubectl get pod -o jsonpath={.x}"),
            Some('{')
        );
        assert_eq!(
            unquoted_pattern("kubectl get pod -o 'jsonpath={.x[*]}'"),
            None
        );
        assert_eq!(unquoted_pattern("a \"[x]\" \\*"), None);
    }
}
