//! Choosing, finding, fetching and making the guest's base image; the images of lessons.

pub mod contexts;
pub mod lessons;

use std::time::{Duration, Instant};

use cadet_image::catalog::Image;
use cadet_image::{
    Arch, Base, Cache, Catalog, ImageError, Network, Progress, debian, http, prepare, tools,
};
use cadet_vm::{Disk, DiskFormat, Emulator, Machine, MachineConfig, Memory, QmpEndpoint, State};

use crate::error::{CliError, Result};
use crate::{Context, installed, machine};

pub use lessons::lesson_images;

/// How long the image host may take to show itself.
const PROBE: Duration = Duration::from_secs(3);
/// Installing Docker under software emulation was seen to take minutes.
const PREPARE: Duration = Duration::from_secs(45 * 60);

/// The images of this program, or of the file CADET_CATALOG names.
///
/// # Errors
/// IMAGE_UNKNOWN for a catalogue that cannot be read.
pub fn catalog(cx: &Context) -> Result<Catalog> {
    match &cx.world.catalog {
        None => Ok(Catalog::built_in()?),
        Some(file) => {
            let text = std::fs::read_to_string(file).map_err(|e| machine::io("read", file, &e))?;
            Ok(Catalog::parse(&text)?)
        }
    }
}

/// The processor family of guests on this computer.
///
/// # Errors
/// DRIVER_QEMU_MISSING where there is none.
pub fn arch() -> Result<Arch> {
    Arch::host().ok_or_else(|| {
        CliError::new(
            "DRIVER_QEMU_MISSING",
            "there is no guest for this computer's processor",
        )
        .why(format!(
            "it is {}; Cadet has guests for x86_64 and aarch64",
            std::env::consts::ARCH
        ))
    })
}

/// Checks that `name` is an image, or `auto`.
///
/// # Errors
/// IMAGE_UNKNOWN with the names there are.
pub fn known(cx: &Context, name: &str) -> Result<()> {
    if name != "auto" {
        catalog(cx)?.get(name, arch()?)?;
    }
    Ok(())
}

/// What a start would use, and why.
pub struct Choice {
    /// Name in the catalogue.
    pub name: String,
    /// Set when the catalogue's default cannot be had: one line for the user.
    pub instead: Option<String>,
}

/// Turns `auto` into a name: a base that is there, else the default if its host can be
/// reached, else the guest built here.
///
/// # Errors
/// INET_UNREACHABLE when neither way is open.
pub async fn choose(cx: &Context, wanted: &str) -> Result<Choice> {
    let plain = |name: &str| Choice {
        name: name.into(),
        instead: None,
    };
    if wanted != "auto" {
        known(cx, wanted)?;
        return Ok(plain(wanted));
    }
    let catalog = catalog(cx)?;
    if cx.world.home.images().is_dir() {
        let cache = Cache::open(&cx.world.home.images())?;
        // The class's image first: its lessons were made for it.
        let of_class = installed::read(&cx.world)?.map(|class| class.image);
        let of_class = of_class.filter(|name| catalog.images.contains_key(name));
        let names = of_class.iter().chain([&catalog.default, &catalog.fallback]);
        for name in names {
            if find(cx, &cache, &catalog, name)?.is_some() {
                return Ok(plain(name));
            }
        }
    }
    let Image::Download {
        title, arch: files, ..
    } = catalog.get(&catalog.default, arch()?)?
    else {
        return Ok(plain(&catalog.default));
    };
    let Some(files) = files.get(&arch()?) else {
        return Ok(plain(&catalog.default));
    };
    let client = http::client(&network(cx))?;
    let Some(why) = http::trouble_reaching(&client, &files.checksums, PROBE).await else {
        return Ok(plain(&catalog.default));
    };
    let fallback = catalog.get(&catalog.fallback, arch()?)?;
    // The innermost cause says most; the whole chain does not fit a line.
    let why = why.rsplit(": ").next().unwrap_or(&why);
    Ok(Choice {
        name: catalog.fallback.clone(),
        instead: Some(format!(
            "{title} cannot be reached ({why}); using a {} instead",
            describe(fallback)
        )),
    })
}

/// What `doctor` says of images.
///
/// # Errors
/// As [`choose`].
pub async fn outlook(cx: &Context) -> Result<String> {
    let choice = choose(cx, "auto").await?;
    let catalog = catalog(cx)?;
    let title = describe(catalog.get(&choice.name, arch()?)?);
    Ok(match choice.instead {
        Some(why) => why,
        None => title,
    })
}

/// One line for people.
pub fn describe(image: &Image) -> String {
    match image {
        Image::Download { title, .. } => format!("{title} cloud image"),
        Image::Packages { title, .. } => format!("{title} guest, built from packages"),
    }
}

