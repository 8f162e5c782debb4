//! What updates do to documents.

use super::*;
use bson::{bson, doc};

fn updated(before: Document, update: Document) -> Answer<Document> {
    Update::parse(&Bson::Document(update))?.apply(&before, false)
}

#[test]
fn plain_operators() {
    let before = doc! { "_id": 1, "n": 5, "s": "x", "d": { "a": 1 } };
    assert_eq!(
        updated(
            before.clone(),
            doc! { "$set": { "d.b": 2, "e.f": 3 }, "$inc": { "n": 2, "m": 1 } }
        )
        .unwrap(),
        doc! { "_id": 1, "n": 7, "s": "x", "d": { "a": 1, "b": 2 }, "e": { "f": 3 }, "m": 1 }
    );
    assert_eq!(
        updated(
            before.clone(),
            doc! { "$unset": { "s": "", "d.a": 1, "zz": 1 }, "$mul": { "n": 3, "k": 4 } }
        )
        .unwrap(),
        doc! { "_id": 1, "n": 15, "d": {}, "k": 0 }
    );
    assert_eq!(
        updated(
            before.clone(),
            doc! { "$min": { "n": 3 }, "$max": { "d.a": 9 }, "$rename": { "s": "t.u" } }
        )
        .unwrap(),
        doc! { "_id": 1, "n": 3, "d": { "a": 9 }, "t": { "u": "x" } }
    );
    let dated = updated(
        before,
        doc! { "$currentDate": { "at": true, "ts": { "$type": "timestamp" } } },
    )
    .unwrap();
    assert!(matches!(dated.get("at"), Some(Bson::DateTime(_))));
    assert!(matches!(dated.get("ts"), Some(Bson::Timestamp(_))));
}

#[test]
fn array_operators() {
    let before = doc! { "_id": 1, "t": [3, 1, 2], "d": [ { "n": 1 }, { "n": 2 } ] };
    let t = |update: Document| {
        updated(before.clone(), update)
            .unwrap()
            .get("t")
            .cloned()
            .unwrap()
    };
    assert_eq!(t(doc! { "$push": { "t": 9 } }), bson!([3, 1, 2, 9]));
    assert_eq!(
        t(doc! { "$push": { "t": { "$each": [5, 0], "$sort": 1, "$slice": -3 } } }),
        bson!([2, 3, 5])
    );
    assert_eq!(
        t(doc! { "$push": { "t": { "$each": [7], "$position": 0 } } }),
        bson!([7, 3, 1, 2])
    );
    assert_eq!(
        t(doc! { "$addToSet": { "t": { "$each": [1, 4, 4.0] } } }),
        bson!([3, 1, 2, 4])
    );
    assert_eq!(t(doc! { "$pull": { "t": { "$gte": 2 } } }), bson!([1]));
    assert_eq!(t(doc! { "$pull": { "t": 1 } }), bson!([3, 2]));
    assert_eq!(t(doc! { "$pullAll": { "t": [1, 3] } }), bson!([2]));
    assert_eq!(t(doc! { "$pop": { "t": -1 } }), bson!([1, 2]));
    assert_eq!(t(doc! { "$set": { "t.1": 8 } }), bson!([3, 8, 2]));
    assert_eq!(t(doc! { "$set": { "t.4": 8 } }), bson!([3, 1, 2, null, 8]));
    assert_eq!(t(doc! { "$unset": { "t.0": 1 } }), bson!([null, 1, 2]));
    let pulled = updated(
        before.clone(),
        doc! { "$pull": { "d": { "n": { "$lt": 2 } } } },
    )
    .unwrap();
    assert_eq!(pulled.get("d"), Some(&bson!([{ "n": 2 }])));
}

#[test]
fn refusals_carry_the_right_codes() {
    let before = doc! { "_id": 1, "s": "x", "t": [1] };
    let code = |update: Document| updated(before.clone(), update).unwrap_err().code;
    assert_eq!(code(doc! { "$set": { "_id": 2 } }), 66);
    assert_eq!(code(doc! { "_id": 2, "x": 1 }), 66);
    assert_eq!(code(doc! { "$unset": { "_id": 1 } }), 66);
    assert_eq!(code(doc! { "$inc": { "s": 1 } }), 14);
    assert_eq!(code(doc! { "$inc": { "n": "1" } }), 14);
    assert_eq!(code(doc! { "$set": { "s.a": 1 } }), 28);
    assert_eq!(code(doc! { "$set": { "t.a": 1 } }), 28);
    assert_eq!(code(doc! { "$set": { "a": 1 }, "$inc": { "a.b": 1 } }), 40);
    assert_eq!(code(doc! { "$bit": { "a": { "and": 1 } } }), 9);
    assert_eq!(code(doc! { "$bit": {} }), 9);
    assert_eq!(code(doc! { "$set": { "t.$": 1 } }), 115);
    assert_eq!(code(doc! { "$push": { "s": 1 } }), 2);
    assert_eq!(code(doc! { "$set": { "t.99999999": 1 } }), 2);
    assert_eq!(code(doc! { "$set": { "a": 1 }, "b": 2 }), 9);
}

#[test]
fn replacement_keeps_the_id() {
    assert_eq!(
        updated(doc! { "_id": 1, "a": 1 }, doc! { "b": 2 }).unwrap(),
        doc! { "_id": 1, "b": 2 }
    );
    assert_eq!(
        updated(doc! { "_id": 1, "a": 1 }, doc! { "b": 2, "_id": 1.0 }).unwrap(),
        doc! { "_id": 1, "b": 2 }
    );
}

#[test]
fn upserts_start_from_the_equalities() {
    let seed =
        seed_of(&doc! { "a": 1, "b.c": { "$eq": 2 }, "d": { "$gt": 1 }, "$and": [ { "e": 3 } ] })
            .unwrap();
    assert_eq!(seed, doc! { "a": 1, "b": { "c": 2 }, "e": 3 });
    let update = Update::parse(&bson!({ "$setOnInsert": { "x": 1 }, "$set": { "y": 2 } })).unwrap();
    assert_eq!(
        update.apply(&seed, true).unwrap(),
        doc! { "a": 1, "b": { "c": 2 }, "e": 3, "x": 1, "y": 2 }
    );
    assert_eq!(
        update.apply(&doc! { "_id": 1 }, false).unwrap(),
        doc! { "_id": 1, "y": 2 }
    );
}
