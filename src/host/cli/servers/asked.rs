//! What `cadet start` is asked to do with servers, the record that comes of it, and whom of them
//! to trust, before any step is taken.

use std::path::PathBuf;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use cadet_state::{Profile, ProfileLock, Server, Spec, Store, Worker};

use super::trust::Trust;
use super::{Address, glance, lines, name_of};
use crate::commands::start::{self, Driver, StartArgs};
use crate::error::{CliError, Result};
use crate::{Context, machine, nodes};

/// The wish, as the flags say it.
#[derive(Debug)]
pub struct Asked {
    first: Option<Address>,
    workers: Vec<Address>,
    key: Option<PathBuf>,
    trust: Trust,
}

/// What is asked of servers; `None` where the profile is of machines on this computer.
///
/// # Errors
/// PROGRAM_USAGE for flags that do not fit together, RESOURCE_FIXED for ones that do not fit
/// what the profile is.
pub fn asked(cx: &Context, args: &StartArgs) -> Result<Option<Asked>> {
    wish(cx, args, glance(cx).as_ref())
}

fn wish(cx: &Context, args: &StartArgs, old: Option<&Profile>) -> Result<Option<Asked>> {
    let usage = |what: &str, why: &str| {
        CliError::new("PROGRAM_USAGE", what)
            .why(why)
            .fix("cadet start --driver ssh --host USER@SERVER --worker USER@SERVER")
    };
    let is_on_servers = old.is_some_and(|profile| profile.server.is_some());
    let words = args.host.is_some()
        || !args.worker.is_empty()
        || args.ssh_key.is_some()
        || args.host_key.is_some()
        || args.accept_host_key;
    match args.driver {
        Some(Driver::Qemu) if words => {
            return Err(usage(
                "--driver qemu has no servers",
                "--host, --worker, --ssh-key, --host-key and --accept-host-key are for --driver ssh",
            ));
        }
        Some(Driver::Qemu) if is_on_servers => {
            return Err(fixed(cx, "is on servers, and stays there"));
        }
        Some(Driver::Ssh) => {}
        _ if words || is_on_servers => {}
        _ => return Ok(None),
    }
    if old.is_some() && !is_on_servers {
        return Err(fixed(cx, "is a machine on this computer, and stays one"));
    }
    if args.host.is_none() && !is_on_servers {
        return Err(usage(
            "the first server is not named",
            "--host names it; it runs the control plane",
        ));
    }
    let sizes = [
        args.nodes.is_some(),
        args.cpus.is_some(),
        args.memory.is_some(),
    ];
    if sizes.contains(&true) || args.disk_size.is_some() || args.cold || args.download_only {
        return Err(usage(
            "a server has the size and the system it has",
            "--nodes, --cpus, --memory, --disk-size, --cold and --download-only are for machines on this computer",
        ));
    }
    let mut all: Vec<_> = args.host.iter().chain(&args.worker).collect();
    while let Some(one) = all.pop() {
        let place = (&one.host, one.port);
        if all.iter().any(|other| (&other.host, other.port) == place) {
            return Err(usage(
                &format!("{one} is named twice"),
                "each server becomes one node",
            ));
        }
    }
    Ok(Some(Asked {
        first: args.host.clone(),
        workers: args.worker.clone(),
        key: args.ssh_key.clone(),
        trust: Trust::of(args.host_key.as_deref(), args.accept_host_key),
    }))
}

fn fixed(cx: &Context, is: &str) -> CliError {
    CliError::new("RESOURCE_FIXED", format!("the profile {} {is}", cx.name))
        .why("its nodes, addresses and data belong to where they are")
        .fix(format!(
            "cadet start -p NAME ...      another profile\n{}",
            machine::again(cx, "delete")
        ))
}

/// Brings the cluster up on servers.
///
/// # Errors
/// The first step's that fails.
pub async fn run(cx: &Context, args: &StartArgs, asked: Asked, began: Instant) -> Result<u8> {
    if args.dry_run {
        let profile = record(cx, &asked, glance(cx))?;
        let mut v = start::voyage(cx, args, profile, began);
        return start::tell_plan(&mut v).await;
    }
    let _lock = ProfileLock::take(&cx.world.home, &cx.name, "start")?;
    let old = Store::open(&cx.world.home)?.get(&cx.name)?;
    start::not_leaving(cx, old.as_ref())?;
    let mut profile = record(cx, &asked, old)?;
    trust_all(cx, &asked.trust, &mut profile).await?;
    let mut v = start::voyage(cx, args, profile, began);
    start::finish(&mut v).await?;
    start::tell_ready(&v);
    Ok(0)
}

