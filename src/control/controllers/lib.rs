//! cadet-controllers (placeholder of the lead so that the guest links; A1 replaces this file)

/// Placeholder.
pub async fn run(_client: kube::Client, shutdown: tokio_util::sync::CancellationToken) {
    shutdown.cancelled().await;
}
