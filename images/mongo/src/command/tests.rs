//! Whole commands against a store in a temporary folder.

use bson::{Bson, Document, doc};

use super::*;

struct Fixture {
    server: Server,
    _folder: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        Self {
            server: Server::new(store, vec!["mongod".into()], 27017),
            _folder: folder,
        }
    }

    fn run(&self, body: Document) -> Document {
        let peer = Peer {
            connection: 1,
            address: "127.0.0.1:1".into(),
        };
        run(&self.server, &peer, "app", &body)
    }

    fn ok(&self, body: Document) -> Document {
        let reply = self.run(body.clone());
        assert_eq!(reply.get("ok"), Some(&Bson::Double(1.0)), "{body}: {reply}");
        reply
    }

    fn code(&self, body: Document) -> i32 {
        let reply = self.run(body.clone());
        assert_eq!(reply.get("ok"), Some(&Bson::Double(0.0)), "{body}: {reply}");
        reply.get_i32("code").unwrap()
    }
}

fn numbered(reply: &Document, batch: &str) -> (i64, Vec<i32>) {
    let cursor = reply.get_document("cursor").unwrap();
    let ids = cursor.get_array(batch).unwrap().iter();
    let ids = ids
        .map(|d| d.as_document().unwrap().get_i32("_id").unwrap())
        .collect();
    (cursor.get_i64("id").unwrap(), ids)
}

#[test]
fn it_says_what_it_is() {
    let f = Fixture::new();
    for (command, field) in [
        ("hello", "cadet"),
        ("isMaster", "cadet"),
        ("buildInfo", "cadet"),
        ("serverStatus", "cadet"),
    ] {
        assert_eq!(f.ok(doc! { command: 1 }).get_str(field).unwrap(), NOTICE);
    }
    let log = f.ok(doc! { "getLog": "startupWarnings" });
    assert!(
        log.get_array("log").unwrap()[0]
            .as_str()
            .unwrap()
            .contains(NOTICE)
    );
    // Old and new drivers both accept these limits.
    let hello = f.ok(doc! { "hello": 1 });
    assert_eq!(hello.get_i32("minWireVersion").unwrap(), 0);
    assert!(hello.get_i32("maxWireVersion").unwrap() >= 9);
}

#[test]
fn refusals_have_mongodbs_codes() {
    let f = Fixture::new();
    assert_eq!(f.code(doc! { "nonsense": 1 }), 59);
    assert_eq!(f.code(doc! {}), 59);
    assert_eq!(f.code(doc! { "find": "c", "surprise": 1 }), 40415);
    assert_eq!(f.code(doc! { "find": 1 }), 73);
    assert_eq!(
        f.code(doc! { "find": "c", "filter": { "a": { "$near": 1 } } }),
        2
    );
    assert_eq!(f.code(doc! { "find": "c", "filter": 3 }), 14);
    assert_eq!(f.code(doc! { "find": "c", "tailable": true }), 115);
    assert_eq!(
        f.code(doc! { "find": "c", "collation": { "locale": "de" } }),
        115
    );
    assert_eq!(
        f.code(doc! { "create": "c", "capped": true, "size": 100 }),
        115
    );
    assert_eq!(f.code(doc! { "getMore": 77i64, "collection": "c" }), 43);
    assert_eq!(f.code(doc! { "listIndexes": "c" }), 26);
    assert_eq!(
        f.code(doc! { "saslStart": 1, "mechanism": "SCRAM-SHA-256", "payload": "" }),
        18
    );
    assert_eq!(
        f.code(doc! { "insert": "c", "documents": [{}], "writeConcern": { "w": 2 } }),
        2
    );
    assert_eq!(f.code(doc! { "replSetGetStatus": 1 }), 76);
    let transaction = doc! { "insert": "c", "documents": [{}], "txnNumber": 1i64, "startTransaction": true, "autocommit": false };
    assert_eq!(f.code(transaction), 20);
    assert_eq!(f.code(doc! { "commitTransaction": 1 }), 20);
    let ttl = doc! { "createIndexes": "c", "indexes": [ { "key": { "at": 1 }, "name": "x", "expireAfterSeconds": 60 } ] };
    assert_eq!(f.code(ttl), 67);
    let text =
        doc! { "createIndexes": "c", "indexes": [ { "key": { "at": "text" }, "name": "x" } ] };
    assert_eq!(f.code(text), 67);
    assert!(
        f.server.store.collections().is_empty(),
        "a refused command leaves nothing behind"
    );
}

