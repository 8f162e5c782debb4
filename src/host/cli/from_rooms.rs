//! Errors of the rooms in the user's words: id, why, and the next command.

use cadet_state::Error as StateError;
use cadet_tunnel::TunnelError;
use cadet_vm::VmError;
use cadet_vm::diagnose::Reason;

use crate::error::CliError;
use crate::machine;

/// An error with all its causes, outermost first.
pub fn chain(e: &dyn std::error::Error) -> String {
    let mut text = e.to_string();
    let mut next = e.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}

impl From<StateError> for CliError {
    fn from(e: StateError) -> Self {
        match &e {
            StateError::BadName { name, reason } => CliError::new(
                "PROGRAM_USAGE",
                format!("profile name {name:?} cannot be used"),
            )
            .why(*reason)
            .fix("cadet start -p my-cluster"),
            StateError::Create { path, source } => machine::io("create", path, source),
            StateError::Read { path, source } => machine::io("read", path, source),
            StateError::Write { path, source } => machine::io("write", path, source),
            StateError::Remove { path, source } => machine::io("remove", path, source),
            StateError::Corrupt { path, detail } => {
                CliError::new("HOST_STATE_CORRUPT", "Cadet's records cannot be read")
                    .why(format!("{}: {detail}", path.display()))
                    .fix("cadet doctor --fix      puts the damaged file aside and rebuilds it")
            }
            StateError::Busy { path } => CliError::new(
                "HOST_PROFILE_BUSY",
                "another cadet command keeps the records open",
            )
            .why(format!("{} is locked", path.display()))
            .fix("wait for it to end, or end it, then repeat the command"),
            StateError::BadLesson { name } => CliError::new(
                "LESSON_UNKNOWN",
                format!("{name:?} cannot be the name of a lesson"),
            )
            .why("letters, digits, - and _ make one, 60 at most")
            .fix("cadet tutorial"),
            StateError::TemplatesBusy { holder } => CliError::new(
                "HOST_PROFILE_BUSY",
                "templates are being changed by another command",
            )
            .why(holder.clone())
            .fix("wait for it to end, or end it, then repeat the command"),
            StateError::LessonOpen { profile, holder } => CliError::new(
                "LESSON_OPEN",
                format!("a lesson is open with profile {profile}"),
            )
            .why(holder.clone())
            .fix("press the keys there: Enter, h, s, r, q; or leave it with q"),
            StateError::Locked { profile, holder } => CliError::new(
                "HOST_PROFILE_BUSY",
                format!("profile {profile} is being changed by another command"),
            )
            .why(holder.clone())
            .fix("wait for it to end, or end it, then repeat the command"),
        }
    }
}

