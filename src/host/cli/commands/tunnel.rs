//! `cadet tunnel`: a SOCKS5 proxy into the cluster's network and doors to its Services, here
//! or in the background.

use std::net::{Ipv4Addr, SocketAddr};

use cadet_tunnel::Tunnel;
use cadet_tunnel::control::{self, Control};
use cadet_tunnel::socks5::{Credentials, DEFAULT_PORT, Socks5};
use clap::Args;
use serde_json::json;

use crate::doors::event;
use crate::error::{CliError, Result};
use crate::serve::{self, Over};
use crate::{Context, line, machine, ui};

/// Flags of `cadet tunnel`.
#[derive(Debug, Args)]
#[command(
    after_help = "While it runs, 127.0.0.1 serves the ports of Services of type LoadBalancer and all node\nports, as they come and go. A port that is taken or needs root is mapped to a free one.\n\nExamples:\n  cadet tunnel                       stays in this terminal, Ctrl-C ends it\n  cadet tunnel --background\n  curl --socks5-hostname 127.0.0.1:8082 http://10.244.0.2/\n  cadet tunnel --status              which port leads to which Service\n  cadet tunnel --stop\n  CADET_SOCKS_AUTH=me:secret cadet tunnel     clients must show user and password"
)]
pub struct TunnelArgs {
    /// Port of the SOCKS5 proxy on 127.0.0.1
    #[arg(long, default_value_t = DEFAULT_PORT, value_parser = clap::value_parser!(u16).range(1..), value_name = "PORT")]
    pub port: u16,
    /// Go on in the background
    #[arg(short, long, conflicts_with_all = ["status", "stop"])]
    pub background: bool,
    /// Show whether a tunnel runs, its connections, and which ports lead to which Service
    #[arg(long, conflicts_with = "stop")]
    pub status: bool,
    /// End the background tunnel
    #[arg(long)]
    pub stop: bool,
}

/// Runs, starts, shows or ends the tunnel.
pub async fn run(cx: &Context, args: TunnelArgs) -> Result<u8> {
    machine::profile(cx)?;
    if args.status {
        return status(cx).await;
    }
    if args.stop {
        let ended = line::stop_background(cx).await?;
        let told = if ended {
            "The tunnel has ended."
        } else {
            "No tunnel was running."
        };
        if cx.ui.json() {
            cx.ui.object(&json!({"type": "done", "stopped": ended}));
        } else {
            cx.ui.line(told);
        }
        return Ok(0);
    }
    if let Some(there) = line::background_status(cx).await {
        if there.port == args.port && args.background {
            tell_started(cx, there.port, true);
            return Ok(0);
        }
        return Err(CliError::new(
            "NET_PORT_TAKEN",
            format!(
                "a tunnel of {} already runs on port {}",
                cx.name, there.port
            ),
        )
        .why(format!("process {}", there.pid))
        .fix(machine::again(cx, "tunnel --stop")));
    }
    cadet_vm::ports::check_free(args.port)?;
    if args.background {
        line::start_background(cx, args.port).await?;
        tell_started(cx, args.port, false);
        return Ok(0);
    }
    serve(cx, args.port).await
}

fn tell_started(cx: &Context, port: u16, already: bool) {
    if cx.ui.json() {
        cx.ui.object(
            &json!({"type": "tunnel", "socks": format!("127.0.0.1:{port}"), "already": already}),
        );
        return;
    }
    let how = if already {
        "already runs"
    } else {
        "runs in the background"
    };
    cx.ui.line(format!(
        "SOCKS5 on 127.0.0.1:{port} {how}; names are resolved in the cluster.\n  try   curl --socks5-hostname 127.0.0.1:{port} http://POD-IP/\n  see   {}      which port leads to which Service\n  stop  {}",
        machine::again(cx, "tunnel --status"),
        machine::again(cx, "tunnel --stop")
    ));
}