#[test]
fn cursors_hand_out_batches() {
    let f = Fixture::new();
    let documents: Vec<Document> = (0..250).map(|i| doc! { "_id": i }).collect();
    f.ok(doc! { "insert": "c", "documents": documents });
    let (id, first) = numbered(&f.ok(doc! { "find": "c" }), "firstBatch");
    assert_eq!(first, (0..101).collect::<Vec<_>>());
    assert_ne!(id, 0);
    assert_eq!(f.code(doc! { "getMore": id, "collection": "other" }), 2);
    let (id, next) = numbered(
        &f.ok(doc! { "getMore": id, "collection": "c", "batchSize": 100 }),
        "nextBatch",
    );
    assert_eq!(next, (101..201).collect::<Vec<_>>());
    let (end, last) = numbered(
        &f.ok(doc! { "getMore": id, "collection": "c" }),
        "nextBatch",
    );
    assert_eq!((end, last.len()), (0, 49));
    let (id, _) = numbered(&f.ok(doc! { "find": "c", "batchSize": 0 }), "firstBatch");
    let killed = f.ok(doc! { "killCursors": "c", "cursors": [id, 5i64] });
    assert_eq!(
        killed.get_array("cursorsKilled").unwrap(),
        &[Bson::Int64(id)]
    );
    assert_eq!(
        killed.get_array("cursorsNotFound").unwrap(),
        &[Bson::Int64(5)]
    );
    let (id, few) = numbered(
        &f.ok(doc! { "find": "c", "limit": 3, "skip": 5, "sort": { "_id": -1 } }),
        "firstBatch",
    );
    assert_eq!((id, few), (0, vec![244, 243, 242]));
    let (id, one) = numbered(
        &f.ok(doc! { "find": "c", "batchSize": 1, "singleBatch": true }),
        "firstBatch",
    );
    assert_eq!((id, one.len()), (0, 1));
    assert_eq!(f.server.cursors.open(), 0);
}

#[test]
fn ordered_writes_stop_at_an_error_and_unordered_go_on() {
    let f = Fixture::new();
    let documents = [
        doc! { "_id": 1 },
        doc! { "_id": 1 },
        doc! { "_id": 2 },
        doc! { "_id": [1] },
    ];
    let reply = f.ok(doc! { "insert": "a", "documents": documents.to_vec() });
    assert_eq!(reply.get_i32("n").unwrap(), 1);
    assert_eq!(reply.get_array("writeErrors").unwrap().len(), 1);
    let reply = f.ok(doc! { "insert": "b", "documents": documents.to_vec(), "ordered": false });
    assert_eq!(reply.get_i32("n").unwrap(), 2);
    let errors = reply.get_array("writeErrors").unwrap();
    let codes: Vec<_> = errors
        .iter()
        .map(|e| e.as_document().unwrap().get_i32("code").unwrap())
        .collect();
    assert_eq!(codes, [11000, 2]);
    let first = errors[0].as_document().unwrap();
    assert_eq!(first.get_document("keyValue").unwrap(), &doc! { "_id": 1 });
}

#[test]
fn updates_upserts_and_deletes() {
    let f = Fixture::new();
    f.ok(doc! { "insert": "c", "documents": [ { "_id": 1, "n": 1 }, { "_id": 2, "n": 1 }, { "_id": 3, "n": 5 } ] });
    let reply = f.ok(doc! { "update": "c", "updates": [
        { "q": { "n": 1 }, "u": { "$set": { "n": 2 } }, "multi": true },
        { "q": { "_id": 9 }, "u": { "$inc": { "n": 1 } }, "upsert": true },
        { "q": { "_id": 3 }, "u": { "$set": { "n": 5 } } },
    ] });
    assert_eq!(reply.get_i32("n").unwrap(), 4);
    assert_eq!(reply.get_i32("nModified").unwrap(), 2);
    assert_eq!(
        reply.get_array("upserted").unwrap(),
        &[Bson::Document(doc! { "index": 1, "_id": 9 })]
    );
    assert_eq!(
        f.ok(doc! { "count": "c", "query": { "n": 2 } })
            .get_i32("n")
            .unwrap(),
        2
    );
    assert_eq!(
        f.ok(doc! { "delete": "c", "deletes": [ { "q": { "n": 2 }, "limit": 1 } ] })
            .get_i32("n")
            .unwrap(),
        1
    );
    assert_eq!(
        f.ok(doc! { "delete": "c", "deletes": [ { "q": {}, "limit": 0 } ] })
            .get_i32("n")
            .unwrap(),
        3
    );
    assert_eq!(f.ok(doc! { "count": "c" }).get_i32("n").unwrap(), 0);
    let unknown =
        f.ok(doc! { "update": "c", "updates": [ { "q": {}, "u": { "$frob": { "a": 1 } } } ] });
    let errors = unknown.get_array("writeErrors").unwrap();
    assert_eq!(errors[0].as_document().unwrap().get_i32("code").unwrap(), 9);
}

