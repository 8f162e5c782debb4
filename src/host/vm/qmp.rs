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

trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}

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

    async fn call(&mut self, command: &str, arguments: Value) -> Result<Value, VmError> {
        self.next_id += 1;
        let id = self.next_id;
        let mut request = json!({ "execute": command, "id": id });
        if !arguments.is_null() {
            request["arguments"] = arguments;
        }
        let mut line = request.to_string();
        line.push('\n');
        let sent = self.wire.write_all(line.as_bytes()).await;
        sent.map_err(|source| broken("write", source))?;
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
