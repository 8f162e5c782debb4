//! Snapshots of a whole profile while it runs: memory and disks of all its machines at one
//! moment.
//!
//! ```text
//! create   all pause ─ disks kept in their images, states written ─ all go on
//! restore  all end ─ disks go back ─ all are loaded ─ all go on
//!                    └ noted before the first, until the last has: a start finishes it
//! ```
//! A snapshot's record is written last: half a snapshot is none. What disks keep without a record
//! is forgotten when its name is used again.

use std::fs;
use std::io::ErrorKind;

use cadet_state::{Profile, ProfileName, ProfilePaths, SnapshotPaths, Spec};
use cadet_vm::checksum::Mark;
use cadet_vm::frozen::{Files, Note};
use cadet_vm::{Emulator, Key, Layout, Machine, VmError, overlay, ports, qemu};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use super::{config, go_on, now, program, suspend, told};
use crate::error::{CliError, Result};
use crate::nodes::{self, Node};
use crate::{Context, computer, machine, ui};

/// Left free on the disk beside what is written.
const SPARE: u64 = 512 << 20;

/// A snapshot, as it is kept beside its states.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Snapshot {
    /// Its name.
    pub name: String,
    /// Seconds since 1970.
    pub created: u64,
    /// The machines in it.
    pub machines: Vec<Member>,
}

/// A machine in a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Member {
    /// Its number in the profile.
    pub number: u8,
    /// Its size then.
    pub spec: Spec,
    /// Bytes of its state on the disk.
    pub bytes: u64,
}

/// All snapshots of the profile, the oldest first.
///
/// # Errors
/// HOST_NOT_READABLE.
pub fn list(cx: &Context) -> Result<Vec<Snapshot>> {
    let folder = cx.world.files(&cx.name).snapshots();
    let listed = match fs::read_dir(&folder) {
        Ok(listed) => listed,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(machine::io("read", &folder, &e)),
    };
    let mut all = Vec::new();
    for entry in listed.flatten() {
        let Ok(name) = ProfileName::parse(&entry.file_name().to_string_lossy()) else {
            continue;
        };
        all.extend(find(cx, &name)?);
    }
    all.sort_by_key(|snapshot| snapshot.created);
    Ok(all)
}

/// The snapshot of this name.
///
/// # Errors
/// HOST_NOT_READABLE.
pub fn find(cx: &Context, name: &ProfileName) -> Result<Option<Snapshot>> {
    let file = files(cx, name).record();
    match fs::read(&file) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|e| {
            CliError::new(
                "HOST_STATE_CORRUPT",
                format!("the record of snapshot {name} cannot be read"),
            )
            .why(format!("{}: {e}", file.display()))
            .fix(machine::again(cx, &format!("snapshot delete {name}")))
        }),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(machine::io("read", &file, &e)),
    }
}

fn files(cx: &Context, name: &ProfileName) -> SnapshotPaths {
    cx.world.files(&cx.name).snapshot(name)
}

/// What disks keep it under.
fn inside(name: &ProfileName) -> String {
    format!("cadet-{name}")
}

/// A machine that is being written.
struct Moving {
    node: Node,
    vm: Machine,
    key: Key,
    done: Option<Result<Layout, VmError>>,
}

/// Makes a snapshot of a running profile; none of that name is there.
///
/// # Errors
/// GUEST_NOT_RUNNING, HOST_DISK_FULL, DRIVER_CONTROL …; all machines go on.
pub async fn create(cx: &Context, profile: &Profile, name: &ProfileName) -> Result<Snapshot> {
    let emulator = crate::start::emulator()?;
    let all = cx.world.files(&cx.name);
    let mut moving = Vec::new();
    for node in nodes::all(profile) {
        machine::must_run(cx, profile, &node).await?;
        let config = config(cx, profile, &node, &emulator)?;
        let key = Key::of(&config, &emulator);
        let then = Key::read(&node.files(&all).key());
        let why = match &then {
            None => Some("an older Cadet started it".to_owned()),
            Some(then) => then.obstacle(&key),
        };
        if let Some(why) = why {
            return Err(not_as_it_is(cx, &node, &why));
        }
        let Some(vm) = Machine::attach(&config).await? else {
            return Err(machine::not_running(cx, None));
        };
        moving.push(Moving {
            node,
            vm,
            key,
            done: None,
        });
    }
    room(&all, profile)?;
    let place = files(cx, name);
    machine::remove_dir(place.dir())?;
    machine::private_dir(place.dir())?;
    let made = write(cx, profile, moving, name, &place).await;
    match made {
        Ok(snapshot) => Ok(snapshot),
        Err(error) => {
            machine::remove_dir(place.dir())?;
            Err(error)
        }
    }
}

