//! The kubelet's side of exec, attach and port-forward: find the container, shake hands,
//! hand the upgraded connection to `streaming`.

use std::sync::Arc;

use axum::extract::{Path, Query, Request, State as Extract};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Pod;

use crate::manifest::find_container;
use crate::observed::Observed;
use crate::runtime::{ContainerInfo, ExecRequest, RuntimeError, State, Terminal};
use crate::server::Context;
use crate::streaming::command::{self, Outcome};
use crate::streaming::upgrade::{self, ForwardWire, Refusal};
use crate::streaming::{forward, websocket};

type Pairs = Query<Vec<(String, String)>>;
type Io = TokioIo<Upgraded>;

/// `/exec/NAMESPACE/POD/CONTAINER?command=…&input=1&output=1&error=1&tty=1`
pub async fn exec(
    Extract(context): Extract<Context>,
    Path((namespace, pod, container)): Path<(String, String, String)>,
    Query(query): Pairs,
    request: Request,
) -> Response {
    let opened = async {
        let (_, info) = running(&context, &namespace, &pod, &container).await?;
        let streams = command::streams(&query).map_err(Refusal::bad_request)?;
        let command: Vec<String> = values(&query, "command");
        if command.is_empty() {
            return Err(Refusal::bad_request("you must specify a command to run"));
        }
        let (wire, answer) = upgrade::command(request.headers())?;
        let (runtime, request_) = (context.runtime.clone(), ExecRequest { command, streams });
        upgraded(&context, request, async move |io: Io| {
            let Some(channels) = command::channels(io, wire, streams).await else {
                return;
            };
            match runtime.start_exec(&info.id, &request_).await {
                Err(error) => command::tell(channels, Outcome::Failed(error)).await,
                Ok((id, attached)) => {
                    let outcome = async {
                        match runtime.exec_exit_code(&id).await {
                            Ok(code) => Outcome::Exit(code),
                            Err(error) => Outcome::Failed(error),
                        }
                    };
                    let terminal = streams.tty.then(|| Terminal::Exec(id.clone()));
                    command::serve(channels, attached, runtime.as_ref(), terminal, outcome).await;
                }
            }
        })?;
        Ok::<_, Refusal>(answer)
    };
    opened.await.unwrap_or_else(Refusal::into_response)
}

/// `/attach/NAMESPACE/POD/CONTAINER?input=1&output=1&error=1`
pub async fn attach(
    Extract(context): Extract<Context>,
    Path((namespace, pod, container)): Path<(String, String, String)>,
    Query(query): Pairs,
    request: Request,
) -> Response {
    let opened = async {
        let (found, info) = running(&context, &namespace, &pod, &container).await?;
        let mut streams = command::streams(&query).map_err(Refusal::bad_request)?;
        // Whether there is a terminal was settled when the container was made.
        streams.tty = find_container(&found, &container).is_some_and(|c| c.tty == Some(true));
        streams.stderr &= !streams.tty;
        let (wire, answer) = upgrade::command(request.headers())?;
        let runtime = context.runtime.clone();
        upgraded(&context, request, async move |io: Io| {
            let Some(channels) = command::channels(io, wire, streams).await else {
                return;
            };
            match runtime.attach(&info.id, streams).await {
                Err(error) => command::tell(channels, Outcome::Failed(error)).await,
                Ok(attached) => {
                    let terminal = streams.tty.then(|| Terminal::Container(info.id.clone()));
                    // The container's exit code is in its status, not here.
                    let outcome = async { Outcome::Exit(0) };
                    command::serve(channels, attached, runtime.as_ref(), terminal, outcome).await;
                }
            }
        })?;
        Ok::<_, Refusal>(answer)
    };
    opened.await.unwrap_or_else(Refusal::into_response)
}

/// `/portForward/NAMESPACE/POD?port=…`
pub async fn port_forward(
    Extract(context): Extract<Context>,
    Path((namespace, name)): Path<(String, String)>,
    Query(query): Pairs,
    request: Request,
) -> Response {
    let opened = async {
        let pod = find(&context, &namespace, &name)?;
        let sandbox = observe(&context, &pod).await?.sandbox().cloned();
        let sandbox = sandbox.filter(|sandbox| sandbox.pid > 0).ok_or_else(|| {
            let text = format!("unable to forward port because pod is not running: {name}");
            Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, text)
        })?;
        let ports = forward::ports(&query).map_err(Refusal::bad_request)?;
        let (wire, answer) = upgrade::forward(request.headers())?;
        if matches!(wire, ForwardWire::Channels(_)) && ports.is_empty() {
            return Err(Refusal::bad_request(
                "query parameter \"ports\" is required",
            ));
        }
        let to = forward::Destination {
            runtime: context.runtime.clone(),
            pid: sandbox.pid,
            sandbox: sandbox.id,
            uid: pod.metadata.uid.clone().unwrap_or_default(),
        };
        upgraded(&context, request, async move |io: Io| match wire {
            ForwardWire::Spdy => forward::over_spdy(io, to).await,
            ForwardWire::Channels(layout) => forward::over_channels(io, layout, ports, to).await,
            ForwardWire::Tunnel => {
                let (inner, carry) = websocket::tunnel(io);
                tokio::join!(forward::over_spdy(inner, to), carry);
            }
        })?;
        Ok::<_, Refusal>(answer)
    };
    opened.await.unwrap_or_else(Refusal::into_response)
}

/// Runs `serve` on the connection once it is upgraded, until it ends or the server stops.
fn upgraded<F>(
    context: &Context,
    mut request: Request,
    serve: impl FnOnce(Io) -> F + Send + 'static,
) -> Result<(), Refusal>
where
    F: Future<Output = ()> + Send + 'static,
{
    let coming = request
        .extensions_mut()
        .remove::<hyper::upgrade::OnUpgrade>()
        .ok_or_else(|| Refusal::bad_request("unable to upgrade: not an HTTP/1.1 connection"))?;
    let stopping = context.stopping.clone();
    context.streams.spawn(async move {
        let served = async {
            match coming.await {
                Ok(connection) => serve(TokioIo::new(connection)).await,
                Err(error) => tracing::debug!(%error, "a connection was not upgraded"),
            }
        };
        tokio::select! {
            () = served => {}
            () = stopping.cancelled() => {}
        }
    });
    Ok(())
}

fn values(query: &[(String, String)], name: &str) -> Vec<String> {
    let named = query.iter().filter(|(key, _)| key == name);
    named.map(|(_, value)| value.clone()).collect()
}

fn find(context: &Context, namespace: &str, name: &str) -> Result<Arc<Pod>, Refusal> {
    context
        .table
        .find(namespace, name)
        .ok_or_else(|| Refusal::new(StatusCode::NOT_FOUND, "pod does not exist"))
}

async fn observe(context: &Context, pod: &Pod) -> Result<Observed, Refusal> {
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    let failed =
        |error: RuntimeError| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string());
    let containers = context.runtime.pod_containers(uid).await;
    Ok(Observed::new(containers.map_err(failed)?))
}

/// The pod and its running container of that name.
async fn running(
    context: &Context,
    namespace: &str,
    pod: &str,
    container: &str,
) -> Result<(Arc<Pod>, ContainerInfo), Refusal> {
    let pod = find(context, namespace, pod)?;
    let found = observe(context, &pod).await?.latest(container).cloned();
    let info = found
        .filter(|info| info.state == State::Running)
        .ok_or_else(|| {
            let text = format!("container not found ({container:?})");
            Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, text)
        })?;
    Ok((pod, info))
}
