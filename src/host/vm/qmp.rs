//! QEMU's control protocol: one JSON line out, one back, events in between.
//!
//! QEMU serves one client per socket and leaves a second one waiting in silence, so
//! every act has a deadline and connections are kept short.

use std::collections::VecDeque;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};

use crate::config::QmpEndpoint;
use crate::error::VmError;

/// Something QEMU said unasked, e.g. `SHUTDOWN`, `STOP`, `BLOCK_IO_ERROR`.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    pub name: String,
    pub data: Value,
}

trait Wire: AsyncRead + AsyncWrite + Unpin + Send {
    /// The socket, if open files can travel over it.
    #[cfg(unix)]
    fn unix(&self) -> Option<&tokio::net::UnixStream> {
        None
    }
}

impl Wire for tokio::net::TcpStream {}

#[cfg(unix)]
impl Wire for tokio::net::UnixStream {
    fn unix(&self) -> Option<&tokio::net::UnixStream> {
        Some(self)
    }
}

/// A negotiated connection.
pub struct Qmp {
    wire: BufReader<Box<dyn Wire>>,
    /// Bytes of a line whose reading was cut short by a deadline.
    partial: Vec<u8>,
    events: VecDeque<Event>,
    next_id: u64,
    /// QEMU's version from the greeting: major, minor, patch.
    pub version: (u64, u64, u64),
    /// Process at the other end, where the system tells.
    pub peer_pid: Option<u32>,
}

impl Qmp {
    /// Connects, reads the greeting and leaves negotiation mode.
    ///
    /// # Errors
    /// [`VmError::QmpIo`] if nobody listens, [`VmError::QmpDeadline`] if another client holds
    /// the seat, [`VmError::QmpProtocol`] if it is not QEMU.
    pub async fn connect(endpoint: &QmpEndpoint, deadline: Duration) -> Result<Qmp, VmError> {
        let greeting = async {
            let (wire, peer_pid) = open(endpoint).await?;
            let mut qmp = Qmp {
                wire: BufReader::new(wire),
                partial: Vec::new(),
                events: VecDeque::new(),
                next_id: 0,
                version: (0, 0, 0),
                peer_pid,
            };
            let hello = qmp.read_line().await?;
            let version = &hello["QMP"]["version"]["qemu"];
            let part = |name: &str| version[name].as_u64();
            let (Some(a), Some(b), Some(c)) = (part("major"), part("minor"), part("micro")) else {
                return Err(VmError::QmpProtocol(hello.to_string()));
            };
            qmp.version = (a, b, c);
            qmp.call("qmp_capabilities", Value::Null).await?;
            Ok(qmp)
        };
        within("the greeting", deadline, greeting).await
    }

    /// Runs one command and returns its `return` value. `arguments` may be null.
    ///
    /// # Errors
    /// [`VmError::QmpRefused`] with QEMU's words, else as [`Qmp::connect`].
    pub async fn execute(
        &mut self,
        command: &str,
        arguments: Value,
        deadline: Duration,
    ) -> Result<Value, VmError> {
        within(command, deadline, self.call(command, arguments)).await
    }

    /// The next event, those that came before an answer first.
    ///
    /// # Errors
    /// [`VmError::QmpDeadline`] if none came, [`VmError::QmpClosed`] when QEMU has ended.
    pub async fn next_event(&mut self, deadline: Duration) -> Result<Event, VmError> {
        if let Some(event) = self.events.pop_front() {
            return Ok(event);
        }
        let next = async {
            loop {
                let message = self.read_line().await?;
                if let Some(event) = as_event(&message) {
                    return Ok(event);
                }
                // A late answer to a command whose deadline passed: nobody waits for it.
            }
        };
        within("an event", deadline, next).await
    }

    /// Runs one command together with an open file (`getfd`, `add-fd`): QEMU need not be able to
    /// open it itself, which it is not once it has become another user.
    ///
    /// # Errors
    /// As [`Qmp::execute`]; [`VmError::QmpIo`] over a connection that carries no files.
    #[cfg(unix)]
    pub async fn execute_with_file(
        &mut self,
        command: &str,
        arguments: Value,
        file: &std::fs::File,
        deadline: Duration,
    ) -> Result<Value, VmError> {
        let call = async {
            let (id, line) = self.request(command, arguments);
            let sent = self.send_with_file(line.as_bytes(), file).await;
            sent.map_err(|source| broken("write", source))?;
            self.answer(command, id).await
        };
        within(command, deadline, call).await
    }

