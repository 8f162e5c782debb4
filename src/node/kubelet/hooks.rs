//! Lifecycle hooks: what runs after a container's start and before its end.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, LifecycleHandler};

use crate::probe_http::Target;
use crate::runtime::Runtime;

/// Longest an HTTP hook may take to answer; upstream's client has no shorter one either.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs one hook to its end.
///
/// # Errors
/// A sentence for the log if it failed. The status of an HTTP answer does not matter, as
/// with upstream.
pub(crate) async fn run(
    hook: &LifecycleHandler,
    runtime: &dyn Runtime,
    container: &Container,
    id: &str,
    pod_ip: &str,
) -> Result<(), String> {
    if let Some(sleep) = &hook.sleep {
        let seconds = u64::try_from(sleep.seconds).unwrap_or(0);
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        return Ok(());
    }
    if let Some(exec) = &hook.exec {
        let command = exec.command.clone().unwrap_or_default();
        let outcome = runtime.exec(id, &command).await;
        let outcome = outcome.map_err(|error| error.to_string())?;
        if outcome.exit_code == 0 {
            return Ok(());
        }
        return Err(format!(
            "command '{}' exited with {}: {}",
            command.join(" "),
            outcome.exit_code,
            outcome.output
        ));
    }
    if let Some(http) = &hook.http_get {
        let target = Target::http(http, container, pod_ip)?;
        let asked = tokio::time::timeout(PATIENCE, target.status()).await;
        return match asked {
            Ok(answer) => answer.map(drop),
            Err(_) => Err(format!("Get \"{}\": no answer", target.url())),
        };
    }
    if let Some(tcp) = &hook.tcp_socket {
        // Never served by upstream either; validation lets it through for old manifests.
        return Err(format!("tcpSocket hooks do nothing ({:?})", tcp.port));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;
    use crate::runtime::fake::FakeRuntime;

    async fn hook(handler: serde_json::Value) -> Result<(), String> {
        let handler: LifecycleHandler = serde_json::from_value(handler).unwrap();
        let container = Container::default();
        run(
            &handler,
            &FakeRuntime::default(),
            &container,
            "id",
            "127.0.0.1",
        )
        .await
    }

    #[tokio::test]
    async fn commands_and_requests_are_hooks() {
        assert_eq!(hook(json!({"exec": {"command": ["true"]}})).await, Ok(()));
        let failed = hook(json!({"exec": {"command": ["false"]}})).await;
        assert!(failed.unwrap_err().contains("exited with 1"));
        assert_eq!(hook(json!({"sleep": {"seconds": 0}})).await, Ok(()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let served = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 512];
            let read = stream.read(&mut request).await.unwrap();
            let answer = b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n";
            stream.write_all(answer).await.unwrap();
            String::from_utf8_lossy(&request[..read]).into_owned()
        });
        let asked = hook(json!({"httpGet": {"port": port, "path": "/bye"}})).await;
        assert_eq!(asked, Ok(()), "the answer does not matter");
        assert!(served.await.unwrap().starts_with("GET /bye "));
    }
}