/// How the network is reached.
pub fn network(cx: &Context) -> Network {
    Network {
        ca_file: cx.world.extra_ca.clone(),
        ..Network::default()
    }
}

/// The prepared base of `name`, if there is one that is not stale, or that came with a class.
///
/// # Errors
/// HOST_NOT_READABLE.
pub fn find(cx: &Context, cache: &Cache, catalog: &Catalog, name: &str) -> Result<Option<Base>> {
    let arch = arch()?;
    if let Some(base) = find_for(cache, catalog, name, arch)? {
        return Ok(Some(base));
    }
    match installed::read(&cx.world)? {
        Some(class) if class.image == name => Ok(cache.find(name, arch, Some(&class.recipe))?),
        _ => Ok(None),
    }
}

/// The prepared base of `name` for machines of `arch`, if there is one that is not stale.
///
/// # Errors
/// HOST_NOT_READABLE, IMAGE_UNKNOWN.
pub fn find_for(cache: &Cache, catalog: &Catalog, name: &str, arch: Arch) -> Result<Option<Base>> {
    let recipe = match catalog.get(name, arch)? {
        Image::Packages {
            suite,
            mirrors,
            root,
            ..
        } => build(name, arch, suite, mirrors, root).recipe(),
        Image::Download {
            root, arch: files, ..
        } => match files.get(&arch) {
            Some(files) => prepare::recipe(&prepare::Target {
                image: name,
                arch,
                files,
                root,
                told: &cadet_seed::Prepare::recipe(),
            }),
            None => return Ok(None),
        },
    };
    Ok(cache.find(name, arch, Some(&recipe))?)
}

/// The base of `name`, made now if it is not there.
///
/// # Errors
/// Every error of the image room, and of the machine that prepares.
pub async fn ensure(cx: &Context, name: &str) -> Result<Base> {
    let catalog = catalog(cx)?;
    let arch = arch()?;
    let cache = Cache::open(&cx.world.home.images())?;
    let sink = |progress: Progress| match progress {
        Progress::Phase(text) => cx.ui.progress(&text, None),
        Progress::Bytes { done, total } => cx.ui.progress("downloading", total.map(|t| (done, t))),
        Progress::Note(text) => cx.ui.warn("image", &text),
    };
    let rest = std::env::vars_os()
        .filter(|(name, _)| name != "PATH")
        .collect();
    let tools = tools::Tools::new(std::env::var_os("PATH").as_deref(), rest);
    match catalog.get(name, arch)? {
        Image::Packages {
            suite,
            mirrors,
            root,
            ..
        } => Ok(build(name, arch, suite, mirrors, root)
            .ensure(&cache, &tools, &sink)
            .await?),
        Image::Download {
            root, arch: files, ..
        } => {
            let Some(files) = files.get(&arch) else {
                return Err(ImageError::NoArch {
                    name: name.into(),
                    arch: arch.to_string(),
                }
                .into());
            };
            if let Some(base) = find(cx, &cache, &catalog, name)? {
                return Ok(base);
            }
            let told = cadet_seed::Prepare::recipe();
            let target = prepare::Target {
                image: name,
                arch,
                files,
                root,
                told: &told,
            };
            let client = http::client(&network(cx))?;
            let begun = prepare::begin(&target, &cache, &client, &tools, &sink).await?;
            let versions = install_docker(cx, &begun).await?;
            Ok(begun.seal(versions, &cache, &tools, &sink).await?)
        }
    }
}

fn build<'a>(
    image: &'a str,
    arch: Arch,
    suite: &'a str,
    mirrors: &'a [String],
    root: &'a str,
) -> debian::Build<'a> {
    let as_root = machine::is_root();
    debian::Build {
        image,
        arch,
        suite,
        mirrors,
        root,
        as_root,
    }
}