    /// True if open files can travel over the connection.
    pub fn carries_files(&self) -> bool {
        #[cfg(unix)]
        return self.wire.get_ref().unix().is_some();
        #[cfg(not(unix))]
        false
    }

    #[cfg(unix)]
    async fn send_with_file(&mut self, line: &[u8], file: &std::fs::File) -> std::io::Result<()> {
        use std::os::fd::AsRawFd;
        let Some(stream) = self.wire.get_ref().unix() else {
            return Err(std::io::ErrorKind::Unsupported.into());
        };
        let sent = loop {
            stream.writable().await?;
            let send = || send_with_fd(stream.as_raw_fd(), line, file.as_raw_fd());
            match stream.try_io(tokio::io::Interest::WRITABLE, send) {
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {}
                done => break done?,
            }
        };
        // The file went with the first byte.
        self.wire.write_all(&line[sent..]).await
    }

    async fn call(&mut self, command: &str, arguments: Value) -> Result<Value, VmError> {
        let (id, line) = self.request(command, arguments);
        let sent = self.wire.write_all(line.as_bytes()).await;
        sent.map_err(|source| broken("write", source))?;
        self.answer(command, id).await
    }

    fn request(&mut self, command: &str, arguments: Value) -> (u64, String) {
        self.next_id += 1;
        let id = self.next_id;
        let mut request = json!({ "execute": command, "id": id });
        if !arguments.is_null() {
            request["arguments"] = arguments;
        }
        let mut line = request.to_string();
        line.push('\n');
        (id, line)
    }

    async fn answer(&mut self, command: &str, id: u64) -> Result<Value, VmError> {
        loop {
            let mut message = self.read_line().await?;
            if let Some(event) = as_event(&message) {
                self.events.push_back(event);
                continue;
            }
            if message["id"].as_u64() != Some(id) {
                continue;
            }
            if let Some(error) = message.get("error") {
                let text = |name: &str| error[name].as_str().unwrap_or_default().to_owned();
                return Err(VmError::QmpRefused {
                    command: command.to_owned(),
                    class: text("class"),
                    description: text("desc"),
                });
            }
            return Ok(message["return"].take());
        }
    }

    async fn read_line(&mut self) -> Result<Value, VmError> {
        let read = self.wire.read_until(b'\n', &mut self.partial).await;
        read.map_err(|source| broken("read", source))?;
        if self.partial.last() != Some(&b'\n') {
            return Err(VmError::QmpClosed);
        }
        let line = std::mem::take(&mut self.partial);
        serde_json::from_slice(&line)
            .map_err(|_| VmError::QmpProtocol(String::from_utf8_lossy(&line).trim().to_owned()))
    }
}

/// sendmsg(2) with one open file as SCM_RIGHTS (unix(7)); bytes that were taken.
#[cfg(unix)]
fn send_with_fd(
    socket: std::os::fd::RawFd,
    bytes: &[u8],
    fd: std::os::fd::RawFd,
) -> std::io::Result<usize> {
    const FD_BYTES: u32 = size_of::<libc::c_int>() as u32;
    let mut part = libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    };
    // Room for one control message; of words, so that it lies where the header may lie.
    let mut control = [0u64; 8];
    // SAFETY: all zero is a valid msghdr. Its pointers lead to `part` and `control`, which live
    // until sendmsg has returned, and CMSG_SPACE of one descriptor is far below 64 bytes.
    unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = libc::CMSG_SPACE(FD_BYTES) as _;
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        (*header).cmsg_level = libc::SOL_SOCKET;
        (*header).cmsg_type = libc::SCM_RIGHTS;
        (*header).cmsg_len = libc::CMSG_LEN(FD_BYTES) as _;
        libc::CMSG_DATA(header)
            .cast::<libc::c_int>()
            .write_unaligned(fd);
        match libc::sendmsg(socket, &raw const message, 0) {
            sent if sent >= 0 => Ok(sent.unsigned_abs()),
            _ => Err(std::io::Error::last_os_error()),
        }
    }
}

/// A peer that went away is one thing, a socket that cannot be used another.
fn broken(act: &'static str, source: std::io::Error) -> VmError {
    use std::io::ErrorKind::{BrokenPipe, ConnectionReset};
    match source.kind() {
        BrokenPipe | ConnectionReset => VmError::QmpClosed,
        _ => VmError::QmpIo { act, source },
    }
}

