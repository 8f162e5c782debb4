//! What pipelines make of documents.

use bson::{Document, bson, doc};

use super::*;

fn run(pipeline: Bson, documents: Vec<Document>) -> Answer<Vec<Document>> {
    let stages = pipeline.as_array().unwrap().clone();
    let input: Results = Box::new(documents.into_iter().map(Ok));
    Pipeline::parse(&stages)?.run(input)?.collect()
}

fn posts() -> Vec<Document> {
    vec![
        doc! { "_id": 1, "who": "ann", "n": 2, "t": ["a", "b"] },
        doc! { "_id": 2, "who": "bob", "n": 3, "t": ["a"] },
        doc! { "_id": 3, "who": "ann", "n": 4.5 },
        doc! { "_id": 4, "who": "cid", "t": [] },
    ]
}

#[test]
fn groups_and_sorts() {
    let result = run(
        bson!([
            { "$match": { "_id": { "$lt": 4 } } },
            { "$group": {
                "_id": "$who", "sum": { "$sum": "$n" }, "avg": { "$avg": "$n" }, "least": { "$min": "$n" },
                "most": { "$max": "$n" }, "all": { "$push": "$n" }, "first": { "$first": "$_id" }, "count": { "$sum": 1 },
            } },
            { "$sort": { "_id": 1 } },
        ]),
        posts(),
    )
    .unwrap();
    assert_eq!(
        result,
        [
            doc! { "_id": "ann", "sum": 6.5, "avg": 3.25, "least": 2, "most": 4.5, "all": [2, 4.5], "first": 1, "count": 2 },
            doc! { "_id": "bob", "sum": 3, "avg": 3.0, "least": 3, "most": 3, "all": [3], "first": 2, "count": 1 },
        ]
    );
}

#[test]
fn unwinds_counts_and_pages() {
    let tags = bson!([{ "$unwind": "$t" }, { "$sortByCount": "$t" }]);
    assert_eq!(
        run(tags, posts()).unwrap(),
        [
            doc! { "_id": "a", "count": 2 },
            doc! { "_id": "b", "count": 1 }
        ]
    );
    let kept = bson!([{ "$unwind": { "path": "$t", "preserveNullAndEmptyArrays": true } }, { "$count": "n" }]);
    assert_eq!(run(kept, posts()).unwrap(), [doc! { "n": 5 }]);
    let page = bson!([{ "$sort": { "_id": -1 } }, { "$skip": 1 }, { "$limit": 2 }, { "$project": { "who": 1, "_id": 0 } }]);
    assert_eq!(
        run(page, posts()).unwrap(),
        [doc! { "who": "ann" }, doc! { "who": "bob" }]
    );
    let none = bson!([{ "$match": { "_id": 9 } }, { "$count": "n" }]);
    assert_eq!(run(none, posts()).unwrap(), Vec::<Document>::new());
}

#[test]
fn computes_fields() {
    let result = run(
        bson!([
            { "$match": { "_id": 1 } },
            { "$addFields": {
                "twice": { "$multiply": ["$n", 2] },
                "name": { "$concat": [{ "$toUpper": "$who" }, "!"] },
                "many": { "$cond": [{ "$gt": [{ "$size": "$t" }, 1] }, "yes", "no"] },
                "none": { "$ifNull": ["$missing", 0] },
            } },
            { "$unset": ["t", "_id", "n"] },
        ]),
        posts(),
    )
    .unwrap();
    assert_eq!(
        result,
        [doc! { "who": "ann", "twice": 4, "name": "ANN!", "many": "yes", "none": 0 }]
    );
}

#[test]
fn unknown_stages_and_operators_are_refused() {
    let code = |pipeline: Bson| run(pipeline, posts()).unwrap_err().code;
    assert_eq!(code(bson!([{ "$lookup": {} }])), 40324);
    assert_eq!(
        code(bson!([{ "$project": { "a": { "$sqrt": "$n" } } }])),
        168
    );
    assert_eq!(
        code(bson!([{ "$group": { "_id": null, "x": { "$stdDevPop": "$n" } } }])),
        2
    );
    assert_eq!(code(bson!([{ "$limit": 0 }])), 2);
    assert_eq!(code(bson!([{ "$match": {}, "$sort": {} }])), 2);
    assert_eq!(
        code(bson!([{ "$project": { "a": { "$divide": [1, 0] } } }])),
        2
    );
}
