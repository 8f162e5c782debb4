//! A file system that forgets: what was not synced may be gone after a power cut.
//!
//! It lives in memory behind FUSE, so the engine under test makes its real system calls. A
//! cut keeps, of every file, what the last fsync made durable, and of later writes a random
//! choice of 4 KiB blocks in any order, as a page cache and a drive's own cache may.
//! Directory changes survive as a random prefix, and whole with any fsync, which is what a
//! journalling file system promises.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, UNIX_EPOCH};

use fuser::{
    BsdFileFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyEmpty, ReplyEntry, ReplyWrite, Request, TimeOrNow, WriteFlags,
};

/// What a page cache writes at once.
const BLOCK: usize = 4096;
const TTL: Duration = Duration::ZERO;
const ROOT: u64 = 1;

/// Random numbers that a seed repeats (xorshift64*, Vigna 2016).
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(seed.max(1))
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16) % n.max(1)
    }
}

#[derive(Clone)]
enum Op {
    Write(usize, Vec<u8>),
    Resize(usize),
}

impl Op {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Op::Resize(len) => bytes.resize(*len, 0),
            Op::Write(at, data) => {
                let end = at + data.len();
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                bytes[*at..end].copy_from_slice(data);
            }
        }
    }
}

#[derive(Clone, Default)]
struct File {
    now: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Op>,
}

impl File {
    fn change(&mut self, op: Op) {
        op.apply(&mut self.now);
        self.pending.push(op);
    }

    fn sync(&mut self) {
        for op in std::mem::take(&mut self.pending) {
            op.apply(&mut self.durable);
        }
    }

    /// The file after a power cut.
    fn after_cut(&self, dice: &mut Dice) -> Vec<u8> {
        let mut bytes = self.durable.clone();
        for op in &self.pending {
            match op {
                // A new length is metadata, journalled with the next commit or not at all.
                Op::Resize(_) if dice.below(2) == 0 => op.apply(&mut bytes),
                Op::Resize(_) => {}
                Op::Write(at, data) => {
                    let mut from = 0;
                    while from < data.len() {
                        let to = data.len().min((at + from) / BLOCK * BLOCK + BLOCK - at);
                        if dice.below(2) == 0 {
                            Op::Write(at + from, data[from..to].to_vec()).apply(&mut bytes);
                        }
                        from = to;
                    }
                }
            }
        }
        bytes
    }
}

#[derive(Clone)]
enum Node {
    Folder(BTreeMap<OsString, u64>),
    File(File),
}

#[derive(Clone)]
enum Rename {
    Link(u64, OsString, u64),
    Unlink(u64, OsString),
}

#[derive(Default)]
struct State {
    nodes: BTreeMap<u64, Node>,
    /// The folders as of the last fsync of anything.
    durable: BTreeMap<u64, BTreeMap<OsString, u64>>,
    names: Vec<Rename>,
    next: u64,
}

impl State {
    fn folder(&mut self, ino: u64) -> Option<&mut BTreeMap<OsString, u64>> {
        match self.nodes.get_mut(&ino) {
            Some(Node::Folder(names)) => Some(names),
            _ => None,
        }
    }

    fn rename(&mut self, change: Rename) {
        match &change {
            Rename::Link(parent, name, ino) => {
                if let Some(folder) = self.folder(*parent) {
                    folder.insert(name.clone(), *ino);
                }
            }
            Rename::Unlink(parent, name) => {
                if let Some(folder) = self.folder(*parent) {
                    folder.remove(name);
                }
            }
        }
        self.names.push(change);
    }

    fn sync_names(&mut self, count: usize) -> BTreeMap<u64, BTreeMap<OsString, u64>> {
        let mut folders = self.durable.clone();
        for change in &self.names[..count] {
            match change {
                Rename::Link(parent, name, ino) => {
                    folders
                        .entry(*parent)
                        .or_default()
                        .insert(name.clone(), *ino);
                }
                Rename::Unlink(parent, name) => {
                    folders.entry(*parent).or_default().remove(name);
                }
            }
        }
        folders
    }

    fn attr(&self, ino: u64) -> Option<FileAttr> {
        let (kind, size, perm) = match self.nodes.get(&ino)? {
            Node::Folder(_) => (FileType::Directory, 0, 0o700),
            Node::File(file) => (FileType::RegularFile, file.now.len() as u64, 0o600),
        };
        Some(FileAttr {
            ino: INodeNo(ino),
            size,
            blocks: size.div_ceil(512),
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind,
            perm,
            nlink: 1,
            // SAFETY: these two calls cannot fail and touch no memory.
            uid: unsafe { libc::getuid() },
            gid: unsafe { libc::getgid() },
            rdev: 0,
            blksize: BLOCK as u32,
            flags: 0,
        })
    }

    fn add(&mut self, parent: u64, name: &OsStr, node: Node) -> u64 {
        self.next += 1;
        let ino = ROOT + self.next;
        self.nodes.insert(ino, node);
        self.rename(Rename::Link(parent, name.to_owned(), ino));
        ino
    }
}

/// The mounted file system, and the hand on its plug.
pub struct Lossy {
    state: Arc<Mutex<State>>,
    pub path: PathBuf,
    _session: fuser::BackgroundSession,
}

