"""What an ordinary application does with pymongo; leaves with an error at the first surprise."""

import sys
from datetime import datetime, timezone

import pymongo
from bson import Binary, Decimal128, Int64, ObjectId, Regex
from pymongo import ASCENDING, DESCENDING, InsertOne, MongoClient, ReturnDocument, UpdateOne
from pymongo.errors import BulkWriteError, DuplicateKeyError, OperationFailure

url = sys.argv[1]
client = MongoClient(url, serverSelectionTimeoutMS=120000)
db = client.get_default_database()


def refused(code, call):
    try:
        call()
    except OperationFailure as problem:
        assert problem.code == code, (problem.code, code, problem)
    else:
        raise AssertionError(f"expected a refusal with code {code}")


# Who is there
assert client.admin.command("ping")["ok"] == 1.0
assert "not MongoDB" in client.server_info()["cadet"]
assert client.admin.command("hello")["isWritablePrimary"]

# Every type comes back as it went
c = db.types
everything = {
    "_id": ObjectId(), "d": 1.5, "s": "ü€😀", "o": {"a": {"b": 1}}, "l": [1, "x", None, {"y": 2}], "b": b"\x00\xff",
    "u": Binary(b"0123456789abcdef", 4), "t": True, "n": None, "r": Regex("^a", "i"), "i": 42, "I": Int64(2**40),
    "at": datetime(2015, 4, 10, 12, 0, 0, 123000, tzinfo=timezone.utc), "dec": Decimal128("1.10"),
}
c.insert_one(everything)
back = c.with_options(codec_options=c.codec_options.with_options(tz_aware=True)).find_one({"_id": everything["_id"]})
assert back == everything and list(back) == list(everything), back
assert isinstance(back["I"], Int64)

# Queries
p = db.posts
p.insert_many([{"_id": i, "n": i % 10, "tags": ["even" if i % 2 == 0 else "odd", f"t{i % 3}"]} for i in range(1000)])
assert p.count_documents({}) == 1000 and p.estimated_document_count() == 1000
found = [d["_id"] for d in p.find({"n": {"$gte": 8}, "tags": "t0"}).sort("_id", DESCENDING).limit(3)]
assert found == [i for i in range(999, 0, -1) if i % 10 >= 8 and i % 3 == 0][:3], found
assert len(list(p.find(batch_size=37))) == 1000
assert p.count_documents({"tags": {"$all": ["odd", "t1"]}}) == sum(i % 2 == 1 and i % 3 == 1 for i in range(1000))
assert sorted(p.distinct("tags")) == ["even", "odd", "t0", "t1", "t2"]
assert p.find_one({"_id": {"$in": [5, 7]}}, {"n": 1, "_id": 0}) == {"n": 5}
assert list(p.find({}, {"tags": {"$slice": 1}}).skip(999)) == [{"_id": 999, "n": 9, "tags": ["odd"]}]
cursor = p.find(batch_size=10)
next(cursor)
cursor.close()
refused(2, lambda: p.find_one({"a": {"$nearSphere": [1, 2]}}))
refused(2, lambda: p.find_one({"$where": "true"}))
refused(59, lambda: db.command("frobnicate"))
refused(115, lambda: db.create_collection("capped", capped=True, size=4096))

# Writes
assert p.update_one({"_id": 1}, {"$set": {"x.y": 1}, "$inc": {"n": 5}, "$push": {"tags": "new"}}).modified_count == 1
assert p.find_one({"_id": 1}) == {"_id": 1, "n": 6, "tags": ["odd", "t1", "new"], "x": {"y": 1}}
result = p.update_many({"n": 3}, {"$addToSet": {"tags": "three"}, "$currentDate": {"at": True}})
assert result.matched_count == result.modified_count == 100
result = p.update_one({"_id": "new"}, {"$setOnInsert": {"a": 1}, "$max": {"m": 3}}, upsert=True)
assert result.upserted_id == "new" and p.find_one({"_id": "new"}) == {"_id": "new", "a": 1, "m": 3}
assert p.replace_one({"_id": "new"}, {"b": 2}).modified_count == 1
assert p.find_one_and_update({"_id": "new"}, {"$inc": {"b": 1}}, return_document=ReturnDocument.AFTER) == {"_id": "new", "b": 3}
assert p.find_one_and_delete({"_id": "new"})["b"] == 3
assert p.delete_many({"n": 7}).deleted_count == 100
try:
    p.bulk_write([InsertOne({"_id": 1}), InsertOne({"_id": 5000}), UpdateOne({"_id": 5000}, {"$set": {"z": 1}})], ordered=False)
    raise AssertionError("a duplicate was taken")
except BulkWriteError as problem:
    assert problem.details["nInserted"] == 1 and problem.details["nModified"] == 1
    assert problem.details["writeErrors"][0]["code"] == 11000
refused(9, lambda: p.update_one({}, {"$frob": {"a": 1}}))
p.with_options(write_concern=pymongo.WriteConcern(w=0)).insert_one({"_id": "silent"})
assert p.count_documents({"_id": "silent"}) in (0, 1)
large = p.insert_one({"blob": b"x" * (15 << 20)}).inserted_id
assert len(p.find_one({"_id": large})["blob"]) == 15 << 20

# Indexes
u = db.users
assert u.create_index([("email", ASCENDING)], unique=True) == "email_1"
u.create_index([("a", 1), ("b", -1)])
u.insert_one({"email": "a@example.com"})
try:
    u.insert_one({"email": "a@example.com"})
    raise AssertionError("a duplicate was taken")
except DuplicateKeyError as problem:
    assert problem.details["keyPattern"] == {"email": 1}
assert set(u.index_information()) == {"_id_", "email_1", "a_1_b_-1"}
u.drop_index("email_1")
u.insert_one({"email": "a@example.com"})
refused(67, lambda: u.create_index([("t", "text")]))
refused(67, lambda: u.create_index("at", expireAfterSeconds=60))

# Aggregation
rows = list(db.posts.aggregate([
    {"$match": {"n": {"$lt": 3}, "x": {"$exists": False}}}, {"$unwind": "$tags"}, {"$match": {"tags": {"$regex": "^t"}}},
    {"$group": {"_id": "$tags", "n": {"$sum": 1}, "most": {"$max": "$_id"}}}, {"$sort": {"_id": 1}},
    {"$project": {"tag": "$_id", "_id": 0, "n": 1}},
]))
assert [r["tag"] for r in rows] == ["t0", "t1", "t2"] and sum(r["n"] for r in rows) == 299, rows
refused(40324, lambda: list(db.posts.aggregate([{"$lookup": {"from": "x", "localField": "a", "foreignField": "b", "as": "c"}}])))

# Catalog
assert set(db.list_collection_names()) == {"types", "posts", "users"}
assert "app" in client.list_database_names()
db.users.drop()
assert "users" not in db.list_collection_names()

# Sessions carry on; transactions are refused as a server that stands alone does
with client.start_session() as session:
    db.posts.insert_one({"_id": "in session"}, session=session)
    session.start_transaction()
    refused(20, lambda: db.posts.insert_one({"_id": "in transaction"}, session=session))
    session.abort_transaction()
assert db.posts.count_documents({"_id": "in transaction"}) == 0

client.drop_database("app")
assert "app" not in client.list_database_names()
client.close()
