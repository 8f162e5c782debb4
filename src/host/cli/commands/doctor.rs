//! `cadet doctor`: what could keep Cadet from working here, each with the next command.

use std::net::{TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cadet_image::Cache;
use cadet_state::{Home, Profile, ProfileName, Settings, Store};
use cadet_tunnel::socks5::DEFAULT_PORT;
use cadet_vm::{Arch, Emulator, ports};
use clap::Args;
use serde_json::json;

use crate::Context;
use crate::class::checkup;
use crate::cluster::Cluster;
use crate::defaults::Defaults;
use crate::doctor::laptop::Port;
use crate::doctor::{Finding, cache, laptop, network};
use crate::error::{CliError, Result};
use crate::kubectl_program::{self, OnPath};
use crate::nodes::{self, Node};
use crate::{accelerator, clock, computer, images, kubeconfig, line, machine, programs, reach, ui};

/// Flags of `cadet doctor`.
#[derive(Debug, Args)]
#[command(
    after_help = "What --fix mends: damaged records and settings are put aside and rebuilt, profiles that\nlost their record get it back, a kubeconfig others could read is closed to them, the clock of a\nmachine that slept is put right, a kubectl that is missing is fetched. Nothing is deleted.\n\nExamples:\n  cadet doctor\n  cadet doctor --fix\n  cadet doctor -o json      one finding a line, for programs\n  cadet doctor --class    the week before a class: ends in a short code for the teacher\n  cadet doctor --class=K7Q2M-XXXXX    what such a code says, on any computer"
)]
pub struct DoctorArgs {
    /// Mend what can be mended without deleting anything
    #[arg(long)]
    fix: bool,
    /// End in a short code for the teacher of a class; with CODE, say what such a code means
    #[arg(
        long,
        value_name = "CODE",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "",
        conflicts_with = "fix"
    )]
    class: Option<String>,
}

/// How long a proxy may take to answer.
const ANSWER: Duration = Duration::from_secs(3);

/// The variables of programs that speak HTTP (curl(1)).
const PROXIES: [&str; 5] = [
    "HTTPS_PROXY",
    "https_proxy",
    "HTTP_PROXY",
    "http_proxy",
    "ALL_PROXY",
];

/// Looks, and mends if asked; exit code 1 if something is wrong.
pub async fn run(cx: &Context, args: DoctorArgs) -> Result<u8> {
    if let Some(code) = args.class.as_deref().filter(|code| !code.is_empty()) {
        return checkup::tell(cx, code);
    }
    let mut bad = 0;
    let mut seen = checkup::Seen::default();
    let mut tell = |subject: &str, finding: Finding| {
        seen.note(
            subject,
            matches!(finding, Finding::Good(_)),
            matches!(finding, Finding::Bad(_)),
        );
        bad += usize::from(matches!(finding, Finding::Bad(_)));
        say(cx, subject, finding);
    };
    let emulator = qemu(&mut tell);
    if let Some(emulator) = &emulator {
        tell("accelerator", accelerator_of(cx, emulator));
    }
    let (total, free) = (computer::memory_mib(), computer::free_memory_mib());
    tell("memory", laptop::memory(total, free, computer::cores()));
    let home = cx.world.home.data();
    let free = computer::free_bytes(home);
    tell("disk", laptop::disk(free, &home.display().to_string()));
    tell("images", image_host(cx, emulator.is_some()).await);
    tell("bases", bases(cx));
    tell("downloads", downloads(cx));
    tell(
        "programs",
        programs::cadet_node(&cx.world)
            .map(|p| p.display().to_string())
            .into(),
    );
    tell("kubectl", kubectl(cx, args.fix).await);
    tell("kubeconfig", config(cx, args.fix));
    let (state, profiles) = state(cx, args.fix);
    tell("state", state);
    tell("settings", settings(cx, args.fix));
    tell("disks", cache::foundations(&foundations(&profiles)));
    tell("ports", laptop::ports(&wanted_ports(cx, &profiles).await));
    tell("proxy", proxy());
    tell("authorities", authorities(cx));
    tell("routes", routes());
    let newest = profiles.iter().map(|p| p.created).max();
    tell("clock", laptop::clock(now(), newest));
    if let Some(finding) = machine_clock(cx, args.fix).await {
        tell("machine", finding);
    }
    if args.class.is_some() {
        return Ok(checkup::print(cx, seen));
    }
    if !cx.ui.json() {
        let runs = machine::running(cx).await.is_ok();
        cx.ui.line(match bad {
            0 if runs => "Nothing stands in the way.\n  next: cadet tutorial",
            0 => "Nothing stands in the way.\n  next: cadet start",
            _ => "Mend what is marked ✗, then: cadet doctor",
        });
    }
    Ok(u8::from(bad > 0))
}

