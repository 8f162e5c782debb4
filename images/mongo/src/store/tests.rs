//! What the store promises.

use super::*;
use bson::{Bson, Document, doc};

fn namespace() -> Namespace {
    Namespace::new("app", "posts").unwrap()
}

fn all(store: &Store, collection: &Collection) -> Vec<Document> {
    store.scan(collection).map(|item| item.unwrap().1).collect()
}

#[test]
fn documents_survive_reopening() {
    let folder = tempfile::tempdir().unwrap();
    {
        let store = Store::open(folder.path()).unwrap();
        let lock = store.write();
        let posts = store.ensure_collection(&namespace(), &lock).unwrap();
        store
            .insert(&posts, &doc! { "_id": 1, "u": "a" }, &lock)
            .unwrap();
        store
            .insert(&posts, &doc! { "_id": 2, "u": "b" }, &lock)
            .unwrap();
        store
            .add_index(
                &posts,
                &doc! { "key": { "u": 1 }, "name": "u_1", "unique": true },
                &lock,
            )
            .unwrap();
        store.make_durable().unwrap();
    }
    let store = Store::open(folder.path()).unwrap();
    let lock = store.write();
    let posts = store.collection(&namespace()).unwrap();
    assert_eq!(posts.count(), 2);
    assert_eq!(posts.indexes.len(), 2);
    let refused = store
        .insert(&posts, &doc! { "_id": 3, "u": "a" }, &lock)
        .unwrap_err();
    assert_eq!(refused.code, 11000);
    store
        .insert(&posts, &doc! { "_id": 3, "u": "c" }, &lock)
        .unwrap();
    assert_eq!(all(&store, &posts).len(), 3);
}

#[test]
fn a_second_server_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let _first = Store::open(folder.path()).unwrap();
    assert!(matches!(
        Store::open(folder.path()),
        Err(StoreError::Open { .. })
    ));
}

#[test]
fn unique_indexes_follow_replace_and_remove() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let lock = store.write();
    let posts = store.ensure_collection(&namespace(), &lock).unwrap();
    let spec = doc! { "key": { "t": 1 }, "name": "t_1", "unique": true, "sparse": true };
    let posts_with = store.add_index(&posts, &spec, &lock).unwrap();
    let first = doc! { "_id": 1, "t": ["a", "b"] };
    store.insert(&posts_with, &first, &lock).unwrap();
    // Sparse: documents without the field do not meet.
    store
        .insert(&posts_with, &doc! { "_id": 2 }, &lock)
        .unwrap();
    store
        .insert(&posts_with, &doc! { "_id": 3 }, &lock)
        .unwrap();
    assert_eq!(
        store
            .insert(&posts_with, &doc! { "_id": 4, "t": "b" }, &lock)
            .unwrap_err()
            .code,
        11000
    );
    let record = store
        .find_id(&posts_with, &Bson::Double(1.0))
        .unwrap()
        .unwrap();
    let second = doc! { "_id": 1, "t": ["a", "c"] };
    store
        .replace(&posts_with, record, &first, &second, &lock)
        .unwrap();
    store
        .insert(&posts_with, &doc! { "_id": 4, "t": "b" }, &lock)
        .unwrap();
    store.remove(&posts_with, record, &second, &lock).unwrap();
    store
        .insert(&posts_with, &doc! { "_id": 1, "t": "c" }, &lock)
        .unwrap();
    assert_eq!(posts_with.count(), 4);
    assert_eq!(
        all(&store, &posts_with)
            .last()
            .unwrap()
            .get_i32("_id")
            .unwrap(),
        1
    );
}

#[test]
fn an_index_that_is_broken_already_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let lock = store.write();
    let posts = store.ensure_collection(&namespace(), &lock).unwrap();
    store
        .insert(&posts, &doc! { "_id": 1, "u": "a" }, &lock)
        .unwrap();
    store
        .insert(&posts, &doc! { "_id": 2, "u": "a" }, &lock)
        .unwrap();
    let spec = doc! { "key": { "u": 1 }, "name": "u_1", "unique": true };
    assert_eq!(
        store.add_index(&posts, &spec, &lock).unwrap_err().code,
        11000
    );
    assert_eq!(store.collection(&namespace()).unwrap().indexes.len(), 1);
}

#[test]
fn rubbish_of_an_interrupted_drop_is_swept() {
    let folder = tempfile::tempdir().unwrap();
    {
        let store = Store::open(folder.path()).unwrap();
        let lock = store.write();
        let posts = store.ensure_collection(&namespace(), &lock).unwrap();
        store.insert(&posts, &doc! { "_id": 1 }, &lock).unwrap();
        // The first half of a drop: the catalog entry goes, then the power does.
        store
            .tree
            .scan_prefix([keys::CATALOG])
            .keys()
            .for_each(|key| {
                store.tree.remove(key.unwrap()).unwrap();
            });
        store.db.flush().unwrap();
    }
    let store = Store::open(folder.path()).unwrap();
    assert_eq!(store.tree.len(), 0);
    let lock = store.write();
    let posts = store.ensure_collection(&namespace(), &lock).unwrap();
    assert_eq!(all(&store, &posts).len(), 0);
}

#[test]
fn dropping_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let lock = store.write();
    let posts = store.ensure_collection(&namespace(), &lock).unwrap();
    for id in 0..2500 {
        store.insert(&posts, &doc! { "_id": id }, &lock).unwrap();
    }
    assert!(store.drop_collection(&namespace(), &lock).unwrap());
    assert!(!store.drop_collection(&namespace(), &lock).unwrap());
    assert_eq!(store.tree.len(), 0);
}

#[test]
fn bad_names_are_refused() {
    for (database, collection) in [
        ("", "a"),
        ("a b", "c"),
        ("a", ""),
        ("a", "$x"),
        ("a", ".x"),
        ("a", "x\0"),
    ] {
        assert_eq!(Namespace::new(database, collection).unwrap_err().code, 73);
    }
}