async fn write(
    cx: &Context,
    profile: &Profile,
    moving: Vec<Moving>,
    name: &ProfileName,
    place: &SnapshotPaths,
) -> Result<Snapshot> {
    let program = program(cx)?;
    let mut paused = Ok(());
    cx.ui.progress("all machines stand still", None);
    for one in &moving {
        paused = one.vm.pause().await;
        if paused.is_err() {
            break;
        }
    }
    let moving = match &paused {
        Ok(()) => keep_all(moving, &inside(name), place).await,
        Err(_) => moving,
    };
    for one in &moving {
        let went_on = go_on(cx, profile, &one.node, &one.vm).await;
        if let Err(error) = went_on {
            cx.ui
                .warn("snapshot", &format!("{}: {}", one.node.name, told(&error)));
        }
    }
    paused?;
    cx.ui.progress("checksums", None);
    let mut machines = Vec::new();
    let mut failed = None;
    for one in &moving {
        match &one.done {
            Some(Ok(layout)) => {
                note(one, *layout, place, &program).await?;
                machines.extend(one.node.kept(profile).map(|kept| Member {
                    number: one.node.number,
                    spec: kept.spec.clone(),
                    bytes: taken(&place.state(one.node.number)),
                }));
            }
            Some(Err(error)) => failed = Some(told(error)),
            None => failed = Some("it was not written".into()),
        }
    }
    if let Some(why) = failed {
        for one in &moving {
            // The first failure is the one to tell.
            let _ = one.vm.forget_disks(&inside(name)).await;
        }
        return Err(CliError::new("DRIVER_CONTROL", "the snapshot was not made")
            .why(why)
            .fix(machine::again(cx, "status")));
    }
    let snapshot = Snapshot {
        name: name.to_string(),
        created: now(),
        machines,
    };
    let text = serde_json::to_vec_pretty(&snapshot)
        .map_err(|e| CliError::new("PROGRAM_INTERNAL", "no record").why(e.to_string()))?;
    machine::write_private(&place.record(), &text)?;
    Ok(snapshot)
}

/// Disks, then states, side by side; the guests stand still.
async fn keep_all(moving: Vec<Moving>, name: &str, place: &SnapshotPaths) -> Vec<Moving> {
    let mut tasks = JoinSet::new();
    for mut one in moving {
        let (name, place) = (name.to_owned(), place.clone());
        tasks.spawn(async move {
            one.done = Some(keep(&one, &name, &place).await);
            one
        });
    }
    let mut done = tasks.join_all().await;
    done.sort_by_key(|one| one.node.number);
    done
}

async fn keep(one: &Moving, name: &str, place: &SnapshotPaths) -> Result<Layout, VmError> {
    // Left by a snapshot of this name that never got its record.
    one.vm.forget_disks(name).await?;
    one.vm.keep_disks(name).await?;
    one.vm.save(&place.state(one.node.number), None).await
}

/// Notes what was written; the guest goes on meanwhile.
async fn note(one: &Moving, layout: Layout, place: &SnapshotPaths, program: &str) -> Result<()> {
    let unread = |e: tokio::task::JoinError| {
        CliError::new("PROGRAM_INTERNAL", "a file was not read").why(e.to_string())
    };
    let state = Mark::begin(&place.state(one.node.number));
    let note = Note {
        key: one.key.clone(),
        layout,
        state: state.await.map_err(unread)??,
        memory: None,
        // The disk goes back to what it was; how it is now does not matter.
        disk: None,
        saved: now(),
        program: program.to_owned(),
    };
    Ok(note.write(&place.note(one.node.number))?)
}

/// What came of a restore.
pub struct Restored {
    /// Machines whose memory could not be loaded, and why: they boot from the disks as they were.
    pub booting: Vec<(Node, String)>,
}

