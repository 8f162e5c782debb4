//! Suspending a profile's machines and waking them again.
//!
//! ```text
//!             suspend                        wake
//!   Running ──────────► Suspended ──────────────────────────► Running
//!      ▲   (a note and a state per machine)   │ does not fit, is damaged, disk was changed
//!      └────────────── boot from the disk ◄───┘ said in one line
//! ```
//! All machines stand still before the first is written, so that none sees another die. The note
//! goes before a woken guest runs: from then on its disk is ahead of what was written. A process
//! beside a note is therefore one that has not gone on: of a command that was killed, it is ended.

use std::io::ErrorKind;
use std::time::Duration;

use cadet_api::keeper::Ask;
use cadet_state::{Profile, ProfilePaths};
use cadet_vm::checksum::{Mark, Stamp};
use cadet_vm::diagnose::Reason;
use cadet_vm::frozen::{Files, Note};
use cadet_vm::{Emulator, Key, Machine, StopDeadlines, VmError, process};
use tokio::task::JoinSet;

use super::{config, go_on, now, program, told};
use crate::error::{CliError, Result};
use crate::nodes::Node;
use crate::{Context, computer, keeper, machine, ui};

/// For what a guest has not written yet; it is not lost by suspending, only by losing the state.
const SYNC: Duration = Duration::from_secs(5);
/// What stood still keeps the certificates it had. `cadet-node` makes them for a year, dated back
/// by a day, and anew when it starts.
const LONGEST: u64 = 300 * DAY;
const DAY: u64 = 24 * 60 * 60;
/// Left free on the disk beside what is written.
const SPARE: u64 = 256 << 20;

/// What came of suspending.
pub enum Suspended {
    /// All that ran are suspended.
    All,
    /// None is, all go on; why, in one line.
    No(String),
}

/// A machine that is being suspended.
struct Moving {
    node: Node,
    vm: Machine,
    key: Key,
    files: ProfilePaths,
    /// Somebody had paused it before.
    was_paused: bool,
    saved: Option<Result<Note, VmError>>,
}

/// Suspends those of `which` that run, or that somebody paused.
///
/// # Errors
/// What keeps a machine from ending after it was written.
pub async fn suspend(cx: &Context, profile: &Profile, which: &[Node]) -> Result<Suspended> {
    let mut moving = Vec::new();
    for node in which {
        match ready(cx, profile, node).await? {
            Ok(Some(one)) => moving.push(one),
            Ok(None) => {}
            Err(why) => return Ok(Suspended::No(why)),
        }
    }
    if let Some(why) = no_room(cx, profile, &moving) {
        return Ok(Suspended::No(why));
    }
    cx.ui.progress("suspending", None);
    let program = program(cx)?;
    for one in moving.iter().filter(|one| !one.was_paused) {
        // Whoever has no keeper has unwritten data in the state alone.
        let _ = keeper::ask(&one.files.keeper(), Ask::Sync, SYNC).await;
    }
    for (index, one) in moving.iter().enumerate() {
        if let Err(error) = one.vm.pause().await {
            // The one that failed may have heard of it all the same.
            go_on_all(&moving[..=index]).await;
            return Ok(Suspended::No(told(&error)));
        }
    }
    moving = save_all(moving, &program).await;
    let failed = moving
        .iter()
        .find_map(|one| one.saved.as_ref()?.as_ref().err());
    if let Some(error) = failed {
        let why = told(error);
        go_on_all(&moving).await;
        for one in &moving {
            discard(&one.files)?;
        }
        return Ok(Suspended::No(why));
    }
    // From here on its memory is in the file, whatever becomes of this command. Nothing is told of
    // the disk yet; the guest does not go on while the note is there.
    let mut notes = moving
        .iter()
        .filter_map(|one| Some((one.saved.as_ref()?.as_ref().ok()?, &one.files)));
    let noted = notes.try_for_each(|(note, files)| note.write(&files.suspended_note()));
    if let Err(error) = noted {
        for one in &moving {
            discard(&one.files)?;
        }
        go_on_all(&moving).await;
        return Ok(Suspended::No(told(&error)));
    }
    for one in moving {
        let Some(Ok(mut note)) = one.saved else {
            continue;
        };
        one.vm.destroy(StopDeadlines::default()).await?;
        // QEMU's last words to the disk were spoken just now.
        note.disk = Some(Stamp::of(&one.files.disk())?);
        note.write(&one.files.suspended_note())?;
        cx.ui
            .progress(&format!("{} is suspended", one.node.name), None);
    }
    Ok(Suspended::All)
}

