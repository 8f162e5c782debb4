//! Looking at the machine, for [`super::check`].

use std::fs;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};

use cadet_kubelet::DockerRuntime;
use cadet_kubelet::runtime::Runtime as _;
use cadet_network::{BRIDGE, Cidr};

use super::check::{Cgroup, Docker, Facts, Forwarding, Program, Route, Taken};

/// Looks at everything; `ports` are those that must be free.
pub async fn gather(socket: &Path, ports: &[u16]) -> Facts {
    // Programs first, so that they run while Docker thinks.
    let nft = std::thread::spawn(|| program("nft", &["--version"], &["list", "tables"]));
    let iptables = std::thread::spawn(|| program("iptables", &["--version"], &["-w", "-S"]));
    let died = |_| Program::Fails("the check itself failed".into());
    Facts {
        kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
        docker: docker(socket).await,
        forwarding: forwarding(),
        cgroup: cgroup(),
        taken: taken(ports),
        routes: routes(&read("/proc/net/route")),
        address: cadet_network::route_address().map_err(|error| error.to_string()),
        nft: nft.join().unwrap_or_else(died),
        iptables: iptables.join().unwrap_or_else(died),
    }
}

/// The host's name, for the node.
pub fn host_name() -> String {
    read("/proc/sys/kernel/hostname").trim().to_owned()
}

/// What cannot be read counts as empty: the judge names what is missing.
fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

async fn docker(socket: &Path) -> Docker {
    match UnixStream::connect(socket) {
        Ok(_) => {}
        Err(error) => {
            return match error.kind() {
                ErrorKind::NotFound => Docker::NoSocket {
                    installed: on_path("dockerd"),
                },
                ErrorKind::ConnectionRefused => Docker::NobodyListens,
                _ => Docker::Silent(error.to_string()),
            };
        }
    }
    match DockerRuntime::new(socket.display().to_string())
        .info()
        .await
    {
        Ok(info) => Docker::Answers(info.version),
        Err(error) => Docker::Silent(error.to_string()),
    }
}

fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/usr/bin".into()])
        .any(|folder| folder.join(program).exists())
}

/// Whether `name` is there (first line of its version) and can do `work`.
fn program(name: &str, version: &[&str], work: &[&str]) -> Program {
    let run = |args: &[&str]| Command::new(name).args(args).stdin(Stdio::null()).output();
    let version = match run(version) {
        Ok(output) => output,
        Err(error) if error.kind() == ErrorKind::NotFound => return Program::Missing,
        Err(error) => return Program::Fails(error.to_string()),
    };
    let words = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    match run(work) {
        Ok(done) if done.status.success() => {
            let text = words(&version.stdout);
            let line = text.lines().next().unwrap_or_default();
            // `nftables v1.0.6 (Lester Gooch #5)`
            Program::Works(line.split(" (").next().unwrap_or_default().to_owned())
        }
        Ok(done) => Program::Fails(words(&done.stderr)),
        Err(error) => Program::Fails(error.to_string()),
    }
}

fn forwarding() -> Forwarding {
    const PATH: &str = "/proc/sys/net/ipv4/ip_forward";
    if read(PATH).trim() == "1" {
        return Forwarding::On;
    }
    match fs::OpenOptions::new().write(true).open(PATH) {
        Ok(_) => Forwarding::Off,
        Err(error) => Forwarding::Locked(error.to_string()),
    }
}

fn cgroup() -> Cgroup {
    let root = Path::new("/sys/fs/cgroup");
    if read("/sys/fs/cgroup/cgroup.controllers").contains("memory") {
        Cgroup::V2
    } else if root.join("memory").exists() {
        Cgroup::V1
    } else {
        Cgroup::Missing
    }
}

fn taken(ports: &[u16]) -> Vec<Taken> {
    let in_use = |port: &u16| {
        let tried = TcpListener::bind((Ipv4Addr::UNSPECIFIED, *port));
        tried.is_err_and(|error| error.kind() == ErrorKind::AddrInUse)
    };
    ports
        .iter()
        .copied()
        .filter(|port| in_use(port))
        .map(|port| Taken {
            port,
            holder: holder(port),
        })
        .collect()
}

