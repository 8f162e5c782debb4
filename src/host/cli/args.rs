//! The words of the command line. Each verb's doc comment is its help.

use clap::{Args, Parser, Subcommand};

use crate::commands;
use crate::ui::Output;

/// A Kubernetes learning cluster for a laptop: its own machine, its own control
/// plane, a tunnel into it, and lessons.
#[derive(Debug, Parser)]
#[command(
    name = "cadet",
    version,
    disable_help_subcommand = true,
    arg_required_else_help = true,
    max_term_width = 90,
    after_help = "First steps:\n  cadet start                     boot the machine and its cluster\n  kubectl get nodes               use it with the kubectl you have\n  cadet tutorial                  lessons that check themselves\n  cadet open pod/telescope-pod    a pod's own address in a browser\n  cadet delete                    remove everything again\n\nErrors have ids: `cadet help HOST_DISK_FULL` tells the long story."
)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// Flags every command takes.
#[derive(Debug, Clone, Args)]
pub struct Global {
    /// Name of the cluster; also its node, its host name and its kubectl context
    /// [default: what `cadet profile` shows]
    #[arg(
        short,
        long,
        global = true,
        env = "CADET_PROFILE",
        value_name = "PROFILE"
    )]
    pub profile: Option<String>,
    /// Shape of the output: text, or json with one event or object per line.
    #[arg(
        short,
        long,
        global = true,
        value_enum,
        default_value = "text",
        value_name = "FORMAT"
    )]
    pub output: Output,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Boot the machine and bring up the cluster; goes on where an earlier start stopped
    Start(commands::start::StartArgs),
    /// Suspend the machine, all of them, to go on in seconds; or power off
    Stop(commands::stop::StopArgs),
    /// Hold the machine still: it takes no processor time, its memory is kept
    #[command(
        after_help = "Examples:\n  cadet pause\n  cadet pause && cadet unpause      the clock is put right"
    )]
    Pause,
    /// Let a paused machine go on, and put its clock right
    #[command(after_help = "Example:\n  cadet unpause")]
    Unpause,
    /// Keep the whole cluster as it is now, and go back to it later
    Snapshot(commands::snapshot::SnapshotArgs),
    /// Remove the machine, its disk and its kubectl context
    Delete(commands::delete::DeleteArgs),
    /// Add, stop, start, delete and list the machines of a profile
    Node(commands::node::NodeArgs),
    /// Show what runs; the exit code adds 1 (machine), 2 (API) and 4 (node) for what does not
    #[command(
        after_help = "Examples:\n  cadet status\n  cadet status -o json\n  cadet -p class status || echo \"the class cluster is not ready\""
    )]
    Status,
    /// List all profiles
    #[command(after_help = "Examples:\n  cadet list\n  cadet list -o json | jq -r .name")]
    List,
    /// Show or choose the profile that commands mean where none is named
    Profile(commands::profile::ProfileArgs),
    /// Show or choose what `start` takes where its flags say nothing
    Config(commands::config::ConfigArgs),
    /// Open a shell in the machine, or run one command there
    Ssh(commands::ssh::SshArgs),
    /// Show what the control plane and the node agent say
    Logs(commands::logs::LogsArgs),
    /// Run kubectl against this profile: yours, or one that fits
    Kubectl(commands::kubectl::KubectlArgs),
    /// Write the cluster's address and credentials into your kubeconfig again
    UpdateContext(commands::update_context::UpdateContextArgs),
    /// Print a node's address in the cluster's network
    Ip(commands::ip::IpArgs),
    /// Tell what happened in the cluster, and go on as it happens
    Events(commands::events::EventsArgs),
    /// Show what nodes and pods use of processors and memory
    Top(commands::top::TopArgs),
    /// Serve a SOCKS5 proxy into the cluster's network, and its Services, on 127.0.0.1
    Tunnel(commands::tunnel::TunnelArgs),
    /// Print or open the address at which this computer reaches a Service
    Service(commands::service::ServiceArgs),
    /// Lead ports of this computer to a pod, Service or Deployment, by its name
    PortForward(commands::port_forward::PortForwardArgs),
    /// Open a pod or Service in a browser that goes through the tunnel
    Open(commands::open::OpenArgs),
    /// Open the cluster's own page: a live picture, lists, logs, a terminal
    Dashboard(commands::dashboard::DashboardArgs),
    /// Tell an object's life, from the request to the running container and back
    Trace(commands::trace::TraceArgs),
    /// Tell why a pod, a Service or another object is as it is, and what to type next
    Why(commands::why::WhyArgs),
    /// Learn Kubernetes in steps that check themselves
    Tutorial(commands::tutorial::TutorialArgs),
    /// Teach a class with one laptop, or take part in one
    Class(commands::class::ClassArgs),
    /// Base images of machines, and images in the cluster
    Image(commands::image::ImageArgs),
    /// Show what the cluster has besides its core, switch it on or off
    Addons(commands::addons::AddonsArgs),
    /// Keep images that machines pull on this computer, for all of them and for offline days
    Mirror(commands::mirror::MirrorArgs),
    /// Copy files between this computer and the machine, or a pod
    Cp(commands::cp::CpArgs),
    /// Lend a folder of this computer to the machine, until Ctrl-C
    Mount(commands::mount::MountArgs),
    /// Show the size of the machine's disk, or make it larger
    Disk(commands::disk::DiskArgs),
    /// Print the environment in which this computer's `docker` works in the machine
    DockerEnv(commands::docker_env::DockerEnvArgs),
    /// Look for what could keep Cadet from working on this laptop
    Doctor(commands::doctor::DoctorArgs),
    /// Print the version
    #[command(after_help = "Examples:\n  cadet version\n  cadet version -o json")]
    Version,
    /// Print a completion script for your shell
    Completion(commands::completion::CompletionArgs),
    /// Explain a command or an error id
    Help(commands::help::HelpArgs),
}

