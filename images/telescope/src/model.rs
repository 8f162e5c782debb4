//! Posts and comments: what is stored, how posts rank, how comments thread.

use std::collections::HashMap;

use mongodb::bson::{DateTime, oid::ObjectId};
use serde::{Deserialize, Serialize};

/// A shared link, as stored.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NewPost {
    /// Its id, made by us so that we know it before the write.
    #[serde(rename = "_id")]
    pub id: ObjectId,
    /// Headline.
    pub title: String,
    /// Where it leads; unique among posts.
    pub url: String,
    /// Optional tag, lower case.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    /// Name the sharer gave.
    pub author: String,
    /// How many browsers voted; always the length of `voters`.
    pub votes: i32,
    /// Browsers that voted, the sharer's first.
    pub voters: Vec<String>,
    /// When it was shared.
    pub created: DateTime,
}

/// A post as one visitor sees it.
#[derive(Debug, Clone, Deserialize)]
pub struct Post {
    #[serde(rename = "_id")]
    pub id: ObjectId,
    pub title: String,
    pub url: String,
    pub category: Option<String>,
    pub author: String,
    pub votes: i32,
    pub created: DateTime,
    /// Whether this visitor's browser has voted.
    #[serde(default)]
    pub voted: bool,
}

/// The part of a post that decides its rank.
#[derive(Debug, Clone, Deserialize)]
pub struct Rank {
    #[serde(rename = "_id")]
    pub id: ObjectId,
    pub votes: i32,
    pub created: DateTime,
}

impl Rank {
    /// Votes pull up, age pulls down: a post two hours old needs about 2.8 times the
    /// votes of a fresh one to stand beside it, one a day old about 47 times.
    pub fn score(&self, now: DateTime) -> f64 {
        let age = now.saturating_duration_since(self.created).as_secs_f64() / 3600.0;
        f64::from(self.votes) / (age + 2.0).powf(1.5)
    }
}

/// A comment on a post.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Comment {
    #[serde(rename = "_id")]
    pub id: ObjectId,
    /// The post it belongs to.
    pub post: ObjectId,
    /// The comment it answers, none for one on the post itself.
    pub parent: Option<ObjectId>,
    pub author: String,
    pub text: String,
    pub created: DateTime,
}

/// Orders comments as a conversation, each with its depth. Comments whose parent is
/// not there count as answers to the post. Depth is bounded only by the data, so no
/// recursion here.
pub fn thread(comments: Vec<Comment>) -> Vec<(usize, Comment)> {
    let present: Vec<ObjectId> = comments.iter().map(|c| c.id).collect();
    let mut answers: HashMap<Option<ObjectId>, Vec<Comment>> = HashMap::new();
    let known: std::collections::HashSet<ObjectId> = present.into_iter().collect();
    for comment in comments {
        let parent = comment.parent.filter(|id| known.contains(id));
        answers.entry(parent).or_default().push(comment);
    }
    let mut ordered = Vec::new();
    let mut waiting: Vec<(usize, Comment)> = Vec::new();
    let mut push = |waiting: &mut Vec<(usize, Comment)>, parent, depth| {
        // Reversed: the stack gives back the oldest answer first.
        for answer in answers
            .remove(&parent)
            .unwrap_or_default()
            .into_iter()
            .rev()
        {
            waiting.push((depth, answer));
        }
    };
    push(&mut waiting, None, 0);
    while let Some((depth, comment)) = waiting.pop() {
        push(&mut waiting, Some(comment.id), depth + 1);
        ordered.push((depth, comment));
    }
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;

    fn comment(number: u8, parent: Option<u8>) -> Comment {
        let id = |n: u8| ObjectId::from_bytes([n; 12]);
        Comment {
            id: id(number),
            post: id(0),
            parent: parent.map(id),
            author: String::new(),
            text: number.to_string(),
            created: DateTime::from_millis(i64::from(number)),
        }
    }

    #[test]
    fn comments_become_a_conversation() {
        let flat = vec![
            comment(1, None),
            comment(2, None),
            comment(3, Some(1)),
            comment(4, Some(3)),
            comment(5, Some(1)),
            comment(6, Some(99)),
        ];
        let shape: Vec<(usize, String)> =
            thread(flat).into_iter().map(|(d, c)| (d, c.text)).collect();
        let expected = [(0, "1"), (1, "3"), (2, "4"), (1, "5"), (0, "2"), (0, "6")];
        assert_eq!(shape, expected.map(|(d, t)| (d, t.to_owned())));
    }

    #[test]
    fn a_very_deep_conversation_does_not_exhaust_the_stack() {
        let mut comments = Vec::new();
        let mut parent = None;
        for _ in 0..100_000 {
            let mut next = comment(1, None);
            next.id = ObjectId::new();
            next.parent = parent;
            parent = Some(next.id);
            comments.push(next);
        }
        assert_eq!(thread(comments).last().unwrap().0, 99_999);
    }

    #[test]
    fn votes_lift_and_age_sinks() {
        let now = DateTime::from_millis(100 * 3_600_000);
        let rank = |votes, hours: i64| Rank {
            id: ObjectId::new(),
            votes,
            created: DateTime::from_millis((100 - hours) * 3_600_000),
        };
        assert!(rank(2, 1).score(now) > rank(1, 1).score(now));
        assert!(rank(1, 0).score(now) > rank(1, 1).score(now));
        assert!(rank(1, 0).score(now) > rank(10, 24).score(now));
        // A clock that went back must not make a post immortal.
        assert!(rank(1, -50).score(now) <= rank(1, 0).score(now));
    }
}
