//! The folder an image is built from, as the archive Docker takes for it.
//!
//! What `.dockerignore` names stays at home; rules as in Docker's reference ("dockerignore
//! file"): paths are counted from the folder, `**` is any number of folders, `!` takes an
//! exclusion back, the last rule that fits decides, and what lies in an excluded folder is
//! excluded too. Links stay links.

use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use crate::error::{CliError, Result};
use crate::machine;

/// A folder with a Dockerfile in it.
#[derive(Debug)]
pub struct BuildContext {
    folder: PathBuf,
    /// Counted from the folder.
    dockerfile: String,
    ignored: Ignored,
}

impl BuildContext {
    /// Looks at `folder`; `dockerfile` is counted from it, or from here.
    ///
    /// # Errors
    /// PROGRAM_USAGE for a folder or Dockerfile that is none, HOST_NOT_READABLE.
    pub fn open(folder: &Path, dockerfile: Option<&Path>) -> Result<Self> {
        let usage = |what: String, why: &str| {
            CliError::new("PROGRAM_USAGE", what)
                .why(why)
                .fix("cadet image build -t NAME FOLDER")
        };
        if !folder.is_dir() {
            let what = format!("{} is no folder", folder.display());
            return Err(usage(
                what,
                "an image is built from a folder with a Dockerfile",
            ));
        }
        let wanted = dockerfile.unwrap_or(Path::new("Dockerfile"));
        let inside = if wanted.is_relative() && folder.join(wanted).is_file() {
            Some(wanted)
        } else {
            let below = wanted.strip_prefix(folder).ok();
            below.filter(|_| wanted.is_file())
        };
        let inside = inside.and_then(slashed).ok_or_else(|| {
            let what = format!("{} has no {}", folder.display(), wanted.display());
            usage(what, "the Dockerfile must lie in the folder that is sent")
        })?;
        let rules = folder.join(".dockerignore");
        let ignored = match std::fs::read_to_string(&rules) {
            Ok(text) => Ignored::read(&text),
            Err(e) if e.kind() == ErrorKind::NotFound => Ignored::default(),
            Err(e) => return Err(machine::io("read", &rules, &e)),
        };
        Ok(Self {
            folder: folder.into(),
            dockerfile: inside,
            ignored,
        })
    }

    /// The Dockerfile as the engine finds it in the archive.
    pub fn dockerfile(&self) -> &str {
        &self.dockerfile
    }

    /// Writes the archive. The same files give the same bytes: owners and times stay at
    /// home, so that nobody is told who built an image.
    ///
    /// # Errors
    /// A file cannot be read, or nobody takes the archive any more.
    pub fn write(&self, out: impl Write) -> io::Result<()> {
        let mut tar = tar::Builder::new(out);
        tar.mode(tar::HeaderMode::Deterministic);
        tar.follow_symlinks(false);
        tar.sparse(false);
        self.folder(&self.folder, "", &mut tar)?;
        tar.into_inner()?.flush()
    }

    fn folder(
        &self,
        place: &Path,
        prefix: &str,
        tar: &mut tar::Builder<impl Write>,
    ) -> io::Result<()> {
        let mut entries = std::fs::read_dir(place)?.collect::<io::Result<Vec<_>>>()?;
        entries.sort_by_key(std::fs::DirEntry::file_name);
        for entry in entries {
            let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
            let kind = entry.file_type()?;
            let excluded = self.ignored.excludes(&name) && name != self.dockerfile;
            if kind.is_dir() {
                if !excluded {
                    tar.append_path_with_name(entry.path(), &name)?;
                }
                // A later rule, or the Dockerfile, may want something inside.
                let below = format!("{name}/");
                if !excluded || self.ignored.has_exceptions || self.dockerfile.starts_with(&below) {
                    self.folder(&entry.path(), &below, tar)?;
                }
            } else if !excluded && (kind.is_file() || kind.is_symlink()) {
                // Sockets and devices have no place in an image.
                tar.append_path_with_name(entry.path(), &name)?;
            }
        }
        Ok(())
    }
}

/// `path` with forward slashes; None for one that leads out of its folder.
fn slashed(path: &Path) -> Option<String> {
    let mut parts = Vec::new();
    for part in path.components() {
        match part {
            std::path::Component::Normal(part) => parts.push(part.to_str()?),
            std::path::Component::CurDir => {}
            _ => return None,
        }
    }
    Some(parts.join("/"))
}

/// The rules of a `.dockerignore`.
#[derive(Debug, Default)]
struct Ignored {
    rules: Vec<Rule>,
    has_exceptions: bool,
}

#[derive(Debug)]
struct Rule {
    excludes: bool,
    parts: Vec<String>,
}

impl Ignored {
    fn read(text: &str) -> Self {
        let mut ignored = Self::default();
        for line in text.lines() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (excludes, pattern) = match line.strip_prefix('!') {
                Some(rest) => (false, rest.trim()),
                None => (true, line),
            };
            let parts = pattern.split('/').filter(|part| !matches!(*part, "" | "."));
            let parts: Vec<String> = parts.map(str::to_owned).collect();
            if !parts.is_empty() {
                ignored.has_exceptions |= !excludes;
                ignored.rules.push(Rule { excludes, parts });
            }
        }
        ignored
    }

    fn excludes(&self, path: &str) -> bool {
        let parts: Vec<&str> = path.split('/').collect();
        let deciding = self.rules.iter().rev().find(|rule| {
            // A rule for a folder is one for all that lies in it.
            (1..=parts.len()).any(|depth| fits(&rule.parts, &parts[..depth]))
        });
        deciding.is_some_and(|rule| rule.excludes)
    }
}

