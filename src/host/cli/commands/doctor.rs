//! `cadet doctor`: what could keep Cadet from working here, each with the next command.

use std::process::Command;

use cadet_state::Store;
use cadet_vm::{Arch, Emulator};
use clap::Args;
use serde_json::json;

use crate::Context;
use crate::class::checkup;
use crate::commands::kubectl;
use crate::error::{CliError, Result};
use crate::{accelerator, computer, images, kubeconfig, programs, ui};

/// Flags of `cadet doctor`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  cadet doctor\n  cadet doctor --fix      mend what can be mended; deletes nothing\n  cadet doctor --class    the week before a class: ends in a short code for the teacher\n  cadet doctor --class=K7Q2M-XXXXX    what such a code says, on any computer"
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

/// One finding.
enum Finding {
    Good(String),
    Note(String),
    Bad(CliError),
}

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
        let (sign, text, error) = match finding {
            Finding::Good(text) => ("✓", text, None),
            Finding::Note(text) => ("!", text, None),
            Finding::Bad(e) => ("✗", e.what.clone(), Some(e)),
        };
        bad += usize::from(error.is_some());
        if cx.ui.json() {
            let id = error.as_ref().map(|e| e.topic.id);
            let fix = error.as_ref().and_then(|e| e.fix.clone());
            cx.ui.object(&json!({"subject": subject, "ok": error.is_none(), "message": text, "id": id, "fix": fix}));
            return;
        }
        cx.ui.line(format!("{sign} {subject:<11} {text}"));
        if let Some(e) = error {
            for (label, part) in [("why", e.why), ("fix", e.fix)] {
                for line in part.iter().flat_map(|p| p.lines()) {
                    cx.ui.line(format!("              {label}  {line}"));
                }
            }
        }
    };
    let emulator = qemu(&mut tell);
    if let Some(emulator) = &emulator {
        tell("accelerator", accelerator_of(cx, emulator));
    }
    tell("memory", memory());
    tell("disk", disk(cx));
    tell("images", image_host(cx, emulator.is_some()).await);
    tell(
        "programs",
        from(programs::cadet_node(&cx.world).map(|p| p.display().to_string())),
    );
    tell("kubectl", kubectl_version());
    tell("kubeconfig", config(cx));
    tell("state", state(cx, args.fix));
    if args.class.is_some() {
        return Ok(checkup::print(cx, seen));
    }
    if !cx.ui.json() {
        cx.ui.line(if bad == 0 {
            "Nothing stands in the way.\n  next: cadet start"
        } else {
            "Mend what is marked ✗, then: cadet doctor"
        });
    }
    Ok(u8::from(bad > 0))
}

fn from(result: Result<String>) -> Finding {
    match result {
        Ok(text) => Finding::Good(text),
        Err(e) => Finding::Bad(e),
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
    match accelerator::choose(cx, emulator, true) {
        Ok(choice) => match choice.reason {
            None => Finding::Good(format!("{} works", choice.accel.name())),
            Some(reason) => Finding::Note(format!(
                "{reason}; Cadet uses software emulation, about ten times slower"
            )),
        },
        Err(e) => Finding::Bad(e),
    }
}

fn memory() -> Finding {
    match computer::memory_mib() {
        Some(mib) if mib < 2048 => Finding::Bad(
            CliError::new(
                "RESOURCE_MEMORY",
                format!("this computer has {}", ui::mib(mib)),
            )
            .why("a machine of 768 MiB and the laptop's own programs need about 2 GiB")
            .fix("cadet start --memory 768m"),
        ),
        Some(mib) => Finding::Good(format!(
            "{}, {} processors",
            ui::mib(mib),
            computer::cores()
        )),
        None => Finding::Note("the system does not tell how much there is".into()),
    }
}

fn disk(cx: &Context) -> Finding {
    let place = cx.world.home.data();
    match computer::free_bytes(place) {
        Some(free) if free < 4 << 30 => Finding::Bad(crate::machine::disk_full(
            &place.display().to_string(),
            &format!(
                "{} MiB are free; image and machine need about 4 GiB",
                free >> 20
            ),
        )),
        Some(free) => Finding::Good(format!("{} GiB free for {}", free >> 30, place.display())),
        None => Finding::Note(format!(
            "cannot tell how much is free for {}",
            place.display()
        )),
    }
}

async fn image_host(cx: &Context, has_qemu: bool) -> Finding {
    match images::outlook(cx).await {
        Ok(text) => Finding::Good(text),
        Err(e) if has_qemu => Finding::Bad(e),
        Err(e) => Finding::Note(e.what),
    }
}

fn kubectl_version() -> Finding {
    match Command::new("kubectl")
        .args(["version", "--client"])
        .output()
    {
        Ok(out) if out.status.success() => {
            let text = String::from_utf8_lossy(&out.stdout)
                .lines()
                .next()
                .unwrap_or_default()
                .to_string();
            Finding::Good(text)
        }
        Ok(out) => Finding::Bad(
            kubectl::missing().why(String::from_utf8_lossy(&out.stderr).trim().to_string()),
        ),
        Err(_) => Finding::Bad(kubectl::missing()),
    }
}

fn config(cx: &Context) -> Finding {
    match kubeconfig::check(&cx.world.kubeconfig) {
        Ok(true) => Finding::Good(cx.world.kubeconfig.display().to_string()),
        Ok(false) => Finding::Good(format!(
            "{} will be made by start",
            cx.world.kubeconfig.display()
        )),
        Err(e) => Finding::Bad(e),
    }
}

fn state(cx: &Context, fix: bool) -> Finding {
    let home = &cx.world.home;
    if !home.database().exists() {
        return Finding::Good("no profiles yet".into());
    }
    let opened = Store::open(home).and_then(|store| store.list());
    match opened {
        Ok(list) => Finding::Good(format!("{} profiles", list.len())),
        Err(cadet_state::Error::Corrupt { .. }) if fix => match Store::recover(home) {
            Ok(done) => Finding::Good(format!(
                "rebuilt with {}; the damaged files are kept in {}",
                if done.profiles.is_empty() {
                    "no profiles".into()
                } else {
                    done.profiles.join(", ")
                },
                done.aside.display()
            )),
            Err(e) => Finding::Bad(e.into()),
        },
        Err(e) => Finding::Bad(e.into()),
    }
}
