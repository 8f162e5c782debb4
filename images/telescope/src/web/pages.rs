//! The pages people read.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use mongodb::bson::{DateTime, oid::ObjectId};
use serde::Deserialize;

use super::App;
use super::actions::Draft;
use super::html::{self, QueryValue, Text};
use super::visitor::Visitor;
use crate::database::{DatabaseError, MAX_COMMENTS, Order};
use crate::form;
use crate::model::thread;

/// Posts on one page.
const PAGE_SIZE: u32 = 20;
/// Last page that can be asked for; beyond it nobody reads, but everybody pays.
const LAST_PAGE: u32 = 50;
type Shared = State<Arc<App>>;

#[derive(Deserialize)]
pub struct Listing {
    category: Option<String>,
    page: Option<String>,
}

pub async fn best(app: Shared, query: Query<Listing>, visitor: Visitor) -> Response {
    list(&app, Order::Best, query.0, &visitor).await
}

pub async fn new(app: Shared, query: Query<Listing>, visitor: Visitor) -> Response {
    list(&app, Order::New, query.0, &visitor).await
}

async fn list(app: &App, order: Order, listing: Listing, visitor: &Visitor) -> Response {
    let path = if order == Order::Best { "/" } else { "/new" };
    let content = list_content(app, order, path, &listing, visitor).await;
    app.show(visitor, "Telescope", path, content).await
}

async fn list_content(
    app: &App,
    order: Order,
    path: &str,
    listing: &Listing,
    visitor: &Visitor,
) -> Result<String, DatabaseError> {
    // An odd page number is the first page, not an error.
    let number: u32 = listing
        .page
        .as_deref()
        .and_then(|p| p.parse().ok())
        .unwrap_or(1)
        .clamp(1, LAST_PAGE);
    let category = listing.category.as_deref().filter(|c| !c.is_empty());
    let page = app
        .database
        .page(order, category, number - 1, PAGE_SIZE, &visitor.id)
        .await?;
    let categories = app.database.categories().await?;
    let counts = app.database.comment_counts(&page.posts).await?;
    let address = |page: u32| {
        let mut address = format!("{path}?page={page}");
        if let Some(category) = category {
            address += &format!("&category={}", QueryValue(category));
        }
        address
    };
    let mut content = String::new();
    if !categories.is_empty() {
        let current = |on: bool| if on { " aria-current=\"page\"" } else { "" };
        content += &format!(
            "<nav class=\"chips\" aria-label=\"Categories\"><a class=\"chip\" href=\"{path}\"{}>all</a>",
            current(category.is_none())
        );
        for name in &categories {
            content += &format!(
                "<a class=\"chip\" href=\"{path}?category={}\"{}>{}</a>",
                QueryValue(name),
                current(category == Some(name)),
                Text(name)
            );
        }
        content += "</nav>";
    }
    if page.posts.is_empty() {
        content += "<section class=\"card empty\"><img src=\"/telescope.svg\" alt=\"\" width=\"72\" height=\"72\">\
                    <h1>The sky is still empty</h1><p>Nothing has been shared here yet. Be the first: \
                    a link, a title, done.</p><p><a class=\"button\" href=\"/submit\">Share a link</a></p></section>";
    } else {
        let now = DateTime::now();
        content += "<section class=\"list\">";
        let first = (number - 1) * PAGE_SIZE + 1;
        for (rank, post) in (first..).zip(&page.posts) {
            let comments = counts.get(&post.id).copied().unwrap_or(0);
            content += &html::post(post, comments, Some(rank), visitor, &address(number), now);
        }
        content += "</section>";
    }
    let earlier =
        (number > 1).then(|| format!("<a href=\"{}\">← Back</a>", Text(&address(number - 1))));
    let further = (page.more && number < LAST_PAGE)
        .then(|| format!("<a href=\"{}\">More →</a>", Text(&address(number + 1))));
    if earlier.is_some() || further.is_some() {
        let (earlier, further) = (earlier.unwrap_or_default(), further.unwrap_or_default());
        content += &format!(
            "<nav class=\"pages\" aria-label=\"Pages\"><span>{earlier}</span><span>{further}</span></nav>"
        );
    }
    Ok(content)
}