/// Whether a pattern fits a whole path.
fn fits(pattern: &[String], path: &[&str]) -> bool {
    match (pattern.split_first(), path.split_first()) {
        (None, None) => true,
        // What is in a folder is not the folder.
        (Some((first, [])), _) if first == "**" => !path.is_empty(),
        (Some((first, rest)), _) if first == "**" => {
            (0..=path.len()).any(|skipped| fits(rest, &path[skipped..]))
        }
        (Some((first, rest)), Some((part, below))) => {
            let part: Vec<char> = part.chars().collect();
            let first: Vec<char> = first.chars().collect();
            part_fits(&first, &part) && fits(rest, below)
        }
        _ => false,
    }
}

/// Whether `*` and `?` in a pattern's part fit one name.
fn part_fits(pattern: &[char], name: &[char]) -> bool {
    match pattern.split_first() {
        None => name.is_empty(),
        Some(('*', rest)) => (0..=name.len()).any(|skipped| part_fits(rest, &name[skipped..])),
        Some(('?', rest)) => !name.is_empty() && part_fits(rest, &name[1..]),
        Some(('\\', rest)) if !rest.is_empty() => {
            name.first() == Some(&rest[0]) && part_fits(&rest[1..], &name[1..])
        }
        Some((letter, rest)) => name.first() == Some(letter) && part_fits(rest, &name[1..]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(context: &BuildContext) -> Vec<String> {
        let mut bytes = Vec::new();
        context.write(&mut bytes).unwrap();
        let mut again = Vec::new();
        context.write(&mut again).unwrap();
        assert_eq!(bytes, again);
        let mut archive = tar::Archive::new(bytes.as_slice());
        let entries = archive.entries().unwrap();
        let names = entries.map(|entry| {
            let path = entry.unwrap().path().unwrap().display().to_string();
            path.trim_end_matches('/').to_owned()
        });
        names.collect()
    }

    fn folder(files: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for file in files {
            let file = dir.path().join(file);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, "x").unwrap();
        }
        dir
    }

    #[test]
    fn the_archive_holds_the_folder_with_its_links() {
        let dir = folder(&["Dockerfile", "src/main.rs", "empty/x"]);
        std::fs::remove_file(dir.path().join("empty/x")).unwrap();
        #[cfg(unix)]
        std::os::unix::fs::symlink("/nowhere/at/all", dir.path().join("link")).unwrap();
        let context = BuildContext::open(dir.path(), None).unwrap();
        assert_eq!(context.dockerfile(), "Dockerfile");
        let mut names = names(&context);
        names.retain(|name| name != "link");
        assert_eq!(names, ["Dockerfile", "empty", "src", "src/main.rs"]);
    }

    #[test]
    fn what_is_ignored_stays_at_home() {
        let dir = folder(&[
            ".dockerignore",
            ".git/HEAD",
            "Dockerfile",
            "a.log",
            "deep/a.log",
            "deep/keep.log",
            "target/x",
        ]);
        let rules = "# comment\n\n.git\n/target/\n**/*.log\n!deep/keep.log\nDockerfile\n";
        std::fs::write(dir.path().join(".dockerignore"), rules).unwrap();
        let context = BuildContext::open(dir.path(), None).unwrap();
        // The engine needs the Dockerfile even if images should not hold it.
        assert_eq!(
            names(&context),
            [".dockerignore", "Dockerfile", "deep", "deep/keep.log"]
        );
    }

    #[test]
    fn rules_are_those_of_docker() {
        for (rules, path, excluded) in [
            ("a", "a", true),
            ("a", "a/b", true),
            ("a", "b/a", false),
            ("**/a", "b/a", true),
            ("**/a", "a", true),
            ("*.md", "x.md", true),
            ("*.md", "d/x.md", false),
            ("*/x", "d/x", true),
            ("t?mp", "temp", true),
            ("t?mp", "tmp", false),
            ("*\n!a", "a", false),
            ("!a\n*", "a", true),
            ("a/**", "a/b/c", true),
            ("a/**", "a", false),
            ("./a/", "a/b", true),
            (r"\!a", "!a", true),
            ("", "a", false),
            ("**", "a/b", true),
        ] {
            let ignored = Ignored::read(rules);
            assert_eq!(ignored.excludes(path), excluded, "{rules:?} {path}");
        }
    }

    #[test]
    fn a_dockerfile_of_another_name_lies_in_the_folder() {
        let dir = folder(&["docker/Dockerfile.dev", "app.rs"]);
        let open = |file: &str| BuildContext::open(dir.path(), Some(Path::new(file)));
        let named = open("docker/Dockerfile.dev").unwrap();
        assert_eq!(named.dockerfile(), "docker/Dockerfile.dev");
        let whole = dir.path().join("docker/Dockerfile.dev");
        let named = open(whole.to_str().unwrap()).unwrap();
        assert_eq!(named.dockerfile(), "docker/Dockerfile.dev");
        for bad in ["Dockerfile", "../Dockerfile", "/etc/passwd", "docker"] {
            assert_eq!(open(bad).unwrap_err().topic.id, "PROGRAM_USAGE", "{bad}");
        }
        let nowhere = BuildContext::open(Path::new("/nowhere/at/all"), None);
        assert_eq!(nowhere.unwrap_err().topic.id, "PROGRAM_USAGE");
    }
}
