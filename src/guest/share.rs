//! A folder of the laptop, mounted in this machine: the kernel's questions (FUSE) go out on
//! standard output, the laptop's answers come in on standard input. When the line ends, so
//! does the mount.

mod paths;

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cadet_api::share::{Answer, Ask, Facts, Kind, Trouble, put, take};
use fuser::{
    BsdFileFlags, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags,
    Generation, INodeNo, LockOwner, MountOption, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate,
    ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyWrite, Request, SessionACL, TimeOrNow,
    WriteFlags,
};

use crate::Failure;
use paths::Paths;

/// How long the kernel may believe what it was told; files also change on the laptop.
const BELIEVE: Duration = Duration::from_secs(1);

/// Flags of `cadet-node share`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where to mount it; made if missing
    folder: PathBuf,
    /// Refuse writes in the kernel already
    #[arg(long)]
    read_only: bool,
}

/// Mounts, and returns when the line has ended.
pub fn run(args: &Args) -> Result<(), Failure> {
    std::fs::create_dir_all(&args.folder)?;
    let (heard, answers) = channel();
    let share = Share {
        line: Mutex::new(Line { answers }),
        paths: Mutex::new(Paths::default()),
    };
    let mut options = vec![
        MountOption::FSName("laptop".into()),
        MountOption::Subtype("cadet".into()),
        MountOption::NoDev,
        MountOption::NoSuid,
    ];
    if args.read_only {
        options.push(MountOption::RO);
    }
    let mut config = Config::default();
    config.mount_options = options;
    // Pods run as any user.
    config.acl = SessionACL::All;
    let session = fuser::spawn_mount(share, &args.folder, &config)?;
    // The first question tells the laptop that the mount is there, and that it works.
    let folder = args.folder.clone();
    std::thread::spawn(move || std::fs::metadata(folder));
    let ended = listen(&heard);
    drop(heard);
    // Whoever still has a file of it open is cut off: its other end is gone.
    nix::mount::umount2(&args.folder, nix::mount::MntFlags::MNT_DETACH)?;
    drop(session);
    Ok(ended?)
}

/// Hands on answers until the laptop ends the line.
fn listen(heard: &Sender<(Answer, Vec<u8>)>) -> io::Result<()> {
    let mut input = io::stdin().lock();
    while let Some(answer) = take::<Answer>(&mut input)? {
        if heard.send(answer).is_err() {
            break;
        }
    }
    Ok(())
}

/// The way to the laptop; whoever holds it has asked and waits.
struct Line {
    answers: Receiver<(Answer, Vec<u8>)>,
}

impl Line {
    fn ask(&mut self, ask: &Ask, data: &[u8]) -> Result<(Answer, Vec<u8>), Errno> {
        put(&mut io::stdout().lock(), ask, data).map_err(|_| Errno::EIO)?;
        match self.answers.recv() {
            Ok((Answer::Failed { trouble }, _)) => Err(errno(trouble)),
            Ok(answer) => Ok(answer),
            Err(_) => Err(Errno::EIO),
        }
    }
}

struct Share {
    line: Mutex<Line>,
    paths: Mutex<Paths>,
}

impl Share {
    fn paths(&self) -> MutexGuard<'_, Paths> {
        self.paths.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask(&self, ask: &Ask, data: &[u8]) -> Result<(Answer, Vec<u8>), Errno> {
        let line = self.line.lock();
        line.unwrap_or_else(PoisonError::into_inner).ask(ask, data)
    }

    fn path(&self, ino: INodeNo) -> Result<String, Errno> {
        self.paths().path(ino.0).ok_or(Errno::ENOENT)
    }

    fn child(&self, parent: INodeNo, name: &OsStr) -> Result<String, Errno> {
        let name = name.to_str().ok_or(Errno::EINVAL)?;
        self.paths().child(parent.0, name).ok_or(Errno::ENOENT)
    }

    /// Asks for something whose answer is facts of what is at `path`.
    fn facts(&self, path: &str, ask: &Ask) -> Result<FileAttr, Errno> {
        match self.ask(ask, &[])? {
            (Answer::Facts { facts }, _) => Ok(attr(self.paths().number(path), &facts)),
            _ => Err(Errno::EPROTO),
        }
    }