/// The record for this start: the old one with servers that are new, or a new one.
fn record(cx: &Context, asked: &Asked, old: Option<Profile>) -> Result<Profile> {
    let mut profile = match old {
        Some(old) => old,
        None => new(cx, asked)?,
    };
    let Some(first) = profile.server.clone() else {
        return Err(fixed(cx, "is a machine on this computer, and stays one"));
    };
    if let Some(other) = asked.first.as_ref().filter(|a| !is_at(&first, a)) {
        let is = format!("is on {}, not on {other}", name_of(&first));
        return Err(fixed(cx, &is));
    }
    if let Some(key) = &asked.key {
        // Another key for all of them; they are the same servers.
        for node in nodes::all(&profile) {
            if let Some(server) = profile.server_mut(node.number) {
                server.key = std::path::absolute(key).unwrap_or_else(|_| key.clone());
            }
        }
    }
    for address in &asked.workers {
        let is_there = |node: &nodes::Node| {
            let server = profile.server(node.number);
            server.is_some_and(|server| is_at(server, address))
        };
        if is_at(&first, address) {
            return Err(CliError::new(
                "PROGRAM_USAGE",
                format!("{address} is the first server, and no worker beside itself"),
            )
            .why("the first server runs pods as well")
            .fix(machine::again(cx, "node list")));
        }
        if nodes::all(&profile).iter().any(is_there) {
            continue;
        }
        nodes::check_count(cx, nodes::all(&profile).len() as u64 + 1)?;
        let Some(number) = nodes::free_numbers(&profile, 1).first().copied() else {
            return Err(CliError::new("PROGRAM_INTERNAL", "no number is free"));
        };
        let mut worker = Worker::new(number, unknown());
        let key = profile.server.as_ref().map_or(&first.key, |s| &s.key);
        worker.server = Some(server(address, key.clone(), &first.mark));
        profile.workers.push(worker);
        profile.workers.sort_by_key(|w| w.number);
    }
    Ok(profile)
}

/// Whether a server is the one that an address means; under which user, may change.
fn is_at(server: &Server, address: &Address) -> bool {
    server.host.eq_ignore_ascii_case(&address.host) && server.port == address.port
}

/// Sizes are the server's own; the first step finds them.
fn unknown() -> Spec {
    Spec {
        cpus: 0,
        memory_mib: 0,
        disk_gib: 0,
        image: "server".into(),
    }
}

fn server(address: &Address, key: PathBuf, mark: &str) -> Server {
    Server {
        host: address.host.clone(),
        port: address.port,
        user: address.user.clone(),
        key,
        host_key: String::new(),
        mark: mark.into(),
        address: None,
        system: String::new(),
        placed: false,
        stopped: false,
    }
}

fn new(cx: &Context, asked: &Asked) -> Result<Profile> {
    let Some(first) = &asked.first else {
        return Err(CliError::new("PROGRAM_INTERNAL", "no server is named"));
    };
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    // Another laptop may have a profile of this name, begun in the same second.
    let mark = format!("{} {:x}-{:x}", cx.name, now.as_nanos(), std::process::id());
    let key = match &asked.key {
        Some(key) => std::path::absolute(key).unwrap_or_else(|_| key.clone()),
        None => usual_key(first)?,
    };
    let mut profile = Profile::begun(cx.name.as_str(), now.as_secs(), unknown());
    profile.server = Some(server(first, key, &mark));
    Ok(profile)
}

/// The key that ssh(1) tries by itself, of the kind Cadet uses.
fn usual_key(server: &Address) -> Result<PathBuf> {
    let dirs = directories::BaseDirs::new().ok_or_else(|| {
        CliError::new("HOST_NOT_READABLE", "your home directory is not known")
            .fix("cadet start … --ssh-key FILE")
    })?;
    let file = dirs.home_dir().join(".ssh").join("id_ed25519");
    lines::key(&server.to_string(), &file)?;
    Ok(file)
}

