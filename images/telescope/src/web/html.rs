//! Pieces of HTML. Everything a visitor typed goes through [`Text`], which escapes it.

use std::fmt::{self, Display, Write};

use mongodb::bson::DateTime;

use super::visitor::Visitor;
use crate::form;
use crate::model::{Comment, Post};

/// Text that is safe between tags and inside quoted attributes.
pub struct Text<'a>(pub &'a str);

impl Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                other => f.write_char(other)?,
            }
        }
        Ok(())
    }
}

/// A value inside a query string of a link.
pub struct QueryValue<'a>(pub &'a str);

impl Display for QueryValue<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0.bytes() {
            if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
                f.write_char(char::from(byte))?;
            } else {
                write!(f, "%{byte:02X}")?;
            }
        }
        Ok(())
    }
}

/// How long ago a moment was, in words.
pub fn ago(moment: DateTime, now: DateTime) -> String {
    let seconds = now.saturating_duration_since(moment).as_secs();
    let (count, unit) = match seconds {
        0..60 => return "just now".into(),
        60..3600 => (seconds / 60, "minute"),
        3600..86_400 => (seconds / 3600, "hour"),
        86_400..2_592_000 => (seconds / 86_400, "day"),
        2_592_000..31_536_000 => (seconds / 2_592_000, "month"),
        _ => (seconds / 31_536_000, "year"),
    };
    format!("{count} {unit}{} ago", if count == 1 { "" } else { "s" })
}

/// A count with its noun.
pub fn counted(count: i64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// A moment as `<time>`.
pub fn time(moment: DateTime, now: DateTime) -> String {
    let exact = moment.try_to_rfc3339_string().unwrap_or_default();
    format!(
        "<time datetime=\"{exact}\" title=\"{exact}\">{}</time>",
        ago(moment, now)
    )
}

/// What surrounds every page.
pub struct Frame<'a> {
    /// Title of the window.
    pub title: &'a str,
    /// Which link of the head is the current page, by its address.
    pub current: &'a str,
    /// Extra elements for the head, already HTML.
    pub head: &'a str,
    /// Name of this pod.
    pub host: &'a str,
    /// The database in words, already HTML.
    pub database: &'a str,
}

/// A whole page around its content (which is HTML).
pub fn page(frame: &Frame<'_>, content: &str) -> String {
    let mut links = String::new();
    for (address, name) in [("/", "Best"), ("/new", "New")] {
        let current = if frame.current == address {
            " aria-current=\"page\""
        } else {
            ""
        };
        let _ = write!(links, "<a href=\"{address}\"{current}>{name}</a>");
    }
    let submit = if frame.current == "/submit" {
        " aria-current=\"page\""
    } else {
        ""
    };
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{title}</title>\n{head}\
         <link rel=\"stylesheet\" href=\"/style.css\">\n\
         <link rel=\"icon\" type=\"image/svg+xml\" href=\"/telescope.svg\">\n\
         <link rel=\"alternate\" type=\"application/atom+xml\" title=\"Newest links\" href=\"/feed.atom\">\n\
         </head>\n<body>\n<header><div class=\"wrap\">\
         <a class=\"brand\" href=\"/\"><img src=\"/telescope.svg\" alt=\"\" width=\"34\" height=\"34\">Telescope</a>\
         <nav>{links}<a class=\"share\" href=\"/submit\"{submit}>Share a link</a></nav>\
         </div></header>\n<main class=\"wrap\">\n{content}\n</main>\n\
         <footer><div class=\"wrap\"><dl>\
         <div><dt>Served by pod</dt><dd>{host}</dd></div>\
         <div><dt>Database</dt><dd>{database}</dd></div>\
         </dl><a href=\"/feed.atom\">Feed</a></div></footer>\n</body>\n</html>\n",
        title = Text(frame.title),
        head = frame.head,
        host = Text(frame.host),
        database = frame.database,
    )
}

/// The hidden proof every form carries.
pub fn token(visitor: &Visitor) -> String {
    format!(
        "<input type=\"hidden\" name=\"token\" value=\"{}\">",
        Text(&visitor.token)
    )
}