impl Lossy {
    pub fn mount(at: &Path) -> io::Result<Lossy> {
        let mut state = State::default();
        state.nodes.insert(ROOT, Node::Folder(BTreeMap::new()));
        let state = Arc::new(Mutex::new(state));
        let session =
            fuser::spawn_mount(Mounted(Arc::clone(&state)), at, &fuser::Config::default())?;
        Ok(Lossy {
            state,
            path: at.to_owned(),
            _session: session,
        })
    }

    /// Writes what a power cut at this moment could have left into `target`.
    pub fn cut(&self, dice: &mut Dice, target: &Path) -> io::Result<()> {
        let mut state = lock(&self.state);
        let survives = dice.below(state.names.len() as u64 + 1) as usize;
        let folders = state.sync_names(survives);
        let mut open = vec![(ROOT, target.to_owned())];
        while let Some((ino, path)) = open.pop() {
            std::fs::create_dir_all(&path)?;
            for (name, child) in folders.get(&ino).into_iter().flatten() {
                match &state.nodes[child] {
                    Node::Folder(_) => open.push((*child, path.join(name))),
                    Node::File(file) => std::fs::write(path.join(name), file.after_cut(dice))?,
                }
            }
        }
        Ok(())
    }
}

struct Mounted(Arc<Mutex<State>>);

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().expect("no operation panics")
}

impl Mounted {
    fn entry(&self, ino: Option<u64>, reply: ReplyEntry) {
        match ino.and_then(|ino| lock(&self.0).attr(ino)) {
            Some(attr) => reply.entry(&TTL, &attr, Generation(0)),
            None => reply.error(Errno::ENOENT),
        }
    }
}

impl Filesystem for Mounted {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let found = lock(&self.0)
            .folder(parent.0)
            .and_then(|names| names.get(name).copied());
        self.entry(found, reply);
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match lock(&self.0).attr(ino.0) {
            Some(attr) => reply.attr(&TTL, &attr),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        _: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<std::time::SystemTime>,
        _: Option<FileHandle>,
        _: Option<std::time::SystemTime>,
        _: Option<std::time::SystemTime>,
        _: Option<std::time::SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let mut state = lock(&self.0);
        if let (Some(size), Some(Node::File(file))) = (size, state.nodes.get_mut(&ino.0)) {
            file.change(Op::Resize(size as usize));
        }
        match state.attr(ino.0) {
            Some(attr) => reply.attr(&TTL, &attr),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn mkdir(&self, _: &Request, parent: INodeNo, name: &OsStr, _: u32, _: u32, r: ReplyEntry) {
        let ino = lock(&self.0).add(parent.0, name, Node::Folder(BTreeMap::new()));
        self.entry(Some(ino), r);
    }

    fn create(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        _: u32,
        _: u32,
        _: i32,
        reply: ReplyCreate,
    ) {
        let mut state = lock(&self.0);
        let ino = state.add(parent.0, name, Node::File(File::default()));
        if let Some(attr) = state.attr(ino) {
            let flags = FopenFlags::empty();
            reply.created(&TTL, &attr, Generation(0), FileHandle(0), flags);
        }
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        lock(&self.0).rename(Rename::Unlink(parent.0, name.to_owned()));
        reply.ok();
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        _: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let mut state = lock(&self.0);
        let Some(ino) = state.folder(parent.0).and_then(|f| f.get(name).copied()) else {
            return reply.error(Errno::ENOENT);
        };
        state.rename(Rename::Link(newparent.0, newname.to_owned(), ino));
        state.rename(Rename::Unlink(parent.0, name.to_owned()));
        reply.ok();
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
        match lock(&self.0).nodes.get(&ino.0) {
            Some(Node::File(file)) => {
                let from = file.now.len().min(offset as usize);
                let to = file.now.len().min(from + size as usize);
                reply.data(&file.now[from..to]);
            }
            _ => reply.error(Errno::ENOENT),
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
        match lock(&self.0).nodes.get_mut(&ino.0) {
            Some(Node::File(file)) => {
                file.change(Op::Write(offset as usize, data.to_vec()));
                reply.written(data.len() as u32);
            }
            _ => reply.error(Errno::ENOENT),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        let mut state = lock(&self.0);
        if let Some(Node::File(file)) = state.nodes.get_mut(&ino.0) {
            file.sync();
        }
        let count = state.names.len();
        state.durable = state.sync_names(count);
        state.names.clear();
        reply.ok();
    }

    fn fsyncdir(&self, r: &Request, ino: INodeNo, h: FileHandle, d: bool, reply: ReplyEmpty) {
        self.fsync(r, ino, h, d, reply);
    }

    fn readdir(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let mut state = lock(&self.0);
        let names: Vec<(OsString, u64)> = match state.folder(ino.0) {
            Some(names) => names.iter().map(|(n, i)| (n.clone(), *i)).collect(),
            None => return reply.error(Errno::ENOENT),
        };
        for (at, (name, child)) in names.iter().enumerate().skip(offset as usize) {
            let kind = state.attr(*child).map_or(FileType::RegularFile, |a| a.kind);
            if reply.add(INodeNo(*child), at as u64 + 1, kind, name) {
                break;
            }
        }
        reply.ok();
    }
}