fn as_event(message: &Value) -> Option<Event> {
    let name = message["event"].as_str()?.to_owned();
    let data = message["data"].clone();
    Some(Event { name, data })
}

async fn within<T>(
    what: &str,
    deadline: Duration,
    act: impl Future<Output = Result<T, VmError>>,
) -> Result<T, VmError> {
    match tokio::time::timeout(deadline, act).await {
        Ok(done) => done,
        Err(_) => Err(VmError::QmpDeadline {
            what: what.to_owned(),
            deadline,
        }),
    }
}

async fn open(endpoint: &QmpEndpoint) -> Result<(Box<dyn Wire>, Option<u32>), VmError> {
    let failed = |source| VmError::QmpIo {
        act: "connect",
        source,
    };
    match endpoint {
        #[cfg(unix)]
        QmpEndpoint::Unix(path) => {
            let stream = tokio::net::UnixStream::connect(path)
                .await
                .map_err(failed)?;
            let peer = stream.peer_cred().ok().and_then(|c| c.pid());
            let peer = peer.and_then(|p| u32::try_from(p).ok());
            Ok((Box::new(stream), peer))
        }
        #[cfg(not(unix))]
        QmpEndpoint::Unix(_) => Err(failed(std::io::ErrorKind::Unsupported.into())),
        QmpEndpoint::Tcp(port) => {
            let address = (std::net::Ipv4Addr::LOCALHOST, *port);
            let stream = tokio::net::TcpStream::connect(address)
                .await
                .map_err(failed)?;
            Ok((Box::new(stream), None))
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::path::Path;
    use tokio::io::AsyncReadExt;
    use tokio::net::UnixListener;

    const GREETING: &str = r#"{"QMP":{"version":{"qemu":{"micro":2,"minor":0,"major":10},"package":""},"capabilities":["oob"]}}"#;
    const LONG: Duration = Duration::from_secs(120);

    /// A stand-in that answers each request line with the next scripted block.
    fn server(path: &Path, blocks: Vec<&'static str>) -> tokio::task::JoinHandle<String> {
        let listener = UnixListener::bind(path).unwrap();
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let mut stream = BufReader::new(stream);
            stream.write_all(GREETING.as_bytes()).await.unwrap();
            stream.write_all(b"\r\n").await.unwrap();
            let mut heard = String::new();
            for block in blocks {
                if stream.read_line(&mut heard).await.unwrap() == 0 {
                    return heard;
                }
                stream.write_all(block.as_bytes()).await.unwrap();
            }
            let mut rest = String::new();
            stream.read_to_string(&mut rest).await.unwrap();
            heard + &rest
        })
    }

    #[tokio::test]
    async fn events_between_question_and_answer_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("q");
        let heard = server(
            &path,
            vec![
                "{\"return\":{},\"id\":1}\n",
                "{\"event\":\"STOP\",\"data\":{\"n\":1}}\n{\"return\":{\"status\":\"paused\"},\"id\":2}\n",
                "{\"id\":3,\"error\":{\"class\":\"CommandNotFound\",\"desc\":\"no such\"}}\n",
            ],
        );
        let mut qmp = Qmp::connect(&QmpEndpoint::Unix(path), LONG).await.unwrap();
        assert_eq!(qmp.version, (10, 0, 2));
        assert_eq!(qmp.peer_pid, Some(std::process::id()));
        let status = qmp
            .execute("query-status", Value::Null, LONG)
            .await
            .unwrap();
        assert_eq!(status["status"], "paused");
        let err = qmp.execute("nonsense", json!({"a": 1}), LONG).await;
        assert!(
            matches!(err, Err(VmError::QmpRefused { class, .. }) if class == "CommandNotFound")
        );
        let event = qmp.next_event(LONG).await.unwrap();
        assert_eq!((event.name.as_str(), &event.data["n"]), ("STOP", &json!(1)));
        drop(qmp);
        let heard = heard.await.unwrap();
        assert!(heard.contains(r#""arguments":{"a":1}"#), "{heard}");
    }

    #[tokio::test]
    async fn an_open_file_travels_with_its_command() {
        use std::io::Write;
        use std::os::fd::FromRawFd;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("q");
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let heard = tokio::task::spawn_blocking(move || {
            use std::io::BufRead;
            let (mut stream, _) = listener.accept().unwrap();
            writeln!(stream, "{GREETING}").unwrap();
            let mut lines = std::io::BufReader::new(stream.try_clone().unwrap());
            let mut line = String::new();
            lines.read_line(&mut line).unwrap();
            writeln!(stream, "{{\"return\":{{}},\"id\":1}}").unwrap();
            let (bytes, fd) = receive(&stream);
            let mut file = unsafe { std::fs::File::from_raw_fd(fd) };
            writeln!(file, "written by the other end").unwrap();
            writeln!(stream, "{{\"return\":{{}},\"id\":2}}").unwrap();
            String::from_utf8(bytes).unwrap()
        });
        let mut qmp = Qmp::connect(&QmpEndpoint::Unix(path), LONG).await.unwrap();
        assert!(qmp.carries_files());
        let target = dir.path().join("state");
        let file = std::fs::File::create(&target).unwrap();
        let name = json!({"fdname": "state"});
        qmp.execute_with_file("getfd", name, &file, LONG)
            .await
            .unwrap();
        let line = heard.await.unwrap();
        assert!(line.contains(r#""fdname":"state""#), "{line}");
        let text = std::fs::read_to_string(&target).unwrap();
        assert_eq!(text, "written by the other end\n");
    }

    /// The bytes of one message and the descriptor that came with it.
    fn receive(stream: &std::os::unix::net::UnixStream) -> (Vec<u8>, libc::c_int) {
        use std::os::fd::AsRawFd;
        let mut bytes = vec![0u8; 4096];
        let mut control = [0u64; 8];
        let mut part = libc::iovec {
            iov_base: bytes.as_mut_ptr().cast(),
            iov_len: bytes.len(),
        };
        unsafe {
            let mut message: libc::msghdr = std::mem::zeroed();
            message.msg_iov = &raw mut part;
            message.msg_iovlen = 1;
            message.msg_control = control.as_mut_ptr().cast();
            message.msg_controllen = size_of_val(&control) as _;
            let read = libc::recvmsg(stream.as_raw_fd(), &raw mut message, 0);
            assert!(read > 0);
            bytes.truncate(read.unsigned_abs());
            let header = libc::CMSG_FIRSTHDR(&raw const message);
            assert!(!header.is_null(), "no file came along");
            let fd = libc::CMSG_DATA(header).cast::<libc::c_int>();
            (bytes, fd.read_unaligned())
        }
    }

    #[tokio::test]
    async fn an_answer_after_its_deadline_does_not_confuse_the_next_question() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("q");
        server(
            &path,
            vec![
                "{\"return\":{},\"id\":1}\n",
                // Half an answer: the client gives up in the middle of the line.
                "{\"return\":{\"old\":",
                "true},\"id\":2}\n{\"return\":{\"new\":true},\"id\":3}\n",
            ],
        );
        let mut qmp = Qmp::connect(&QmpEndpoint::Unix(path), LONG).await.unwrap();
        let brief = Duration::from_millis(200);
        let late = qmp.execute("slow", Value::Null, brief).await;
        assert!(matches!(late, Err(VmError::QmpDeadline { .. })));
        let answer = qmp.execute("next", Value::Null, LONG).await.unwrap();
        assert_eq!(answer["new"], true);
    }

    #[tokio::test]
    async fn silence_strangers_and_absence_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let absent = QmpEndpoint::Unix(dir.path().join("none"));
        let err = Qmp::connect(&absent, LONG).await.err().unwrap();
        assert!(matches!(err, VmError::QmpIo { .. }));

        let silent = dir.path().join("silent");
        let _held = UnixListener::bind(&silent).unwrap();
        let brief = Duration::from_millis(100);
        let err = Qmp::connect(&QmpEndpoint::Unix(silent), brief).await;
        assert!(matches!(err.err().unwrap(), VmError::QmpDeadline { .. }));

        let stranger = dir.path().join("stranger");
        let listener = UnixListener::bind(&stranger).unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(b"220 smtp ready\n").await.unwrap();
            std::future::pending::<()>().await;
        });
        let err = Qmp::connect(&QmpEndpoint::Unix(stranger), LONG).await;
        assert!(matches!(err.err().unwrap(), VmError::QmpProtocol(t) if t.contains("smtp")));
    }
}
