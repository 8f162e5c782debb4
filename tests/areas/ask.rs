//! Questions asked again and again until the answer is right: rules and names follow the API.

use super::Cluster;

/// What [`Check::page`] says where no page comes.
pub const NOBODY: &str = "nobody";

/// How often a question is asked before its last answer is reported.
const TIMES: u32 = 150;

/// A command of the shell and the answer it must have in the end.
pub struct Check {
    ask: String,
    /// As a case of the shell.
    pattern: String,
}

impl Check {
    /// What the command prints, on either pipe, is this line. Neither has single quotes.
    pub fn is(ask: &str, line: &str) -> Self {
        Self {
            ask: ask.to_owned(),
            pattern: format!("\"{line}\""),
        }
    }

    /// What the command prints has these words in it.
    pub fn has(ask: &str, words: &str) -> Self {
        Self {
            ask: ask.to_owned(),
            pattern: format!("*\"{words}\"*"),
        }
    }

    /// What busybox's wget finds at `HOST:PORT/PATH`, or [`NOBODY`].
    pub fn page(address: &str, page: &str) -> Self {
        // Debian's busybox before 1.36.1-5 is built without `wget -T` and dies of it.
        let ask = format!("timeout 2 wget -qO- http://{address} 2>/dev/null || echo {NOBODY}");
        Self::is(&ask, page)
    }

    fn script(&self) -> String {
        let Self { ask, pattern } = self;
        format!(
            "right=; for n in $(seq {TIMES}); do said=$({{ {ask}; }} 2>&1); \
             case \"$said\" in {pattern}) right=1; break;; esac; sleep 0.2; done; \
             [ $right ] || {{ echo \"$said\"; exit 9; }}"
        )
    }
}

/// All in one shell, each asked until it is right.
pub fn script(checks: &[Check]) -> String {
    let one = |(n, check): (usize, &Check)| format!("echo \"question {n}\"; {}", check.script());
    let all: Vec<String> = checks.iter().enumerate().map(one).collect();
    all.join("\n")
}

/// Asks inside a pod, which may be named by several words: `-n elsewhere web`.
#[track_caller]
pub fn come_true(cluster: &dyn Cluster, pod: &str, checks: &[Check]) {
    let said = cluster.try_inside(pod, &script(checks));
    if said.code != 0 {
        // The last question is the one that went wrong.
        let number = said
            .out
            .lines()
            .filter(|line| line.starts_with("question "));
        let check = number.count().checked_sub(1).and_then(|n| checks.get(n));
        let check = check.map(|check| (&check.ask, &check.pattern));
        panic!("{pod}: {check:?}: {said}");
    }
}