/// Puts the profile back; afterwards its machines run, but for those that must boot.
///
/// # Errors
/// SNAPSHOT_OTHER_MACHINES, IMAGE_CORRUPT, NET_PORT_TAKEN, DRIVER_CONTROL …
pub async fn restore(
    cx: &Context,
    profile: &mut Profile,
    name: &ProfileName,
    snapshot: &Snapshot,
) -> Result<Restored> {
    let all = nodes::all(profile);
    same_machines(cx, &all, snapshot)?;
    let emulator = crate::start::emulator()?;
    let home = cx.world.files(&cx.name);
    let img = qemu::find_program("qemu-img", std::env::var_os("PATH").as_deref())?;
    for node in &all {
        let disk = node.files(&home).disk();
        if !overlay::keeps(&img, &disk, &inside(name))? {
            return Err(CliError::new(
                "IMAGE_CORRUPT",
                format!("the disk of {} does not hold snapshot {name}", node.name),
            )
            .why(format!("{} was made anew since", disk.display()))
            .fix(machine::again(cx, &format!("snapshot delete {name}"))));
        }
    }
    free_ports(cx, profile, &all, name).await?;
    cx.ui.progress("switching off", None);
    for node in &all {
        machine::destroy(cx, profile, node).await?;
    }
    put_back(cx, profile, name, snapshot)?;
    cx.ui.progress("loading", None);
    let place = files(cx, name);
    let mut loaded = Vec::new();
    let mut booting = Vec::new();
    for node in all {
        match load(cx, profile, &node, &emulator, &place).await {
            Ok(vm) => loaded.push((node, vm)),
            Err(error) if suspend::is_in_the_way(&error) => return Err(error.into()),
            Err(error) => booting.push((node, told(&error))),
        }
    }
    // All at once, so that none misses another.
    for (node, vm) in &loaded {
        go_on(cx, profile, node, vm).await?;
    }
    Ok(Restored { booting })
}

/// Machines that are off have nobody who holds their ports for them. Afterwards would be too late.
async fn free_ports(
    cx: &Context,
    profile: &Profile,
    all: &[Node],
    name: &ProfileName,
) -> Result<()> {
    let home = cx.world.files(&cx.name);
    for node in all {
        let state = machine::state_of_node(&home, profile, node).await;
        if state.has_process() {
            continue;
        }
        let forwards = node.kept(profile).and_then(|kept| kept.forwards);
        for forward in forwards.unwrap_or_default() {
            ports::check_free(forward.host_port).map_err(|error| {
                let start = machine::again(cx, "start");
                let again = machine::again(cx, &format!("snapshot restore {name}"));
                CliError::from(error).fix(format!("{start}      chooses other ports\n{again}"))
            })?;
        }
    }
    Ok(())
}

/// Puts back the disks of machines that are off. Until the last one has, it is noted on the disk
/// that some may not.
fn put_back(
    cx: &Context,
    profile: &mut Profile,
    name: &ProfileName,
    snapshot: &Snapshot,
) -> Result<()> {
    cx.ui.progress("disks go back", None);
    let home = cx.world.files(&cx.name);
    let img = qemu::find_program("qemu-img", std::env::var_os("PATH").as_deref())?;
    let mark = home.restoring();
    machine::write_private(&mark, name.as_str().as_bytes())?;
    cadet_vm::process::sync_folder(&mark)?;
    for member in &snapshot.machines {
        let files = Node::new(&profile.name, member.number).files(&home);
        suspend::discard(&files)?;
        overlay::go_back(&img, &files.disk(), &inside(name))?;
    }
    for member in &snapshot.machines {
        match profile.worker_mut(member.number) {
            Some(worker) => worker.spec = member.spec.clone(),
            None => profile.spec = member.spec.clone(),
        }
    }
    machine::save(cx, profile)?;
    Ok(cadet_vm::process::remove_for_good(&mark)?)
}

/// The snapshot that only some of the disks may have gone back to, of a restore that was cut off.
fn half_restored(cx: &Context) -> Result<Option<ProfileName>> {
    let mark = cx.world.files(&cx.name).restoring();
    match fs::read_to_string(&mark) {
        Ok(name) => Ok(Some(ProfileName::parse(&name)?)),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(machine::io("read", &mark, &e)),
    }
}

/// Finishes a restore that was cut off between two disks, before anything runs on them: no machine
/// was started since. They boot from the disks as they were then.
///
/// # Errors
/// SNAPSHOT_NOT_FOUND, IMAGE_CORRUPT …
pub fn finish_restore(cx: &Context, profile: &mut Profile) -> Result<()> {
    let Some(name) = half_restored(cx)? else {
        return Ok(());
    };
    let Some(snapshot) = find(cx, &name)? else {
        let what = format!("going back to snapshot {name} did not finish, and it is gone");
        return Err(CliError::new("SNAPSHOT_NOT_FOUND", what)
            .why("the disks of the machines may be of different moments")
            .fix(format!(
                "{}      to go back to another\n{}",
                machine::again(cx, "snapshot list"),
                machine::again(cx, "delete")
            )));
    };
    let what = format!(
        "going back to {name} did not finish: all disks go back to it now, and the machines boot"
    );
    cx.ui.warn("snapshot", &what);
    put_back(cx, profile, &name, &snapshot)
}

