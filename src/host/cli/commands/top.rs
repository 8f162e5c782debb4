//! `cadet top`: what nodes and pods use of processors and memory.

use cadet_api::json::{list_at, str_at};
use cadet_api::quantity::Quantity;
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use crate::Context;
use crate::addons::Choices;
use crate::cluster::{Cluster, Failure};
use crate::error::{CliError, Result};
use crate::machine;
use crate::reach::{Reach, Reached, segment};

/// The error where nothing measures.
const NOT_MEASURED: &str = "CLUSTER_NOT_FOUND";

/// Flags of `cadet top`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  cadet top\n  cadet top pods -A --sort memory\n  cadet top pods -n shop -o json"
)]
pub struct TopArgs {
    /// Of what
    #[arg(value_enum, default_value = "nodes")]
    what: What,
    #[command(flatten)]
    reach: Reach,
    /// Pods of all namespaces
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// What comes first
    #[arg(long, value_enum, default_value = "cpu", value_name = "BY")]
    sort: Sort,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    /// Nodes
    #[value(alias = "node")]
    Nodes,
    /// Pods
    #[value(aliases = ["pod", "po"])]
    Pods,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Sort {
    /// Who uses most of the processors
    Cpu,
    /// Who uses most memory
    Memory,
    /// By name
    Name,
}

/// What one thing uses.
#[derive(Debug, PartialEq, Eq)]
struct Use {
    namespace: String,
    name: String,
    millicores: i64,
    bytes: i64,
}

/// Prints it.
pub async fn run(cx: &Context, args: TopArgs) -> Result<u8> {
    let reached = args.reach.open(cx)?;
    let done = match args.what {
        What::Nodes => nodes(cx, &reached.cluster, args.sort).await,
        What::Pods => pods(cx, &reached, args.all_namespaces, args.sort).await,
    };
    // Choices that cannot be read are told by `addons`; what failed here is told anyhow.
    let choices = Choices::read(&cx.world.files(&cx.name)).unwrap_or_default();
    done.map_err(|error| match choices.metrics || args.reach.is_named() {
        true => error,
        false => switched_off(cx, error),
    })?;
    Ok(0)
}

async fn nodes(cx: &Context, cluster: &Cluster, sort: Sort) -> Result<()> {
    let measured = measured(cluster, "nodes").await?;
    let nodes = cluster.get("/api/v1/nodes").await?;
    let rows = list_at(&measured, "/items").iter();
    let rows = rows.map(|row| used(row, std::slice::from_ref(row)));
    let rows = sorted(rows.collect(), sort);
    if !cx.ui.json() {
        cx.ui.line(format!(
            "{:<24} {:>8} {:>5} {:>10} {:>5}",
            "NODE", "CPU", "", "MEMORY", ""
        ));
    }
    for row in rows {
        let mut all = list_at(&nodes, "/items").iter();
        let node = all.find(|n| str_at(n, "/metadata/name") == row.name);
        let of = |resource: &str| {
            let path = format!("/status/allocatable/{resource}");
            node.map_or(Quantity::default(), |node| quantity(str_at(node, &path)))
        };
        let (cpu, memory) = (of("cpu").millis(), of("memory").value());
        if cx.ui.json() {
            cx.ui.object(&json!({
                "node": row.name, "cpuMillicores": row.millicores, "memoryBytes": row.bytes,
                "cpuPercent": percent(row.millicores, cpu),
                "memoryPercent": percent(row.bytes, memory),
            }));
            continue;
        }
        let share = |part, whole| percent(part, whole).map_or("".into(), |p| format!("{p} %"));
        cx.ui.line(format!(
            "{:<24} {:>8} {:>5} {:>10} {:>5}",
            row.name,
            cores(row.millicores),
            share(row.millicores, cpu),
            size(row.bytes),
            share(row.bytes, memory)
        ));
    }
    Ok(())
}

async fn pods(cx: &Context, reached: &Reached, all: bool, sort: Sort) -> Result<()> {
    let path = match all {
        true => "pods".to_string(),
        false => format!("namespaces/{}/pods", segment(&reached.namespace)),
    };
    let measured = measured(&reached.cluster, &path).await?;
    let rows = list_at(&measured, "/items").iter();
    let rows = rows.map(|row| used(row, list_at(row, "/containers")));
    let rows = sorted(rows.collect(), sort);
    if cx.ui.json() {
        for row in rows {
            cx.ui.object(&json!({
                "namespace": row.namespace, "pod": row.name,
                "cpuMillicores": row.millicores, "memoryBytes": row.bytes,
            }));
        }
        return Ok(());
    }
    if rows.is_empty() {
        cx.ui
            .line("Nothing was measured yet: pods that run show up within some seconds.");
        return Ok(());
    }
    let namespace = |text: &str| match all {
        true => format!("{text:<16} "),
        false => String::new(),
    };
    cx.ui.line(format!(
        "{}{:<40} {:>8} {:>10}",
        namespace("NAMESPACE"),
        "POD",
        "CPU",
        "MEMORY"
    ));
    for row in rows {
        cx.ui.line(format!(
            "{}{:<40} {:>8} {:>10}",
            namespace(&row.namespace),
            row.name,
            cores(row.millicores),
            size(row.bytes)
        ));
    }
    Ok(())
}

/// What the server measured.
async fn measured(cluster: &Cluster, path: &str) -> Result<Value> {
    let path = format!("/apis/metrics.k8s.io/v1beta1/{path}");
    cluster.try_get(&path).await.map_err(|failure| {
        let none = failure.is_not_found() || matches!(failure, Failure::Status { code: 503, .. });
        let error = failure.told(&path);
        if !none {
            return error;
        }
        let why = error.what;
        CliError::new(NOT_MEASURED, "this cluster does not measure what is used")
            .why(why)
            .fix("kubectl get --raw /apis/metrics.k8s.io/v1beta1")
    })
}

/// The addon that measures is off in this profile: that is why nothing was measured.
fn switched_off(cx: &Context, error: CliError) -> CliError {
    if error.topic.id == NOT_MEASURED {
        error.fix(machine::again(cx, "addons enable metrics"))
    } else {
        error
    }
}

/// Sums `parts` of what `row` names.
fn used(row: &Value, parts: &[Value]) -> Use {
    let sum = |path: &str| {
        let each = parts.iter().map(|part| quantity(str_at(part, path)));
        each.fold(Quantity::default(), |sum, one| sum + one)
    };
    Use {
        namespace: str_at(row, "/metadata/namespace").into(),
        name: str_at(row, "/metadata/name").into(),
        millicores: sum("/usage/cpu").millis(),
        bytes: sum("/usage/memory").value(),
    }
}

fn sorted(mut rows: Vec<Use>, sort: Sort) -> Vec<Use> {
    rows.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    match sort {
        Sort::Cpu => rows.sort_by_key(|row| std::cmp::Reverse(row.millicores)),
        Sort::Memory => rows.sort_by_key(|row| std::cmp::Reverse(row.bytes)),
        Sort::Name => {}
    }
    rows
}

/// What cannot be read counts as nothing: the server's quantities can be.
fn quantity(text: &str) -> Quantity {
    text.parse().unwrap_or_default()
}

fn percent(part: i64, whole: i64) -> Option<i64> {
    part.saturating_mul(100).checked_div(whole)
}

/// Processors for people: "250m", "1.25".
fn cores(millicores: i64) -> String {
    match millicores {
        0..1000 => format!("{millicores}m"),
        _ => format!("{}.{:02}", millicores / 1000, millicores % 1000 / 10),
    }
}

/// Memory for people.
fn size(bytes: i64) -> String {
    crate::ui::mib(u64::try_from(bytes >> 20).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_are_summed_and_the_busiest_comes_first() {
        let pod = |name: &str, cpu: &str, memory: &str| {
            json!({"metadata": {"name": name, "namespace": "default"}, "containers": [
                {"name": "a", "usage": {"cpu": cpu, "memory": memory}},
                {"name": "b", "usage": {"cpu": "500u", "memory": "1Mi"}}]})
        };
        let all = [pod("idle", "0", "64Mi"), pod("busy", "1250000n", "1Mi")];
        let rows = || {
            let rows = all.iter().map(|row| used(row, list_at(row, "/containers")));
            rows.collect::<Vec<_>>()
        };
        assert_eq!(rows()[1].millicores, 2, "rounded up, as everywhere");
        assert_eq!(rows()[0].bytes, 65 << 20);
        let first = |sort| sorted(rows(), sort)[0].name.clone();
        assert_eq!(first(Sort::Cpu), "busy");
        assert_eq!(first(Sort::Memory), "idle");
        assert_eq!(first(Sort::Name), "busy");
    }

    #[test]
    fn numbers_read_well() {
        assert_eq!((cores(0), cores(250)), ("0m".into(), "250m".into()));
        assert_eq!(cores(1259), "1.25");
        assert_eq!(size(768 << 20), "768 MiB");
        assert_eq!((percent(1, 4), percent(1, 0)), (Some(25), None));
    }
}
