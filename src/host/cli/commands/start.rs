//! `cadet start`: make or find the record, then run the steps that are not done.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use cadet_state::{Phase, Profile, ProfileLock, Spec, Store};
use clap::{Args, ValueEnum};
use serde_json::json;

use crate::Context;
use crate::defaults::Defaults;
use crate::error::{CliError, Result};
use crate::start::{self, Voyage};
use crate::{images, machine, mirror, ui};

/// What `start` waits for before it calls the cluster ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum WaitFor {
    /// The node is Ready
    Node,
    /// The API server answers
    Api,
    /// Nothing
    None,
}

/// Flags of `cadet start`.
#[derive(Debug, Args)]
#[command(
    after_help = "`cadet config set memory 3g` and the like choose the defaults of new profiles.\n\nExamples:\n  cadet start\n  cadet start -p shop --cpus 2 --memory 2g --disk-size 30g\n  cadet start --image ubuntu-24.04\n  cadet start --download-only      fetch everything, so that the next start needs no network\n  cadet start -o json              one event per line, for programs"
)]
pub struct StartArgs {
    /// Processors of the machine [default: 2, or what the computer has]
    #[arg(long, value_name = "N")]
    pub cpus: Option<u32>,
    /// Memory of the machine: 2g, 1536m, or plain MiB [default: 2g]
    #[arg(short, long, value_parser = crate::args::size_mib, value_name = "SIZE")]
    pub memory: Option<u64>,
    /// Virtual size of the disk; the file grows only as needed [default: 20g]
    #[arg(long, value_parser = crate::args::size_mib, value_name = "SIZE")]
    pub disk_size: Option<u64>,
    /// Guest image, see `cadet image list` [default: Ubuntu, or a Debian guest built
    /// here where Ubuntu's host cannot be reached]
    #[arg(long, env = "CADET_IMAGE", value_name = "NAME")]
    pub image: Option<String>,
    /// What to wait for
    #[arg(long, value_enum, default_value = "node", value_name = "WHAT")]
    pub wait: WaitFor,
    /// How long to wait for each of them
    #[arg(long, value_parser = crate::args::duration, default_value = "6m", value_name = "TIME")]
    pub wait_timeout: Duration,
    /// Tell what would be done, do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Only fetch or build the image
    #[arg(long)]
    pub download_only: bool,
    /// Do not make Cadet's context the current one of kubectl
    #[arg(long)]
    pub keep_context: bool,
}

/// Brings the cluster up.
pub async fn run(cx: &Context, args: StartArgs) -> Result<u8> {
    let began = Instant::now();
    let defaults = Defaults::read(cx)?;
    if let Some(name) = args.image.as_ref().or(defaults.image.as_ref()) {
        images::known(cx, name)?;
    }
    start::fits(&wanted(&args, None, &defaults)?)?;
    if args.dry_run {
        return dry_run(cx, &args, began).await;
    }
    let _lock = ProfileLock::take(&cx.world.home, &cx.name, "start")?;
    let old = Store::open(&cx.world.home)?.get(&cx.name)?;
    if old.as_ref().is_some_and(|p| p.phase == Phase::Deleting) {
        return Err(CliError::new(
            "HOST_PROFILE_BUSY",
            format!("a delete of profile {} did not finish", cx.name),
        )
        .why("its machine or files may be half gone")
        .fix(machine::again(cx, "delete")));
    }
    let is_new = old.is_none();
    let profile = record(cx, &args, old).await?;
    let mut v = voyage(cx, &args, profile, began);
    if args.download_only {
        start::run_all(&mut v, "image").await?;
        tell_downloaded(cx, is_new)?;
        return Ok(0);
    }
    v.profile.phase = Phase::Starting;
    start::run_all(&mut v, "kubectl").await?;
    if let Some(tunnel) = &v.tunnel {
        mirror::at_start(cx, tunnel).await;
    }
    v.profile.phase = Phase::Running;
    v.profile.step = None;
    machine::save(cx, &v.profile)?;
    tell_ready(&v);
    Ok(0)
}

fn voyage<'a>(
    cx: &'a Context,
    args: &'a StartArgs,
    profile: Profile,
    began: Instant,
) -> Voyage<'a> {
    Voyage {
        cx,
        args,
        profile,
        files: cx.world.files(&cx.name),
        began,
        emulator: None,
        was_running: false,
        tunnel: None,
        access: None,
    }
}

fn tell_downloaded(cx: &Context, is_new: bool) -> Result<()> {
    if is_new {
        // The lock made the profiles folder; nothing else was kept.
        let lock = cx.world.home.profile_lock(&cx.name);
        std::fs::remove_file(&lock).map_err(|e| machine::io("remove", &lock, &e))?;
    }
    if cx.ui.json() {
        cx.ui.object(&json!({"type": "done", "downloaded": true}));
    } else {
        cx.ui.line(format!(
            "Everything is here; the next start needs no network.\n  next: {}",
            machine::again(cx, "start")
        ));
    }
    Ok(())
}