impl From<VmError> for CliError {
    fn from(e: VmError) -> Self {
        let text = chain(&e);
        match &e {
            VmError::QemuNotFound { program, hint } => {
                CliError::new("DRIVER_QEMU_MISSING", format!("{program} is not installed"))
                    .why("Cadet runs its machine in QEMU")
                    .fix(hint.clone())
            }
            VmError::QemuTooOld {
                program,
                found,
                minimum,
                hint,
            } => CliError::new("DRIVER_QEMU_TOO_OLD", format!("QEMU {found} is too old"))
                .why(format!("{} is older than {minimum}", program.display()))
                .fix(hint.clone()),
            VmError::PortTaken { port } => port_taken(*port),
            VmError::DiskFull { path } => machine::disk_full(&path.display().to_string(), &text),
            VmError::File { act, path, source } => machine::io(act, path, source),
            VmError::CorruptImage { path, why } => CliError::new(
                "IMAGE_CORRUPT",
                format!("the disk image {} is damaged", path.display()),
            )
            .why(why.clone())
            .fix("cadet image list\ncadet help IMAGE_CORRUPT"),
            VmError::Missing { what, path } => CliError::new(
                "IMAGE_CORRUPT",
                format!("{what} {} is missing", path.display()),
            )
            .why("the profile's disk lies on a base image that is no longer there")
            .fix("cadet image build      makes the Debian base again\ncadet image list"),
            VmError::Died(death) => {
                let id = match death.reason {
                    Reason::PortTaken { .. } => "NET_PORT_TAKEN",
                    Reason::DiskFull => "HOST_DISK_FULL",
                    Reason::CorruptImage => "IMAGE_CORRUPT",
                    Reason::NoMemory => "RESOURCE_MEMORY",
                    _ => "DRIVER_START_FAILED",
                };
                let tail = if death.qemu_tail.is_empty() {
                    &death.serial_tail
                } else {
                    &death.qemu_tail
                };
                let why = if tail.is_empty() {
                    text
                } else {
                    tail.join("\n")
                };
                CliError::new(id, format!("the machine did not start: {death}"))
                    .why(why)
                    .fix("cadet start")
            }
            VmError::SocketPathTooLong { .. } => {
                CliError::new("HOST_NOT_READABLE", "the Cadet home has too long a path")
                    .why(text)
                    .fix("CADET_HOME=$HOME/.cadet cadet start")
            }
            VmError::Config(_) | VmError::Shrink { .. } => {
                CliError::new("DRIVER_START_FAILED", "this machine cannot be built")
                    .why(text)
                    .fix("cadet start --help")
            }
            VmError::AlreadyRunning { .. } => {
                CliError::new("HOST_PROFILE_BUSY", "the machine runs already")
                    .why(text)
                    .fix("cadet status")
            }
            VmError::NotRunning => CliError::new("GUEST_NOT_RUNNING", text).fix("cadet start"),
            _ => CliError::new("DRIVER_CONTROL", "QEMU did not do what it was told")
                .why(text)
                .fix("cadet status\ncadet logs --machine"),
        }
    }
}

fn port_taken(port: u16) -> CliError {
    CliError::new(
        "NET_PORT_TAKEN",
        format!("port {port} of 127.0.0.1 is taken by another program"),
    )
    .why("only one program can listen on a port")
    .fix(format!(
        "cadet tunnel --port {}",
        if port < u16::MAX { port + 1 } else { 8083 }
    ))
}

impl From<TunnelError> for CliError {
    fn from(e: TunnelError) -> Self {
        let text = chain(&e);
        match &e {
            TunnelError::HostKeyMismatch { .. } => CliError::new(
                "GUEST_HOST_KEY",
                "what answers is not the machine Cadet made",
            )
            .why(text)
            .fix("cadet status\ncadet help GUEST_HOST_KEY"),
            TunnelError::NotReady { .. }
            | TunnelError::NoBanner { .. }
            | TunnelError::Connect { .. }
            | TunnelError::Handshake { .. } => CliError::new(
                "GUEST_SSH_TIMEOUT",
                "the machine's SSH server does not answer",
            )
            .why(text)
            .fix("cadet status"),
            TunnelError::AuthRefused { .. } => {
                CliError::new("GUEST_SSH", "the machine refuses Cadet's key")
                    .why(text)
                    .fix("cadet logs --machine")
            }
            TunnelError::PortTaken(address) => port_taken(address.port()),
            TunnelError::ControlTaken { .. } => {
                CliError::new("NET_PORT_TAKEN", "a tunnel of this profile runs already")
                    .why(text)
                    .fix("cadet tunnel --status")
            }
            TunnelError::NoControl { .. } => {
                CliError::new("NET_TUNNEL_DOWN", "no tunnel is running")
                    .why(text)
                    .fix("cadet tunnel --background")
            }
            TunnelError::Bind { .. }
            | TunnelError::NotLoopback(_)
            | TunnelError::ControlProtocol { .. } => {
                CliError::new("NET_TUNNEL", "the tunnel could not be opened")
                    .why(text)
                    .fix("cadet tunnel --port 8083")
            }
            TunnelError::BadKey { .. } | TunnelError::KeyGeneration(_) => CliError::new(
                "HOST_STATE_CORRUPT",
                "the profile's SSH keys cannot be used",
            )
            .why(text)
            .fix("cadet doctor"),
            _ => CliError::new("GUEST_SSH", "the line into the machine failed")
                .why(text)
                .fix("cadet status"),
        }
    }
}
