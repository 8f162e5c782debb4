//! A folder of the laptop, lent to the machine: answers to what the file system there asks.
//!
//! The machine is not trusted with more than that folder: every path is taken apart, its
//! parent must lie in the folder after all links are followed, and what stands at its end is
//! never followed. Questions come one at a time, so nothing changes between look and act but
//! by the laptop's own programs.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use cadet_api::share::{Answer, Ask, Facts, Kind, Name, Trouble, put, take};

/// Most bytes of one answer; the kernel asks for less.
const MOST: u32 = 16 << 20;

/// What is lent.
pub struct Folder {
    /// Without links in it.
    root: PathBuf,
    read_only: bool,
}

impl Folder {
    /// Lends `folder`.
    ///
    /// # Errors
    /// It is not there, or no folder.
    pub fn open(folder: &Path, read_only: bool) -> io::Result<Self> {
        let root = fs::canonicalize(folder)?;
        match root.is_dir() {
            true => Ok(Self { root, read_only }),
            false => Err(ErrorKind::NotADirectory.into()),
        }
    }

    /// Answers until nobody asks any more; `heard` is called at every question.
    ///
    /// # Errors
    /// Those of the two streams.
    pub fn serve(
        &self,
        asks: &mut impl Read,
        answers: &mut impl Write,
        mut heard: impl FnMut(),
    ) -> io::Result<()> {
        while let Some((ask, data)) = take::<Ask>(asks)? {
            heard();
            let (answer, data) = self.answer(&ask, &data);
            put(answers, &answer, &data)?;
        }
        Ok(())
    }

    fn answer(&self, ask: &Ask, data: &[u8]) -> (Answer, Vec<u8>) {
        if self.read_only && changes(ask) {
            let trouble = Trouble::ReadOnly;
            return (Answer::Failed { trouble }, Vec::new());
        }
        self.act(ask, data).unwrap_or_else(|e| {
            let trouble = trouble(&e);
            (Answer::Failed { trouble }, Vec::new())
        })
    }

