//! Commands: a table of names, the fields each may have, and what each does.

mod aggregation;
mod catalog;
mod cursors;
mod find_and_modify;
mod greeting;
mod read;
mod server_info;
mod sessions;
mod target;
mod write;

use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Instant;

use bson::{Bson, Document};

use crate::query::filter::whole_number;
use crate::refusal::{Answer, Refusal};
use crate::store::{Namespace, Store};
use cursors::Cursors;

pub use cursors::Results;
pub use greeting::NOTICE;
pub use read::skip_some;

/// What all connections share.
pub struct Server {
    /// The data.
    pub store: Store,
    cursors: Cursors,
    started: Instant,
    arguments: Vec<String>,
    port: u16,
    last_reply: AtomicI32,
}

impl Server {
    /// A server over an open store. `arguments` is the command line, for `getCmdLineOpts`.
    pub fn new(store: Store, arguments: Vec<String>, port: u16) -> Self {
        Self {
            store,
            cursors: Cursors::default(),
            started: Instant::now(),
            arguments,
            port,
            last_reply: AtomicI32::new(0),
        }
    }

    /// The number of the next reply.
    pub fn next_reply(&self) -> i32 {
        self.last_reply.fetch_add(1, Ordering::Relaxed)
    }
}

/// Who is calling.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Number of the connection.
    pub connection: i32,
    /// Address of the client, `ip:port`.
    pub address: String,
}

/// One command being carried out.
pub struct Call<'a> {
    server: &'a Server,
    peer: &'a Peer,
    name: &'a str,
    database: &'a str,
    body: &'a Document,
}

type Run = fn(&Call<'_>) -> Answer<Document>;

struct Command {
    name: &'static str,
    /// Fields besides the name and [`COMMON`]; a field outside of both is refused.
    fields: &'static [&'static str],
    run: Run,
}

/// Fields any command may carry. Session ids, cluster times and read preferences have
/// no meaning for a server that stands alone and runs every command by itself.
const COMMON: [&str; 17] = [
    "$db",
    "lsid",
    "$clusterTime",
    "$readPreference",
    "apiVersion",
    "apiStrict",
    "apiDeprecationErrors",
    "comment",
    "maxTimeMS",
    "readConcern",
    "writeConcern",
    "txnNumber",
    "autocommit",
    "startTransaction",
    "$audit",
    "$client",
    "help",
];

