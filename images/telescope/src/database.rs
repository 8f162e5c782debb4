//! Everything asked of MongoDB. Connects lazily: the app starts before the database and
//! finds it again after a restart.

use std::collections::HashMap;
use std::time::Duration;

use mongodb::bson::{Bson, DateTime, Document, doc, oid::ObjectId};
use mongodb::error::{Error, ErrorKind, WriteFailure};
use mongodb::options::{ClientOptions, IndexOptions};
use mongodb::{Client, Collection, Cursor, Database as Handle, IndexModel};
use serde::de::DeserializeOwned;

use crate::model::{Comment, NewPost, Post, Rank};

/// How long a page waits for the database before it says that it waits.
const PATIENCE: Duration = Duration::from_secs(2);
/// Connections to the database at most; every open page needs one for moments only.
const POOL: u32 = 20;
/// Posts that compete for "best": the newest ones.
const CANDIDATES: i64 = 500;
/// Comments shown under one post at most.
pub const MAX_COMMENTS: i64 = 1000;
/// MongoDB's code for a broken unique index.
const DUPLICATE_KEY: i32 = 11000;

/// What the database could not do.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// The connection string cannot be used.
    #[error("MONGO_URL cannot be used: {0}")]
    Address(Error),
    /// Nothing answers, or it went away in the middle.
    #[error("{0}")]
    Unreachable(String),
    /// It answered, with a refusal.
    #[error("the database refused to {act}: {source}")]
    Refused {
        /// What was asked.
        act: &'static str,
        /// Its answer.
        source: Error,
    },
}

/// A page of posts.
pub struct Page {
    /// The posts, in order.
    pub posts: Vec<Post>,
    /// Whether a further page exists.
    pub more: bool,
}

/// Which posts, in which order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// By votes and age.
    Best,
    /// By age alone.
    New,
}

/// The database of the app.
#[derive(Clone)]
pub struct Database {
    handle: Handle,
    address: String,
}

fn failed(act: &'static str) -> impl Fn(Error) -> DatabaseError {
    move |source| match *source.kind {
        ErrorKind::ServerSelection { ref message, .. } => {
            DatabaseError::Unreachable(plain(message))
        }
        ErrorKind::Io(_)
        | ErrorKind::ConnectionPoolCleared { .. }
        | ErrorKind::DnsResolve { .. } => DatabaseError::Unreachable(source.to_string()),
        _ => DatabaseError::Refused { act, source },
    }
}

/// The driver tells its whole view of the servers; the reason in it is what people need.
fn plain(message: &str) -> String {
    let reason = message
        .split_once("Error: Kind: ")
        .map(|(_, rest)| rest.split(", labels:").next().unwrap_or(rest));
    reason.unwrap_or(message).to_owned()
}

async fn collect<T: DeserializeOwned>(
    cursor: Cursor<Document>,
    act: &'static str,
) -> Result<Vec<T>, DatabaseError> {
    let mut cursor = cursor.with_type::<T>();
    let mut items = Vec::new();
    while cursor.advance().await.map_err(failed(act))? {
        items.push(cursor.deserialize_current().map_err(failed(act))?);
    }
    Ok(items)
}

impl Database {
    /// Prepares a client; nothing is contacted yet.
    pub async fn new(url: &str) -> Result<Self, DatabaseError> {
        let mut options = ClientOptions::parse(url)
            .await
            .map_err(DatabaseError::Address)?;
        options.app_name.get_or_insert_with(|| "telescope".into());
        options.server_selection_timeout.get_or_insert(PATIENCE);
        options.connect_timeout.get_or_insert(PATIENCE);
        options.max_pool_size.get_or_insert(POOL);
        let address = options
            .hosts
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(", ");
        let name = options
            .default_database
            .clone()
            .unwrap_or_else(|| "telescope".into());
        let client = Client::with_options(options).map_err(DatabaseError::Address)?;
        Ok(Self {
            handle: client.database(&name),
            address,
        })
    }

    /// The servers' addresses from the connection string.
    pub fn address(&self) -> &str {
        &self.address
    }

    fn posts(&self) -> Collection<Document> {
        self.handle.collection("posts")
    }

