//! What exit codes mean.

/// Names of the signals that end containers (signal(7)).
const SIGNALS: &[(i64, &str, &str)] = &[
    (2, "SIGINT", "it was interrupted"),
    (
        4,
        "SIGILL",
        "it used an instruction that this processor does not have",
    ),
    (6, "SIGABRT", "it gave up by itself"),
    (7, "SIGBUS", "it touched memory that is not there"),
    (8, "SIGFPE", "it divided by zero, or the like"),
    (9, "SIGKILL", "it was killed"),
    (11, "SIGSEGV", "it touched memory that is not its own"),
    (13, "SIGPIPE", "nobody reads what it writes"),
    (15, "SIGTERM", "it was asked to end"),
];

/// The signal behind an exit code above 128: its name and what it tells.
#[must_use]
pub fn signal(code: i64) -> Option<(&'static str, &'static str)> {
    let found = SIGNALS.iter().find(|(number, ..)| number + 128 == code)?;
    Some((found.1, found.2))
}

/// `exit code 3`, `exit code 139 (SIGSEGV: it touched memory that is not its own)`.
#[must_use]
pub fn words(code: i64) -> String {
    if let Some((name, tells)) = signal(code) {
        return format!("exit code {code} ({name}: {tells})");
    }
    let tells = match code {
        0 => " (its work is done)",
        126 => " (the command cannot be executed)",
        127 => " (the command was not found)",
        _ => "",
    };
    format!("exit code {code}{tells}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_put_into_words() {
        assert_eq!(words(3), "exit code 3");
        assert!(words(127).contains("not found"));
        assert!(words(139).contains("SIGSEGV"));
        assert_eq!(signal(137).map(|(name, _)| name), Some("SIGKILL"));
        assert_eq!(signal(200), None);
    }
}