pub async fn submit(app: Shared, draft: Query<Draft>, visitor: Visitor) -> Response {
    let content = submit_form(&draft, None, &visitor);
    app.show(&visitor, "Share a link", "/submit", Ok(content))
        .await
}

/// The form for a new post, with what was typed so far and what is wrong with it.
pub fn submit_form(draft: &Draft, problem: Option<&str>, visitor: &Visitor) -> String {
    let problem = problem.map_or(String::new(), |text| {
        format!(
            "<section class=\"card problem\" role=\"alert\"><p>{}</p></section>",
            Text(text)
        )
    });
    format!(
        "{problem}<h1>Share a link</h1><form class=\"card\" method=\"post\" action=\"/posts\">{token}\
         <div class=\"field\"><label for=\"url\">Address</label>\
         <input id=\"url\" name=\"url\" type=\"url\" inputmode=\"url\" maxlength=\"{max_url}\" required placeholder=\"https://…\" value=\"{url}\"></div>\
         <div class=\"field\"><label for=\"title\">Title</label>\
         <input id=\"title\" name=\"title\" maxlength=\"{max_title}\" required value=\"{title}\"></div>\
         <div class=\"columns\"><div class=\"field\"><label for=\"category\">Category <small>optional, one word</small></label>\
         <input id=\"category\" name=\"category\" maxlength=\"{max_category}\" autocapitalize=\"none\" value=\"{category}\"></div>\
         <div class=\"field\"><label for=\"author\">Your name <small>optional</small></label>\
         <input id=\"author\" name=\"author\" maxlength=\"{max_author}\" autocomplete=\"nickname\" value=\"{author}\"></div></div>\
         <button>Share it</button></form>",
        token = html::token(visitor),
        max_url = form::MAX_URL,
        max_title = form::MAX_TITLE,
        max_category = form::MAX_CATEGORY,
        max_author = form::MAX_AUTHOR,
        url = Text(&draft.url),
        title = Text(&draft.title),
        category = Text(&draft.category),
        author = Text(&draft.author),
    )
}

pub async fn post(app: Shared, Path(id): Path<String>, visitor: Visitor) -> Response {
    let Ok(id) = ObjectId::parse_str(&id) else {
        return nothing_here(app, visitor).await;
    };
    match post_content(&app, id, &visitor).await {
        Ok(Some((title, content))) => app.show(&visitor, &title, "", Ok(content)).await,
        Ok(None) => nothing_here(app, visitor).await,
        Err(problem) => app.show(&visitor, "Telescope", "", Err(problem)).await,
    }
}

async fn post_content(
    app: &App,
    id: ObjectId,
    visitor: &Visitor,
) -> Result<Option<(String, String)>, DatabaseError> {
    let Some(post) = app.database.post(id, &visitor.id).await? else {
        return Ok(None);
    };
    let comments = app.database.conversation(id).await?;
    let count = i64::try_from(comments.len()).unwrap_or(i64::MAX);
    let hex = id.to_hex();
    let now = DateTime::now();
    let mut content = format!(
        "<section class=\"list\">{}</section><section class=\"card\">{}",
        html::post(&post, count, None, visitor, &format!("/posts/{hex}"), now),
        html::comment_form(&hex, None, visitor),
    );
    for (depth, comment) in thread(comments) {
        content += &html::comment(depth, &comment, visitor, now);
    }
    if count >= MAX_COMMENTS {
        content +=
            &format!("<p class=\"meta\">Only the first {MAX_COMMENTS} comments are shown.</p>");
    }
    content += "</section>";
    Ok(Some((format!("{} · Telescope", post.title), content)))
}

pub async fn nothing_here(app: Shared, visitor: Visitor) -> Response {
    let text =
        "There is no such page; perhaps the link was cut, or the post lived in another database.";
    app.problem(&visitor, StatusCode::NOT_FOUND, "Nothing here", text, None)
        .await
}

/// Ready once the database answers.
pub async fn readyz(app: Shared) -> Response {
    match app.database.server().await {
        Ok(_) => "ok\n".into_response(),
        Err(problem) => (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("waiting for the database: {problem}\n"),
        )
            .into_response(),
    }
}