/// The machine, if it runs and may be suspended; why not, in one line.
async fn ready(
    cx: &Context,
    profile: &Profile,
    node: &Node,
) -> Result<Result<Option<Moving>, String>> {
    let all = cx.world.files(&cx.name);
    let state = machine::state_of_node(&all, profile, node).await;
    if is(&node.files(&all)) && state.has_process() && !state.is_running() {
        // A wake that was cut off: the guest has not gone on while the note is there.
        machine::destroy(cx, profile, node).await?;
        return Ok(Ok(None));
    }
    if !state.is_running() && !state.is_paused() {
        let why = state.reason().unwrap_or_default();
        let hangs = format!("{} is {}: {why}", node.name, state.word().to_lowercase());
        return Ok(if state.has_process() {
            Err(hangs)
        } else {
            Ok(None)
        });
    }
    let emulator = crate::start::emulator()?;
    let config = config(cx, profile, node, &emulator)?;
    let files = node.files(&all);
    let Some(then) = Key::read(&files.key()) else {
        return Ok(Err("an older Cadet started the machine".into()));
    };
    let key = Key::of(&config, &emulator);
    if let Some(why) = then.obstacle(&key) {
        return Ok(Err(format!("it could not be woken: {why}")));
    }
    let Some(vm) = Machine::attach(&config).await? else {
        return Ok(Ok(None));
    };
    let was_paused = state.was_asked_to_pause();
    if state.is_paused() && !was_paused {
        // Its state was written by a command that was killed. It goes on, so that it hears
        // what follows.
        vm.resume().await?;
    }
    Ok(Ok(Some(Moving {
        node: node.clone(),
        vm,
        key,
        files,
        was_paused,
        saved: None,
    })))
}

/// Refuses what the disk may not hold; most memory was never touched, but nobody knows how much.
fn no_room(cx: &Context, profile: &Profile, moving: &[Moving]) -> Option<String> {
    let sizes = moving
        .iter()
        .filter_map(|one| Some(one.node.kept(profile)?.spec.memory_mib << 20));
    let most = sizes.sum::<u64>() + SPARE;
    let free = computer::free_bytes(cx.world.files(&cx.name).dir())?;
    (free < most).then(|| {
        format!(
            "{} are free on the disk, it may need {}",
            ui::mib(free >> 20),
            ui::mib(most >> 20)
        )
    })
}

/// Writes all of them side by side.
async fn save_all(moving: Vec<Moving>, program: &str) -> Vec<Moving> {
    let mut tasks = JoinSet::new();
    for mut one in moving {
        let program = program.to_owned();
        tasks.spawn(async move {
            one.saved = Some(save(&one, program).await);
            one
        });
    }
    let mut done = tasks.join_all().await;
    done.sort_by_key(|one| one.node.number);
    done
}

async fn save(one: &Moving, program: String) -> Result<Note, VmError> {
    let state = one.files.suspended();
    let layout = one.vm.save(&state, None).await?;
    let mark = Mark::begin(&state).await;
    Ok(Note {
        key: one.key.clone(),
        layout,
        state: mark.unwrap_or_else(|e| {
            Err(VmError::NotUsable(format!(
                "its state was not read back: {e}"
            )))
        })?,
        memory: None,
        disk: None,
        saved: now(),
        program,
    })
}

/// As if nothing had been.
async fn go_on_all(moving: &[Moving]) {
    for one in moving.iter().filter(|one| !one.was_paused) {
        // A machine that cannot go on is shown by `status`, and mended by `start`.
        let _ = one.vm.resume().await;
        let _ = keeper::ask(&one.files.keeper(), Ask::Wake(keeper::wake()), keeper::SOON).await;
    }
}

/// Whether a machine is suspended.
pub fn is(files: &ProfilePaths) -> bool {
    files.suspended_note().exists()
}

/// Forgets a suspended state; none there is fine.
///
/// # Errors
/// HOST_NOT_READABLE.
pub fn discard(files: &ProfilePaths) -> Result<()> {
    // The note first: a state without one is nothing. For good, because a power cut that brings
    // it back might leave the disk's time as it was when the guest had written to it already.
    process::remove_for_good(&files.suspended_note())?;
    Ok(process::remove(&files.suspended())?)
}

