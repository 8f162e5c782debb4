//! Rules for what the agent does to a container: probes, and hooks at its start and end.

use serde_json::Value;

use super::container::Surroundings;
use super::{number, text};
use crate::field::Error;
use crate::json::{int_at, list_at, str_at};
use crate::names;

const PROBED: [&str; 4] = ["exec", "httpGet", "tcpSocket", "grpc"];
const HOOKED: [&str; 4] = ["exec", "httpGet", "tcpSocket", "sleep"];
const HEADER: &str = "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. \
    'X-Header-Name', regex used for validation is '[-A-Za-z0-9]+')";

pub(super) fn rules(e: &mut Vec<Error>, path: &str, c: &Value, around: &Surroundings) {
    if let Some(lifecycle) = c.get("lifecycle") {
        for hook in ["postStart", "preStop"] {
            if let Some(h) = lifecycle.get(hook) {
                let at = format!("{path}.lifecycle.{hook}");
                handler(e, &at, h, &HOOKED, around.grace);
            }
        }
        if lifecycle.get("stopSignal").is_some() {
            stop_signal(e, path, str_at(lifecycle, "/stopSignal"), around.os);
        }
    }
    for kind in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let Some(p) = c.get(kind) else { continue };
        let path = format!("{path}.{kind}");
        handler(e, &path, p, &PROBED, around.grace);
        probe(e, &path, p, kind);
    }
}

fn probe(e: &mut Vec<Error>, path: &str, p: &Value, kind: &str) {
    for field in [
        "initialDelaySeconds",
        "timeoutSeconds",
        "periodSeconds",
        "successThreshold",
        "failureThreshold",
    ] {
        if let Some(n) = p.get(field).and_then(Value::as_i64)
            && n < 0
        {
            let why = "must be greater than or equal to 0";
            e.push(Error::invalid(&format!("{path}.{field}"), n, why));
        }
    }
    let grace = int_at(p, "/terminationGracePeriodSeconds");
    let at = || format!("{path}.terminationGracePeriodSeconds");
    if let Some(n) = grace
        && n <= 0
    {
        e.push(Error::invalid(&at(), n, "must be greater than 0"));
    }
    if kind == "readinessProbe" {
        if let Some(n) = grace {
            let why = "must not be set for readinessProbes";
            e.push(Error::invalid(&at(), n, why));
        }
        return;
    }
    let successes = int_at(p, "/successThreshold").unwrap_or(1);
    if successes != 1 {
        let at = format!("{path}.successThreshold");
        e.push(Error::invalid(&at, successes, "must be 1"));
    }
}

fn handler(e: &mut Vec<Error>, path: &str, h: &Value, known: &[&str], grace: Option<i64>) {
    let mut given = known.iter().filter(|k| h.get(**k).is_some());
    let Some(kind) = given.next() else {
        e.push(Error::required(path, "must specify a handler type"));
        return;
    };
    for extra in given {
        let why = "may not specify more than 1 handler type";
        e.push(Error::forbidden(&format!("{path}.{extra}"), why));
    }
    let path = format!("{path}.{kind}");
    let action = h.get(*kind).unwrap_or(&Value::Null);
    match *kind {
        "exec" if list_at(action, "/command").is_empty() => {
            e.push(Error::required(&format!("{path}.command"), ""));
        }
        "httpGet" => http_get(e, &path, action),
        "tcpSocket" | "grpc" => port(e, &path, action),
        "sleep" => {
            let seconds = int_at(action, "/seconds").unwrap_or(0);
            if let Some(grace) = grace
                && !(0..=grace).contains(&seconds)
            {
                let why = format!(
                    "must be non-negative and less than terminationGracePeriodSeconds ({grace})"
                );
                e.push(Error::invalid(&path, seconds, why));
            }
        }
        _ => {}
    }
}

fn http_get(e: &mut Vec<Error>, path: &str, action: &Value) {
    if str_at(action, "/path").is_empty() {
        e.push(Error::required(&format!("{path}.path"), ""));
    }
    port(e, path, action);
    let scheme = str_at(action, "/scheme");
    if !matches!(scheme, "HTTP" | "HTTPS") {
        let at = format!("{path}.scheme");
        e.push(Error::not_supported(&at, scheme, &["HTTP", "HTTPS"]));
    }
    for header in list_at(action, "/httpHeaders") {
        let name = str_at(header, "/name");
        let good = |c: u8| c.is_ascii_alphanumeric() || c == b'-';
        if name.is_empty() || !name.bytes().all(good) {
            e.push(Error::invalid(&format!("{path}.httpHeaders"), name, HEADER));
        }
    }
}

fn port(e: &mut Vec<Error>, path: &str, action: &Value) {
    match action.get("port") {
        Some(Value::String(name)) => text(e, path, "port", name, names::port_name(name)),
        other => {
            let n = other.and_then(Value::as_i64).unwrap_or(0);
            number(e, path, "port", n, names::port_number(n));
        }
    }
}

/// Signals by name, as signal(7) lists them (KEP-4960).
fn stop_signal(e: &mut Vec<Error>, path: &str, signal: &str, os: &str) {
    const PLAIN: [&str; 33] = [
        "SIGABRT",
        "SIGALRM",
        "SIGBUS",
        "SIGCHLD",
        "SIGCLD",
        "SIGCONT",
        "SIGFPE",
        "SIGHUP",
        "SIGILL",
        "SIGINT",
        "SIGIO",
        "SIGIOT",
        "SIGKILL",
        "SIGPIPE",
        "SIGPOLL",
        "SIGPROF",
        "SIGPWR",
        "SIGQUIT",
        "SIGSEGV",
        "SIGSTKFLT",
        "SIGSTOP",
        "SIGSYS",
        "SIGTERM",
        "SIGTRAP",
        "SIGTSTP",
        "SIGTTIN",
        "SIGTTOU",
        "SIGURG",
        "SIGUSR1",
        "SIGUSR2",
        "SIGVTALRM",
        "SIGWINCH",
        "SIGXCPU",
    ];
    let at = format!("{path}.lifecycle.stopSignal");
    let realtime = |prefix: &str, most: u32| {
        signal.strip_prefix(prefix).is_some_and(|rest| {
            let offset = rest.strip_prefix(['+', '-']).and_then(|n| n.parse().ok());
            rest.is_empty() || offset.is_some_and(|n: u32| (1..=most).contains(&n))
        })
    };
    match os {
        "" => {
            let why = "may not be set for containers with empty `spec.os.name`";
            e.push(Error::forbidden(&at, why));
        }
        "windows" if !matches!(signal, "SIGKILL" | "SIGTERM") => {
            e.push(Error::not_supported(&at, signal, &["SIGKILL", "SIGTERM"]));
        }
        "linux" => {
            let known = PLAIN.contains(&signal)
                || signal == "SIGXFSZ"
                || realtime("SIGRTMIN", 15)
                || realtime("SIGRTMAX", 14);
            if !known {
                e.push(Error::not_supported(&at, signal, &PLAIN));
            }
        }
        _ => {}
    }
}
