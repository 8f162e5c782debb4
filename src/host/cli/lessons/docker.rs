//! `docker` of a lesson: the guest's engine, spoken to through the SSH session.
//!
//! `docker build FOLDER` sends the folder along as an archive on standard input, which the
//! engine takes for a build context (docker build(1), "-"); Dockerfile names are then counted
//! from the folder, as the archive has no other place.

use std::path::Path;

use cadet_tunnel::exec;
use cadet_tutorial::model::Command;
use cadet_tutorial::world::WorldError;

/// Flags of `docker build` that take no value (docker build --help, 20.10 to 28).
const SWITCHES: [&str; 11] = [
    "--compress",
    "--disable-content-trust",
    "--force-rm",
    "--help",
    "--load",
    "--no-cache",
    "--pull",
    "--push",
    "--quiet",
    "--rm",
    "--squash",
];

/// What is to be run in the guest.
#[derive(Debug, PartialEq, Eq)]
pub struct Line {
    /// The shell line, quoted.
    pub text: String,
    /// The folder below the lesson folder whose archive goes to standard input.
    pub context: Option<String>,
}

/// The guest's line for `command`.
///
/// # Errors
/// A build without a folder, or with one that is not below the lesson folder.
pub fn line(command: &Command) -> Result<Line, WorldError> {
    let words: Vec<&str> = command.argv.iter().map(String::as_str).collect();
    let start = match words.get(1..) {
        Some(["build", ..]) => 2,
        Some(["image" | "builder" | "buildx", "build", ..]) => 3,
        _ => {
            return Ok(Line {
                text: exec::quote_all(words),
                context: None,
            });
        }
    };
    let Some(place) = context_word(&words, start) else {
        return Err(
            WorldError::new(format!("`{}` names no folder to build from", command.text))
                .fix("docker build -t NAME FOLDER"),
        );
    };
    let context = words[place];
    if context == "-" || context.contains("://") {
        return Ok(Line {
            text: exec::quote_all(words),
            context: None,
        });
    }
    let folder = inside(context).ok_or_else(|| {
        WorldError::new(format!("{context} is not below the lesson folder"))
            .fix("docker build -t NAME FOLDER")
    })?;
    let mut sent: Vec<String> = command.argv.clone();
    "-".clone_into(&mut sent[place]);
    name_dockerfile(&mut sent, start, &folder);
    Ok(Line {
        text: exec::quote_all(sent.iter().map(String::as_str)),
        context: Some(folder),
    })
}

/// Where the folder stands: the first word that is neither a flag nor a flag's value.
fn context_word(words: &[&str], start: usize) -> Option<usize> {
    let mut place = start;
    while let Some(word) = words.get(place) {
        if *word == "-" || !word.starts_with('-') {
            return Some(place);
        }
        let alone = word.contains('=') || SWITCHES.contains(word) || *word == "-q";
        // `-tNAME`: a short flag may carry its value.
        let joined = !word.starts_with("--") && word.len() > 2;
        place += if alone || joined { 1 } else { 2 };
    }
    None
}

/// `app/.` as `app`; None for what leaves the lesson folder.
fn inside(path: &str) -> Option<String> {
    let mut parts = Vec::new();
    if path.starts_with('/') {
        return None;
    }
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// Takes the folder off the front of what `-f` names.
fn name_dockerfile(words: &mut [String], start: usize, folder: &str) {
    if folder.is_empty() {
        return;
    }
    let below = format!("{folder}/");
    let mut is_value = false;
    for word in words.iter_mut().skip(start) {
        let (flag, value) = match word.split_once('=') {
            Some((flag @ ("-f" | "--file"), value)) => (format!("{flag}="), value),
            _ if is_value => (String::new(), word.as_str()),
            _ => {
                is_value = word == "-f" || word == "--file";
                continue;
            }
        };
        is_value = false;
        if let Some(rest) = inside(value).and_then(|v| v.strip_prefix(&below).map(str::to_owned)) {
            *word = format!("{flag}{rest}");
        }
    }
}

/// The archive of `folder`, as the engine takes it. The same files give the same bytes, so that
/// its cache of layers works; owners and times stay at home.
///
/// # Errors
/// A file cannot be read.
pub fn archive(folder: &Path) -> std::io::Result<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut open = vec![(folder.to_path_buf(), String::new())];
    while let Some((place, prefix)) = open.pop() {
        let mut entries = std::fs::read_dir(&place)?.collect::<Result<Vec<_>, _>>()?;
        entries.sort_by_key(std::fs::DirEntry::file_name);
        for entry in entries {
            let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
            let linked = entry.file_type()?.is_symlink();
            let about = match std::fs::metadata(entry.path()) {
                // A link that leads nowhere, or to a folder and so perhaps in a circle.
                Err(_) if linked => continue,
                Ok(about) if linked && about.is_dir() => continue,
                about => about?,
            };
            let mut header = tar::Header::new_gnu();
            header.set_mtime(0);
            if about.is_dir() {
                header.set_entry_type(tar::EntryType::Directory);
                header.set_mode(0o755);
                header.set_size(0);
                tar.append_data(&mut header, format!("{name}/"), std::io::empty())?;
                open.push((entry.path(), format!("{name}/")));
            } else if about.is_file() {
                let content = std::fs::read(entry.path())?;
                header.set_mode(mode(&about));
                header.set_size(content.len() as u64);
                tar.append_data(&mut header, name, content.as_slice())?;
            }
        }
    }
    tar.into_inner()
}

