//! A stand-in for QEMU's control socket in tests: answers each command as told and keeps what
//! it heard, in order.

use std::path::Path;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixListener;

/// Commands heard so far, with their arguments.
#[derive(Clone, Default)]
pub struct Heard(Arc<Mutex<Vec<(String, Value)>>>);

impl Heard {
    /// Names of the commands, without the greeting's.
    pub fn names(&self) -> Vec<String> {
        let heard = self.0.lock().unwrap();
        let names = heard.iter().map(|(name, _)| name.clone());
        names.filter(|name| name != "qmp_capabilities").collect()
    }

    /// What the first `command` was asked with.
    pub fn arguments(&self, command: &str) -> Value {
        let heard = self.0.lock().unwrap();
        let found = heard.iter().find(|(name, _)| name == command);
        found.map_or(Value::Null, |(_, arguments)| arguments.clone())
    }
}

/// Serves one client after the other at `path`. `answer` gets the command, its arguments and how
/// often it was asked before; `Err` is QEMU's refusal, "close" ends the connection.
pub fn serve(
    path: &Path,
    version: (u64, u64, u64),
    answer: impl Fn(&str, &Value, usize) -> Result<Value, &'static str> + Send + Sync + 'static,
) -> Heard {
    let listener = UnixListener::bind(path).unwrap();
    let heard = Heard::default();
    let kept = heard.clone();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let mut stream = BufReader::new(stream);
            let (major, minor, micro) = version;
            let hello = json!({"QMP": {"capabilities": [], "version": {
                "qemu": {"major": major, "minor": minor, "micro": micro}, "package": ""}}});
            // A client that has gone away again is not this test's matter.
            let _ = stream.write_all(format!("{hello}\r\n").as_bytes()).await;
            let mut line = String::new();
            while stream.read_line(&mut line).await.unwrap_or(0) > 0 {
                let request: Value = serde_json::from_str(&line).unwrap();
                line.clear();
                let name = request["execute"].as_str().unwrap().to_owned();
                let before = kept.names().iter().filter(|n| **n == name).count();
                let said = match name.as_str() {
                    "qmp_capabilities" => Ok(json!({})),
                    name => answer(name, &request["arguments"], before),
                };
                let arguments = request["arguments"].clone();
                kept.0.lock().unwrap().push((name, arguments));
                let reply = match said {
                    Ok(value) => json!({"return": value, "id": request["id"]}),
                    Err("close") => break,
                    Err(why) => json!({"id": request["id"],
                        "error": {"class": "GenericError", "desc": why}}),
                };
                let _ = stream.write_all(format!("{reply}\n").as_bytes()).await;
            }
        }
    });
    heard
}