#[test]
fn find_and_modify_in_all_its_forms() {
    let f = Fixture::new();
    f.ok(doc! { "insert": "c", "documents": [ { "_id": 1, "n": 1 }, { "_id": 2, "n": 7 } ] });
    let reply = f.ok(doc! { "findAndModify": "c", "query": {}, "sort": { "n": -1 }, "update": { "$inc": { "n": 1 } }, "new": true, "fields": { "_id": 0 } });
    assert_eq!(reply.get_document("value").unwrap(), &doc! { "n": 8 });
    let reply = f.ok(doc! { "findAndModify": "c", "query": { "_id": 5 }, "update": { "n": 3 }, "upsert": true, "new": true });
    assert_eq!(
        reply.get_document("value").unwrap(),
        &doc! { "_id": 5, "n": 3 }
    );
    let reply = f.ok(doc! { "findAndModify": "c", "query": { "_id": 1 }, "remove": true });
    assert_eq!(
        reply.get_document("value").unwrap(),
        &doc! { "_id": 1, "n": 1 }
    );
    let reply = f.ok(doc! { "findAndModify": "c", "query": { "_id": 1 }, "remove": true });
    assert_eq!(reply.get("value"), Some(&Bson::Null));
    assert_eq!(f.code(doc! { "findAndModify": "c", "query": {} }), 9);
}

#[test]
fn collections_and_indexes_are_listed_and_dropped() {
    let f = Fixture::new();
    let index = doc! { "key": { "u": 1 }, "name": "u_1", "unique": true };
    let reply = f.ok(doc! { "createIndexes": "c", "indexes": [index.clone()] });
    assert_eq!(reply.get_i32("numIndexesAfter").unwrap(), 2);
    assert!(
        f.ok(doc! { "createIndexes": "c", "indexes": [index] })
            .contains_key("note")
    );
    let other = doc! { "key": { "u": 1 }, "name": "u_1" };
    assert_eq!(
        f.code(doc! { "createIndexes": "c", "indexes": [other] }),
        85
    );
    f.ok(doc! { "insert": "c", "documents": [ { "_id": 1, "u": "a" } ] });
    let update = doc! { "update": "c", "updates": [ { "q": { "_id": 2 }, "u": { "$set": { "u": "a" } }, "upsert": true } ] };
    let errors = f.ok(update);
    assert_eq!(
        errors.get_array("writeErrors").unwrap()[0]
            .as_document()
            .unwrap()
            .get_i32("code")
            .unwrap(),
        11000
    );
    assert_eq!(f.code(doc! { "dropIndexes": "c", "index": "_id_" }), 72);
    assert_eq!(f.code(doc! { "dropIndexes": "c", "index": "nope" }), 27);
    f.ok(doc! { "dropIndexes": "c", "index": "u_1" });
    f.ok(doc! { "insert": "c", "documents": [ { "_id": 2, "u": "a" } ] });
    let listed = f.ok(doc! { "listCollections": 1, "filter": { "name": "c" }, "nameOnly": true });
    assert_eq!(
        listed
            .get_document("cursor")
            .unwrap()
            .get_array("firstBatch")
            .unwrap()
            .len(),
        1
    );
    let databases = f.ok(doc! { "listDatabases": 1, "nameOnly": true });
    assert_eq!(
        databases.get_array("databases").unwrap(),
        &[Bson::Document(doc! { "name": "app" })]
    );
    f.ok(doc! { "drop": "c" });
    f.ok(doc! { "dropDatabase": 1 });
    assert!(
        f.ok(doc! { "listDatabases": 1 })
            .get_array("databases")
            .unwrap()
            .is_empty()
    );
}

#[test]
fn distinct_and_hints() {
    let f = Fixture::new();
    f.ok(doc! { "insert": "c", "documents": [ { "t": ["a", "b"] }, { "t": "a" }, { "t": null }, {} ] });
    let reply = f.ok(doc! { "distinct": "c", "key": "t" });
    assert_eq!(
        reply.get_array("values").unwrap(),
        &vec![Bson::from("a"), Bson::from("b"), Bson::Null]
    );
    assert_eq!(f.code(doc! { "find": "c", "hint": "nope" }), 2);
    f.ok(doc! { "find": "c", "hint": { "_id": 1 } });
}

#[test]
fn collections_are_estimated_the_way_of_2021() {
    let f = Fixture::new();
    let estimate = doc! { "aggregate": "c", "cursor": {}, "pipeline": [
        { "$collStats": { "count": {} } }, { "$group": { "_id": 1, "n": { "$sum": "$count" } } },
    ] };
    assert_eq!(f.code(estimate.clone()), 26);
    f.ok(doc! { "insert": "c", "documents": [ {}, {}, {} ] });
    let reply = f.ok(estimate);
    let batch = reply
        .get_document("cursor")
        .unwrap()
        .get_array("firstBatch")
        .unwrap();
    assert_eq!(batch, &vec![Bson::Document(doc! { "_id": 1, "n": 3i64 })]);
    let storage = doc! { "aggregate": "c", "cursor": {}, "pipeline": [ { "$collStats": { "storageStats": {} } } ] };
    assert_eq!(f.code(storage), 115);
}