fn say(cx: &Context, subject: &str, finding: Finding) {
    let (sign, text, error, fix) = match finding {
        Finding::Good(text) => ("✓", text, None, None),
        Finding::Note { text, fix } => ("!", text, None, fix),
        Finding::Bad(e) => ("✗", e.what.clone(), Some(e.clone()), e.fix),
    };
    let why = error.as_ref().and_then(|e| e.why.clone());
    if cx.ui.json() {
        let id = error.as_ref().map(|e| e.topic.id);
        cx.ui.object(&json!({
            "subject": subject, "ok": error.is_none(), "message": text, "id": id,
            "why": why, "fix": fix,
        }));
        return;
    }
    let text = ui::beside_subject(&text);
    cx.ui.line(format!("{sign} {subject:<11} {text}"));
    for (label, part) in [("why", why), ("fix", fix)] {
        for line in part.iter().flat_map(|p| p.lines()) {
            cx.ui.line(format!("              {label}  {line}"));
        }
    }
}

fn qemu(tell: &mut impl FnMut(&str, Finding)) -> Option<Emulator> {
    let found = Arch::host()
        .ok_or_else(|| {
            CliError::new(
                "DRIVER_QEMU_MISSING",
                "there is no guest for this processor",
            )
        })
        .and_then(|arch| Ok(Emulator::find(arch, std::env::var_os("PATH").as_deref())?));
    match found {
        Ok(emulator) => {
            tell(
                "qemu",
                Finding::Good(format!("{} {}", emulator.path.display(), emulator.version)),
            );
            Some(emulator)
        }
        Err(e) => {
            tell("qemu", Finding::Bad(e));
            None
        }
    }
}

fn accelerator_of(cx: &Context, emulator: &Emulator) -> Finding {
    match accelerator::afresh(cx, emulator) {
        Ok(choice) => laptop::accelerator(choice.accel.name(), choice.reason.as_deref()),
        Err(e) => Finding::Bad(e),
    }
}

async fn image_host(cx: &Context, has_qemu: bool) -> Finding {
    match images::outlook(cx).await {
        Ok(text) => Finding::Good(text),
        Err(e) if has_qemu => Finding::Bad(e),
        Err(e) => Finding::note(e.what),
    }
}

/// A cache that does not exist yet is not made for this: questions leave no trace.
fn bases(cx: &Context) -> Finding {
    let folder = cx.world.home.images();
    if !folder.is_dir() {
        return cache::bases(&[]);
    }
    match Cache::open(&folder).and_then(|cache| cache.list()) {
        Ok(list) => cache::bases(&list),
        Err(e) => Finding::Bad(e.into()),
    }
}

fn downloads(cx: &Context) -> Finding {
    let folder = cx.world.home.images().join("downloads");
    let files = std::fs::read_dir(&folder).into_iter().flatten().flatten();
    let partial = files.filter(|file| file.path().extension().is_some_and(|e| e == "partial"));
    let bytes = partial.filter_map(|file| Some(file.metadata().ok()?.len()));
    cache::leftovers(&folder, bytes.sum())
}

async fn kubectl(cx: &Context, fix: bool) -> Finding {
    let seen = OnPath::look();
    if let OnPath::Fits(version) = seen {
        return Finding::Good(format!("{version} on your PATH"));
    }
    if kubectl_program::of_class(&cx.world).is_some() {
        let has = "none on your PATH that fits; `cadet kubectl` has the one of your class";
        return Finding::note(has);
    }
    let kept = match kubectl_program::kept(&cx.world) {
        None if fix => kubectl_program::get(cx).await.map(Some),
        kept => Ok(kept),
    };
    match kept {
        Ok(Some(_)) => Finding::note(format!(
            "none on your PATH that fits; `cadet kubectl` has {}",
            kubectl_program::VERSION
        )),
        Ok(None) => Finding::Bad(kubectl_program::missing(&seen)),
        Err(e) => Finding::Bad(e),
    }
}