    fn comments(&self) -> Collection<Document> {
        self.handle.collection("comments")
    }

    /// Which server answers, in words. A stand-in's own words if it has some.
    pub async fn server(&self) -> Result<String, DatabaseError> {
        let info = self
            .handle
            .run_command(doc! { "buildInfo": 1 })
            .await
            .map_err(failed("say what it is"))?;
        let version = info.get_str("version").unwrap_or("of unknown version");
        Ok(match info.get_str("cadet") {
            Ok(words) => words.to_owned(),
            Err(_) => format!("MongoDB {version}"),
        })
    }

    async fn select(
        &self,
        stages: Vec<Document>,
        visitor: &str,
    ) -> Result<Vec<Post>, DatabaseError> {
        let mut pipeline = stages;
        pipeline.push(doc! { "$project": {
            "title": 1, "url": 1, "category": 1, "author": 1, "votes": 1, "created": 1,
            "voted": { "$in": [ { "$literal": visitor }, "$voters" ] },
        } });
        let act = "list posts";
        let cursor = self
            .posts()
            .aggregate(pipeline)
            .await
            .map_err(failed(act))?;
        collect(cursor, act).await
    }

    /// One page of posts; `page` counts from 0.
    pub async fn page(
        &self,
        order: Order,
        category: Option<&str>,
        page: u32,
        size: u32,
        visitor: &str,
    ) -> Result<Page, DatabaseError> {
        let matching = match category {
            Some(category) => doc! { "category": category },
            None => doc! {},
        };
        let skip = i64::from(page) * i64::from(size);
        let newest = doc! { "$sort": { "created": -1, "_id": -1 } };
        let mut posts = match order {
            Order::New => {
                // One more than shown tells whether there is a next page.
                let stages = vec![
                    doc! { "$match": matching },
                    newest,
                    doc! { "$skip": skip },
                    doc! { "$limit": i64::from(size) + 1 },
                ];
                self.select(stages, visitor).await?
            }
            Order::Best => {
                let stages = vec![
                    doc! { "$match": matching },
                    newest,
                    doc! { "$limit": CANDIDATES },
                    doc! { "$project": { "votes": 1, "created": 1 } },
                ];
                let act = "rank posts";
                let cursor = self.posts().aggregate(stages).await.map_err(failed(act))?;
                let mut ranks: Vec<Rank> = collect(cursor, act).await?;
                let now = DateTime::now();
                ranks.sort_by(|a, b| b.score(now).total_cmp(&a.score(now)));
                let from = usize::try_from(skip).unwrap_or(usize::MAX);
                let wanted: Vec<ObjectId> = ranks
                    .iter()
                    .skip(from)
                    .take(size as usize + 1)
                    .map(|rank| rank.id)
                    .collect();
                let stages = vec![doc! { "$match": { "_id": { "$in": wanted.clone() } } }];
                let found = self.select(stages, visitor).await?;
                let mut by_id: HashMap<ObjectId, Post> =
                    found.into_iter().map(|post| (post.id, post)).collect();
                wanted.iter().filter_map(|id| by_id.remove(id)).collect()
            }
        };
        let more = posts.len() > size as usize;
        posts.truncate(size as usize);
        Ok(Page { posts, more })
    }

    /// One post, if it exists.
    pub async fn post(&self, id: ObjectId, visitor: &str) -> Result<Option<Post>, DatabaseError> {
        let found = self
            .select(vec![doc! { "$match": { "_id": id } }], visitor)
            .await?;
        Ok(found.into_iter().next())
    }

    /// How many comments each of these posts has; posts without any are left out.
    pub async fn comment_counts(
        &self,
        posts: &[Post],
    ) -> Result<HashMap<ObjectId, i64>, DatabaseError> {
        let ids: Vec<ObjectId> = posts.iter().map(|post| post.id).collect();
        let act = "count comments";
        let cursor = self
            .comments()
            .aggregate(vec![
                doc! { "$match": { "post": { "$in": ids } } },
                doc! { "$group": { "_id": "$post", "n": { "$sum": 1 } } },
            ])
            .await
            .map_err(failed(act))?;
        let counted: Vec<Document> = collect(cursor, act).await?;
        Ok(counted
            .iter()
            .filter_map(|d| {
                let n = match d.get("n")? {
                    Bson::Int32(n) => i64::from(*n),
                    Bson::Int64(n) => *n,
                    _ => return None,
                };
                Some((d.get_object_id("_id").ok()?, n))
            })
            .collect())
    }