/// Reads a size: `2g`, `1536m`, `2Gi`, or plain MiB. Returns MiB.
///
/// # Errors
/// A sentence for clap when the text is no size.
pub fn size_mib(text: &str) -> Result<u64, String> {
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match &lower[digits.len()..] {
        "" | "m" | "mb" | "mi" | "mib" => 1,
        "g" | "gb" | "gi" | "gib" => 1024,
        "t" | "tb" | "ti" | "tib" => 1024 * 1024,
        unit => {
            return Err(format!(
                "unknown unit {unit:?}: write 2g, 1536m or plain MiB"
            ));
        }
    };
    let number: u64 = digits
        .parse()
        .map_err(|_| "not a whole number: write 2g, 1536m or plain MiB".to_string())?;
    number
        .checked_mul(factor)
        .ok_or_else(|| "too large".to_string())
}

/// Reads a duration: `90s`, `6m`, `1h`, or plain seconds.
///
/// # Errors
/// A sentence for clap when the text is no duration.
pub fn duration(text: &str) -> Result<std::time::Duration, String> {
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match &lower[digits.len()..] {
        "" | "s" => 1,
        "m" | "min" => 60,
        "h" => 3600,
        unit => return Err(format!("unknown unit {unit:?}: write 90s, 6m or 1h")),
    };
    let number: u64 = digits
        .parse()
        .map_err(|_| "not a whole number: write 90s, 6m or 1h".to_string())?;
    match number.checked_mul(factor) {
        Some(seconds @ 1..=86_400) => Ok(std::time::Duration::from_secs(seconds)),
        _ => Err("must be between 1s and 24h".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    /// Commands below `command` whose help does not show them at work; `path` is how it is typed.
    fn without_example(command: &clap::Command, path: &str, found: &mut Vec<String>) {
        let help = command.get_after_help().map(ToString::to_string);
        let help = help.unwrap_or_default();
        let shown = help
            .split_once("Example")
            .or(help.split_once("First steps"));
        if !shown.is_some_and(|(_, examples)| examples.contains(path)) {
            found.push(path.to_owned());
        }
        for below in command.get_subcommands() {
            without_example(below, &format!("{path} {}", below.get_name()), found);
        }
    }

    #[test]
    fn every_help_text_has_an_example_of_its_command() {
        let mut found = Vec::new();
        without_example(&Cli::command(), "cadet", &mut found);
        assert!(found.is_empty(), "{found:#?}");
    }

    /// Lines of the help of `command`, and of all below it, that are commands of ours.
    fn examples(command: &clap::Command, found: &mut Vec<String>) {
        let help = command.get_after_help().map(ToString::to_string);
        let help = help.unwrap_or_default();
        let lines = help.lines().filter_map(|line| line.strip_prefix("  "));
        found.extend(lines.filter(|l| l.starts_with("cadet ")).map(str::to_owned));
        for below in command.get_subcommands() {
            examples(below, found);
        }
    }

    /// The words of an example, as a shell reads them; None for what is more than a command, or
    /// leaves a word open. What stands apart explains it.
    fn words(line: &str) -> Option<Vec<&str>> {
        let line = line.split("  ").next()?;
        if ["…", "CODE", "|", "&&", "$(", "'"]
            .iter()
            .any(|c| line.contains(c))
        {
            return None;
        }
        let mut words = Vec::new();
        for (i, part) in line.split('"').enumerate() {
            match i % 2 {
                0 => words.extend(part.split_whitespace()),
                _ => words.push(part),
            }
        }
        Some(words)
    }

    #[test]
    fn examples_can_be_typed_as_they_stand() {
        let mut all = Vec::new();
        examples(&Cli::command(), &mut all);
        assert!(all.len() > 100, "{all:#?}");
        for line in &all {
            if let Some(words) = words(line)
                && let Err(e) = Cli::try_parse_from(words)
            {
                panic!("{line}\n{e}");
            }
        }
    }

    #[test]
    fn sizes_and_durations_are_read_or_refused() {
        assert_eq!(size_mib("2g"), Ok(2048));
        assert_eq!(size_mib("1536m"), Ok(1536));
        assert_eq!(size_mib("2GiB"), Ok(2048));
        assert_eq!(size_mib("700"), Ok(700));
        for bad in [
            "",
            "g",
            "-1",
            "1.5g",
            "2x",
            "99999999999999999999",
            "18446744073709551615t",
            "2 g b",
        ] {
            assert!(size_mib(bad).is_err(), "{bad}");
        }
        assert_eq!(duration("6m").unwrap().as_secs(), 360);
        for bad in ["", "0", "25h", "5d", "m"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