const fn command(name: &'static str, fields: &'static [&'static str], run: Run) -> Command {
    Command { name, fields, run }
}

const GREETING: &[&str] = &[
    "helloOk",
    "client",
    "compression",
    "hostInfo",
    "loadBalanced",
    "saslSupportedMechs",
    "speculativeAuthenticate",
    "topologyVersion",
    "maxAwaitTimeMS",
    "internalClient",
    "forShell",
    "backpressure",
];

/// Every command there is.
static COMMANDS: &[Command] = &[
    command("hello", GREETING, greeting::hello),
    command("isMaster", GREETING, greeting::is_master),
    command("ismaster", GREETING, greeting::is_master),
    command("ping", &[], server_info::ping),
    command("buildInfo", &[], server_info::build_info),
    command("buildinfo", &[], server_info::build_info),
    command("hostInfo", &[], server_info::host_info),
    command(
        "serverStatus",
        server_info::STATUS_FIELDS,
        server_info::server_status,
    ),
    command(
        "getParameter",
        server_info::PARAMETER_FIELDS,
        server_info::get_parameter,
    ),
    command("getCmdLineOpts", &[], server_info::command_line),
    command("getLog", &[], server_info::get_log),
    command(
        "connectionStatus",
        &["showPrivileges"],
        server_info::connection_status,
    ),
    command("whatsmyuri", &[], server_info::whats_my_uri),
    command("listCommands", &[], server_info::list_commands),
    command(
        "replSetGetStatus",
        &["initialSync"],
        server_info::repl_set_get_status,
    ),
    command(
        "saslStart",
        &["mechanism", "payload", "options", "autoAuthorize"],
        server_info::sasl_start,
    ),
    command("logout", &[], server_info::ping),
    command("endSessions", &[], sessions::end),
    command("refreshSessions", &[], sessions::end),
    command("killSessions", &[], sessions::end),
    command("startSession", &[], sessions::start),
    command(
        "commitTransaction",
        &["recoveryToken"],
        sessions::transaction,
    ),
    command(
        "abortTransaction",
        &["recoveryToken"],
        sessions::transaction,
    ),
    command(
        "listDatabases",
        &["filter", "nameOnly", "authorizedDatabases"],
        catalog::list_databases,
    ),
    command(
        "listCollections",
        &["filter", "nameOnly", "authorizedCollections", "cursor"],
        catalog::list_collections,
    ),
    command("create", catalog::CREATE_FIELDS, catalog::create),
    command("drop", &[], catalog::drop),
    command("dropDatabase", &[], catalog::drop_database),
    command(
        "createIndexes",
        &["indexes", "commitQuorum", "ignoreUnknownIndexOptions"],
        catalog::create_indexes,
    ),
    command("listIndexes", &["cursor"], catalog::list_indexes),
    command("dropIndexes", &["index"], catalog::drop_indexes),
    command("dbStats", &["scale", "freeStorage"], catalog::db_stats),
    command("collStats", &["scale"], catalog::coll_stats),
    command("find", read::FIND_FIELDS, read::find),
    command(
        "count",
        &["query", "limit", "skip", "hint", "collation", "fields"],
        read::count,
    ),
    command(
        "distinct",
        &["key", "query", "collation", "hint"],
        read::distinct,
    ),
    command(
        "getMore",
        &["collection", "batchSize", "term"],
        cursors::get_more,
    ),
    command("killCursors", &["cursors"], cursors::kill_cursors),
    command("aggregate", aggregation::FIELDS, aggregation::aggregate),
    command(
        "insert",
        &["documents", "ordered", "bypassDocumentValidation"],
        write::insert,
    ),
    command(
        "update",
        &["updates", "ordered", "bypassDocumentValidation", "let"],
        write::update,
    ),
    command("delete", &["deletes", "ordered", "let"], write::delete),
    command(
        "findAndModify",
        find_and_modify::FIELDS,
        find_and_modify::find_and_modify,
    ),
    command(
        "findandmodify",
        find_and_modify::FIELDS,
        find_and_modify::find_and_modify,
    ),
];

/// Carries out a command and returns the reply, also when it is refused.
pub fn run(server: &Server, peer: &Peer, database: &str, body: &Document) -> Document {
    match try_run(server, peer, database, body) {
        Ok(mut reply) => {
            reply.insert("ok", 1.0);
            reply
        }
        Err(refusal) => refusal.reply(),
    }
}

fn try_run(server: &Server, peer: &Peer, database: &str, body: &Document) -> Answer<Document> {
    let Some(name) = body.keys().next() else {
        return Err(Refusal::no_such_command(""));
    };
    let Some(command) = COMMANDS.iter().find(|c| c.name == name) else {
        return Err(Refusal::no_such_command(name));
    };
    for field in body.keys().skip(1) {
        if !COMMON.contains(&field.as_str()) && !command.fields.contains(&field.as_str()) {
            return Err(Refusal::unknown_field(command.name, field));
        }
    }
    let call = Call {
        server,
        peer,
        name: command.name,
        database,
        body,
    };
    call.check_common()?;
    (command.run)(&call)
}

impl Call<'_> {
    fn check_common(&self) -> Answer<()> {
        crate::store::check_database(self.database)?;
        if self.body.contains_key("txnNumber") || self.body.contains_key("startTransaction") {
            return Err(sessions::no_transactions());
        }
        match self.body.get("apiVersion") {
            None => {}
            Some(Bson::String(version)) if version == "1" => {}
            Some(other) => {
                return Err(Refusal::bad_value(format!(
                    "API version {other} is not known, only '1'"
                )));
            }
        }
        if let Some(concern) = self.document("readConcern")? {
            match concern.get("level").and_then(Bson::as_str) {
                None | Some("local" | "available" | "majority") => {}
                Some(level) => {
                    return Err(Refusal::invalid_options(format!(
                        "read concern '{level}' needs a replica set, and this server stands alone"
                    )));
                }
            }
        }
        if let Some(concern) = self.document("writeConcern")? {
            let alone = match concern.get("w") {
                None => true,
                Some(Bson::String(mode)) => mode == "majority",
                Some(number) => whole_number(number).is_some_and(|n| (0..=1).contains(&n)),
            };
            if !alone {
                return Err(Refusal::bad_value(
                    "cannot use 'w' > 1 when a host is not replicated",
                ));
            }
        }
        Ok(())
    }

    /// The collection named by the command's first field.
    fn namespace(&self) -> Answer<Namespace> {
        match self.body.get(self.name) {
            Some(Bson::String(collection)) => Namespace::new(self.database, collection),
            _ => Err(Refusal::invalid_namespace(format!(
                "collection name has invalid type in '{}'",
                self.name
            ))),
        }
    }

    /// A field that must be a document if it is there; null counts as absent.
    fn document(&self, name: &str) -> Answer<Option<&Document>> {
        match self.body.get(name) {
            None | Some(Bson::Null) => Ok(None),
            Some(Bson::Document(value)) => Ok(Some(value)),
            Some(_) => Err(self.wrong_type(name, "a document")),
        }
    }

    fn array(&self, name: &str) -> Answer<&[Bson]> {
        match self.body.get(name) {
            Some(Bson::Array(items)) => Ok(items),
            None => Err(Refusal::failed_to_parse(format!(
                "'{}' needs the field '{name}'",
                self.name
            ))),
            Some(_) => Err(self.wrong_type(name, "an array")),
        }
    }

    /// A whole number that is not negative, if it is there.
    fn amount(&self, name: &str) -> Answer<Option<u64>> {
        match self.body.get(name) {
            None | Some(Bson::Null) => Ok(None),
            Some(value) => {
                let number =
                    whole_number(value).ok_or_else(|| self.wrong_type(name, "a number"))?;
                u64::try_from(number).map(Some).map_err(|_| {
                    Refusal::bad_value(format!("'{name}' must not be negative: {number}"))
                })
            }
        }
    }

    fn flag(&self, name: &str) -> bool {
        crate::update::flag(self.body, name)
    }

    fn wrong_type(&self, name: &str, wanted: &str) -> Refusal {
        Refusal::type_mismatch(format!(
            "BSON field '{}.{name}' must be {wanted}",
            self.name
        ))
    }

    /// Refuses fields that would change the result in a way the stand-in cannot give.
    fn refuse_if_used(&self, names: &[&str]) -> Answer<()> {
        for name in names {
            let used = match self.body.get(name) {
                None | Some(Bson::Null | Bson::Boolean(false)) => false,
                Some(Bson::Document(document)) => !document.is_empty(),
                Some(_) => true,
            };
            if used {
                return Err(Refusal::not_supported(&format!(
                    "'{name}' in {}",
                    self.name
                )));
            }
        }
        Ok(())
    }

    fn refuse_collation(&self) -> Answer<()> {
        refuse_collation(self.body)
    }
}

/// Refuses every collation but the simple one, which compares bytes as we do.
fn refuse_collation(document: &Document) -> Answer<()> {
    match document.get("collation") {
        None | Some(Bson::Null) => Ok(()),
        Some(value) if crate::store::is_simple_collation(value) => Ok(()),
        Some(Bson::Document(empty)) if empty.is_empty() => Ok(()),
        Some(_) => Err(Refusal::not_supported(
            "a collation other than {locale: 'simple'}",
        )),
    }
}

#[cfg(test)]
mod tests;