#[cfg(unix)]
fn mode(about: &std::fs::Metadata) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    let executable = about.permissions().mode() & 0o100 != 0;
    if executable { 0o755 } else { 0o644 }
}

#[cfg(not(unix))]
fn mode(_: &std::fs::Metadata) -> u32 {
    0o755
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> Line {
        line(&cadet_tutorial::command::parse(text, 0).unwrap()).unwrap()
    }

    #[test]
    fn a_build_sends_its_folder() {
        for (text, sent, context) in [
            (
                "docker build -t hello:2 app",
                "'docker' 'build' '-t' 'hello:2' '-'",
                "app",
            ),
            (
                "docker build --no-cache . -t x",
                "'docker' 'build' '--no-cache' '-' '-t' 'x'",
                "",
            ),
            (
                "docker image build --tag=x ./app/",
                "'docker' 'image' 'build' '--tag=x' '-'",
                "app",
            ),
            (
                "docker build -f app/Dockerfile.old -t x app",
                "'docker' 'build' '-f' 'Dockerfile.old' '-t' 'x' '-'",
                "app",
            ),
            (
                "docker build --file=app/deep/Dockerfile --build-arg A=b -q app/.",
                "'docker' 'build' '--file=deep/Dockerfile' '--build-arg' 'A=b' '-q' '-'",
                "app",
            ),
        ] {
            let line = told(text);
            assert_eq!(line.text, sent, "{text}");
            assert_eq!(line.context.as_deref(), Some(context), "{text}");
        }
    }

    #[test]
    fn other_commands_go_as_they_are() {
        for (text, sent) in [
            ("docker ps -a", "'docker' 'ps' '-a'"),
            (
                "docker run --name 'a b' x",
                "'docker' 'run' '--name' 'a b' 'x'",
            ),
            (
                "docker build -t x https://host/repo.git",
                "'docker' 'build' '-t' 'x' 'https://host/repo.git'",
            ),
        ] {
            let line = told(text);
            assert_eq!((line.text.as_str(), line.context), (sent, None), "{text}");
        }
    }

    #[test]
    fn folders_elsewhere_are_refused() {
        for text in [
            "docker build -t x",
            "docker build -t x ..",
            "docker build /etc",
            "docker build a/../../b",
        ] {
            let command = cadet_tutorial::command::parse(text, 0).unwrap();
            assert!(line(&command).is_err(), "{text}");
        }
    }

    #[test]
    fn an_archive_holds_every_file_with_its_path() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("deep")).unwrap();
        std::fs::write(dir.path().join("Dockerfile"), "FROM scratch\n").unwrap();
        std::fs::write(dir.path().join("deep/a.txt"), "a").unwrap();
        let bytes = archive(dir.path()).unwrap();
        assert_eq!(bytes, archive(dir.path()).unwrap());
        let mut found = tar::Archive::new(bytes.as_slice());
        let names: Vec<String> = found
            .entries()
            .unwrap()
            .map(|e| e.unwrap().path().unwrap().display().to_string())
            .collect();
        assert_eq!(names, ["Dockerfile", "deep/", "deep/a.txt"]);
    }
}