/// Sees to it that each server is known by a host key. One that is known already is only looked
/// at again where the flags are about keys; every line to it insists on its key anyhow.
async fn trust_all(cx: &Context, trust: &Trust, profile: &mut Profile) -> Result<()> {
    for node in nodes::all(profile) {
        let Some(server) = profile.server_mut(node.number) else {
            return Err(CliError::new(
                "PROGRAM_INTERNAL",
                format!("{} is no server", node.name),
            ));
        };
        let is_known = !server.host_key.is_empty();
        if is_known && *trust == Trust::Ask {
            continue;
        }
        // A key that cannot be used is no reason to call anybody.
        lines::key(&name_of(server), &server.key)?;
        let shown = lines::shown_key(server).await?;
        if shown == server.host_key {
            continue;
        }
        let address = Address {
            user: server.user.clone(),
            host: server.host.clone(),
            port: server.port,
        };
        trust.judge(cx, &address, &shown)?;
        server.host_key = shown;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use cadet_state::{Home, ProfileName};

    use super::*;
    use crate::ui::{Output, Ui};
    use crate::world::World;

    fn context(dir: &Path) -> Context {
        Context {
            world: World {
                home: Home::new(dir, dir.join("cache")),
                kubeconfig: dir.join("config"),
                extra_ca: None,
                programs: dir.into(),
                node_program: None,
                catalog: None,
                kubectl_mirror: None,
                registry: None,
                tutorials: None,
                lessons: None,
            },
            name: ProfileName::parse("shop").unwrap(),
            ui: Ui::new(Output::Text),
        }
    }

    fn args(host: Option<&str>, workers: &[&str]) -> StartArgs {
        StartArgs {
            host: host.map(|text| text.parse().unwrap()),
            worker: workers.iter().map(|text| text.parse().unwrap()).collect(),
            ssh_key: Some("/keys/one".into()),
            ..StartArgs::as_it_is(Duration::from_secs(60))
        }
    }

    fn asked_of(cx: &Context, args: &StartArgs, old: Option<&Profile>) -> Asked {
        wish(cx, args, old).unwrap().expect("it is about servers")
    }

    #[test]
    fn flags_that_do_not_fit_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let cx = context(dir.path());
        let plain = StartArgs::as_it_is(Duration::from_secs(60));
        assert!(wish(&cx, &plain, None).unwrap().is_none());
        let id = |args: StartArgs| wish(&cx, &args, None).unwrap_err().topic.id;
        let good = || args(Some("ann@box"), &[]);
        assert_eq!(id(args(None, &["ann@box"])), "PROGRAM_USAGE");
        assert_eq!(id(args(Some("ann@box"), &["bob@box"])), "PROGRAM_USAGE");
        for bad in [
            StartArgs {
                driver: Some(Driver::Qemu),
                ..good()
            },
            StartArgs {
                driver: Some(Driver::Ssh),
                ..StartArgs::as_it_is(Duration::from_secs(60))
            },
            StartArgs {
                memory: Some(2048),
                ..good()
            },
            StartArgs {
                nodes: Some(3),
                ..good()
            },
            StartArgs {
                download_only: true,
                ..good()
            },
        ] {
            assert_eq!(id(bad), "PROGRAM_USAGE");
        }
    }

    #[test]
    fn servers_become_the_machines_of_a_profile_and_more_may_join() {
        let dir = tempfile::tempdir().unwrap();
        let cx = context(dir.path());
        let begin = args(Some("ann@box"), &["ann@box:2222", "ann@second"]);
        let asked = asked_of(&cx, &begin, None);
        let profile = record(&cx, &asked, None).unwrap();
        let names: Vec<_> = nodes::all(&profile)
            .iter()
            .map(|n| format!("{} {}", n.name, name_of(profile.server(n.number).unwrap())))
            .collect();
        assert_eq!(
            names,
            ["shop ann@box", "shop-2 ann@box:2222", "shop-3 ann@second"]
        );
        let marks: Vec<_> = [1, 2, 3].map(|n| &profile.server(n).unwrap().mark).into();
        assert!(
            marks
                .iter()
                .all(|mark| *mark == marks[0] && mark.starts_with("shop "))
        );

        // The same again changes nothing; a further one joins; no flags mean what is there.
        let again = asked_of(&cx, &begin, Some(&profile));
        assert_eq!(record(&cx, &again, Some(profile.clone())).unwrap(), profile);
        let more = asked_of(&cx, &args(None, &["bob@third"]), Some(&profile));
        let larger = record(&cx, &more, Some(profile.clone())).unwrap();
        assert_eq!(name_of(larger.server(4).unwrap()), "bob@third");
        let plain = StartArgs::as_it_is(Duration::from_secs(60));
        let same = asked_of(&cx, &plain, Some(&profile));
        assert_eq!(record(&cx, &same, Some(profile.clone())).unwrap(), profile);

        let moved = asked_of(&cx, &args(Some("ann@other"), &[]), Some(&profile));
        let error = record(&cx, &moved, Some(profile.clone())).unwrap_err();
        assert_eq!(error.topic.id, "RESOURCE_FIXED");
        let qemu = StartArgs {
            driver: Some(Driver::Qemu),
            ..StartArgs::as_it_is(Duration::from_secs(60))
        };
        let error = wish(&cx, &qemu, Some(&profile)).unwrap_err();
        assert_eq!(error.topic.id, "RESOURCE_FIXED");
    }

    #[test]
    fn a_machine_on_this_computer_does_not_become_a_server() {
        let dir = tempfile::tempdir().unwrap();
        let cx = context(dir.path());
        let machine: Profile = serde_json::from_value(serde_json::json!({
            "name": "shop", "created": 1, "phase": "stopped",
            "spec": {"cpus": 1, "memoryMib": 1024, "diskGib": 8, "image": "auto"},
        }))
        .unwrap();
        let error = wish(&cx, &args(Some("ann@box"), &[]), Some(&machine)).unwrap_err();
        assert_eq!(error.topic.id, "RESOURCE_FIXED");
    }
}
