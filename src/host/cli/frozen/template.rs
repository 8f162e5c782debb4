//! Templates: machines that were booted once to where Docker idles and nobody is anybody yet, and
//! frozen there. A new machine is a copy of one, and need not boot.
//!
//! A template is found by a key made of all it depends on. Nothing in one changes: another
//! program, another QEMU, another size is another template. Those that were not used for longest
//! go first; their disks stay for as long as a machine's disk lies on them.

use std::path::Path;
use std::time::{Duration, SystemTime};

use cadet_api::keeper::Ask;
use cadet_seed::{HostKey, Lesson, Role};
use cadet_state::{Base, Home, Spec, TemplateLock, TemplatePaths, Users};
use cadet_vm::checksum::{Mark, Stamp};
use cadet_vm::config::{segment_group, segment_mac};
use cadet_vm::frozen::Note;
use cadet_vm::{
    Accel, Disk, DiskFormat, Emulator, Key, Layout, Machine, MachineConfig, Memory, QmpEndpoint,
    Segment, State, StopDeadlines, overlay, ports, qemu,
};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::{now, program};
use crate::error::{CliError, Result};
use crate::{Context, computer, images, keeper, line, machine, programs, ui};

/// Host name of a template, until its copies get their own.
const NAME: &str = "template";
/// Hardware address of the card that leads out, in the template and in all its copies: each has
/// its network for itself.
pub const MAC: &str = "52:54:00:ca:de:00";
/// Number whose card between machines the template has.
pub const CARD: u8 = 1;
/// A boot under software emulation on a busy computer was measured at 118 s.
const BOOT: Duration = Duration::from_secs(300);
/// Between two looks whether its machine still lives.
const LOOK: Duration = Duration::from_secs(1);
/// Left free on the disk beside memory and disk of the template.
const SPARE: u64 = 2 << 30;
/// So many are kept.
const MOST: usize = 3;

/// What a template is wanted for.
pub struct Wanted<'a> {
    /// Size of the machine.
    pub spec: &'a Spec,
    /// What its disk lies on.
    pub base: &'a Base,
    /// QEMU.
    pub emulator: &'a Emulator,
    /// How it runs here.
    pub accel: Accel,
}

/// A template that is there.
pub struct Template {
    /// Its key.
    pub key: String,
    /// Its files.
    pub files: TemplatePaths,
    /// What is noted of it.
    pub note: Note,
}

/// All that a template depends on.
#[derive(Serialize)]
struct Depends<'a> {
    machine: &'a Key,
    base: &'a str,
    disk_gib: u64,
    program: &'a str,
    recipe: String,
    lessons: String,
}

/// The template with this name, if it is there and whole at a glance.
pub fn read(home: &Home, key: &str) -> Option<Template> {
    let files = home.template(key);
    // A note that cannot be read is none: the template is made anew.
    let note = Note::read(&files.note()).ok()??;
    let whole = [files.disk(), files.state(), files.memory()];
    let key = key.to_owned();
    whole
        .iter()
        .all(|file| file.is_file())
        .then_some(Template { key, files, note })
}

/// Names under which templates of one key may lie: the disk of one that is no template any more
/// stays for the machines on it.
fn names(key: &str) -> impl Iterator<Item = String> {
    let more = (2..).map(move |number: u32| format!("{key}-{number}"));
    let key = key.to_owned();
    std::iter::once(key).chain(more)
}

/// The template with this key, if there is one.
fn find(home: &Home, key: &str) -> Option<Template> {
    let mut there = names(key).take_while(|name| home.template(name).dir().exists());
    there.find_map(|name| read(home, &name))
}

/// The name under which one may be made: nothing is there that machines need.
fn free_name(home: &Home, key: &str, users: &Users) -> Option<String> {
    names(key).find(|name| !is_stood_on(users, &home.template(name).disk()))
}

/// Makes it no template any more: what is in it is not what was frozen, and the next start makes
/// another. Its disk stays for machines that lie on it.
///
/// # Errors
/// HOST_NOT_READABLE.
pub fn distrust(template: &Template) -> Result<()> {
    Ok(cadet_vm::process::remove(&template.files.note())?)
}

/// Notes that it was used now.
pub fn touch(template: &Template) {
    let opened = std::fs::File::options()
        .write(true)
        .open(template.files.note());
    // Only the order in which templates go depends on it.
    let _ = opened.and_then(|file| file.set_modified(SystemTime::now()));
}

