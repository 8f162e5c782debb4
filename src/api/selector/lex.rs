//! Tokens of a label selector.

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    Word(String),
    Symbol(&'static str),
    End,
}

impl Token {
    /// The token as it stood in the text; nothing at the end.
    pub(super) fn text(&self) -> &str {
        match self {
            Token::Word(w) => w,
            Token::Symbol(s) => s,
            Token::End => "",
        }
    }
}

/// Longest first, so that `==` is not read as two `=`.
const SYMBOLS: &[&str] = &["!=", "==", "=", "!", "(", ")", ",", ">", "<"];

/// Splits a selector into its tokens, the end included.
pub(super) fn tokens(text: &str) -> Vec<Token> {
    let mut out = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        if let Some(symbol) = SYMBOLS.iter().find(|s| rest.starts_with(**s)) {
            out.push(Token::Symbol(symbol));
            rest = &rest[symbol.len()..];
        } else {
            let end = rest
                .find(|c: char| c.is_whitespace() || "=!(),><".contains(c))
                .unwrap_or(rest.len());
            out.push(Token::Word(rest[..end].to_owned()));
            rest = &rest[end..];
        }
        rest = rest.trim_start();
    }
    out.push(Token::End);
    out
}
