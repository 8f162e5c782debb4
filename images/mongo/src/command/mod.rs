//! Commands: what is common to all of them, and the walk from a request to its reply.

mod aggregation;
mod catalog;
mod cursors;
mod find_and_modify;
mod greeting;
mod read;
mod server_info;
mod sessions;
mod table;
mod target;
mod write;

use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Instant;

use bson::{Bson, Document};

use crate::query::filter::whole_number;
use crate::refusal::{Answer, Refusal};
use crate::store::{Namespace, Store};
use cursors::Cursors;
use table::COMMANDS;

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