/// Process id and name of whoever listens on a TCP port.
fn holder(port: u16) -> Option<(u32, String)> {
    let tables = read("/proc/net/tcp") + &read("/proc/net/tcp6");
    let inodes = listeners(&tables, port);
    let wanted: Vec<String> = inodes
        .iter()
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
    for process in fs::read_dir("/proc").ok()?.flatten() {
        let Ok(pid) = process.file_name().to_string_lossy().parse::<u32>() else {
            continue;
        };
        // Processes end while we look.
        let files = fs::read_dir(process.path().join("fd"))
            .into_iter()
            .flatten();
        let has = files.flatten().any(|file| {
            let target = fs::read_link(file.path()).unwrap_or_default();
            wanted
                .iter()
                .any(|socket| target.as_os_str() == socket.as_str())
        });
        if has {
            let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            return Some((pid, name.trim().to_owned()));
        }
    }
    None
}

/// Inodes of sockets that listen on `port`, from /proc/net/tcp (proc_net_tcp.txt of the
/// kernel's documentation).
fn listeners(table: &str, port: u16) -> Vec<&str> {
    let suffix = format!(":{port:04X}");
    table
        .lines()
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let [_, local, _, state, ..] = fields[..] else {
                return None;
            };
            let listens = state == "0A" && local.ends_with(&suffix);
            listens.then(|| fields.get(9).copied()).flatten()
        })
        .collect()
}

/// Ranges in /proc/net/route but the default and our own.
fn routes(table: &str) -> Vec<Route> {
    // Kept in network order, printed as a number of this machine.
    let number = |text: &str| u32::from_str_radix(text, 16).map(u32::from_be);
    let parse = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [link, destination, _, _, _, _, _, mask, ..] = fields[..] else {
            return None;
        };
        let (destination, mask) = (number(destination).ok()?, number(mask).ok()?);
        if mask == 0 || link == BRIDGE {
            return None;
        }
        // A route to one or two addresses is judged by the smallest range there is.
        let prefix = mask.count_ones().clamp(8, 30);
        let base = Ipv4Addr::from(destination & (u32::MAX << (32 - prefix)));
        Some(Route {
            range: format!("{base}/{prefix}").parse::<Cidr>().ok()?,
            link: link.to_owned(),
        })
    };
    table.lines().skip(1).filter_map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_listens_is_found() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
             0: 00000000:192B 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100 0 0 10 0\n\
             1: 0100007F:192B 0100007F:8000 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0 100 0 0 10 0\n";
        assert_eq!(listeners(table, 6443), ["4711"]);
        assert!(listeners(table, 10250).is_empty());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert_eq!(holder(port).unwrap().0, std::process::id());
        assert_eq!(taken(&[port]).len(), 1);
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn routes_are_read_but_ours_and_the_default() {
        let table = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n\
            eth0\t00000000\t0202000A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
            eth0\t0002000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n\
            wg0\t0500640A\t00000000\t0005\t0\t0\t0\tFFFFFFFF\t0\t0\t0\n\
            cadet0\t0000F40A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n";
        let found: Vec<String> = routes(table)
            .iter()
            .map(|route| format!("{} {}", route.link, route.range))
            .collect();
        assert_eq!(found, ["eth0 10.0.2.0/24", "wg0 10.100.0.4/30"]);
    }

    #[test]
    fn the_hosts_name_is_known() {
        assert!(!host_name().is_empty());
    }

    #[test]
    fn a_missing_program_is_told_from_a_failing_one() {
        assert_eq!(program("cadet-no-such", &[], &[]), Program::Missing);
        let fails = program("sh", &["-c", "echo v1"], &["-c", "echo no >&2; exit 1"]);
        assert_eq!(fails, Program::Fails("no".into()));
        let works = program("sh", &["-c", "echo 'v1 (name)'"], &["-c", "true"]);
        assert_eq!(works, Program::Works("v1".into()));
    }
}
