// What an ordinary application does with the Node.js driver; throws at the first surprise.

import assert from "node:assert/strict";
import { Long, MongoClient, ObjectId } from "mongodb";

const client = new MongoClient(process.argv[2], { serverSelectionTimeoutMS: 120000 });
await client.connect();
const db = client.db();

const refused = async (code, promise) => assert.rejects(promise, (problem) => problem.code === code);

assert.match((await db.admin().buildInfo()).cadet, /not MongoDB/);

const posts = db.collection("posts");
await posts.insertMany(Array.from({ length: 500 }, (_, i) => ({ _id: i, n: i % 5, at: new Date(i), long: Long.fromNumber(i) })));
assert.equal(await posts.countDocuments({ n: { $in: [1, 2] } }), 200);
assert.equal(await posts.estimatedDocumentCount(), 500);
assert.equal((await posts.find({}, { batchSize: 50 }).sort({ _id: -1 }).toArray())[0]._id, 499);
let seen = 0;
for await (const post of posts.find({ n: 0 })) seen += post.n === 0 ? 1 : 0;
assert.equal(seen, 100);

assert.deepEqual(
  await posts.findOneAndUpdate({ _id: 3 }, { $inc: { n: 10 }, $unset: { at: 1, long: 1 } }, { returnDocument: "after" }),
  { _id: 3, n: 13 },
);
const upserted = await posts.updateOne({ key: "k" }, { $set: { v: 1 } }, { upsert: true });
assert.ok(upserted.upsertedId instanceof ObjectId);
assert.equal((await posts.deleteMany({ n: 4 })).deletedCount, 100);
await posts.createIndex({ key: 1 }, { unique: true, sparse: true });
await refused(11000, posts.insertOne({ key: "k" }));
assert.deepEqual((await posts.indexes()).map((index) => index.name), ["_id_", "key_1"]);

const groups = await posts.aggregate([
  { $match: { n: { $lt: 4 } } },
  { $group: { _id: "$n", count: { $sum: 1 }, average: { $avg: "$_id" } } },
  { $sort: { _id: 1 } },
]).toArray();
assert.deepEqual(groups.map((group) => group.count), [100, 100, 100, 99]);

await refused(2, posts.findOne({ a: { $geoWithin: {} } }));
await refused(59, db.command({ frobnicate: 1 }));
const session = client.startSession();
session.startTransaction();
await refused(20, posts.insertOne({ _id: "x" }, { session }));
await session.endSession();

assert.deepEqual((await db.listCollections().toArray()).map((c) => c.name), ["posts"]);
await db.dropDatabase();
await client.close();