/// One post in a list or at the head of its own page.
pub fn post(
    post: &Post,
    comments: i64,
    rank: Option<u32>,
    visitor: &Visitor,
    back: &str,
    now: DateTime,
) -> String {
    let id = post.id.to_hex();
    let vote = if post.voted {
        format!(
            "<span class=\"vote voted\" title=\"You voted for this\"><b>▲</b>{}</span>",
            post.votes
        )
    } else {
        format!(
            "<form method=\"post\" action=\"/posts/{id}/vote\">{token}\
             <input type=\"hidden\" name=\"back\" value=\"{back}\">\
             <button class=\"vote\" aria-label=\"Vote for {title}\"><b>▲</b>{votes}</button></form>",
            token = token(visitor),
            back = Text(back),
            title = Text(&post.title),
            votes = post.votes,
        )
    };
    let rank = rank.map_or(String::new(), |rank| {
        format!("<span class=\"rank\">{rank}</span>")
    });
    let category = post.category.as_ref().map_or(String::new(), |name| {
        format!(
            "<a class=\"chip\" href=\"/?category={}\">{}</a>",
            QueryValue(name),
            Text(name)
        )
    });
    format!(
        "<article class=\"post\" id=\"p{id}\">{rank}{vote}<div class=\"what\">\
         <h2><a href=\"{url}\" rel=\"nofollow noopener ugc\">{title}</a> <span class=\"host\">{host}</span></h2>\
         <p class=\"meta\">{category}<span>by {author}</span><span>{time}</span>\
         <a href=\"/posts/{id}\">{comments}</a></p></div></article>\n",
        url = Text(&post.url),
        title = Text(&post.title),
        host = Text(form::host(&post.url)),
        author = Text(&post.author),
        time = time(post.created, now),
        comments = counted(comments, "comment", "comments"),
    )
}

/// The form for a comment, or for an answer to one.
pub fn comment_form(post: &str, parent: Option<&str>, visitor: &Visitor) -> String {
    let parent_field = parent.map_or(String::new(), |id| {
        format!("<input type=\"hidden\" name=\"parent\" value=\"{id}\">")
    });
    let suffix = parent.unwrap_or("new");
    format!(
        "<form class=\"write\" method=\"post\" action=\"/posts/{post}/comments\">{token}{parent_field}\
         <label for=\"text-{suffix}\">{label}</label>\
         <textarea id=\"text-{suffix}\" name=\"text\" rows=\"4\" maxlength=\"{max}\" required></textarea>\
         <div class=\"row\"><input name=\"author\" maxlength=\"{max_author}\" autocomplete=\"nickname\" \
         placeholder=\"Your name (optional)\" aria-label=\"Your name (optional)\"><button>Send</button></div></form>",
        token = token(visitor),
        label = if parent.is_some() {
            "Your answer"
        } else {
            "Your comment"
        },
        max = form::MAX_COMMENT,
        max_author = form::MAX_AUTHOR,
    )
}

/// One comment with its answer form folded away.
pub fn comment(depth: usize, comment: &Comment, visitor: &Visitor, now: DateTime) -> String {
    let id = comment.id.to_hex();
    format!(
        "<article class=\"comment d{depth}\" id=\"c{id}\"><p class=\"meta\"><b>{author}</b><span>{time}</span></p>\
         <p class=\"text\">{text}</p><details><summary>Answer</summary>{form}</details></article>\n",
        // Deeper answers stay at the same indent, or they would leave a narrow screen.
        depth = depth.min(6),
        author = Text(&comment.author),
        time = time(comment.created, now),
        text = Text(&comment.text),
        form = comment_form(&comment.post.to_hex(), Some(&id), visitor),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_visitors_type_cannot_become_markup() {
        let evil = "<script>alert('x')</script>\"&";
        assert_eq!(
            Text(evil).to_string(),
            "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&quot;&amp;"
        );
        assert_eq!(QueryValue("ü&a=b").to_string(), "%C3%BC%26a%3Db");
        let visitor = Visitor {
            id: "i".into(),
            token: "t".into(),
            fresh: false,
        };
        let shown = post(
            &Post {
                id: mongodb::bson::oid::ObjectId::new(),
                title: evil.into(),
                url: "http://example.com/\"onmouseover=\"x".into(),
                category: Some(evil.into()),
                author: evil.into(),
                votes: 1,
                created: DateTime::now(),
                voted: false,
            },
            1,
            None,
            &visitor,
            "/new?x=\"",
            DateTime::now(),
        );
        assert!(
            !shown.contains("<script") && !shown.contains("\"onmouseover"),
            "{shown}"
        );
        assert!(shown.contains("1 comment<"));
    }

    #[test]
    fn moments_in_words() {
        let at = |seconds: i64| {
            ago(
                DateTime::from_millis(0),
                DateTime::from_millis(seconds * 1000),
            )
        };
        assert_eq!(at(-5), "just now");
        assert_eq!(at(59), "just now");
        assert_eq!(at(60), "1 minute ago");
        assert_eq!(at(7200), "2 hours ago");
        assert_eq!(at(86_400 * 40), "1 month ago");
    }
}