async fn load(
    cx: &Context,
    profile: &Profile,
    node: &Node,
    emulator: &Emulator,
    place: &SnapshotPaths,
) -> Result<Machine, VmError> {
    let none = || VmError::NotUsable("nothing is noted of its state".into());
    let note = Note::read(&place.note(node.number))?.ok_or_else(none)?;
    if let Some(why) = suspend::untimely(note.saved, now()) {
        return Err(VmError::NotUsable(why));
    }
    let config = config(cx, profile, node, emulator).map_err(|e| VmError::NotUsable(e.what))?;
    let state = place.state(node.number);
    let saved = Files {
        state: &state,
        memory: None,
    };
    Machine::thaw(config, emulator, &saved, &note).await
}

/// Forgets a snapshot: its record first, then its states, then what the disks keep.
///
/// # Errors
/// HOST_NOT_READABLE, DRIVER_CONTROL; HOST_PROFILE_BUSY while going back to it is half done.
pub async fn delete(cx: &Context, profile: &Profile, name: &ProfileName) -> Result<()> {
    let home = cx.world.files(&cx.name);
    let place = files(cx, name);
    if half_restored(cx)?.as_ref() == Some(name) {
        let what = format!("going back to snapshot {name} did not finish");
        return Err(CliError::new("HOST_PROFILE_BUSY", what)
            .why("without it, the disks of the machines would stay of different moments")
            .fix(machine::again(cx, "start")));
    }
    cadet_vm::process::remove(&place.record())?;
    for node in nodes::all(profile) {
        let disk = node.files(&home).disk();
        let Some(config) = machine::config(&home, profile, &node) else {
            continue;
        };
        if let Some(vm) = Machine::attach(&config).await? {
            if vm.state().await.is_written() {
                // Of a command that was cut off: until the guest goes on, QEMU has let go of the
                // disk.
                machine::hold(cx, profile, &node, false).await?;
            }
            vm.forget_disks(&inside(name)).await?;
        } else if disk.exists() {
            let img = qemu::find_program("qemu-img", std::env::var_os("PATH").as_deref())?;
            if overlay::keeps(&img, &disk, &inside(name))? {
                let forget = || overlay::forget(&img, &disk, &inside(name));
                suspend::unseen(&node.files(&home), forget)?;
            }
        }
    }
    machine::remove_dir(place.dir())
}

fn same_machines(cx: &Context, all: &[Node], snapshot: &Snapshot) -> Result<()> {
    let now: Vec<u8> = all.iter().map(|node| node.number).collect();
    let mut then: Vec<u8> = snapshot.machines.iter().map(|m| m.number).collect();
    then.sort_unstable();
    if now == then {
        return Ok(());
    }
    let name = |number: &u8| Node::new(cx.name.as_str(), *number).name;
    let names = |numbers: &[u8]| numbers.iter().map(name).collect::<Vec<_>>().join(", ");
    let added: Vec<u8> = now.iter().filter(|n| !then.contains(n)).copied().collect();
    let fix = if added.is_empty() {
        format!("snapshot delete {}", snapshot.name)
    } else {
        format!("node delete {}", names(&added).replace(", ", " "))
    };
    Err(CliError::new(
        "SNAPSHOT_OTHER_MACHINES",
        format!(
            "snapshot {} is of other machines than the profile has",
            snapshot.name
        ),
    )
    .why(format!(
        "it holds {}; there is {}",
        names(&then),
        names(&now)
    ))
    .fix(machine::again(cx, &fix)))
}

fn not_as_it_is(cx: &Context, node: &Node, why: &str) -> CliError {
    CliError::new(
        "DRIVER_CONTROL",
        format!("{} cannot be kept as it is", node.name),
    )
    .why(why)
    .fix(format!(
        "{}\n{}",
        machine::again(cx, "stop --poweroff"),
        machine::again(cx, "start")
    ))
}

fn room(home: &ProfilePaths, profile: &Profile) -> Result<()> {
    let workers = profile.workers.iter().map(|w| w.spec.memory_mib);
    let memory: u64 = workers.sum::<u64>() + profile.spec.memory_mib;
    let most = (memory << 20) + SPARE;
    match computer::free_bytes(home.dir()).filter(|free| *free < most) {
        None => Ok(()),
        Some(free) => Err(machine::disk_full(
            &home.dir().display().to_string(),
            &format!(
                "{} are free, a snapshot may need {}",
                ui::mib(free >> 20),
                ui::mib(most >> 20)
            ),
        )),
    }
}

/// Bytes a file takes on the disk: a state is mostly holes.
#[cfg(unix)]
fn taken(path: &std::path::Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    path.metadata().map_or(0, |m| m.blocks() * 512)
}

#[cfg(not(unix))]
fn taken(path: &std::path::Path) -> u64 {
    path.metadata().map_or(0, |m| m.len())
}