    /// All categories in use, sorted.
    pub async fn categories(&self) -> Result<Vec<String>, DatabaseError> {
        let values = self
            .posts()
            .distinct("category", doc! { "category": { "$exists": true } })
            .await
            .map_err(failed("list categories"))?;
        let mut names: Vec<String> = values
            .iter()
            .filter_map(|v| v.as_str().map(str::to_owned))
            .collect();
        names.sort();
        Ok(names)
    }

    /// Stores a post. If the link was shared before, votes for that post instead.
    /// Returns the post's id and whether it is new.
    pub async fn share(
        &self,
        post: &NewPost,
        visitor: &str,
    ) -> Result<(ObjectId, bool), DatabaseError> {
        // Asked for every time: the database may be a fresh one since the last post.
        let unique = IndexOptions::builder().unique(true).build();
        let index = IndexModel::builder()
            .keys(doc! { "url": 1 })
            .options(unique)
            .build();
        self.posts()
            .create_index(index)
            .await
            .map_err(failed("make links unique"))?;
        let act = "store the post";
        let posts: Collection<NewPost> = self.posts().clone_with_type();
        match posts.insert_one(post).await {
            Ok(_) => return Ok((post.id, true)),
            Err(error) if is_duplicate(&error) => {}
            Err(error) => return Err(failed(act)(error)),
        }
        let known = self
            .posts()
            .find_one(doc! { "url": &post.url })
            .await
            .map_err(failed(act))?;
        let id = known.and_then(|known| known.get_object_id("_id").ok());
        match id {
            Some(id) => {
                self.vote(id, visitor).await?;
                Ok((id, false))
            }
            None => Err(DatabaseError::Unreachable(
                "the link was shared by somebody else at this moment; please try again".into(),
            )),
        }
    }

    /// Counts a browser's vote, once however often it is sent: one atomic step.
    /// False if the post does not exist.
    pub async fn vote(&self, id: ObjectId, visitor: &str) -> Result<bool, DatabaseError> {
        let act = "count the vote";
        let update = doc! { "$addToSet": { "voters": visitor }, "$inc": { "votes": 1 } };
        let query = doc! { "_id": id, "voters": { "$ne": visitor } };
        let result = self
            .posts()
            .update_one(query, update)
            .await
            .map_err(failed(act))?;
        if result.matched_count > 0 {
            return Ok(true);
        }
        let count = self
            .posts()
            .count_documents(doc! { "_id": id })
            .await
            .map_err(failed(act))?;
        Ok(count > 0)
    }

    /// A post's comments, oldest first.
    pub async fn conversation(&self, post: ObjectId) -> Result<Vec<Comment>, DatabaseError> {
        let act = "read the comments";
        let cursor = self
            .comments()
            .find(doc! { "post": post })
            .sort(doc! { "created": 1, "_id": 1 })
            .limit(MAX_COMMENTS)
            .await
            .map_err(failed(act))?;
        collect(cursor, act).await
    }

    /// Stores a comment.
    pub async fn comment(&self, comment: &Comment) -> Result<(), DatabaseError> {
        let comments: Collection<Comment> = self.comments().clone_with_type();
        comments
            .insert_one(comment)
            .await
            .map_err(failed("store the comment"))?;
        Ok(())
    }
}

fn is_duplicate(error: &Error) -> bool {
    matches!(*error.kind, ErrorKind::Write(WriteFailure::WriteError(ref write)) if write.code == DUPLICATE_KEY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_drivers_view_is_cut_to_the_reason() {
        let view = "Server selection timeout: No available servers. Topology: { Type: Unknown, Servers: [ { Address: \
                    localhost:27217, Type: Unknown, Error: Kind: I/O error: Connection refused (os error 111), labels: {} } ] }";
        assert_eq!(plain(view), "I/O error: Connection refused (os error 111)");
        assert_eq!(plain("something else"), "something else");
    }
}