    fn act(&self, ask: &Ask, data: &[u8]) -> io::Result<(Answer, Vec<u8>)> {
        let answer = match ask {
            Ask::Look { path } => self.facts(path)?,
            Ask::List { path } => Answer::Names {
                names: names(&self.folder(path)?)?,
            },
            Ask::Read { path, offset, size } => {
                let mut file = open(OpenOptions::new().read(true), &self.place(path)?)?;
                file.seek(SeekFrom::Start(*offset))?;
                let mut bytes = Vec::new();
                file.take((*size).min(MOST).into())
                    .read_to_end(&mut bytes)?;
                return Ok((Answer::Data, bytes));
            }
            Ask::Write { path, offset } => {
                let mut file = open(OpenOptions::new().write(true), &self.place(path)?)?;
                file.seek(SeekFrom::Start(*offset))?;
                file.write_all(data)?;
                Answer::Done
            }
            Ask::Create { path, mode } => {
                let mut options = OpenOptions::new();
                options.write(true).create(true).truncate(false);
                #[cfg(unix)]
                std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode & 0o777);
                #[cfg(not(unix))]
                let _ = mode;
                open(&mut options, &self.place(path)?)?;
                self.facts(path)?
            }
            Ask::MakeFolder { path, mode } => {
                let mut builder = fs::DirBuilder::new();
                #[cfg(unix)]
                std::os::unix::fs::DirBuilderExt::mode(&mut builder, mode & 0o777);
                #[cfg(not(unix))]
                let _ = mode;
                builder.create(self.place(path)?)?;
                self.facts(path)?
            }
            Ask::Link { path, target } => {
                link(target, &self.place(path)?)?;
                self.facts(path)?
            }
            Ask::Target { path } => Answer::Target {
                target: fs::read_link(self.place(path)?)?
                    .into_os_string()
                    .into_string()
                    .map_err(|_| ErrorKind::InvalidData)?,
            },
            Ask::Remove { path } => {
                fs::remove_file(self.place(path)?)?;
                Answer::Done
            }
            Ask::RemoveFolder { path } => {
                fs::remove_dir(self.place(path)?)?;
                Answer::Done
            }
            Ask::Rename { from, to, keep } => {
                let to = self.place(to)?;
                if *keep && fs::symlink_metadata(&to).is_ok() {
                    return Err(ErrorKind::AlreadyExists.into());
                }
                fs::rename(self.place(from)?, to)?;
                Answer::Done
            }
            Ask::Change {
                path,
                size,
                mode,
                modified,
            } => {
                change(&self.place(path)?, *size, *mode, *modified)?;
                self.facts(path)?
            }
            Ask::Sync { path } => {
                open(OpenOptions::new().read(true), &self.place(path)?)?.sync_all()?;
                Answer::Done
            }
        };
        Ok((answer, Vec::new()))
    }

    fn facts(&self, path: &str) -> io::Result<Answer> {
        let seen = fs::symlink_metadata(self.place(path)?)?;
        let modified = seen.modified().ok();
        let modified = modified.and_then(|t| t.duration_since(UNIX_EPOCH).ok());
        let modified = modified.unwrap_or_default();
        Ok(Answer::Facts {
            facts: Facts {
                kind: kind(seen.file_type()).ok_or(ErrorKind::Unsupported)?,
                size: seen.len(),
                mode: mode_of(&seen),
                modified: (modified.as_secs(), modified.subsec_nanos()),
            },
        })
    }

    /// The place of `path`: its parent is in the folder, its own name is not followed.
    fn place(&self, path: &str) -> io::Result<PathBuf> {
        if path.is_empty() {
            return Ok(self.root.clone());
        }
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        if !is_name(name) {
            return Err(ErrorKind::InvalidInput.into());
        }
        Ok(self.folder(parent)?.join(name))
    }

    /// The folder at `path`, all links followed, if that is still in the shared one.
    fn folder(&self, path: &str) -> io::Result<PathBuf> {
        let place = path.split('/').filter(|name| !name.is_empty()).try_fold(
            self.root.clone(),
            |place, name| match is_name(name) {
                true => Ok(place.join(name)),
                false => Err(io::Error::from(ErrorKind::InvalidInput)),
            },
        )?;
        let place = fs::canonicalize(place)?;
        match place.starts_with(&self.root) {
            true => Ok(place),
            false => Err(ErrorKind::PermissionDenied.into()),
        }
    }
}

/// True for what can only be a name in a folder; Windows has more ways to say more.
fn is_name(text: &str) -> bool {
    let more = |c: char| c == '\0' || (cfg!(windows) && matches!(c, '\\' | ':'));
    !matches!(text, "" | "." | "..") && !text.contains(more)
}

fn changes(ask: &Ask) -> bool {
    !matches!(
        ask,
        Ask::Look { .. }
            | Ask::List { .. }
            | Ask::Read { .. }
            | Ask::Target { .. }
            | Ask::Sync { .. }
    )
}

/// Opens without following a link at the end of the path.
fn open(options: &mut OpenOptions, place: &Path) -> io::Result<File> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        // A pipe must not make the whole share wait for its other end.
        options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    }
    options.open(place)
}

fn names(folder: &Path) -> io::Result<Vec<Name>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        // Sockets, devices and names that are no text are not shown.
        if let (Some(kind), Ok(name)) = (kind(entry.file_type()?), entry.file_name().into_string())
        {
            names.push(Name { name, kind });
        }
    }
    names.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(names)
}

fn kind(seen: fs::FileType) -> Option<Kind> {
    if seen.is_dir() {
        Some(Kind::Folder)
    } else if seen.is_file() {
        Some(Kind::File)
    } else if seen.is_symlink() {
        Some(Kind::Link)
    } else {
        None
    }
}