fn config(cx: &Context, fix: bool) -> Finding {
    let file = &cx.world.kubeconfig;
    let shown = file.display();
    match kubeconfig::check(file) {
        Ok(false) => Finding::Good(format!("{shown} will be made by start")),
        Ok(true) if is_private(file) => Finding::Good(shown.to_string()),
        Ok(true) if fix => match close(file) {
            Ok(()) => Finding::Good(format!("{shown}, now closed to other users")),
            Err(e) => Finding::Bad(machine::io("change", file, &e)),
        },
        Ok(true) => Finding::note_with(
            format!("other users of this computer can read {shown}, and the keys in it"),
            format!("chmod 600 {shown}      or: cadet doctor --fix"),
        ),
        Err(e) => Finding::Bad(e),
    }
}

#[cfg(unix)]
fn is_private(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(file).is_ok_and(|m| m.permissions().mode() & 0o077 == 0)
}

#[cfg(not(unix))]
fn is_private(_: &Path) -> bool {
    true
}

#[cfg(unix)]
fn close(file: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600))
}

#[cfg(not(unix))]
fn close(_: &Path) -> std::io::Result<()> {
    Ok(())
}

fn settings(cx: &Context, fix: bool) -> Finding {
    let home = &cx.world.home;
    match Settings::read(home) {
        Ok(settings) if settings.start.is_empty() => Finding::Good("none chosen".into()),
        Ok(settings) => match Defaults::of(&settings).and_then(|d| d.check(cx)) {
            Ok(()) => Finding::Good(format!("{} chosen for start", settings.start.len())),
            Err(e) => Finding::Bad(e),
        },
        Err(cadet_state::Error::Corrupt { .. }) if fix => match Settings::put_aside(home) {
            Ok(aside) => Finding::Good(format!(
                "forgotten; the damaged file is kept as {}",
                aside.display()
            )),
            Err(e) => Finding::Bad(e.into()),
        },
        Err(e) => Finding::Bad(e.into()),
    }
}

/// The records, and those that lie beside machines without being in the database.
fn state(cx: &Context, fix: bool) -> (Finding, Vec<Profile>) {
    let home = &cx.world.home;
    if !home.database().exists() && orphans(home, &[]).is_empty() {
        return (Finding::Good("no profiles yet".into()), Vec::new());
    }
    let opened = match home.database().exists() || fix {
        true => Store::open(home).and_then(|store| store.list()),
        false => Ok(Vec::new()),
    };
    let list = match opened {
        Ok(list) => list,
        Err(cadet_state::Error::Corrupt { .. }) if fix => return recover(home),
        Err(e) => return (Finding::Bad(e.into()), Vec::new()),
    };
    let orphans = orphans(home, &list);
    if orphans.is_empty() {
        return (Finding::Good(ui::count(list.len(), "profile")), list);
    }
    let names: Vec<_> = orphans.iter().map(|p| p.name.clone()).collect();
    let names = names.join(", ");
    if !fix {
        let error = CliError::new(
            "HOST_STATE_CORRUPT",
            format!("machines without a record: {names}"),
        )
        .why("their files are there, but Cadet's database does not know them")
        .fix("cadet doctor --fix      puts their records back");
        return (Finding::Bad(error), list);
    }
    let put = Store::open(home).and_then(|store| {
        orphans.iter().try_for_each(|profile| store.put(profile))?;
        store.list()
    });
    match put {
        Ok(list) => (Finding::Good(format!("put back: {names}")), list),
        Err(e) => (Finding::Bad(e.into()), list),
    }
}

fn recover(home: &Home) -> (Finding, Vec<Profile>) {
    let recovered = Store::recover(home).and_then(|done| {
        let list = Store::open(home)?.list()?;
        Ok((done, list))
    });
    match recovered {
        Ok((done, list)) => {
            let names = match done.profiles.is_empty() {
                true => "no profiles".into(),
                false => done.profiles.join(", "),
            };
            let told = format!(
                "rebuilt with {names}; the damaged files are kept in {}",
                done.aside.display()
            );
            (Finding::Good(told), list)
        }
        Err(e) => (Finding::Bad(e.into()), Vec::new()),
    }
}

/// Records that lie beside their machines and are not among `known`.
fn orphans(home: &Home, known: &[Profile]) -> Vec<Profile> {
    let folders = std::fs::read_dir(home.profiles());
    let folders = folders.into_iter().flatten().flatten();
    let records = folders.filter_map(|folder| {
        let name = ProfileName::parse(&folder.file_name().to_string_lossy()).ok()?;
        let text = std::fs::read(home.profile(&name).record()).ok()?;
        let profile: Profile = serde_json::from_slice(&text).ok()?;
        let is_known = known.iter().any(|k| k.name == profile.name);
        (!is_known && profile.name == name.as_str()).then_some(profile)
    });
    records.collect()
}