fn tell_ready(v: &Voyage<'_>) {
    let seconds = v.began.elapsed().as_secs_f64();
    if v.cx.ui.json() {
        let ports = v.profile.ports;
        v.cx.ui.object(&json!({
            "type": "done", "profile": v.cx.name.as_str(), "seconds": (seconds * 1000.0).round() / 1000.0,
            "server": ports.map(|p| format!("https://127.0.0.1:{}", p.api)),
        }));
        return;
    }
    let context = if v.args.keep_context {
        format!("kubectl --context {}", v.cx.name)
    } else {
        "kubectl".into()
    };
    v.cx.ui.line(format!(
        "Cadet is ready in {seconds:.1} s.\n  next: {context} get nodes\n        {context} create -f tutorials/01-telescope/manifests/telescope-pod.json\n        {}",
        machine::again(v.cx, "open pod/telescope-pod")
    ));
}

/// The record for this start: the old one with the changes that are possible, or a new one.
async fn record(cx: &Context, args: &StartArgs, old: Option<Profile>) -> Result<Profile> {
    let Some(mut profile) = old else {
        let created = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |d| d.as_secs());
        return Ok(Profile {
            name: cx.name.to_string(),
            created,
            spec: wanted(args, None, &Defaults::read(cx)?)?,
            phase: Phase::Starting,
            step: None,
            base: None,
            ports: None,
            accelerator: None,
            host_key: None,
            kubeconfig: None,
        });
    };
    let wanted = wanted(args, Some(&profile.spec), &Defaults::default())?;
    if wanted == profile.spec {
        return Ok(profile);
    }
    let files = cx.world.files(&cx.name);
    let fixed = |what: &str, has: String| {
        CliError::new(
            "RESOURCE_FIXED",
            format!("the {what} of an existing profile cannot change"),
        )
        .why(format!("{} has {has}", cx.name))
        .fix(format!(
            "cadet start -p NAME ...      another profile\n{}",
            machine::again(cx, "delete")
        ))
    };
    if files.disk().exists() {
        if wanted.disk_gib != profile.spec.disk_gib {
            return Err(fixed("disk size", format!("{} GiB", profile.spec.disk_gib)));
        }
        if wanted.image != profile.spec.image {
            let has = profile
                .base
                .as_ref()
                .map_or(profile.spec.image.clone(), |b| b.id.clone());
            return Err(fixed("image", has));
        }
    }
    if machine::state_of(&files, &profile).await.has_process() {
        return Err(fixed(
            "size of a running machine",
            format!(
                "{} cores, {}",
                profile.spec.cpus,
                ui::mib(profile.spec.memory_mib)
            ),
        )
        .fix(format!(
            "{}\n{}",
            machine::again(cx, "stop"),
            machine::again(cx, "start ...")
        )));
    }
    if wanted.image != profile.spec.image {
        profile.base = None;
    }
    profile.spec = wanted;
    Ok(profile)
}

/// The flags over what the profile has, or over what the user chose for new ones.
fn wanted(args: &StartArgs, old: Option<&Spec>, defaults: &Defaults) -> Result<Spec> {
    let disk_gib = match args.disk_size {
        Some(mib) if mib % 1024 != 0 => {
            return Err(
                CliError::new("RESOURCE_DISK", "the disk size must be whole GiB")
                    .fix("cadet start --disk-size 20g"),
            );
        }
        Some(mib) => Some(mib / 1024),
        None => None,
    };
    let base = old.cloned().unwrap_or_else(|| defaults.spec());
    Ok(Spec {
        cpus: args.cpus.unwrap_or(base.cpus),
        memory_mib: args.memory.unwrap_or(base.memory_mib),
        disk_gib: disk_gib.unwrap_or(base.disk_gib),
        image: args.image.clone().unwrap_or(base.image),
    })
}

async fn dry_run(cx: &Context, args: &StartArgs, began: Instant) -> Result<u8> {
    let old = if cx.world.home.database().exists() {
        Store::open(&cx.world.home)?.get(&cx.name)?
    } else {
        None
    };
    let profile = record(cx, args, old).await?;
    let mut v = voyage(cx, args, profile, began);
    for step in start::steps() {
        let plan = step.plan(&mut v).await?;
        if cx.ui.json() {
            cx.ui
                .object(&json!({"type": "plan", "step": step.name(), "message": plan}));
        } else {
            cx.ui.line(format!("· {:<11} {plan}", step.name()));
        }
    }
    if !cx.ui.json() {
        cx.ui.line("Nothing was done.");
    }
    Ok(0)
}