fn change(
    place: &Path,
    size: Option<u64>,
    mode: Option<u32>,
    modified: Option<(u64, u32)>,
) -> io::Result<()> {
    if fs::symlink_metadata(place)?.is_symlink() {
        // What it leads to is not what was meant; links themselves have nothing to change.
        return Ok(());
    }
    if let Some(size) = size {
        open(OpenOptions::new().write(true), place)?.set_len(size)?;
    }
    #[cfg(unix)]
    if let Some(mode) = mode {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(place, fs::Permissions::from_mode(mode & 0o7777))?;
    }
    #[cfg(not(unix))]
    let _ = mode;
    if let Some((seconds, nanos)) = modified {
        let time = UNIX_EPOCH + Duration::new(seconds, nanos.min(999_999_999));
        open(OpenOptions::new().read(true), place)?.set_modified(time)?;
    }
    Ok(())
}

#[cfg(unix)]
fn mode_of(seen: &fs::Metadata) -> u32 {
    std::os::unix::fs::PermissionsExt::mode(&seen.permissions()) & 0o7777
}

#[cfg(not(unix))]
fn mode_of(seen: &fs::Metadata) -> u32 {
    if seen.is_dir() { 0o755 } else { 0o644 }
}

#[cfg(unix)]
fn link(target: &str, place: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, place)
}

#[cfg(not(unix))]
fn link(_: &str, _: &Path) -> io::Result<()> {
    Err(ErrorKind::Unsupported.into())
}