/// Does what changes a disk's file, but nothing of what its guest sees: one that is suspended can
/// be woken afterwards.
///
/// # Errors
/// That of `act`; HOST_DISK_FULL, HOST_NOT_READABLE.
pub fn unseen(files: &ProfilePaths, act: impl FnOnce() -> Result<(), VmError>) -> Result<()> {
    let disk = files.disk();
    let now = Stamp::of(&disk)?;
    // What does not fit its disk any more is not made to fit.
    let note = Note::read(&files.suspended_note()).ok().flatten();
    let Some(mut note) = note.filter(|note| note.disk == Some(now)) else {
        return Ok(act()?);
    };
    // Nothing is told of the disk meanwhile, as while it is suspended: this may be cut off.
    note.disk = None;
    note.write(&files.suspended_note())?;
    let done = act();
    note.disk = Some(Stamp::of(&disk)?);
    note.write(&files.suspended_note())?;
    Ok(done?)
}

/// What came of waking.
pub enum Woken {
    /// It was not suspended.
    NotSuspended,
    /// It goes on.
    Up {
        /// Which `cadet-node` runs in it.
        program: String,
        /// How long it stood still.
        slept: Duration,
    },
    /// It cannot; the state is gone, the disk is whole. Why, in one line.
    Lost(String),
}

/// Wakes a machine if it is suspended.
///
/// # Errors
/// What would keep it from booting as well: a taken port, no memory; HOST_NOT_READABLE for a state
/// that cannot be read. It is kept then.
pub async fn wake(
    cx: &Context,
    profile: &Profile,
    node: &Node,
    emulator: &Emulator,
) -> Result<Woken> {
    let files = node.files(&cx.world.files(&cx.name));
    let note = match Note::read(&files.suspended_note()) {
        Ok(None) => {
            discard(&files)?;
            return Ok(Woken::NotSuspended);
        }
        Ok(Some(note)) => note,
        Err(error @ VmError::NotUsable(_)) => return lost(&files, &error),
        // What cannot be read now may be sound.
        Err(error) => return Err(kept(cx, &files, error)),
    };
    // Of a wake that was cut off.
    machine::destroy(cx, profile, node).await?;
    match thaw(cx, profile, node, emulator, &note).await {
        Ok(()) => {
            process::remove(&files.suspended())?;
            Ok(Woken::Up {
                slept: Duration::from_secs(now().saturating_sub(note.saved)),
                program: note.program,
            })
        }
        Err(error) if is_in_the_way(&error) => Err(error.into()),
        Err(error) if is_unread(&error) => Err(kept(cx, &files, error)),
        Err(error) => lost(&files, &error),
    }
}

/// True for a file that is there and cannot be read now, or written: what is in it may be sound.
fn is_unread(error: &VmError) -> bool {
    matches!(error, VmError::File { source, .. } if source.kind() != ErrorKind::NotFound)
}

/// The error for a state that stays where it is.
fn kept(cx: &Context, files: &ProfilePaths, error: VmError) -> CliError {
    let (start, note) = (machine::again(cx, "start"), files.suspended_note());
    let error = CliError::from(error);
    let why = error.why.clone().unwrap_or_default();
    error
        .why(format!("{why}; the suspended state is kept"))
        .fix(format!(
            "{start}      wakes the machine once its files can be read\nrm '{}'      gives its memory up: it boots from its disk",
            note.display()
        ))
}

async fn thaw(
    cx: &Context,
    profile: &Profile,
    node: &Node,
    emulator: &Emulator,
    note: &Note,
) -> Result<(), VmError> {
    let files = node.files(&cx.world.files(&cx.name));
    if note.disk.is_some() && note.disk != Some(Stamp::of(&files.disk())?) {
        return Err(VmError::NotUsable("its disk was changed meanwhile".into()));
    }
    if let Some(why) = untimely(note.saved, now()) {
        return Err(VmError::NotUsable(why));
    }
    let config = config(cx, profile, node, emulator).map_err(|e| VmError::NotUsable(e.what))?;
    let state = files.suspended();
    let saved = Files {
        state: &state,
        memory: None,
    };
    let vm = Machine::thaw(config, emulator, &saved, note).await?;
    let went_on = match process::remove_for_good(&files.suspended_note()) {
        Ok(()) => go_on(cx, profile, node, &vm).await,
        Err(error) => Err(error),
    };
    if went_on.is_err() {
        // What stands still for ever would be in the way of a boot.
        vm.destroy(StopDeadlines::default()).await?;
    }
    went_on
}

fn lost(files: &ProfilePaths, error: &VmError) -> Result<Woken> {
    let why = told(error);
    discard(files)?;
    Ok(Woken::Lost(why))
}

/// Why a machine that was saved then cannot go on now, in one line, by this computer's clock: to
/// all who speak to it, its certificates would be over, or not good yet. A boot makes them anew.
pub fn untimely(saved: u64, now: u64) -> Option<String> {
    let days = saved.abs_diff(now) / DAY;
    if saved > now + DAY {
        Some(format!(
            "this computer's clock is {days} days behind that of then"
        ))
    } else if now > saved + LONGEST {
        Some(format!(
            "it stood still for {days} days, and its certificates end meanwhile"
        ))
    } else {
        None
    }
}

