//! `scripts/bench api` and `scripts/bench scale` ([`scale`]). The former: the real `cadet-node server` on this machine's disk, over TLS,
//! against the figures of upstream's kube-apiserver with etcd on a machine of two cores.
//!
//! Two processes take part: the server, whose CPU and memory are read from /proc, and this
//! client, which does as little as possible per request (hand-written HTTP/1.1).

// A program, not the library: printing is its job.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod api_rows;
mod client;
#[path = "../../../../../tests/support/figures.rs"]
mod figures;
mod scale;
mod server;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use client::{Client, Connection};
use figures::{Figures, percentile};
use server::Server;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

const USAGE: &str =
    "usage: scripts/bench api [--server FILE] [--json FILE] [--seconds N] [--idle N]
  --server FILE  the cadet-node program to measure
  --seconds N    how long each load lasts (5)
  --idle N       how long idling is watched, seconds (30)";

struct Options {
    server: PathBuf,
    json: Option<PathBuf>,
    load: Duration,
    idle: Duration,
}

fn options(mut arguments: impl Iterator<Item = String>) -> Result<Options> {
    let mut options = Options {
        server: "cadet-node".into(),
        json: None,
        load: Duration::from_secs(5),
        idle: Duration::from_secs(30),
    };
    while let Some(name) = arguments.next() {
        let value = arguments
            .next()
            .ok_or_else(|| format!("{name} wants a value\n{USAGE}"))?;
        match name.as_str() {
            "--server" => options.server = value.into(),
            "--json" => options.json = Some(value.into()),
            "--seconds" => options.load = Duration::from_secs(value.parse()?),
            "--idle" => options.idle = Duration::from_secs(value.parse()?),
            _ => return Err(format!("unknown option {name}\n{USAGE}").into()),
        }
    }
    Ok(options)
}

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1).peekable();
    let _ = rustls::crypto::ring::default_provider().install_default();
    if arguments.next_if(|word| word == "scale").is_some() {
        return scale::run(arguments).await;
    }
    let options = options(arguments)?;
    let mut figures = Figures::default();
    start(&options, &mut figures).await?;

    let server = Server::start(&options.server).await?;
    let client = server.client()?;
    idle(&options, &server, &mut figures).await;
    for (connections, row) in [(16, "create16"), (64, "create64")] {
        creates(&options, &server, &client, connections, row, &mut figures).await?;
    }
    gets(&options, &server, &client, &mut figures).await?;
    drop(server);

    let server = Server::start(&options.server).await?;
    let client = server.client()?;
    lists(&server, &client, &mut figures).await?;
    watches(&client, &mut figures).await?;
    drop(server);

    print!("{}", figures.table("upstream", api_rows::ROWS));
    if let Some(path) = &options.json {
        std::fs::write(path, figures.json(api_rows::ROWS))?;
    }
    Ok(())
}

/// From exec to the first 200 of /readyz, keys and certificates already made.
async fn start(options: &Options, figures: &mut Figures) -> Result<()> {
    let mut times = vec![];
    for _ in 0..10 {
        times.push(server::time_to_ready(&options.server).await?);
    }
    figures.set("ready_ms", percentile(&mut times, 50.0));
    Ok(())
}

async fn idle(options: &Options, server: &Server, figures: &mut Figures) {
    // What starts with the server settles first.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let before = server.cpu();
    tokio::time::sleep(options.idle).await;
    let used = server.cpu() - before;
    let per_minute = used.as_secs_f64() * 60.0 / options.idle.as_secs_f64();
    figures.set("idle_cpu_s_per_min", per_minute);
    figures.set("idle_rss_mib", server.resident_mib());
}

/// Runs `work` on so many connections for as long as the options say. Returns how many
/// requests were answered and their times in milliseconds.
async fn load<F>(
    options: &Options,
    client: &Client,
    connections: usize,
    work: F,
) -> Result<(u64, f64, Vec<f64>)>
where
    F: Fn(u64) -> Vec<u8> + Send + Sync + 'static,
{
    let work = Arc::new(work);
    let number = Arc::new(AtomicU64::new(0));
    let mut open = vec![];
    for _ in 0..connections {
        open.push(client.connect().await?);
    }
    let begin = Instant::now();
    let until = begin + options.load;
    let mut tasks = vec![];
    for mut connection in open {
        let (work, number) = (Arc::clone(&work), Arc::clone(&number));
        tasks.push(tokio::spawn(async move {
            let mut times = vec![];
            while Instant::now() < until {
                let request = work(number.fetch_add(1, Ordering::Relaxed));
                let sent = Instant::now();
                let code = connection.exchange(&request).await?;
                if !(200..300).contains(&code) {
                    let body = String::from_utf8_lossy(connection.body()).into_owned();
                    return Err(format!("answered {code}: {body}").into());
                }
                times.push(sent.elapsed().as_secs_f64() * 1e3);
            }
            Result::Ok(times)
        }));
    }
    let mut times = vec![];
    for task in tasks {
        times.extend(task.await??);
    }
    Ok((times.len() as u64, begin.elapsed().as_secs_f64(), times))
}

