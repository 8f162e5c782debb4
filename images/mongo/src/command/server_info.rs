//! What the server says about itself; never that it is MongoDB.

use bson::{Bson, DateTime, Document, doc};

use super::Call;
use super::greeting::NOTICE;
use super::table::COMMANDS;
use crate::refusal::{Answer, Refusal};

/// The MongoDB version whose behaviour is followed, marked as not the real thing.
const VERSION: &str = "7.0.0-cadet-stand-in";

/// Sections a client may switch off; ours are few, so all are allowed and none big.
pub const STATUS_FIELDS: &[&str] = &[
    "repl",
    "metrics",
    "locks",
    "network",
    "opcounters",
    "connections",
    "asserts",
    "extra_info",
    "wiredTiger",
    "tcmalloc",
    "sharding",
    "transactions",
    "mirroredReads",
    "latchAnalysis",
    "opLatencies",
];

/// Parameters that can be asked for.
pub const PARAMETER_FIELDS: &[&str] = &[
    "featureCompatibilityVersion",
    "authenticationMechanisms",
    "enableTestCommands",
    "requireApiVersion",
    "allParameters",
];

pub fn ping(_: &Call<'_>) -> Answer<Document> {
    Ok(Document::new())
}

pub fn build_info(_: &Call<'_>) -> Answer<Document> {
    Ok(doc! {
        "version": VERSION,
        "versionArray": [7, 0, 0, 0],
        "gitVersion": concat!("cadet-", env!("CARGO_PKG_VERSION")),
        "cadet": NOTICE,
        "modules": [],
        "allocator": "system",
        "javascriptEngine": "none",
        "sysInfo": "deprecated",
        "bits": 64,
        "debug": false,
        "maxBsonObjectSize": crate::wire::MAX_DOCUMENT as i32,
        "storageEngines": ["sled"],
        "openssl": { "running": "none" },
    })
}

fn read_trimmed(path: &str) -> String {
    // Absent outside of Linux or in odd sandboxes; the field is then empty, as in mongod.
    std::fs::read_to_string(path)
        .map(|text| text.trim().to_owned())
        .unwrap_or_default()
}

fn memory_megabytes() -> i64 {
    let info = read_trimmed("/proc/meminfo");
    let total = info.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kilobytes = total.and_then(|rest| rest.split_whitespace().next()?.parse::<i64>().ok());
    kilobytes.unwrap_or(0) / 1024
}

pub fn host_info(_: &Call<'_>) -> Answer<Document> {
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
    Ok(doc! {
        "system": {
            "currentTime": DateTime::now(),
            "hostname": read_trimmed("/proc/sys/kernel/hostname"),
            "cpuAddrSize": 64,
            "memSizeMB": memory_megabytes(),
            "numCores": i32::try_from(cores).unwrap_or(i32::MAX),
            "cpuArch": std::env::consts::ARCH,
            "numaEnabled": false,
        },
        "os": { "type": "Linux", "name": std::env::consts::OS, "version": read_trimmed("/proc/sys/kernel/osrelease") },
        "extra": {},
    })
}

pub fn server_status(call: &Call<'_>) -> Answer<Document> {
    let uptime = call.server.started.elapsed();
    let current = i32::try_from(call.server.cursors.open()).unwrap_or(i32::MAX);
    Ok(doc! {
        "host": read_trimmed("/proc/sys/kernel/hostname"),
        "version": VERSION,
        "process": "mongod",
        "cadet": NOTICE,
        "pid": i64::from(std::process::id()),
        "uptime": uptime.as_secs_f64(),
        "uptimeMillis": i64::try_from(uptime.as_millis()).unwrap_or(i64::MAX),
        "localTime": DateTime::now(),
        "storageEngine": { "name": "sled", "persistent": true },
        "metrics": { "cursor": { "open": { "total": current } } },
    })
}

pub fn get_parameter(call: &Call<'_>) -> Answer<Document> {
    let known: [(&str, Bson); 4] = [
        (
            "featureCompatibilityVersion",
            Bson::Document(doc! { "version": "7.0" }),
        ),
        ("authenticationMechanisms", Bson::Array(Vec::new())),
        ("enableTestCommands", Bson::Boolean(false)),
        ("requireApiVersion", Bson::Boolean(false)),
    ];
    let all = matches!(call.body.get(call.name), Some(Bson::String(star)) if star == "*")
        || call.flag("allParameters");
    let mut reply = Document::new();
    for (name, value) in known {
        if all || call.flag(name) {
            reply.insert(name, value);
        }
    }
    if reply.is_empty() {
        return Err(Refusal::invalid_options("no option found to get"));
    }
    Ok(reply)
}

pub fn command_line(call: &Call<'_>) -> Answer<Document> {
    Ok(
        doc! { "argv": call.server.arguments.clone(), "parsed": { "net": { "port": i32::from(call.server.port) } } },
    )
}

/// `startupWarnings` is what shells show at the prompt: the right place for the truth.
pub fn get_log(call: &Call<'_>) -> Answer<Document> {
    match call.body.get(call.name) {
        Some(Bson::String(star)) if star == "*" => Ok(doc! { "names": ["startupWarnings"] }),
        Some(Bson::String(name)) if name == "startupWarnings" => {
            let line = format!(
                r#"{{"t":{{"$date":"1970-01-01T00:00:00Z"}},"s":"W","c":"CONTROL","id":1,"ctx":"main","msg":"This is {NOTICE}","tags":["startupWarnings"]}}"#
            );
            Ok(doc! { "totalLinesWritten": 1, "log": [line] })
        }
        Some(Bson::String(name)) => {
            Err(Refusal::illegal_operation(format!("No log named '{name}'")))
        }
        _ => Err(Refusal::type_mismatch("getLog needs the name of a log")),
    }
}

pub fn connection_status(call: &Call<'_>) -> Answer<Document> {
    let mut info = doc! { "authenticatedUsers": [], "authenticatedUserRoles": [] };
    if call.flag("showPrivileges") {
        info.insert("authenticatedUserPrivileges", Bson::Array(Vec::new()));
    }
    Ok(doc! { "authInfo": info })
}

pub fn whats_my_uri(call: &Call<'_>) -> Answer<Document> {
    Ok(doc! { "you": &call.peer.address })
}

pub fn list_commands(_: &Call<'_>) -> Answer<Document> {
    let commands: Document = COMMANDS
        .iter()
        .map(|command| (command.name.to_owned(), Bson::Document(doc! { "help": "" })))
        .collect();
    Ok(doc! { "commands": commands })
}

pub fn repl_set_get_status(_: &Call<'_>) -> Answer<Document> {
    Err(Refusal::no_replication("not running with --replSet"))
}

pub fn sasl_start(_: &Call<'_>) -> Answer<Document> {
    Err(Refusal::authentication_failed(
        "Cadet's stand-in for MongoDB keeps no users; connect without a name and password",
    ))
}