    /// The same of a new name in `parent`.
    fn entry(
        &self,
        parent: INodeNo,
        name: &OsStr,
        ask: impl FnOnce(String) -> Ask,
    ) -> Result<FileAttr, Errno> {
        let path = self.child(parent, name)?;
        let ask = ask(path.clone());
        self.facts(&path, &ask)
    }

    fn remove(
        &self,
        parent: INodeNo,
        name: &OsStr,
        ask: impl FnOnce(String) -> Ask,
    ) -> Result<(), Errno> {
        let path = self.child(parent, name)?;
        self.ask(&ask(path.clone()), &[])?;
        self.paths().forget(&path);
        Ok(())
    }
}

fn errno(trouble: Trouble) -> Errno {
    match trouble {
        Trouble::NotFound => Errno::ENOENT,
        Trouble::Exists => Errno::EEXIST,
        Trouble::NotEmpty => Errno::ENOTEMPTY,
        Trouble::NotAFolder => Errno::ENOTDIR,
        Trouble::IsAFolder => Errno::EISDIR,
        Trouble::Denied => Errno::EACCES,
        Trouble::Full => Errno::ENOSPC,
        Trouble::ReadOnly => Errno::EROFS,
        Trouble::Invalid => Errno::EINVAL,
        Trouble::Unsupported => Errno::EOPNOTSUPP,
        Trouble::Other => Errno::EIO,
    }
}

fn file_type(kind: Kind) -> FileType {
    match kind {
        Kind::File => FileType::RegularFile,
        Kind::Folder => FileType::Directory,
        Kind::Link => FileType::Symlink,
    }
}

