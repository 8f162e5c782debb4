//! The far end of the load: pours, swallows or echoes, as each connection asks.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;

use crate::rivals::Route;
use crate::{Result, loopback};

/// First byte of a connection: what to do.
pub const POUR: u8 = b'p';
pub const SWALLOW: u8 = b's';
pub const ECHO: u8 = b'e';

/// Serves until its standard input ends, as it does when the near end or the line dies;
/// its port is the first line it prints. `copied`: the program file is a copy, to be
/// removed.
pub fn serve_forever(copied: bool) -> Result<()> {
    if copied {
        std::fs::remove_file(std::env::current_exe()?)?;
    }
    thread::spawn(|| {
        let mut rest = Vec::new();
        // An error is an end as well.
        let _ = std::io::stdin().read_to_end(&mut rest);
        std::process::exit(0);
    });
    let listener = TcpListener::bind(loopback(0))?;
    println!("{}", listener.local_addr()?.port());
    serve(&listener);
    Ok(())
}

fn serve(listener: &TcpListener) {
    for stream in listener.incoming().flatten() {
        // A client that goes away in the middle is not this side's concern.
        thread::spawn(move || one(stream));
    }
}

fn one(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut head = [0; 9];
    stream.read_exact(&mut head)?;
    let mut left = u64::from_be_bytes(head[1..].try_into().expect("eight bytes"));
    let mut buffer = vec![0x5a; 256 << 10];
    match head[0] {
        POUR => {
            while left > 0 {
                let now = left.min(buffer.len() as u64) as usize;
                stream.write_all(&buffer[..now])?;
                left -= now as u64;
            }
        }
        SWALLOW => {
            while left > 0 {
                match stream.read(&mut buffer)? {
                    0 => return Ok(()),
                    count => left -= count as u64,
                }
            }
            stream.write_all(b".")?;
        }
        _ => stream.write_all(b".")?,
    }
    Ok(())
}

/// A running far end.
pub struct Far {
    inside: SocketAddr,
    local: bool,
    _child: Option<Killed>,
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // Gone already is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Far {
    /// Its address as the sshd sees it.
    pub fn inside(&self) -> SocketAddr {
        self.inside
    }

    /// Its address from here, if it can be reached without a tunnel.
    pub fn direct(&self) -> Option<SocketAddr> {
        self.local.then_some(self.inside)
    }
}

/// Starts the far end where the sshd is.
pub fn start(route: &Route) -> Result<Far> {
    let me = std::env::current_exe()?;
    let mut command = if route.is_local() {
        let mut command = Command::new(&me);
        command.arg("far");
        command
    } else {
        let copy = format!("/tmp/cadet-bench-{}", std::process::id());
        let mut copying = route
            .ssh()
            .arg(format!("cat > {copy} && chmod 700 {copy}"))
            .stdin(std::fs::File::open(&me)?)
            .spawn()?;
        if !copying.wait()?.success() {
            return Err("could not copy the far end into the guest".into());
        }
        let mut command = route.ssh();
        command.arg(format!("exec {copy} far copied"));
        command
    };
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line)?;
    let port = line.trim().parse()?;
    Ok(Far {
        inside: loopback(port),
        local: route.is_local(),
        _child: Some(Killed(child)),
    })
}