/// Boots the downloaded image once; cloud-init installs Docker and powers off.
async fn install_docker(
    cx: &Context,
    begun: &prepare::Preparation,
) -> Result<std::collections::BTreeMap<String, String>> {
    let seed = begun.scratch.join("seed.img");
    let mac = cadet_vm::config::mac_for("prepare");
    let authorities = match &cx.world.extra_ca {
        Some(file) => {
            vec![std::fs::read_to_string(file).map_err(|e| machine::io("read", file, &e))?]
        }
        None => Vec::new(),
    };
    let proxy = guest_proxy();
    let disk = cadet_seed::Prepare {
        hostname: "prepare",
        mac: &mac,
        apt_proxy: proxy.as_deref(),
        authorities,
    }
    .disk()
    .map_err(|e| {
        CliError::new("PROGRAM_INTERNAL", "the seed disk could not be made").why(e.to_string())
    })?;
    machine::write_private(&seed, &disk)?;
    let vm_arch = cadet_vm::Arch::host().ok_or_else(|| {
        CliError::new(
            "DRIVER_QEMU_MISSING",
            "there is no guest for this computer's processor",
        )
    })?;
    let emulator = Emulator::find(vm_arch, std::env::var_os("PATH").as_deref())?;
    let accel = crate::accelerator::choose(cx, &emulator)?;
    let config = MachineConfig {
        name: "cadet-prepare".into(),
        arch: vm_arch,
        accel,
        cpus: u32::try_from(crate::computer::cores().min(4)).unwrap_or(1),
        memory_mib: 1536,
        memory: Memory::Own,
        kernel: begun.kernel.clone(),
        initrd: begun.initrd.clone(),
        kernel_args: begun.kernel_args.clone(),
        disks: vec![
            Disk {
                path: begun.disk.clone(),
                format: DiskFormat::Qcow2,
                read_only: false,
            },
            Disk {
                path: seed,
                format: DiskFormat::Raw,
                read_only: true,
            },
        ],
        forwards: Vec::new(),
        mac,
        segment: None,
        qmp: QmpEndpoint::Unix(begun.scratch.join("qmp.sock")),
        qmp_spare: None,
        channel: None,
        serial_log: begun.scratch.join("serial.log"),
        qemu_log: begun.scratch.join("qemu.log"),
        pid_file: begun.scratch.join("pid"),
        key_file: None,
        run_as: None,
    };
    let serial = config.serial_log.clone();
    let machine = Machine::start(config.clone(), &emulator).await?;
    let began = Instant::now();
    let gone = loop {
        // The end of the machine is what is waited for; its process is not our child's
        // child everywhere, so it is looked at, once in two seconds for some minutes.
        tokio::time::sleep(Duration::from_secs(2)).await;
        match machine.state().await {
            State::Absent | State::Died(_) => break true,
            _ if began.elapsed() > PREPARE => break false,
            _ => cx.ui.progress(
                &format!(
                    "cloud-init installs Docker, {} s",
                    began.elapsed().as_secs()
                ),
                None,
            ),
        }
    };
    if !gone {
        machine.destroy(cadet_vm::StopDeadlines::default()).await?;
    }
    cadet_vm::lifecycle::forget(&config)?;
    let console = std::fs::read(&serial).map_err(|e| machine::io("read", &serial, &e))?;
    judge(&String::from_utf8_lossy(&console))
}

fn judge(console: &str) -> Result<std::collections::BTreeMap<String, String>> {
    let tail: Vec<_> = console.lines().rev().take(12).map(str::to_string).collect();
    let failed = |why: String| {
        let tail = tail.iter().rev().cloned().collect::<Vec<_>>();
        Err(ImageError::Prepare { why, tail }.into())
    };
    match cadet_seed::Prepare::outcome(console) {
        Some(cadet_seed::Outcome::Done(versions)) => Ok(versions
            .split_whitespace()
            .filter_map(|word| word.split_once('='))
            .map(|(name, version)| (name.to_string(), version.to_string()))
            .collect()),
        Some(cadet_seed::Outcome::Failed(why)) => failed(why),
        None => failed("the machine ended without a word about its work".into()),
    }
}

/// The laptop's proxy as the guest reaches it.
fn guest_proxy() -> Option<String> {
    let named = ["HTTP_PROXY", "http_proxy"]
        .into_iter()
        .find_map(|v| std::env::var(v).ok());
    named
        .filter(|v| !v.is_empty())
        .map(|proxy| seen_from_guest(&proxy))
}

/// The host's loopback is 10.0.2.2 in QEMU's user network.
fn seen_from_guest(url: &str) -> String {
    for host in ["127.0.0.1", "localhost", "[::1]"] {
        for before in ["://", "@"] {
            let loopback = format!("{before}{host}");
            if let Some((start, rest)) = url.split_once(&loopback)
                && (rest.is_empty() || rest.starts_with([':', '/']))
            {
                return format!("{start}{before}10.0.2.2{rest}");
            }
        }
    }
    url.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_proxies_are_translated() {
        assert_eq!(seen_from_guest("http://localhost:1"), "http://10.0.2.2:1");
        assert_eq!(
            seen_from_guest("http://u:p@127.0.0.1/"),
            "http://u:p@10.0.2.2/"
        );
        for other in [
            "http://localhost.corp:1",
            "http://proxy:127",
            "http://127.0.0.11:1",
        ] {
            assert_eq!(seen_from_guest(other), other);
        }
    }

    #[test]
    fn the_console_decides_whether_preparing_worked() {
        assert!(judge("boot…\n").is_err());
        assert!(judge("x\nCADET-PREPARE FAILED apt 100\n").is_err());
        let versions = judge("x\nCADET-PREPARE OK docker=26.1.5 crun=1.21\n").unwrap();
        assert_eq!(versions["docker"], "26.1.5");
    }
}
