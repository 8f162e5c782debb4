//! Every command by name, with the fields it may have.

use bson::Document;

use super::{
    Call, aggregation, catalog, cursors, find_and_modify, greeting, read, server_info, sessions,
    write,
};
use crate::refusal::Answer;

type Run = fn(&Call<'_>) -> Answer<Document>;

/// A command.
pub struct Command {
    /// Its name, as the first field of a request.
    pub name: &'static str,
    /// Fields besides the name and those of every command; a field outside of both is refused.
    pub fields: &'static [&'static str],
    /// What it does.
    pub run: Run,
}

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
pub static COMMANDS: &[Command] = &[
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
