//! The command line of Cadet: the only room that knows the terminal, the home
//! directory and the environment. Verbs are in `commands`, the steps of a start in
//! `start`, lessons on this laptop in `lessons`, what commands of a class share in `class`, the
//! words for what goes wrong in `error` and `topics`.

mod accelerator;
mod addons;
mod args;
mod browse;
mod build_context;
mod class;
mod clock;
mod cluster;
mod cluster_images;
mod commands;
mod complete;
mod computer;
mod defaults;
mod docker_settings;
mod doctor;
mod doors;
mod error;
mod event_names;
mod from_bundle;
mod from_class;
mod from_image;
mod from_rooms;
mod frozen;
mod images;
mod installed;
mod keeper;
mod kubeconfig;
mod kubectl_program;
mod lessons;
mod line;
mod machine;
mod mirror;
mod nodes;
mod programs;
mod ranges;
mod reach;
mod registry_addon;
mod serve;
mod servers;
mod share;
mod start;
mod story;
mod terminal;
mod topics;
mod ui;
mod users;
mod why;
mod world;

use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

use args::{Cli, Command};
use cadet_state::{ProfileName, Settings};
use error::{CliError, Result};
use ui::{Output, Ui};
use world::World;

/// What every command gets: the environment, the profile's name and a voice.
pub(crate) struct Context {
    pub world: World,
    pub name: ProfileName,
    pub ui: Ui,
}

impl Context {
    /// The same for work that goes on beside this.
    pub fn again(&self) -> Self {
        Self {
            world: self.world.clone(),
            name: self.name.clone(),
            ui: self.ui.again(),
        }
    }
}

/// Runs the program: answers a shell that completes a line, or parses, dispatches, and prints the
/// error if there is one.
pub fn run() -> ExitCode {
    if let Some(code) = complete::answer() {
        return code;
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) => return usage(&e),
    };
    let ui = Ui::new(cli.global.output);
    match execute(cli, ui) {
        (_, Ok(code)) => ExitCode::from(code),
        (ui, Err(e)) => {
            ui.error(&e);
            ExitCode::from(e.exit_code())
        }
    }
}

fn execute(cli: Cli, ui: Ui) -> (Ui, Result<u8>) {
    let made = World::from_env()
        .and_then(|world| {
            let name = profile_of(&cli, &world)?;
            Ok((world, name))
        })
        .and_then(|(world, name)| {
            tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .map(|runtime| (world, name, runtime))
                .map_err(|e| {
                    CliError::new("PROGRAM_INTERNAL", "no threads to work with").why(e.to_string())
                })
        });
    let (world, name, runtime) = match made {
        Ok(made) => made,
        Err(e) => return (ui, Err(e)),
    };
    // Fails only if a provider is set already, which is then the same one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let context = Context { world, name, ui };
    // These end in their own way: the signal is part of what they do.
    let own_signals = matches!(
        cli.command,
        Command::Tunnel(_)
            | Command::Kubectl(_)
            | Command::Ssh(_)
            | Command::Logs(_)
            | Command::Trace(_)
            | Command::Events(_)
            | Command::PortForward(_)
            | Command::Mount(_)
            | Command::Mirror(_)
            | Command::Tutorial(_)
    ) || matches!(&cli.command, Command::Class(args) if args.own_signals());
    let outcome = runtime.block_on(async {
        if own_signals {
            return dispatch(cli.command, &context).await;
        }
        tokio::select! {
            outcome = dispatch(cli.command, &context) => outcome,
            signal = interrupted() => Err(CliError::new("PROGRAM_INTERRUPTED", signal)
                .why("every step is either done or not; nothing is half-done")
                .fix(format!("{}      goes on where this stopped", typed()))),
        }
    });
    // A blocked reader thread (standard input) must not keep the process alive.
    runtime.shutdown_background();
    (context.ui, outcome)
}

/// The command line of this process, as it can be pasted.
pub(crate) fn typed() -> String {
    pasted(
        std::env::args_os()
            .skip(1)
            .map(|word| word.to_string_lossy().into_owned()),
    )
}

fn pasted(words: impl Iterator<Item = String>) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@%+".contains(c);
    let words = words.map(|word| match !word.is_empty() && word.chars().all(plain) {
        true => word,
        false => cadet_tunnel::exec::quote(&word),
    });
    let program = std::iter::once("cadet".to_owned());
    program.chain(words).collect::<Vec<_>>().join(" ")
}

/// The profile a command is about: the one that is named, else the current one.
fn profile_of(cli: &Cli, world: &World) -> Result<ProfileName> {
    if let Some(named) = &cli.global.profile {
        return Ok(ProfileName::parse(named)?);
    }
    // These must work, or mend, whatever the file has come to.
    let needs_none = matches!(
        cli.command,
        Command::Doctor(_) | Command::Help(_) | Command::Version | Command::Completion(_)
    );
    let settings = match Settings::read(&world.home) {
        Err(_) if needs_none => Settings::default(),
        read => read?,
    };
    let name = settings
        .profile
        .as_deref()
        .unwrap_or(machine::FIRST_PROFILE);
    Ok(ProfileName::parse(name)?)
}