async fn creates(
    options: &Options,
    server: &Server,
    client: &Client,
    connections: usize,
    row: &'static str,
    figures: &mut Figures,
) -> Result<()> {
    let text = "x".repeat(900);
    let path = "/api/v1/namespaces/default/configmaps";
    let work = move |n: u64| {
        let body = format!(
            "{{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{{\"name\":\"{row}-{n}\"}},\"data\":{{\"text\":\"{text}\"}}}}"
        );
        client::post(path, &body)
    };
    let before = server.cpu();
    let (count, seconds, mut times) = load(options, client, connections, work).await?;
    let used = server.cpu() - before;
    figures.set(&format!("{row}_per_s"), count as f64 / seconds);
    figures.set(&format!("{row}_p99_ms"), percentile(&mut times, 99.0));
    let each = used.as_secs_f64() * 1e3 / count as f64;
    figures.set(&format!("{row}_cpu_ms"), each);
    Ok(())
}

async fn gets(
    options: &Options,
    server: &Server,
    client: &Client,
    figures: &mut Figures,
) -> Result<()> {
    let request = client::get("/api/v1/namespaces/default/configmaps/create16-7");
    let before = server.cpu();
    let (count, seconds, mut times) = load(options, client, 16, move |_| request.clone()).await?;
    let used = server.cpu() - before;
    figures.set("get_per_s", count as f64 / seconds);
    figures.set("get_p99_ms", percentile(&mut times, 99.0));
    figures.set("get_cpu_ms", used.as_secs_f64() * 1e3 / count as f64);
    Ok(())
}

async fn lists(server: &Server, client: &Client, figures: &mut Figures) -> Result<()> {
    const PODS: usize = 5_000;
    let mut connection = client.connect().await?;
    let filler = "y".repeat(900);
    for n in 0..PODS {
        // A scheduler of their own keeps ours from trying to place them.
        let body = format!(
            "{{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{{\"name\":\"pod-{n}\",\"annotations\":{{\"filler\":\"{filler}\"}}}},\
             \"spec\":{{\"schedulerName\":\"nobody\",\"automountServiceAccountToken\":false,\"containers\":[{{\"name\":\"c\",\"image\":\"nginx:1.29\"}}]}}}}"
        );
        let code = connection
            .exchange(&client::post("/api/v1/namespaces/default/pods", &body))
            .await?;
        if code != 201 {
            return Err(String::from_utf8_lossy(connection.body()).into());
        }
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    figures.set("pods_rss_mib", server.resident_mib());
    let request = client::get("/api/v1/pods");
    let mut times = vec![];
    let before = server.cpu();
    const ROUNDS: u32 = 30;
    for _ in 0..ROUNDS {
        let sent = Instant::now();
        connection.exchange(&request).await?;
        times.push(sent.elapsed().as_secs_f64() * 1e3);
    }
    let used = server.cpu() - before;
    figures.set("list_mb", connection.body().len() as f64 / 1e6);
    figures.set("list_ms", percentile(&mut times, 50.0));
    figures.set("list_cpu_ms", used.as_secs_f64() * 1e3 / f64::from(ROUNDS));
    figures.set("listed_rss_mib", server.resident_mib());
    Ok(())
}

/// A hundred watchers of one collection, 200 creates a second for five seconds: the time
/// from the answer to a create until each watcher has its event.
async fn watches(client: &Client, figures: &mut Figures) -> Result<()> {
    const WATCHERS: usize = 100;
    const CREATES: usize = 1_000;
    let path = "/api/v1/namespaces/default/configmaps";
    let began = Instant::now();
    let mut watchers = vec![];
    for _ in 0..WATCHERS {
        let connection = client.connect().await?;
        watchers.push(tokio::spawn(watcher(connection, path, CREATES, began)));
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let mut connection = client.connect().await?;
    let mut answered = vec![0.0; CREATES];
    let mut ticks = tokio::time::interval(Duration::from_millis(5));
    for (n, answer) in answered.iter_mut().enumerate() {
        ticks.tick().await;
        let body = format!(
            "{{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{{\"name\":\"watched-{n:05}\"}}}}"
        );
        let code = connection.exchange(&client::post(path, &body)).await?;
        if code != 201 {
            return Err(String::from_utf8_lossy(connection.body()).into());
        }
        *answer = began.elapsed().as_secs_f64() * 1e3;
    }
    let mut late = vec![];
    for watcher in watchers {
        for (n, at) in watcher.await?? {
            late.push((at - answered[n]).max(0.0));
        }
    }
    if late.len() != WATCHERS * CREATES {
        return Err(format!("{} events instead of {}", late.len(), WATCHERS * CREATES).into());
    }
    figures.set("watch_p50_ms", percentile(&mut late, 50.0));
    figures.set("watch_p99_ms", percentile(&mut late, 99.0));
    Ok(())
}

/// When each numbered object's event arrived, in milliseconds since `began`.
async fn watcher(
    mut connection: Connection,
    path: &str,
    events: usize,
    began: Instant,
) -> Result<Vec<(usize, f64)>> {
    let request = client::get(&format!("{path}?watch=true"));
    connection.begin(&request).await?;
    let mut seen = vec![];
    let mark = b"\"name\":\"watched-";
    while seen.len() < events {
        let chunk = connection.chunk().await?;
        let now = began.elapsed().as_secs_f64() * 1e3;
        for at in memchr::memmem::find_iter(&chunk, mark) {
            let digits = &chunk[at + mark.len()..at + mark.len() + 5];
            seen.push((std::str::from_utf8(digits)?.parse()?, now));
        }
    }
    Ok(seen)
}