fn foundations(profiles: &[Profile]) -> Vec<(String, PathBuf, bool)> {
    let based = profiles.iter().filter_map(|profile| {
        let machines = nodes::all(profile);
        let bases = machines.iter().filter_map(|node| node.kept(profile)?.base);
        let mut disks: Vec<_> = bases.map(|base| base.disk.clone()).collect();
        // The first that is gone speaks for the profile.
        disks.sort_by_key(|disk| disk.exists());
        let disk = disks.into_iter().next()?;
        let there = disk.exists();
        Some((profile.name.clone(), disk, there))
    });
    based.collect()
}

/// Ports that a tunnel and the machines that are off will ask for.
async fn wanted_ports(cx: &Context, profiles: &[Profile]) -> Vec<Port> {
    let mut wanted = Vec::new();
    let mut add = |number, purpose: String| {
        let taken = ports::check_free(number).is_err();
        wanted.push(Port {
            number,
            purpose,
            taken,
        });
    };
    let ours = line::background_status(cx).await;
    if ours.is_none_or(|tunnel| tunnel.port != DEFAULT_PORT) {
        add(DEFAULT_PORT, "the tunnel's SOCKS proxy".into());
    }
    for profile in profiles {
        let Ok(name) = ProfileName::parse(&profile.name) else {
            continue;
        };
        let files = cx.world.files(&name);
        for node in nodes::all(profile) {
            let state = machine::state_of_node(&files, profile, &node).await;
            let kept = node.kept(profile).filter(|_| !state.has_process());
            for forward in kept.and_then(|kept| kept.forwards).iter().flatten() {
                let what = match forward.guest_port {
                    machine::GUEST_SSH => "ssh",
                    _ => "the API",
                };
                add(forward.host_port, format!("{what} of {}", node.name));
            }
        }
    }
    wanted
}

fn proxy() -> Finding {
    let set = PROXIES.map(|name| (name, std::env::var(name).unwrap_or_default()));
    network::proxy(&set, |host, port| {
        let addresses = (host, port).to_socket_addrs().map_err(|e| e.to_string())?;
        let mut why = "its name has no address".to_string();
        for address in addresses {
            match TcpStream::connect_timeout(&address, ANSWER) {
                Ok(_) => return Ok(()),
                Err(e) => why = e.to_string(),
            }
        }
        Err(why)
    })
}

/// The company's certificate authorities, if the user named some.
fn authorities(cx: &Context) -> Finding {
    match &cx.world.extra_ca {
        None => Finding::Good("the system's".into()),
        Some(file) => match cadet_image::http::client(&images::network(cx)) {
            Ok(_) => Finding::Good(format!("the system's and those in {}", file.display())),
            Err(e) => Finding::Bad(e.into()),
        },
    }
}

fn routes() -> Finding {
    match std::fs::read_to_string("/proc/net/route") {
        Ok(table) => network::routes(&table),
        Err(_) => Finding::note("this system has no /proc/net/route to look at"),
    }
}

fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |d| d.as_secs())
}

/// The clock of the profile's machine, if that runs and answers.
async fn machine_clock(cx: &Context, fix: bool) -> Option<Finding> {
    let profile = machine::running(cx).await.ok()?;
    if profile.server.is_some() {
        // Its clock is its owner's.
        return None;
    }
    let cluster = Cluster::new(&reach::credentials(cx).ok()?).ok()?;
    if !clock::seems_off(&cluster).await {
        return Some(Finding::Good(format!("the clock of {} is right", cx.name)));
    }
    if !fix {
        return Some(Finding::note_with(
            format!("the clock of {} is off", cx.name),
            machine::again(cx, "doctor --fix"),
        ));
    }
    let righted = async {
        let tunnel = line::connect(cx).await?;
        let told = clock::right(cx, &Node::first(cx.name.as_str()), &tunnel).await;
        tunnel.close().await;
        told
    };
    Some(match righted.await {
        Ok(Some(told)) => Finding::note(told),
        Ok(None) => Finding::Good(format!("the clock of {} is right", cx.name)),
        Err(e) => Finding::Bad(e),
    })
}
