//! Which documents pass which filters, after MongoDB's documented behaviour.

use bson::{Document, doc};

use super::filter::Filter;
use super::parse::named_ids;

fn passes(query: Document, document: &Document) -> bool {
    Filter::parse(&query).unwrap().passes(document).unwrap()
}

#[test]
fn comparisons_meet_arrays_and_missing_fields() {
    let d = doc! { "n": 5, "s": "abc", "t": [1, 7], "e": { "x": 1 }, "z": null };
    let good = [
        doc! { "n": 5.0 },
        doc! { "n": { "$gt": 4, "$lte": 5 } },
        doc! { "n": { "$ne": 6 } },
        doc! { "t": 7 },
        doc! { "t": [1, 7] },
        doc! { "t": { "$gt": 6, "$lt": 2 } },
        doc! { "t.0": 1 },
        doc! { "e.x": 1 },
        doc! { "e": { "x": 1 } },
        doc! { "z": null },
        doc! { "missing": null },
        doc! { "missing": { "$gte": null } },
        doc! { "n": { "$nin": [1, 2] } },
        doc! { "t": { "$in": [9, 1] } },
        doc! { "missing": { "$in": [null] } },
        doc! { "missing": { "$exists": false }, "z": { "$exists": true } },
        doc! { "s": { "$regex": "^A", "$options": "i" } },
        doc! { "s": { "$not": { "$regex": "^x" } } },
        doc! { "s": { "$in": [bson::Regex { pattern: "b".try_into().unwrap(), options: "".try_into().unwrap() }] } },
        doc! { "t": { "$size": 2 } },
        doc! { "t": { "$all": [7, 1] } },
        doc! { "t": { "$elemMatch": { "$gt": 6, "$lt": 8 } } },
        doc! { "n": { "$mod": [3, 2] } },
        doc! { "n": { "$type": "number" }, "s": { "$type": 2 }, "t": { "$type": ["array"] } },
        doc! { "$or": [ { "n": 1 }, { "s": "abc" } ] },
        doc! { "$nor": [ { "n": 1 }, { "s": "x" } ] },
        doc! { "$and": [ { "n": 5 }, { "s": "abc" } ] },
        doc! { "$expr": { "$gt": ["$n", { "$arrayElemAt": ["$t", 0] }] } },
        doc! {},
    ];
    for query in good {
        assert!(passes(query.clone(), &d), "{query} should pass");
    }
    let bad = [
        doc! { "n": "5" },
        doc! { "n": { "$gt": "4" } },
        doc! { "n": { "$lt": f64::NAN } },
        doc! { "t": { "$ne": 7 } },
        doc! { "t": { "$elemMatch": { "$gt": 6, "$lt": 2 } } },
        doc! { "t": { "$size": 1 } },
        doc! { "t": { "$all": [] } },
        doc! { "e": { "x": 1, "y": 2 } },
        doc! { "n": null },
        doc! { "s": { "$regex": "^b" } },
        doc! { "missing": { "$ne": null } },
        doc! { "n": { "$not": { "$gt": 4 } } },
        doc! { "missing": { "$gt": null } },
    ];
    for query in bad {
        assert!(!passes(query.clone(), &d), "{query} should not pass");
    }
}

#[test]
fn embedded_documents_in_arrays() {
    let d = doc! { "c": [ { "a": 1, "b": 2 }, { "a": 3, "b": 4 } ] };
    assert!(passes(doc! { "c.a": 3 }, &d));
    assert!(passes(doc! { "c.a": 1, "c.b": 4 }, &d));
    assert!(!passes(
        doc! { "c": { "$elemMatch": { "a": 1, "b": 4 } } },
        &d
    ));
    assert!(passes(
        doc! { "c": { "$elemMatch": { "a": 1, "b": { "$lt": 3 } } } },
        &d
    ));
    assert!(passes(
        doc! { "c": { "$elemMatch": { "$or": [ { "a": 9 }, { "b": 4 } ] } } },
        &d
    ));
    assert!(passes(
        doc! { "c": { "$all": [ { "$elemMatch": { "a": 1 } }, { "$elemMatch": { "a": 3 } } ] } },
        &d
    ));
    assert!(passes(doc! { "c.1.b": 4 }, &d));
}

#[test]
fn what_is_unknown_is_refused_with_bad_value() {
    let bad = [
        doc! { "$where": "true" },
        doc! { "$text": { "$search": "x" } },
        doc! { "a": { "$near": [1, 2] } },
        doc! { "a": { "$gt": 1, "$bitsAllSet": 1 } },
        doc! { "a": { "$in": 1 } },
        doc! { "a": { "$not": 1 } },
        doc! { "a": { "$regex": "(?=x)" } },
        doc! { "a": { "$regex": "x", "$options": "q" } },
        doc! { "a": { "$options": "i" } },
        doc! { "a": { "$type": "nonsense" } },
        doc! { "a": { "$mod": [0, 1] } },
        doc! { "a": { "$size": -1 } },
        doc! { "$and": [] },
        doc! { "$or": { "a": 1 } },
    ];
    for query in bad {
        assert_eq!(Filter::parse(&query).unwrap_err().code, 2, "{query}");
    }
    let unknown = doc! { "$expr": { "$dateToString": {} } };
    assert_eq!(Filter::parse(&unknown).unwrap_err().code, 168);
}

#[test]
fn ids_are_found_in_queries() {
    assert_eq!(named_ids(&doc! { "_id": 1 }).unwrap().len(), 1);
    assert_eq!(
        named_ids(&doc! { "_id": { "$in": [1, 2] }, "a": 1 })
            .unwrap()
            .len(),
        2
    );
    assert_eq!(named_ids(&doc! { "_id": { "x": 1 } }).unwrap().len(), 1);
    assert!(named_ids(&doc! { "_id": { "$gt": 1 } }).is_none());
    assert!(named_ids(&doc! { "a": 1 }).is_none());
}