/// Files belong to root here, whoever has them on the laptop.
fn attr(ino: u64, facts: &Facts) -> FileAttr {
    let (seconds, nanos) = facts.modified;
    let modified = UNIX_EPOCH + Duration::new(seconds, nanos.min(999_999_999));
    FileAttr {
        ino: INodeNo(ino),
        size: facts.size,
        blocks: facts.size.div_ceil(512),
        atime: modified,
        mtime: modified,
        ctime: modified,
        crtime: modified,
        kind: file_type(facts.kind),
        perm: (facts.mode & 0o7777) as u16,
        nlink: 1,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}

fn since_1970(time: TimeOrNow) -> (u64, u32) {
    let time = match time {
        TimeOrNow::SpecificTime(time) => time,
        TimeOrNow::Now => SystemTime::now(),
    };
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    (since.as_secs(), since.subsec_nanos())
}

fn tell_entry(made: Result<FileAttr, Errno>, reply: ReplyEntry) {
    match made {
        Ok(attr) => reply.entry(&BELIEVE, &attr, Generation(0)),
        Err(e) => reply.error(e),
    }
}

fn tell_attr(seen: Result<FileAttr, Errno>, reply: ReplyAttr) {
    match seen {
        Ok(attr) => reply.attr(&BELIEVE, &attr),
        Err(e) => reply.error(e),
    }
}

fn tell_empty(done: Result<(), Errno>, reply: ReplyEmpty) {
    match done {
        Ok(()) => reply.ok(),
        Err(e) => reply.error(e),
    }
}

impl Filesystem for Share {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        tell_entry(self.entry(parent, name, |path| Ask::Look { path }), reply);
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        let seen = self.path(ino);
        let seen = seen.and_then(|path| self.facts(&path, &Ask::Look { path: path.clone() }));
        tell_attr(seen, reply);
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        modified: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let changed = self.path(ino).and_then(|path| {
            let ask = Ask::Change {
                path: path.clone(),
                size,
                mode,
                modified: modified.map(since_1970),
            };
            self.facts(&path, &ask)
        });
        tell_attr(changed, reply);
    }

    fn readlink(&self, _: &Request, ino: INodeNo, reply: ReplyData) {
        let target = self.path(ino);
        match target.and_then(|path| self.ask(&Ask::Target { path }, &[])) {
            Ok((Answer::Target { target }, _)) => reply.data(target.as_bytes()),
            Ok(_) => reply.error(Errno::EPROTO),
            Err(e) => reply.error(e),
        }
    }

    fn mkdir(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        reply: ReplyEntry,
    ) {
        let mode = mode & !umask;
        let ask = |path| Ask::MakeFolder { path, mode };
        tell_entry(self.entry(parent, name, ask), reply);
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        tell_empty(
            self.remove(parent, name, |path| Ask::Remove { path }),
            reply,
        );
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let ask = |path| Ask::RemoveFolder { path };
        tell_empty(self.remove(parent, name, ask), reply);
    }

    fn symlink(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        target: &Path,
        reply: ReplyEntry,
    ) {
        let Some(target) = target.to_str() else {
            return reply.error(Errno::EINVAL);
        };
        let target = target.to_owned();
        let ask = |path| Ask::Link { path, target };
        tell_entry(self.entry(parent, name, ask), reply);
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let keep = flags.contains(RenameFlags::RENAME_NOREPLACE);
        if !(flags - RenameFlags::RENAME_NOREPLACE).is_empty() {
            return reply.error(Errno::EINVAL);
        }
        let moved = || -> Result<(), Errno> {
            let (from, to) = (self.child(parent, name)?, self.child(newparent, newname)?);
            let ask = Ask::Rename {
                from: from.clone(),
                to: to.clone(),
                keep,
            };
            self.ask(&ask, &[])?;
            self.paths().rename(&from, &to);
            Ok(())
        };
        tell_empty(moved(), reply);
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let ask = |path| Ask::Read { path, offset, size };
        match self.path(ino).and_then(|path| self.ask(&ask(path), &[])) {
            Ok((Answer::Data, data)) => reply.data(&data),
            Ok(_) => reply.error(Errno::EPROTO),
            Err(e) => reply.error(e),
        }
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let ask = |path| Ask::Write { path, offset };
        match self.path(ino).and_then(|path| self.ask(&ask(path), data)) {
            Ok(_) => reply.written(u32::try_from(data.len()).unwrap_or(u32::MAX)),
            Err(e) => reply.error(e),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        // Every write was answered already.
        reply.ok();
    }

    fn fsync(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        let done = self.path(ino);
        let done = done.and_then(|path| self.ask(&Ask::Sync { path }, &[]));
        tell_empty(done.map(drop), reply);
    }

    fn fsyncdir(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        reply.ok();
    }

    fn readdir(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let list = self.path(ino).and_then(|path| {
            let (answer, _) = self.ask(&Ask::List { path: path.clone() }, &[])?;
            Ok((path, answer))
        });
        let (path, names) = match list {
            Ok((path, Answer::Names { names })) => (path, names),
            Ok(_) => return reply.error(Errno::EPROTO),
            Err(e) => return reply.error(e),
        };
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        let mut paths = self.paths();
        for (at, name) in names.iter().enumerate().skip(from) {
            let number = paths.number(&paths::join(&path, &name.name));
            let next = at as u64 + 1;
            if reply.add(INodeNo(number), next, file_type(name.kind), &name.name) {
                break;
            }
        }
        reply.ok();
    }

    fn create(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        _: i32,
        reply: ReplyCreate,
    ) {
        let mode = mode & !umask;
        match self.entry(parent, name, |path| Ask::Create { path, mode }) {
            Ok(attr) => {
                let flags = FopenFlags::empty();
                reply.created(&BELIEVE, &attr, Generation(0), FileHandle(0), flags);
            }
            Err(e) => reply.error(e),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_become_what_the_kernel_wants() {
        let facts = Facts {
            kind: Kind::Folder,
            size: 4097,
            mode: 0o40755,
            modified: (10, 2_000_000_000),
        };
        let attr = attr(7, &facts);
        assert_eq!((attr.kind, attr.perm), (FileType::Directory, 0o755));
        assert_eq!((attr.size, attr.blocks, attr.uid), (4097, 9, 0));
        assert!(attr.mtime > UNIX_EPOCH + Duration::from_secs(10));
        assert_eq!(since_1970(TimeOrNow::SpecificTime(UNIX_EPOCH)), (0, 0));
    }
}