async fn status(cx: &Context) -> Result<u8> {
    let file = cx.world.files(&cx.name).tunnel_socket();
    match control::status(&file).await {
        Ok(seen) => {
            let stats = &seen.stats;
            if cx.ui.json() {
                cx.ui.object(&json!({
                    "running": true, "pid": seen.pid, "socks": seen.socks.to_string(), "sessionUp": seen.up,
                    "connectionsOpen": stats.connections_open, "connectionsTotal": stats.connections_total,
                    "bytesSent": stats.bytes_sent, "bytesReceived": stats.bytes_received,
                    "doors": seen.doors.forwards.iter().map(event::object).collect::<Vec<_>>(),
                    "docker": seen.doors.docker,
                }));
            } else {
                let up = if seen.up {
                    "connected"
                } else {
                    "reconnecting when used"
                };
                cx.ui.line(format!(
                    "tunnel  SOCKS {} · {up} · {} connections now, {} in all · {} MB in, {} MB out · process {}",
                    seen.socks, stats.connections_open, stats.connections_total,
                    stats.bytes_received / 1_000_000, stats.bytes_sent / 1_000_000, seen.pid
                ));
                for door in &seen.doors.forwards {
                    cx.ui.line(format!("  door    {}", event::words(door)));
                }
                if let Some(docker) = &seen.doors.docker {
                    cx.ui.line(format!("  docker  unix://{}", docker.display()));
                }
            }
            Ok(0)
        }
        Err(e) => {
            if cx.ui.json() {
                cx.ui.object(&json!({"running": false}));
                return Err(CliError::exit_like(73));
            }
            Err(CliError::new(
                "NET_TUNNEL_DOWN",
                format!("no tunnel is running for {}", cx.name),
            )
            .why(e.to_string())
            .fix(machine::again(cx, "tunnel --background")))
        }
    }
}

/// Serves until Ctrl-C, SIGTERM or `tunnel --stop`.
async fn serve(cx: &Context, port: u16) -> Result<u8> {
    let profile = machine::running(cx).await?;
    let credentials = credentials()?;
    let target = line::target(cx, &profile)?;
    let tunnel = Tunnel::lazy(target, line::tuning(cx, &profile));
    let local = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let socks = Socks5::bind(tunnel.clone(), local, credentials).await?;
    let control = Control::bind(&cx.world.files(&cx.name).tunnel_socket()).await?;
    // The first answer shows whether the line works; later losses mend themselves.
    line::guest(&tunnel, "true").await?;
    if cx.ui.json() {
        tell_started(cx, port, false);
    } else {
        ui::say(&format!(
            "SOCKS5 on 127.0.0.1:{port}; names are resolved in the cluster. Ctrl-C ends it.\n  try   curl --socks5-hostname 127.0.0.1:{port} http://POD-IP/"
        ));
    }
    let over = serve::serve(cx, &profile, &tunnel, socks, control).await?;
    if cx.ui.json() {
        cx.ui
            .object(&json!({"type": "done", "stopped": true, "gone": over == Over::Gone}));
    } else {
        ui::say(match over {
            Over::Asked => "The tunnel has ended.",
            Over::Gone => "The tunnel has ended: its cluster is gone.",
        });
    }
    Ok(0)
}

fn credentials() -> Result<Option<Credentials>> {
    let Ok(text) = std::env::var("CADET_SOCKS_AUTH") else {
        return Ok(None);
    };
    let valid = |s: &str| !s.is_empty() && s.len() <= 255;
    match text.split_once(':') {
        Some((user, password)) if valid(user) && valid(password) => Ok(Some(Credentials {
            username: user.into(),
            password: password.into(),
        })),
        _ => Err(
            CliError::new("PROGRAM_USAGE", "CADET_SOCKS_AUTH is not USER:PASSWORD")
                .why("both parts must have 1 to 255 bytes (RFC 1929)")
                .fix("CADET_SOCKS_AUTH=me:secret cadet tunnel"),
        ),
    }
}
