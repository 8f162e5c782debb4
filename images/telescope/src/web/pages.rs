//! The pages and what their forms do.

use std::sync::Arc;

use axum::extract::rejection::FormRejection;
use axum::extract::{Form, Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use mongodb::bson::{DateTime, oid::ObjectId};
use serde::Deserialize;
use tracing::warn;

use super::App;
use super::html::{self, Frame, QueryValue, Text};
use super::visitor::Visitor;
use crate::database::{DatabaseError, MAX_COMMENTS, Order};
use crate::form;
use crate::model::{Comment, NewPost, thread};

/// Posts on one page.
const PAGE_SIZE: u32 = 20;
/// Last page that can be asked for; beyond it nobody reads, but everybody pays.
const LAST_PAGE: u32 = 50;
/// Seconds after which a waiting page asks again by itself.
const ASK_AGAIN: u32 = 2;

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

#[derive(Deserialize, Default)]
pub struct Draft {
    #[serde(default)]
    token: String,
    #[serde(default)]
    url: String,
    #[serde(default)]
    title: String,
    #[serde(default)]
    category: String,
    #[serde(default)]
    author: String,
}

pub async fn submit(app: Shared, draft: Query<Draft>, visitor: Visitor) -> Response {
    let content = submit_form(&draft, None, &visitor);
    app.show(&visitor, "Share a link", "/submit", Ok(content))
        .await
}

fn submit_form(draft: &Draft, problem: Option<&str>, visitor: &Visitor) -> String {
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

impl App {
    /// A page, or the waiting page if the database did not answer for it.
    async fn show(
        &self,
        visitor: &Visitor,
        title: &str,
        current: &str,
        content: Result<String, DatabaseError>,
    ) -> Response {
        let answered = match content {
            Ok(content) => self.database.server().await.map(|server| (content, server)),
            Err(problem) => Err(problem),
        };
        match answered {
            Ok((content, server)) => self.frame(
                visitor,
                StatusCode::OK,
                title,
                current,
                "",
                &content,
                &server,
            ),
            Err(problem) => self.waiting(visitor, &problem),
        }
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "the parts of a page, each used once"
    )]
    fn frame(
        &self,
        visitor: &Visitor,
        status: StatusCode,
        title: &str,
        current: &str,
        head: &str,
        content: &str,
        server: &str,
    ) -> Response {
        let database = format!("{} · {}", Text(server), Text(self.database.address()));
        let frame = Frame {
            title,
            current,
            head,
            host: &self.config.host,
            database: &database,
        };
        let mut response = (status, Html(html::page(&frame, content))).into_response();
        if let Some(cookie) = visitor.cookie() {
            response.headers_mut().insert(header::SET_COOKIE, cookie);
        }
        response
    }

    /// The page for the time in which the database does not answer.
    fn waiting(&self, visitor: &Visitor, problem: &DatabaseError) -> Response {
        warn!("database not usable: {problem}");
        let content = format!(
            "<section class=\"card problem\"><h1>Waiting for the database</h1>\
             <p>Telescope is up, but MongoDB at <b>{}</b> does not answer yet. \
             This page asks again by itself every {ASK_AGAIN} seconds.</p><code>{}</code></section>",
            Text(self.database.address()),
            Text(&problem.to_string()),
        );
        let head = format!("<meta http-equiv=\"refresh\" content=\"{ASK_AGAIN}\">\n");
        let status = StatusCode::SERVICE_UNAVAILABLE;
        let mut response = self.frame(
            visitor,
            status,
            "Waiting for the database",
            "",
            &head,
            &content,
            "no answer",
        );
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, HeaderValue::from(ASK_AGAIN));
        response
    }

    /// A page that tells what went wrong with a request, and what to do.
    async fn problem(
        &self,
        visitor: &Visitor,
        status: StatusCode,
        title: &str,
        text: &str,
        detail: Option<&str>,
    ) -> Response {
        let detail = detail.map_or(String::new(), |d| format!("<code>{}</code>", Text(d)));
        let content = format!(
            "<section class=\"card problem\"><h1>{}</h1><p>{}</p>{detail}\
             <p><a href=\"/\">To the best links</a></p></section>",
            Text(title),
            Text(text)
        );
        let server = self
            .database
            .server()
            .await
            .unwrap_or_else(|_| "no answer".into());
        self.frame(visitor, status, title, "", "", &content, &server)
    }

    async fn not_saved(&self, visitor: &Visitor, problem: &DatabaseError) -> Response {
        warn!("not saved: {problem}");
        let text = "The database did not take it. Go back in your browser, where your words still are, and send them again in a moment.";
        let status = StatusCode::SERVICE_UNAVAILABLE;
        self.problem(
            visitor,
            status,
            "Not saved",
            text,
            Some(&problem.to_string()),
        )
        .await
    }

    async fn bad_form(&self, visitor: &Visitor, rejection: &FormRejection) -> Response {
        let text = "The form that arrived cannot be read, or it is too long.";
        self.problem(
            visitor,
            rejection.status(),
            "Not sent",
            text,
            Some(&rejection.body_text()),
        )
        .await
    }

    /// Refuses forms that did not come from one of our own pages in this browser.
    async fn refuse_foreign(
        &self,
        visitor: &Visitor,
        token: &str,
        headers: &HeaderMap,
    ) -> Option<Response> {
        let site = headers
            .get("sec-fetch-site")
            .and_then(|value| value.to_str().ok());
        if visitor.sent(token) && matches!(site, None | Some("same-origin" | "none")) {
            return None;
        }
        let text = "This form did not come from a page of this app, or your browser keeps no cookies. \
                    Load the page again and retry.";
        Some(
            self.problem(visitor, StatusCode::FORBIDDEN, "Not sent", text, None)
                .await,
        )
    }
}

fn with_status(mut response: Response, status: StatusCode) -> Response {
    if response.status() == StatusCode::OK {
        *response.status_mut() = status;
    }
    response
}

/// Sends the browser on with a GET.
fn to(address: &str) -> Response {
    (
        StatusCode::SEE_OTHER,
        [(header::LOCATION, address.to_owned())],
    )
        .into_response()
}

/// An address to go back to, if it is one of our own; else the front page.
fn local(back: &str) -> &str {
    let ours = back.starts_with('/')
        && !back.starts_with("//")
        && back
            .bytes()
            .all(|b| b.is_ascii_graphic() && b != b'\\' && b != b'#');
    if ours { back } else { "/" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_own_addresses_are_gone_back_to() {
        assert_eq!(local("/new?page=2"), "/new?page=2");
        for bad in [
            "",
            "//evil.example",
            "http://evil.example",
            "/\\evil.example",
            "/a\r\nb",
            "new",
        ] {
            assert_eq!(local(bad), "/");
        }
    }
}
