//! What forms do: share, vote, comment. Each ends with a redirect or a sentence.

use std::sync::Arc;

use axum::extract::rejection::FormRejection;
use axum::extract::{Form, Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use mongodb::bson::{DateTime, oid::ObjectId};
use serde::Deserialize;

use super::App;
use super::answer::{local, to, with_status};
use super::pages::{nothing_here, submit_form};
use super::visitor::Visitor;
use crate::form;
use crate::model::{Comment, NewPost};

type Shared = State<Arc<App>>;

/// A post as it is being written.
#[derive(Deserialize, Default)]
pub struct Draft {
    #[serde(default)]
    pub token: String,
    #[serde(default)]
    pub url: String,
    #[serde(default)]
    pub title: String,
    #[serde(default)]
    pub category: String,
    #[serde(default)]
    pub author: String,
}

pub async fn share(
    app: Shared,
    visitor: Visitor,
    headers: HeaderMap,
    draft: Result<Form<Draft>, FormRejection>,
) -> Response {
    let draft = match draft {
        Ok(Form(draft)) => draft,
        Err(rejection) => return app.bad_form(&visitor, &rejection).await,
    };
    if let Some(refusal) = app.refuse_foreign(&visitor, &draft.token, &headers).await {
        return refusal;
    }
    let checked = (|| {
        Ok::<_, String>(NewPost {
            id: ObjectId::new(),
            url: form::url(&draft.url)?,
            title: form::title(&draft.title)?,
            category: form::category(&draft.category)?,
            author: form::author(&draft.author)?,
            votes: 1,
            voters: vec![visitor.id.clone()],
            created: DateTime::now(),
        })
    })();
    let post = match checked {
        Ok(post) => post,
        Err(problem) => {
            let content = submit_form(&draft, Some(&problem), &visitor);
            let page = app
                .show(&visitor, "Share a link", "/submit", Ok(content))
                .await;
            return with_status(page, StatusCode::UNPROCESSABLE_ENTITY);
        }
    };
    match app.database.share(&post, &visitor.id).await {
        // A link that is known leads to its post, where the vote was counted.
        Ok((id, _)) => to(&format!("/posts/{}", id.to_hex())),
        Err(problem) => app.not_saved(&visitor, &problem).await,
    }
}

#[derive(Deserialize)]
pub struct Ballot {
    #[serde(default)]
    token: String,
    #[serde(default)]
    back: String,
}

pub async fn vote(
    app: Shared,
    Path(id): Path<String>,
    visitor: Visitor,
    headers: HeaderMap,
    ballot: Result<Form<Ballot>, FormRejection>,
) -> Response {
    let ballot = match ballot {
        Ok(Form(ballot)) => ballot,
        Err(rejection) => return app.bad_form(&visitor, &rejection).await,
    };
    if let Some(refusal) = app.refuse_foreign(&visitor, &ballot.token, &headers).await {
        return refusal;
    }
    let Ok(id) = ObjectId::parse_str(&id) else {
        return nothing_here(app, visitor).await;
    };
    match app.database.vote(id, &visitor.id).await {
        Ok(true) => to(&format!("{}#p{}", local(&ballot.back), id.to_hex())),
        Ok(false) => nothing_here(app, visitor).await,
        Err(problem) => app.not_saved(&visitor, &problem).await,
    }
}

#[derive(Deserialize)]
pub struct Words {
    #[serde(default)]
    token: String,
    #[serde(default)]
    parent: String,
    #[serde(default)]
    text: String,
    #[serde(default)]
    author: String,
}

pub async fn comment(
    app: Shared,
    Path(id): Path<String>,
    visitor: Visitor,
    headers: HeaderMap,
    words: Result<Form<Words>, FormRejection>,
) -> Response {
    let words = match words {
        Ok(Form(words)) => words,
        Err(rejection) => return app.bad_form(&visitor, &rejection).await,
    };
    if let Some(refusal) = app.refuse_foreign(&visitor, &words.token, &headers).await {
        return refusal;
    }
    let parent = match words.parent.as_str() {
        "" => Ok(None),
        hex => ObjectId::parse_str(hex).map(Some),
    };
    let (Ok(post), Ok(parent)) = (ObjectId::parse_str(&id), parent) else {
        return nothing_here(app, visitor).await;
    };
    let checked =
        form::comment(&words.text).and_then(|text| Ok((text, form::author(&words.author)?)));
    let (text, author) = match checked {
        Ok(checked) => checked,
        Err(problem) => {
            return app
                .problem(
                    &visitor,
                    StatusCode::UNPROCESSABLE_ENTITY,
                    "Not sent",
                    &problem,
                    None,
                )
                .await;
        }
    };
    let comment = Comment {
        id: ObjectId::new(),
        post,
        parent,
        author,
        text,
        created: DateTime::now(),
    };
    match app.database.post(post, &visitor.id).await {
        Ok(None) => return nothing_here(app, visitor).await,
        Ok(Some(_)) => {}
        Err(problem) => return app.not_saved(&visitor, &problem).await,
    }
    match app.database.comment(&comment).await {
        Ok(()) => to(&format!(
            "/posts/{}#c{}",
            post.to_hex(),
            comment.id.to_hex()
        )),
        Err(problem) => app.not_saved(&visitor, &problem).await,
    }
}