fn trouble(e: &io::Error) -> Trouble {
    match e.kind() {
        ErrorKind::NotFound => Trouble::NotFound,
        ErrorKind::AlreadyExists => Trouble::Exists,
        ErrorKind::DirectoryNotEmpty => Trouble::NotEmpty,
        ErrorKind::NotADirectory => Trouble::NotAFolder,
        ErrorKind::IsADirectory => Trouble::IsAFolder,
        ErrorKind::PermissionDenied => Trouble::Denied,
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Trouble::Full,
        ErrorKind::ReadOnlyFilesystem => Trouble::ReadOnly,
        ErrorKind::InvalidInput | ErrorKind::InvalidFilename => Trouble::Invalid,
        ErrorKind::Unsupported => Trouble::Unsupported,
        _ => Trouble::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Lent {
        dir: tempfile::TempDir,
        folder: Folder,
    }

    fn lent(read_only: bool) -> Lent {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("lent");
        fs::create_dir(&root).unwrap();
        fs::write(root.join("a"), "hello").unwrap();
        fs::write(dir.path().join("secret"), "not lent").unwrap();
        let folder = Folder::open(&root, read_only).unwrap();
        Lent { dir, folder }
    }

    impl Lent {
        fn ask(&self, ask: Ask) -> Answer {
            self.folder.answer(&ask, b"").0
        }

        fn read(&self, path: &str, offset: u64) -> Result<Vec<u8>, Trouble> {
            let path = path.to_owned();
            let ask = Ask::Read {
                path,
                offset,
                size: 100,
            };
            match self.folder.answer(&ask, b"") {
                (Answer::Data, data) => Ok(data),
                (Answer::Failed { trouble }, _) => Err(trouble),
                other => panic!("{other:?}"),
            }
        }

        fn trouble(&self, ask: Ask) -> Trouble {
            match self.ask(ask) {
                Answer::Failed { trouble } => trouble,
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn a_file_lives_its_life() {
        let lent = lent(false);
        let path = || "sub/b".to_owned();
        let made = lent.ask(Ask::MakeFolder {
            path: "sub".into(),
            mode: 0o755,
        });
        assert!(matches!(made, Answer::Facts { facts } if facts.kind == Kind::Folder));
        lent.ask(Ask::Create {
            path: path(),
            mode: 0o640,
        });
        let write = Ask::Write {
            path: path(),
            offset: 2,
        };
        assert_eq!(lent.folder.answer(&write, b"xyz").0, Answer::Done);
        assert_eq!(lent.read("sub/b", 1).unwrap(), b"\0xyz");
        assert_eq!(lent.read("sub/b", 99).unwrap(), b"");
        let changed = lent.ask(Ask::Change {
            path: path(),
            size: Some(3),
            mode: Some(0o600),
            modified: Some((1000, 5)),
        });
        let Answer::Facts { facts } = changed else {
            panic!("{changed:?}");
        };
        assert_eq!(
            (facts.size, facts.mode, facts.modified),
            (3, 0o600, (1000, 5))
        );
        let full = Ask::RemoveFolder { path: "sub".into() };
        assert_eq!(lent.trouble(full), Trouble::NotEmpty);
        let rename = |keep| Ask::Rename {
            from: path(),
            to: "a".into(),
            keep,
        };
        assert_eq!(lent.trouble(rename(true)), Trouble::Exists);
        assert_eq!(lent.ask(rename(false)), Answer::Done);
        let names = lent.ask(Ask::List {
            path: String::new(),
        });
        let Answer::Names { names } = names else {
            panic!("{names:?}");
        };
        let names: Vec<_> = names.iter().map(|n| (n.name.as_str(), n.kind)).collect();
        assert_eq!(names, [("a", Kind::File), ("sub", Kind::Folder)]);
    }

    #[test]
    fn nothing_outside_is_read_or_written() {
        let lent = lent(false);
        let root = &lent.folder.root;
        std::os::unix::fs::symlink(lent.dir.path(), root.join("out")).unwrap();
        std::os::unix::fs::symlink("../secret", root.join("file")).unwrap();
        for path in [
            "../secret",
            "..",
            "out/secret",
            "file",
            "/etc/passwd",
            "sub/../../secret",
            "out/../secret",
            "a/",
            "a/.",
        ] {
            assert!(lent.read(path, 0).is_err(), "{path}");
            let create = Ask::Create {
                path: path.into(),
                mode: 0o600,
            };
            assert!(matches!(lent.ask(create), Answer::Failed { .. }), "{path}");
            let change = Ask::Change {
                path: path.into(),
                size: Some(0),
                mode: Some(0o777),
                modified: None,
            };
            // Of a link nothing is changed, and that is no failure.
            lent.ask(change);
        }
        let secret = fs::read_to_string(lent.dir.path().join("secret")).unwrap();
        assert_eq!(secret, "not lent");
        let target = lent.ask(Ask::Target {
            path: "file".into(),
        });
        assert!(matches!(target, Answer::Target { target } if target == "../secret"));
        let gone = lent.ask(Ask::Remove { path: "out".into() });
        assert_eq!(gone, Answer::Done, "the link, not what it leads to");
        assert!(lent.dir.path().join("secret").exists());
    }

    #[test]
    fn a_folder_that_is_lent_to_be_read_stays_as_it_is() {
        let lent = lent(true);
        assert_eq!(lent.read("a", 0).unwrap(), b"hello");
        let remove = Ask::Remove { path: "a".into() };
        assert_eq!(lent.trouble(remove), Trouble::ReadOnly);
        let write = Ask::Write {
            path: "a".into(),
            offset: 0,
        };
        assert!(matches!(lent.ask(write), Answer::Failed { .. }));
        assert_eq!(lent.read("a", 0).unwrap(), b"hello");
    }

    #[test]
    fn serving_ends_with_the_line() {
        let lent = lent(false);
        let mut asks = Vec::new();
        put(&mut asks, &Ask::Look { path: "a".into() }, b"").unwrap();
        put(&mut asks, &Ask::Look { path: "b".into() }, b"").unwrap();
        let mut answers = Vec::new();
        let mut count = 0;
        let serving = lent
            .folder
            .serve(&mut &asks[..], &mut answers, || count += 1);
        serving.unwrap();
        assert_eq!(count, 2);
        let mut answers = &answers[..];
        let (first, _) = take::<Answer>(&mut answers).unwrap().unwrap();
        assert!(matches!(first, Answer::Facts { facts } if facts.size == 5));
        let (second, _) = take::<Answer>(&mut answers).unwrap().unwrap();
        let trouble = Trouble::NotFound;
        assert_eq!(second, Answer::Failed { trouble });
    }
}
