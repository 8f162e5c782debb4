//! Cursors: results that are longer than one reply.

use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::iter::Peekable;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bson::{Bson, Document, doc};

use super::{Call, Server};
use crate::query::filter::whole_number;
use crate::refusal::{Answer, Refusal};
use crate::store::Namespace;
use crate::wire;

/// Documents still to come, produced as they are asked for.
pub type Results = Box<dyn Iterator<Item = Answer<Document>> + Send>;

/// Documents of a first batch if the client does not say, as in MongoDB.
const FIRST_BATCH: u64 = 101;
/// Idle time after which a cursor is closed, as in MongoDB.
const IDLE: Duration = Duration::from_secs(600);
/// Most cursors open at once; each holds a position in the data, some a sorted result.
const MAX_OPEN: usize = 1000;

struct Open {
    namespace: String,
    results: Peekable<Results>,
    used: Instant,
}

/// The open cursors of a server.
#[derive(Default)]
pub struct Cursors {
    open: Mutex<BTreeMap<i64, Open>>,
    random: RandomState,
}

impl Cursors {
    /// How many are open.
    pub fn open(&self) -> usize {
        self.open
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .len()
    }

    fn keep(&self, cursor: Open) -> Answer<i64> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|_, cursor| cursor.used.elapsed() < IDLE);
        if open.len() >= MAX_OPEN {
            return Err(Refusal::internal(format!(
                "{MAX_OPEN} cursors are open already"
            )));
        }
        // Not guessable, so that one client cannot stumble into another's results.
        let mut hasher = self.random.build_hasher();
        hasher.write_usize(open.len());
        for round in 0.. {
            hasher.write_u32(round);
            hasher.write_u128(cursor.used.elapsed().as_nanos());
            let id = (hasher.finish() >> 1) as i64;
            if id != 0 && !open.contains_key(&id) {
                open.insert(id, cursor);
                return Ok(id);
            }
        }
        Err(Refusal::internal("no cursor number is free"))
    }

    fn take(&self, id: i64) -> Option<Open> {
        self.open
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&id)
    }

    fn put_back(&self, id: i64, cursor: Open) {
        self.open
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(id, cursor);
    }
}

/// Takes up to `count` documents that together fit into one reply.
fn batch(results: &mut Peekable<Results>, count: u64) -> Answer<Vec<Bson>> {
    let mut documents = Vec::new();
    let mut bytes = 0;
    while (documents.len() as u64) < count {
        if let Some(Ok(next)) = results.peek() {
            bytes += wire::size_of(next)?;
            // One document always fits; a reply has room beyond 16 MiB for its frame.
            if bytes > wire::MAX_DOCUMENT && !documents.is_empty() {
                break;
            }
        }
        match results.next() {
            None => break,
            Some(document) => documents.push(Bson::Document(document?)),
        }
    }
    Ok(documents)
}

/// The reply of a command that answers with a cursor.
pub fn first_batch(
    server: &Server,
    namespace: &str,
    results: Results,
    size: Option<u64>,
    single: bool,
) -> Answer<Document> {
    let mut results = results.peekable();
    let documents = batch(&mut results, size.unwrap_or(FIRST_BATCH))?;
    let mut id = 0;
    if !single && results.peek().is_some() {
        id = server.cursors.keep(Open {
            namespace: namespace.to_owned(),
            results,
            used: Instant::now(),
        })?;
    }
    Ok(doc! { "cursor": { "id": id, "ns": namespace, "firstBatch": documents } })
}

pub fn get_more(call: &Call<'_>) -> Answer<Document> {
    let id = match call.body.get(call.name) {
        Some(Bson::Int64(id)) => *id,
        _ => return Err(call.wrong_type("getMore", "a long")),
    };
    let collection = call
        .body
        .get_str("collection")
        .map_err(|_| call.wrong_type("collection", "a string"))?;
    let namespace = format!("{}.{collection}", call.database);
    let mut cursor = call
        .server
        .cursors
        .take(id)
        .ok_or_else(|| Refusal::no_such_cursor(id))?;
    if cursor.namespace != namespace {
        let message = format!(
            "cursor {id} belongs to {}, not {namespace}",
            cursor.namespace
        );
        call.server.cursors.put_back(id, cursor);
        return Err(Refusal::bad_value(message));
    }
    let size = call.amount("batchSize")?.filter(|n| *n > 0);
    let documents = batch(&mut cursor.results, size.unwrap_or(u64::MAX))?;
    let more = cursor.results.peek().is_some();
    if more {
        cursor.used = Instant::now();
        call.server.cursors.put_back(id, cursor);
    }
    Ok(
        doc! { "cursor": { "id": if more { id } else { 0 }, "ns": namespace, "nextBatch": documents } },
    )
}

pub fn kill_cursors(call: &Call<'_>) -> Answer<Document> {
    let namespace: Namespace = call.namespace()?;
    let (mut killed, mut unknown) = (Vec::new(), Vec::new());
    for item in call.array("cursors")? {
        let id =
            whole_number(item).ok_or_else(|| call.wrong_type("cursors", "an array of longs"))?;
        match call.server.cursors.take(id) {
            Some(cursor) if cursor.namespace == namespace.to_string() => {
                killed.push(Bson::Int64(id))
            }
            Some(cursor) => {
                call.server.cursors.put_back(id, cursor);
                unknown.push(Bson::Int64(id));
            }
            None => unknown.push(Bson::Int64(id)),
        }
    }
    Ok(
        doc! { "cursorsKilled": killed, "cursorsNotFound": unknown, "cursorsAlive": [], "cursorsUnknown": [] },
    )
}