/// True for what has nothing to do with the saved state.
pub fn is_in_the_way(error: &VmError) -> bool {
    match error {
        VmError::Died(death) => matches!(
            death.reason,
            Reason::PortTaken { .. } | Reason::DiskInUse | Reason::NoMemory | Reason::DiskFull
        ),
        VmError::AlreadyRunning { .. }
        | VmError::Run { .. }
        | VmError::DiskFull { .. }
        | VmError::NoAnswer { .. } => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use cadet_state::{Home, ProfileName};

    use super::*;

    #[test]
    fn a_state_without_a_note_is_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::new(dir.path(), dir.path().join("cache"));
        let files = home.profile(&ProfileName::parse("cadet").unwrap());
        std::fs::create_dir_all(files.dir()).unwrap();
        std::fs::write(files.suspended(), "half").unwrap();
        assert!(!is(&files));
        discard(&files).unwrap();
        assert!(!files.suspended().exists());
        discard(&files).unwrap();
    }

    #[test]
    fn a_clock_that_jumped_by_a_year_lets_nobody_wake() {
        let now = 1_795_000_000;
        for saved in [now, now - 90 * DAY, now + 3600] {
            assert_eq!(untimely(saved, now), None);
        }
        let told = untimely(now - 365 * DAY, now).unwrap();
        assert!(told.contains("365 days"), "{told}");
        let told = untimely(now + 365 * DAY, now).unwrap();
        assert!(told.contains("365 days behind"), "{told}");
        // A clock that lost all it knew.
        assert!(untimely(now, 0).is_some());
    }

    #[test]
    fn a_disk_that_changes_unseen_keeps_its_state_and_no_other_gets_one() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::new(dir.path(), dir.path().join("cache"));
        let files = home.profile(&ProfileName::parse("cadet").unwrap());
        std::fs::create_dir_all(files.dir()).unwrap();
        std::fs::write(files.disk(), "disk").unwrap();
        std::fs::write(files.suspended(), "state").unwrap();
        let grow = || {
            std::fs::write(files.disk(), "a longer disk").unwrap();
            Ok(())
        };
        // Nobody is suspended.
        unseen(&files, grow).unwrap();
        assert!(!is(&files));
        let mut note = Note {
            key: Key {
                qemu: "7.2.22".into(),
                shape: Vec::new(),
                processor: None,
            },
            layout: cadet_vm::Layout::Stream,
            state: Mark::of(&files.suspended()).unwrap(),
            memory: None,
            disk: Some(Stamp::of(&files.disk()).unwrap()),
            saved: 1,
            program: "p".into(),
        };
        let kept = || Note::read(&files.suspended_note()).unwrap().unwrap().disk;
        note.write(&files.suspended_note()).unwrap();
        let shrink = || {
            assert_eq!(kept(), None, "it may be cut off here");
            std::fs::write(files.disk(), "short").unwrap();
            Err(VmError::NotRunning)
        };
        assert!(unseen(&files, shrink).is_err());
        assert_eq!(kept(), Some(Stamp::of(&files.disk()).unwrap()));
        // Somebody else wrote to it before.
        note.disk = Some(Stamp {
            bytes: 1,
            modified: 1,
        });
        note.write(&files.suspended_note()).unwrap();
        unseen(&files, grow).unwrap();
        assert_eq!(kept(), note.disk);
    }

    #[test]
    fn what_cannot_be_read_now_is_not_lost() {
        let failed = |kind: ErrorKind| VmError::File {
            act: "read",
            path: "suspended.state".into(),
            source: kind.into(),
        };
        assert!(is_unread(&failed(ErrorKind::PermissionDenied)));
        // EIO has no kind of its own.
        assert!(is_unread(&failed(ErrorKind::Other)));
        assert!(!is_unread(&failed(ErrorKind::NotFound)));
        assert!(!is_unread(&VmError::NotUsable("damaged".into())));
    }

    #[test]
    fn what_keeps_a_boot_from_working_keeps_the_state() {
        assert!(is_in_the_way(&VmError::AlreadyRunning { pid: 1 }));
        assert!(is_in_the_way(&VmError::DiskFull { path: "d".into() }));
        assert!(!is_in_the_way(&VmError::NotUsable("damaged".into())));
        assert!(!is_in_the_way(&VmError::Migration("cut".into())));
    }
}
