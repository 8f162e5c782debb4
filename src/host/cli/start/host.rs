//! Step `host`: can this computer run the machine that was asked for?

use async_trait::async_trait;
use cadet_state::Spec;
use cadet_vm::{Arch, Emulator};

use super::{Note, Step, Voyage};
use crate::error::{CliError, Result};
use crate::nodes::Node;
use crate::{computer, machine, ui};

/// See the module.
pub struct Host;

#[async_trait]
impl Step for Host {
    fn name(&self) -> &'static str {
        "host"
    }

    async fn plan(&self, v: &mut Voyage<'_>) -> Result<String> {
        look(v)
    }

    async fn done(&self, v: &mut Voyage<'_>) -> Result<Option<Note>> {
        let state = machine::state_of(&v.files, &v.profile).await;
        let first = Node::first(&v.profile.name);
        // One that stands still goes on in its own step, with what it was started with.
        let goes_on = state.is_running() || state.is_paused() || state.is_out_of_space();
        v.was_running = goes_on && !first.is_unsettled(&v.profile);
        if v.was_running {
            let spec = &v.profile.spec;
            let does = if state.is_running() {
                "runs"
            } else {
                "is paused"
            };
            return Ok(Some(Note::there(format!(
                "the machine {does}: {} cores, {}",
                spec.cpus,
                ui::mib(spec.memory_mib)
            ))));
        }
        Ok(None)
    }

    async fn run(&self, v: &mut Voyage<'_>) -> Result<Note> {
        Ok(Note::new(look(v)?))
    }
}

/// QEMU of this computer.
///
/// # Errors
/// DRIVER_QEMU_MISSING, DRIVER_QEMU_TOO_OLD.
pub fn emulator() -> Result<Emulator> {
    let arch = Arch::host().ok_or_else(|| {
        CliError::new(
            "DRIVER_QEMU_MISSING",
            "there is no guest for this computer's processor",
        )
        .why(format!(
            "it is {}; Cadet has guests for x86_64 and aarch64",
            std::env::consts::ARCH
        ))
    })?;
    let search = std::env::var_os("PATH");
    Ok(Emulator::find(arch, search.as_deref())?)
}

fn look(v: &mut Voyage<'_>) -> Result<String> {
    let emulator = emulator()?;
    let spec = &v.profile.spec;
    fits(spec)?;
    let told = format!(
        "QEMU {}, {} of {} cores, {}",
        emulator.version,
        spec.cpus,
        computer::cores(),
        ui::mib(spec.memory_mib)
    );
    v.emulator = Some(emulator);
    Ok(told)
}

/// Memory the laptop itself must keep, in MiB.
const LEFT_FOR_LAPTOP: u64 = 512;
/// Smallest machine that runs a lesson, in MiB; 256 boots, but holds no database.
const SMALLEST_MEMORY: u64 = 768;

/// Refuses what this computer cannot hold.
///
/// # Errors
/// RESOURCE_CPUS, RESOURCE_MEMORY, RESOURCE_DISK.
pub fn fits(spec: &Spec) -> Result<()> {
    let cores = computer::cores();
    if spec.cpus == 0 || u64::from(spec.cpus) > cores {
        return Err(CliError::new(
            "RESOURCE_CPUS",
            format!("{} processors are not possible", spec.cpus),
        )
        .why(format!("this computer has {cores}"))
        .fix(format!("cadet start --cpus {}", cores.min(2))));
    }
    let memory = computer::memory_mib();
    let most = memory.map_or(u64::from(u32::MAX), |m| m.saturating_sub(LEFT_FOR_LAPTOP));
    if spec.memory_mib < SMALLEST_MEMORY || spec.memory_mib > most {
        let has = memory.map_or(String::new(), |m| {
            format!("; this computer has {}", ui::mib(m))
        });
        return Err(CliError::new(
            "RESOURCE_MEMORY",
            format!("{} of memory is not possible", ui::mib(spec.memory_mib)),
        )
        .why(format!(
            "the smallest is {SMALLEST_MEMORY} MiB, the largest {}{has}",
            ui::mib(most)
        ))
        .fix("cadet start --memory 2g"));
    }
    if !(4..=1024).contains(&spec.disk_gib) {
        return Err(CliError::new("RESOURCE_DISK", format!("a disk of {} GiB is not possible", spec.disk_gib))
            .why("the smallest is 4 GiB, the largest 1024 GiB; the file only takes what the cluster writes")
            .fix("cadet start --disk-size 20g"));
    }
    Ok(())
}

/// Refuses machines that this computer can hold one by one, but not all at once; `sizes` are
/// their memories in MiB.
///
/// # Errors
/// RESOURCE_MEMORY.
pub fn fit_together(sizes: &[u64]) -> Result<()> {
    let Some(memory) = computer::memory_mib() else {
        return Ok(());
    };
    let (all, most) = (
        sizes.iter().sum::<u64>(),
        memory.saturating_sub(LEFT_FOR_LAPTOP),
    );
    if sizes.len() < 2 || all <= most {
        return Ok(());
    }
    Err(CliError::new(
        "RESOURCE_MEMORY",
        format!(
            "{} machines with {} together do not fit",
            sizes.len(),
            ui::mib(all)
        ),
    )
    .why(format!(
        "this computer has {} and needs {} itself",
        ui::mib(memory),
        ui::mib(LEFT_FOR_LAPTOP)
    ))
    .fix(format!(
        "cadet start --nodes {} --memory {}m      the size of each\ncadet start --nodes 2",
        sizes.len(),
        (most / sizes.len() as u64).max(SMALLEST_MEMORY)
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_that_cannot_be_are_refused_by_name() {
        let good = Spec {
            cpus: 1,
            memory_mib: 1024,
            disk_gib: 20,
            image: "auto".into(),
        };
        fits(&good).unwrap();
        let id = |spec: Spec| fits(&spec).unwrap_err().topic.id;
        assert_eq!(
            id(Spec {
                cpus: 0,
                ..good.clone()
            }),
            "RESOURCE_CPUS"
        );
        assert_eq!(
            id(Spec {
                cpus: 5000,
                ..good.clone()
            }),
            "RESOURCE_CPUS"
        );
        assert_eq!(
            id(Spec {
                memory_mib: 767,
                ..good.clone()
            }),
            "RESOURCE_MEMORY"
        );
        assert_eq!(
            id(Spec {
                memory_mib: u64::MAX,
                ..good.clone()
            }),
            "RESOURCE_MEMORY"
        );
        assert_eq!(
            id(Spec {
                disk_gib: 3,
                ..good
            }),
            "RESOURCE_DISK"
        );
    }

    #[test]
    fn many_small_machines_can_be_too_many() {
        let half = computer::memory_mib().unwrap_or(u64::MAX / 4) / 2;
        fit_together(&[half * 2]).unwrap();
        let refused = fit_together(&[half, half, half]);
        if computer::memory_mib().is_some() {
            assert_eq!(refused.unwrap_err().topic.id, "RESOURCE_MEMORY");
        }
        fit_together(&[1, 1, 1]).unwrap();
    }
}
