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
mod tests;
