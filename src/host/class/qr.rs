//! QR codes: for a terminal, in half blocks, and as a picture for the projector.

use std::fmt::Write as _;

use qrcodegen::{QrCode, QrCodeEcc};

/// Modules of white around the code that readers want (ISO/IEC 18004 says four; two do on a
/// screen with a light border of its own).
const QUIET: i32 = 2;

/// `text` as lines of a terminal, dark on light whatever the terminal's colours are; None if it
/// is too long for any code.
pub fn terminal(text: &str) -> Option<Vec<String>> {
    let code = QrCode::encode_text(text, QrCodeEcc::Low).ok()?;
    let end = code.size() + QUIET;
    let mut lines = Vec::new();
    let mut y = -QUIET;
    while y < end {
        // Black on white in so many words: half a block is the upper module, the rest the lower.
        let mut line = String::from("\u{1b}[30;47m");
        for x in -QUIET..end {
            line.push(match (code.get_module(x, y), code.get_module(x, y + 1)) {
                (true, true) => '█',
                (true, false) => '▀',
                (false, true) => '▄',
                (false, false) => ' ',
            });
        }
        line.push_str("\u{1b}[0m");
        lines.push(line);
        y += 2;
    }
    Some(lines)
}

/// `text` as an SVG picture; None if it is too long for any code.
pub fn svg(text: &str) -> Option<String> {
    let code = QrCode::encode_text(text, QrCodeEcc::Medium).ok()?;
    let quiet = 4;
    let side = code.size() + 2 * quiet;
    let mut path = String::new();
    for y in 0..code.size() {
        for x in 0..code.size() {
            if code.get_module(x, y) {
                // Writing to a String cannot fail.
                let _ = write!(path, "M{},{}h1v1h-1z", x + quiet, y + quiet);
            }
        }
    }
    Some(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {side} {side}\" \
         shape-rendering=\"crispEdges\"><path fill=\"#fff\" d=\"M0,0h{side}v{side}h-{side}z\"/>\
         <path d=\"{path}\"/></svg>"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_join_command_fits_a_terminal() {
        let text = "cadet class join ABCDE-FGHJK-MNPQR-STVWX-YZ012-345";
        let lines = terminal(text).unwrap();
        let width = |line: &String| line.chars().filter(|c| " █▀▄".contains(*c)).count();
        assert!(lines.len() <= 22, "{}", lines.len());
        assert!(lines.iter().all(|line| width(line) <= 60));
        assert!(lines.iter().all(|line| width(line) == width(&lines[0])));
        assert!(svg(text).unwrap().contains("<path d=\"M4,4h1"));
    }

    #[test]
    fn what_is_too_long_is_no_code() {
        assert!(terminal(&"x".repeat(5000)).is_none());
        assert!(svg(&"x".repeat(5000)).is_none());
    }
}
