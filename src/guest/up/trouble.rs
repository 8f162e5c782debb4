//! What a person sees when something is in the way: a stable id, what happened, why, and
//! what to type next. Exit codes come in the families `cadet` uses as well: 30s the host,
//! 70s its network, 80s the node, 100s the control plane.

use std::fmt;
use std::io;
use std::path::Path;

use serde_json::{Value, json};

/// One thing in the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// Stable id.
    pub id: &'static str,
    /// Exit code of the process.
    pub exit: u8,
    what: String,
    why: Option<String>,
    fix: Option<String>,
    log: Option<String>,
}

impl Trouble {
    /// What happened, in one line.
    pub fn new(id: &'static str, exit: u8, what: impl Into<String>) -> Self {
        Self {
            id,
            exit,
            what: what.into(),
            why: None,
            fix: None,
            log: None,
        }
    }

    /// Adds the evidence, or what the missing thing is for.
    pub fn why(mut self, why: impl Into<String>) -> Self {
        self.why = Some(why.into());
        self
    }

    /// Adds the next command to type.
    pub fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(fix.into());
        self
    }

    /// Adds where more can be read.
    pub fn log(mut self, log: impl Into<String>) -> Self {
        self.log = Some(log.into());
        self
    }

    /// The event for programs.
    fn json(&self) -> Value {
        json!({"type": "error", "id": self.id, "exitCode": self.exit, "message": self.what,
            "why": self.why, "fix": self.fix, "log": self.log})
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error {} (exit {}): {}", self.id, self.exit, self.what)?;
        for (label, part) in [("why", &self.why), ("fix", &self.fix), ("log", &self.log)] {
            for (index, line) in part.iter().flat_map(|text| text.lines()).enumerate() {
                let label = if index == 0 { label } else { "" };
                write!(f, "\n  {label:<5} {line}")?;
            }
        }
        Ok(())
    }
}

/// All that is in the way, so that it can be mended in one go; never empty.
#[derive(Debug)]
pub struct Troubles {
    all: Vec<Trouble>,
    as_json: bool,
}

impl Troubles {
    /// The exit code of the first.
    pub fn exit(&self) -> u8 {
        self.all.first().map_or(1, |trouble| trouble.exit)
    }

    /// To be printed as events.
    pub fn told_as_json(mut self, yes: bool) -> Self {
        self.as_json = yes;
        self
    }
}

impl From<Vec<Trouble>> for Troubles {
    fn from(all: Vec<Trouble>) -> Self {
        let as_json = false;
        Self { all, as_json }
    }
}

impl From<Trouble> for Troubles {
    fn from(one: Trouble) -> Self {
        vec![one].into()
    }
}

impl fmt::Display for Troubles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, trouble) in self.all.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            if self.as_json {
                write!(f, "{}", trouble.json())?;
            } else {
                write!(f, "{trouble}")?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for Troubles {}

/// A file that could not be used.
pub fn file(act: &str, path: &Path, error: &io::Error) -> Trouble {
    let (id, exit) = match error.kind() {
        io::ErrorKind::StorageFull => ("HOST_DISK_FULL", 31),
        _ => ("HOST_NOT_WRITABLE", 37),
    };
    Trouble::new(id, exit, format!("cannot {act} {}", path.display()))
        .why(error.to_string())
        .fix("cadet-node --data /path/on/another/disk up")
}

/// What should not happen; with its causes.
pub fn internal(what: &str, error: &(impl fmt::Display + ?Sized)) -> Trouble {
    Trouble::new("PROGRAM_INTERNAL", 10, what.to_owned()).why(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn troubles_read_as_those_of_the_laptop() {
        let one = Trouble::new("HOST_NOT_ROOT", 37, "this needs root")
            .why("links are made,\nrules are set")
            .fix("sudo cadet-node up");
        let two = Trouble::new("HOST_NFT_MISSING", 35, "nft is missing");
        let both = Troubles::from(vec![one, two]);
        assert_eq!(
            both.to_string(),
            "error HOST_NOT_ROOT (exit 37): this needs root\n\
             \x20 why   links are made,\n\
             \x20       rules are set\n\
             \x20 fix   sudo cadet-node up\n\
             error HOST_NFT_MISSING (exit 35): nft is missing"
        );
        assert_eq!(both.exit(), 37);
        let lines = both.told_as_json(true).to_string();
        let first: Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
        assert_eq!(first["exitCode"], 37);
    }
}
