//! The keeper in a machine, as commands speak to it: through QEMU's socket, without network or
//! keys. Machines that an older Cadet started have none.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cadet_api::keeper::{Ask, Told, Wake};

/// For a word that needs no work.
pub const SOON: Duration = Duration::from_secs(10);

/// Random bytes for a guest that may have a twin.
const SEED: usize = 64;

/// The present, with fresh dice.
pub fn wake() -> Wake {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    Wake {
        now: since.map_or(0, |d| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)),
        seed: random(),
    }
}

/// Bytes of this computer's own random numbers; none where they cannot be had.
fn random() -> Vec<u8> {
    use std::io::Read;
    let mut bytes = vec![0; SEED];
    let read = std::fs::File::open("/dev/urandom").and_then(|mut f| f.read_exact(&mut bytes));
    match read {
        Ok(()) => bytes,
        Err(_) => Vec::new(),
    }
}

/// Asks the keeper behind `socket`; what it says of itself, or why there is no answer.
///
/// # Errors
/// One line.
pub async fn ask(socket: &Path, ask: Ask, patience: Duration) -> Result<Told, String> {
    let asked = tokio::time::timeout(patience, exchange(socket, ask)).await;
    asked.unwrap_or_else(|_| {
        let seconds = patience.as_secs();
        Err(format!(
            "the machine did not answer within {seconds} s at its serial port"
        ))
    })
}

#[cfg(unix)]
async fn exchange(socket: &Path, ask: Ask) -> Result<Told, String> {
    use cadet_api::keeper::{Outcome, Reply, Request};
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

    let broke = |e: std::io::Error| format!("the machine's serial port: {e}");
    let mut stream = tokio::net::UnixStream::connect(socket)
        .await
        .map_err(broke)?;
    let id = number();
    let line = serde_json::to_string(&Request { id, ask }).map_err(|e| e.to_string())?;
    let line = format!("{line}\n");
    stream.write_all(line.as_bytes()).await.map_err(broke)?;
    let mut lines = BufReader::new(stream).lines();
    while let Some(line) = lines.next_line().await.map_err(broke)? {
        // What answers somebody who has gone, or is cut, is not for us.
        match serde_json::from_str::<Reply>(&line) {
            Ok(Reply {
                id: theirs,
                outcome,
            }) if theirs == id => {
                return match outcome {
                    Outcome::Done(told) => Ok(told),
                    Outcome::Failed(why) => Err(why),
                };
            }
            _ => {}
        }
    }
    Err("the machine's serial port was closed".into())
}

#[cfg(not(unix))]
async fn exchange(_: &Path, _: Ask) -> Result<Told, String> {
    Err("this system has no sockets that lead to a machine's serial port".into())
}

/// A number that no earlier question of another command had.
#[cfg(unix)]
fn number() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = since.map_or(0, |d| u64::from(d.subsec_nanos()) ^ (d.as_secs() << 30));
    now ^ (u64::from(std::process::id()) << 12)
}

#[cfg(all(test, unix))]
mod tests {
    use serde_json::{Value, json};
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
    use tokio::net::UnixListener;

    use super::*;

    /// A keeper that answers its first question with what `answer` makes of the number.
    fn keeper(path: &Path, answer: impl Fn(u64) -> String + Send + 'static) {
        let listener = UnixListener::bind(path).unwrap();
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let mut stream = BufReader::new(stream);
            let mut line = String::new();
            stream.read_line(&mut line).await.unwrap();
            let request: Value = serde_json::from_str(&line).unwrap();
            let text = answer(request["id"].as_u64().unwrap());
            stream.write_all(text.as_bytes()).await.unwrap();
        });
    }

    #[tokio::test]
    async fn only_the_own_answer_counts() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("k");
        keeper(&path, |id| {
            let old = json!({"id": id ^ 1, "failed": "of another time"});
            let own = json!({"id": id, "done": {"version": "1.2.3", "configured": true}});
            format!("tail of a line\n{old}\n{own}\n")
        });
        let told = ask(&path, Ask::Hello, SOON).await.unwrap();
        assert_eq!((told.version.as_str(), told.configured), ("1.2.3", true));
    }

    #[tokio::test]
    async fn silence_absence_and_refusal_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("k");
        assert!(ask(&path, Ask::Hello, SOON).await.is_err());
        let silent = UnixListener::bind(&path).unwrap();
        let why = ask(&path, Ask::Hello, Duration::from_millis(50)).await;
        assert!(why.unwrap_err().contains("did not answer"));
        drop(silent);
        let other = dir.path().join("other");
        keeper(&other, |id| {
            format!("{}\n", json!({"id": id, "failed": "no clock"}))
        });
        let why = ask(&other, Ask::Wake(wake()), SOON).await;
        assert_eq!(why.unwrap_err(), "no clock");
    }

    #[test]
    fn dice_differ() {
        let (one, two) = (wake(), wake());
        assert_eq!(one.seed.len(), SEED);
        assert_ne!(one.seed, two.seed);
    }
}