async fn dispatch(command: Command, cx: &Context) -> Result<u8> {
    servers::before(cx, &command).await?;
    match command {
        Command::Start(args) => commands::start::run(cx, args).await,
        Command::Stop(args) => commands::stop::run(cx, args).await,
        Command::Pause => commands::pause::pause(cx).await,
        Command::Unpause => commands::pause::unpause(cx).await,
        Command::Snapshot(args) => commands::snapshot::run(cx, args).await,
        Command::Delete(args) => commands::delete::run(cx, args).await,
        Command::Node(args) => commands::node::run(cx, args).await,
        Command::Status => commands::status::run(cx).await,
        Command::List => commands::list::run(cx).await,
        Command::Profile(args) => commands::profile::run(cx, args).await,
        Command::Config(args) => commands::config::run(cx, args),
        Command::Ssh(args) => commands::ssh::run(cx, args).await,
        Command::Logs(args) => commands::logs::run(cx, args).await,
        Command::Kubectl(args) => commands::kubectl::run(cx, args).await,
        Command::UpdateContext(args) => commands::update_context::run(cx, args),
        Command::Ip(args) => commands::ip::run(cx, args).await,
        Command::Events(args) => commands::events::run(cx, args).await,
        Command::Top(args) => commands::top::run(cx, args).await,
        Command::Tunnel(args) => commands::tunnel::run(cx, args).await,
        Command::Service(args) => commands::service::run(cx, args).await,
        Command::PortForward(args) => commands::port_forward::run(cx, args).await,
        Command::DockerEnv(args) => commands::docker_env::run(cx, args).await,
        Command::Open(args) => commands::open::run(cx, args).await,
        Command::Dashboard(args) => commands::dashboard::run(cx, args).await,
        Command::Trace(args) => commands::trace::run(cx, args).await,
        Command::Why(args) => commands::why::run(cx, args).await,
        Command::Image(args) => commands::image::run(cx, args).await,
        Command::Class(args) => commands::class::run(cx, args).await,
        Command::Addons(args) => commands::addons::run(cx, args).await,
        Command::Mirror(args) => commands::mirror::run(cx, args).await,
        Command::Cp(args) => commands::cp::run(cx, args).await,
        Command::Mount(args) => commands::mount::run(cx, args).await,
        Command::Disk(args) => commands::disk::run(cx, args).await,
        Command::Tutorial(args) => commands::tutorial::run(cx, args).await,
        Command::Doctor(args) => commands::doctor::run(cx, args).await,
        Command::Version => commands::version::run(cx),
        Command::Completion(args) => commands::completion::run(args),
        Command::Help(args) => commands::help::run(cx, args),
    }
}

#[cfg(unix)]
/// Returns when the user or the system asks the program to end.
pub(crate) async fn interrupted() -> &'static str {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut int), Ok(mut term), Ok(mut hup)) = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
        signal(SignalKind::hangup()),
    ) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = int.recv() => "interrupted by Ctrl-C",
        _ = term.recv() => "asked to end (SIGTERM)",
        _ = hup.recv() => "the terminal went away (SIGHUP)",
    }
}

#[cfg(not(unix))]
/// Returns when the user or the system asks the program to end.
pub(crate) async fn interrupted() -> &'static str {
    match tokio::signal::ctrl_c().await {
        Ok(()) => "interrupted by Ctrl-C",
        Err(_) => std::future::pending().await,
    }
}

/// clap's own errors in our manner: help and version are no errors at all.
fn usage(e: &clap::Error) -> ExitCode {
    if matches!(e.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        // If nobody reads the help there is nothing left to do.
        let _ = e.print();
        return ExitCode::SUCCESS;
    }
    if e.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        let _ = e.print();
        return ExitCode::from(14);
    }
    let text = e.to_string();
    let mut lines = text.lines().map(str::trim).filter(|l| !l.is_empty());
    let what = lines
        .next()
        .unwrap_or_default()
        .trim_start_matches("error: ")
        .to_string();
    let why: Vec<_> = lines
        .filter(|l| !l.starts_with("For more information"))
        .collect();
    let mut error = CliError::new("PROGRAM_USAGE", what).fix("cadet --help");
    if !why.is_empty() {
        error = error.why(why.join("\n"));
    }
    let json = std::env::args().any(|a| a == "-ojson" || a == "--output=json")
        || std::env::args()
            .zip(std::env::args().skip(1))
            .any(|(a, b)| (a == "-o" || a == "--output") && b == "json");
    Ui::new(if json { Output::Json } else { Output::Text }).error(&error);
    ExitCode::from(error.exit_code())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_typed_can_be_pasted() {
        let words = [
            "class",
            "bundle",
            "--title",
            "Kubernetes on Tuesday",
            "--out=x.cadet",
            "",
        ];
        assert_eq!(
            pasted(words.map(str::to_owned).into_iter()),
            "cadet class bundle --title 'Kubernetes on Tuesday' --out=x.cadet ''"
        );
    }
}