fn key(cx: &Context, wanted: &Wanted<'_>) -> Result<String> {
    let making = cx.world.home.template("making");
    let config = config(wanted, &making, 1, Memory::Own)?;
    let mut lessons = Sha256::new();
    lessons.update(crate::start::lessons_table()?);
    for (name, tar) in images::contexts::all(&cx.world)? {
        lessons.update(name);
        lessons.update(tar);
    }
    let depends = Depends {
        machine: &Key::of(&config, wanted.emulator),
        base: &wanted.base.id,
        disk_gib: wanted.spec.disk_gib,
        program: &program(cx)?,
        recipe: cadet_seed::template_recipe(),
        lessons: hex(&lessons.finalize()),
    };
    let text = serde_json::to_vec(&depends)
        .map_err(|e| CliError::new("PROGRAM_INTERNAL", "no key").why(e.to_string()))?;
    let mut key = hex(&Sha256::digest(&text));
    // Sockets lie below it while it is made; 64 bits tell some templates apart.
    key.truncate(16);
    Ok(key)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// The machine that becomes the template; a copy differs in what its guest does not see.
fn config(
    wanted: &Wanted<'_>,
    files: &TemplatePaths,
    port: u16,
    memory: Memory,
) -> Result<MachineConfig> {
    let at = files.making();
    let no_guest = || {
        CliError::new(
            "DRIVER_QEMU_MISSING",
            "there is no guest for this processor",
        )
    };
    Ok(MachineConfig {
        name: "cadet-template".into(),
        arch: cadet_vm::Arch::host().ok_or_else(no_guest)?,
        accel: wanted.accel,
        cpus: wanted.spec.cpus,
        memory_mib: u32::try_from(wanted.spec.memory_mib).unwrap_or(u32::MAX),
        memory,
        kernel: wanted.base.kernel.clone(),
        initrd: wanted.base.initrd.clone(),
        kernel_args: machine::kernel_args(wanted.base),
        disks: vec![
            Disk {
                path: at.disk(),
                format: DiskFormat::Qcow2,
                read_only: false,
            },
            Disk {
                path: at.seed(),
                format: DiskFormat::Raw,
                read_only: true,
            },
        ],
        // Nothing of the laptop leads into it.
        forwards: Vec::new(),
        mac: MAC.into(),
        segment: Some(Segment {
            group: segment_group(&at.dir().display().to_string()),
            port,
            mac: segment_mac(CARD),
        }),
        qmp: QmpEndpoint::Unix(at.qmp()),
        qmp_spare: None,
        channel: Some(at.keeper()),
        serial_log: at.serial_log(),
        qemu_log: at.qemu_log(),
        pid_file: at.pid(),
        key_file: None,
        run_as: None,
    })
}

/// What came of asking for a template.
pub enum Ensured {
    /// It was there.
    There(Template),
    /// It was made now.
    Made(Template),
    /// There is none, why, in one line: the machine boots.
    No(String),
}

/// The template for `wanted`, made now if it is not there.
///
/// # Errors
/// HOST_NODE_PROGRAM_MISSING, HOST_NOT_READABLE; what goes wrong with the template itself is
/// [`Ensured::No`].
pub async fn ensure(cx: &Context, wanted: &Wanted<'_>) -> Result<Ensured> {
    cx.ui.progress("looking for a template", None);
    let key = key(cx, wanted)?;
    let home = &cx.world.home;
    if let Some(there) = find(home, &key) {
        touch(&there);
        return Ok(Ensured::There(there));
    }
    let _lock = match TemplateLock::take(&cx.world.home, "start") {
        Ok(lock) => lock,
        Err(cadet_state::Error::TemplatesBusy { holder }) => {
            return Ok(Ensured::No(format!("{holder}, makes one")));
        }
        Err(error) => return Err(error.into()),
    };
    // Whoever had the lock before may have made it.
    if let Some(there) = find(home, &key) {
        touch(&there);
        return Ok(Ensured::There(there));
    }
    let Some(name) = free_name(home, &key, &Users::of(home)?) else {
        return Ok(Ensured::No("machines lie on all its disks".into()));
    };
    if let Err(error) = make(cx, wanted, &name).await {
        let why = error.why.as_deref().and_then(|why| why.lines().next());
        let why = why.map_or(String::new(), |why| format!(" ({why})"));
        // Gigabytes of something that is none.
        clear(cx, wanted).await?;
        return Ok(Ensured::No(format!("{}{why}", error.what)));
    }
    prune(cx, &name)?;
    match read(home, &name) {
        Some(made) => Ok(Ensured::Made(made)),
        None => Ok(Ensured::No("it was gone as soon as it was made".into())),
    }
}

/// `name` is of a folder that is not there, or that nobody needs.
async fn make(cx: &Context, wanted: &Wanted<'_>, name: &str) -> Result<()> {
    clear(cx, wanted).await?;
    let home = &cx.world.home;
    let (making, files) = (home.template("making"), home.template(name));
    room(home.cache(), wanted.spec)?;
    machine::private_dir(making.dir())?;
    let img = qemu::find_program("qemu-img", std::env::var_os("PATH").as_deref())?;
    let size = wanted.spec.disk_gib << 30;
    overlay::create(&img, &wanted.base.disk, &making.disk(), size)?;
    cx.ui.progress("template: seed disk", None);
    machine::write_private(&making.making().seed(), &seed(cx)?)?;

    let memory = Memory::Kept(making.memory());
    let mut config = config(wanted, &making, ports::free_datagram()?, memory)?;
    config.run_as = wanted
        .emulator
        .run_as_for_root(if machine::is_root() { 0 } else { 1 });
    let key = Key::of(&config, wanted.emulator);
    let vm = Machine::start(config.clone(), wanted.emulator).await?;
    let frozen = freeze(cx, &vm, &making).await;
    vm.destroy(StopDeadlines::default()).await?;
    frozen?;

    cx.ui.progress("template: checksums", None);
    let unread = |e: tokio::task::JoinError| {
        CliError::new("PROGRAM_INTERNAL", "a file was not read").why(e.to_string())
    };
    let (state, memory) = (Mark::begin(&making.state()), Mark::begin(&making.memory()));
    let note = Note {
        key,
        layout: Layout::Outside,
        state: state.await.map_err(unread)??,
        memory: Some(memory.await.map_err(unread)??),
        disk: Some(Stamp::of(&making.disk())?),
        saved: now(),
        program: program(cx)?,
    };
    // What the boot needed and no copy does.
    let at = making.making();
    for file in [at.seed(), at.serial_log(), at.qemu_log()] {
        cadet_vm::process::remove(&file)?;
    }
    note.write(&making.note())?;
    machine::remove_dir(files.dir())?;
    std::fs::rename(making.dir(), files.dir()).map_err(|e| machine::io("rename", making.dir(), &e))
}

/// Boots it to its end and writes its state.
async fn freeze(cx: &Context, vm: &Machine, making: &TemplatePaths) -> Result<()> {
    let began = std::time::Instant::now();
    let died = async {
        loop {
            tokio::time::sleep(LOOK).await;
            let seconds = began.elapsed().as_secs();
            cx.ui
                .progress(&format!("template: booting, {seconds} s"), None);
            match vm.state().await {
                State::Running { .. } => {}
                State::Died(death) => return death.to_string(),
                State::Absent => return "it is gone".to_owned(),
                State::Paused { status, .. } => return format!("QEMU says {status}"),
                // It was busy; the deadline is for that.
                State::Unresponsive { .. } => {}
            }
        }
    };
    let failed = |why: String| {
        let what = "the template did not come up";
        CliError::new("DRIVER_START_FAILED", what).why(why)
    };
    let socket = making.making().keeper();
    let told = tokio::select! {
        told = keeper::ask(&socket, Ask::Freeze, BOOT) => told.map_err(failed)?,
        why = died => return Err(failed(why)),
    };
    if told.configured {
        return Err(failed("it says that it is somebody already".into()));
    }
    cx.ui.progress("template: freezing", None);
    vm.pause().await?;
    vm.save(&making.state(), Some(Layout::Outside)).await?;
    Ok(())
}

/// Removes what an interrupted making left: its machine, then its files.
async fn clear(cx: &Context, wanted: &Wanted<'_>) -> Result<()> {
    let making = cx.world.home.template("making");
    let config = config(wanted, &making, 1, Memory::Own)?;
    if let Some(left) = Machine::attach(&config).await? {
        left.destroy(StopDeadlines::default()).await?;
    }
    machine::remove_dir(making.dir())
}

/// Ends what a start that was cut off left in the making, machine and files. While another command
/// makes one, it is that command's.
///
/// # Errors
/// HOST_NOT_READABLE.
pub fn sweep(home: &Home) -> Result<()> {
    let making = home.template("making");
    if !making.dir().exists() {
        return Ok(());
    }
    let _lock = match TemplateLock::take(home, "delete") {
        Ok(lock) => lock,
        Err(cadet_state::Error::TemplatesBusy { .. }) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    match cadet_vm::process::read_pid_file(&making.making().pid()) {
        Ok(Some(left)) => left.kill(),
        // A damaged one names nobody.
        Ok(None) | Err(cadet_vm::VmError::BadPidFile { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    machine::remove_dir(making.dir())
}

fn room(cache: &Path, spec: &Spec) -> Result<()> {
    let most = (spec.memory_mib << 20) + SPARE;
    match computer::free_bytes(cache).filter(|free| *free < most) {
        None => Ok(()),
        Some(free) => Err(machine::disk_full(
            &cache.display().to_string(),
            &format!(
                "{} are free, a template of this size may need {}",
                ui::mib(free >> 20),
                ui::mib(most >> 20)
            ),
        )),
    }
}

/// The seed of a template. Its keys are made for it and thrown away: nobody has them.
fn seed(cx: &Context) -> Result<Vec<u8>> {
    let program = programs::cadet_node(&cx.world)?;
    let cadet_node = std::fs::read(&program).map_err(|e| machine::io("read", &program, &e))?;
    let contexts = images::contexts::all(&cx.world)?;
    let (client, host) = (
        cadet_tunnel::keys::generate("nobody")?,
        cadet_tunnel::keys::generate("nobody")?,
    );
    cadet_seed::Machine {
        hostname: NAME,
        user: line::USER,
        authorized_key: &client.public,
        host_key: HostKey {
            private: host.private,
            public: host.public,
        },
        mac: MAC,
        cadet_node: &cadet_node,
        node_config: "",
        lessons_table: &crate::start::lessons_table()?,
        lessons: contexts
            .iter()
            .map(|(name, tar)| Lesson { name, tar })
            .collect(),
        role: Role::Template,
    }
    .disk()
    .map_err(|e| {
        CliError::new("PROGRAM_INTERNAL", "the seed disk could not be made").why(e.to_string())
    })
}

/// Removes all but the last few, and whole folders that no machine's disk lies on.
fn prune(cx: &Context, newest: &str) -> Result<()> {
    let folder = cx.world.home.templates();
    let listed = std::fs::read_dir(&folder).map_err(|e| machine::io("read", &folder, &e))?;
    let mut all = Vec::new();
    for entry in listed.flatten() {
        let key = entry.file_name().to_string_lossy().into_owned();
        let files = cx.world.home.template(&key);
        let used = files.note().metadata().and_then(|m| m.modified()).ok();
        all.push((key == newest, used, files));
    }
    // The newest first, then by last use; those without a note last.
    all.sort_by_key(|(newest, used, _)| std::cmp::Reverse((*newest, *used)));
    let users = Users::of(&cx.world.home)?;
    for (index, (_, used, files)) in all.iter().enumerate() {
        if index < MOST && used.is_some() {
            continue;
        }
        if is_stood_on(&users, &files.disk()) {
            // A running copy keeps the memory it began with, whatever its name.
            for file in [files.note(), files.memory(), files.state()] {
                cadet_vm::process::remove(&file)?;
            }
        } else {
            machine::remove_dir(files.dir())?;
        }
    }
    Ok(())
}

/// True for a disk that a machine lies on, of any home that shares the cache; also for one that
/// may be, since some home cannot be asked.
fn is_stood_on(users: &Users, disk: &Path) -> bool {
    // Homes may name one cache in several ways.
    let there = disk.canonicalize().ok();
    let is_it = |file: &Path| file == disk || there.is_some() && file.canonicalize().ok() == there;
    let on = users.on(is_it);
    // What is not there, nobody lies on unless a record says so.
    on.iter().any(|user| user.profile.is_some()) || !on.is_empty() && disk.exists()
}

/// Why a template cannot be loaded here, in one line, before anything is started; `None` if it
/// seems that it can.
pub fn obstacle(template: &Template) -> Option<String> {
    match Stamp::of(&template.files.disk()) {
        Ok(stamp) if template.note.disk == Some(stamp) => None,
        Ok(_) => Some("the template's disk was changed".into()),
        Err(error) => Some(super::told(&error)),
    }
}

impl From<&Template> for cadet_state::TemplateUse {
    fn from(template: &Template) -> Self {
        Self {
            key: template.key.clone(),
            disk: template.files.disk(),
            settled: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use cadet_state::{Profile, Store};
    use serde_json::json;

    use super::*;

    fn profile<S: AsRef<str>>(disks: &[S]) -> Profile {
        let used = |disk: &str| json!({"key": "k", "disk": disk, "settled": true});
        let spec = json!({"cpus": 2, "memoryMib": 768, "diskGib": 20, "image": "auto"});
        serde_json::from_value(json!({
            "name": "cadet", "created": 1, "phase": "running", "spec": spec,
            "template": used(disks[0].as_ref()),
            "workers": disks[1..].iter().enumerate().map(|(i, disk)| json!({
                "number": i + 2, "spec": spec, "template": used(disk.as_ref()),
            })).collect::<Vec<_>>(),
        }))
        .unwrap()
    }

    fn mine(profile: Profile) -> Users {
        Users {
            mine: vec![profile],
            ..Users::default()
        }
    }

    #[test]
    fn disks_that_others_lie_on_are_known() {
        let users = mine(profile(&["/t/a/disk.qcow2", "/t/b/disk.qcow2"]));
        for (disk, stood_on) in [("a", true), ("b", true), ("c", false)] {
            let disk = format!("/t/{disk}/disk.qcow2");
            assert_eq!(is_stood_on(&users, Path::new(&disk)), stood_on);
        }
    }

    /// A template of this name, as far as a glance tells.
    fn lay(home: &Home, name: &str) -> Template {
        let files = home.template(name);
        std::fs::create_dir_all(files.dir()).unwrap();
        for file in [files.disk(), files.state(), files.memory()] {
            std::fs::write(file, name).unwrap();
        }
        let note = Note {
            key: Key {
                qemu: "10.0.2".into(),
                shape: Vec::new(),
                processor: None,
            },
            layout: Layout::Outside,
            state: Mark::of(&files.state()).unwrap(),
            memory: Some(Mark::of(&files.memory()).unwrap()),
            disk: Some(Stamp::of(&files.disk()).unwrap()),
            saved: 1,
            program: "p".into(),
        };
        note.write(&files.note()).unwrap();
        read(home, name).unwrap()
    }

    #[test]
    fn a_damaged_template_is_none_and_its_disk_stays_for_those_on_it() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::new(dir.path(), dir.path().join("cache"));
        let nobody = Users::default();
        assert_eq!(free_name(&home, "k", &nobody).as_deref(), Some("k"));
        let first = lay(&home, "k");
        assert_eq!(find(&home, "k").unwrap().key, "k");
        let disk = first.files.disk();
        let somebody = mine(profile(&[disk.to_str().unwrap()]));
        // A note that was cut, a file that is gone, a checksum that was wrong.
        let text = std::fs::read(first.files.note()).unwrap();
        std::fs::write(first.files.note(), &text[..text.len() / 2]).unwrap();
        assert!(find(&home, "k").is_none());
        std::fs::write(first.files.note(), &text).unwrap();
        std::fs::remove_file(first.files.memory()).unwrap();
        assert!(find(&home, "k").is_none());
        std::fs::write(first.files.memory(), "k").unwrap();
        assert!(find(&home, "k").is_some());
        distrust(&first).unwrap();
        assert!(find(&home, "k").is_none());
        // Nobody on its disk: the next one takes its place. Somebody: it must not.
        assert_eq!(free_name(&home, "k", &nobody).as_deref(), Some("k"));
        assert_eq!(free_name(&home, "k", &somebody).as_deref(), Some("k-2"));
        lay(&home, "k-2");
        assert_eq!(find(&home, "k").unwrap().key, "k-2");
        assert!(disk.exists());
    }

    #[test]
    fn a_disk_stays_for_machines_of_another_home_that_shares_the_cache() {
        let dir = tempfile::tempdir().unwrap();
        let home = |name: &str| Home::new(dir.path().join(name), dir.path().join("cache"));
        let (ours, theirs) = (home("ours"), home("theirs"));
        let template = lay(&ours, "k");
        let disk = template.files.disk();
        let store = Store::open(&theirs).unwrap();
        store.put(&profile(&[disk.to_str().unwrap()])).unwrap();
        drop(store);
        distrust(&template).unwrap();
        let free = || free_name(&ours, "k", &Users::of(&ours).unwrap());
        assert_eq!(free().as_deref(), Some("k-2"));
        // Nobody can tell what they use: all that is there, and nothing that is not.
        let name = cadet_state::ProfileName::parse("cadet").unwrap();
        std::fs::write(theirs.profile(&name).record(), "half").unwrap();
        assert_eq!(free().as_deref(), Some("k-2"));
        std::fs::remove_dir_all(theirs.data()).unwrap();
        assert_eq!(free().as_deref(), Some("k"));
    }

    #[test]
    fn a_disk_that_was_written_to_is_an_obstacle() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::new(dir.path(), dir.path().join("cache"));
        let template = lay(&home, "k");
        assert_eq!(obstacle(&template), None);
        std::fs::write(template.files.disk(), "longer than it was").unwrap();
        assert!(obstacle(&template).unwrap().contains("changed"));
        std::fs::remove_file(template.files.disk()).unwrap();
        assert!(obstacle(&template).is_some());
    }
}
