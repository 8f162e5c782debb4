//! What visitors type, made safe to store: lengths, characters, link schemes.

use axum::http::Uri;

/// Longest title, in characters.
pub const MAX_TITLE: usize = 200;
/// Longest link, in bytes after encoding.
pub const MAX_URL: usize = 2000;
/// Longest name, in characters.
pub const MAX_AUTHOR: usize = 40;
/// Longest category, in characters.
pub const MAX_CATEGORY: usize = 24;
/// Longest comment, in characters.
pub const MAX_COMMENT: usize = 5000;

/// One line of text: no control characters, single spaces, not too long.
///
/// # Errors
/// A sentence for the visitor.
pub fn line(name: &str, text: &str, longest: usize) -> Result<String, String> {
    let clean: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    let line = clean.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() > longest {
        return Err(format!(
            "{name} is too long: at most {longest} characters, please."
        ));
    }
    Ok(line)
}

/// A title: a line that says something.
pub fn title(text: &str) -> Result<String, String> {
    let title = line("The title", text, MAX_TITLE)?;
    if title.is_empty() {
        return Err("Please give the link a title.".into());
    }
    Ok(title)
}

/// A name; nobody has to give one.
pub fn author(text: &str) -> Result<String, String> {
    let author = line("Your name", text, MAX_AUTHOR)?;
    Ok(if author.is_empty() {
        "anonymous".into()
    } else {
        author
    })
}

/// A comment: several lines, trimmed, with line ends made uniform.
pub fn comment(text: &str) -> Result<String, String> {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let clean: String = text
        .chars()
        .filter(|c| *c == '\n' || !c.is_control())
        .collect();
    let clean = clean.trim();
    if clean.is_empty() {
        return Err("Please write something before you send it.".into());
    }
    if clean.chars().count() > MAX_COMMENT {
        return Err(format!(
            "The comment is too long: at most {MAX_COMMENT} characters, please."
        ));
    }
    Ok(clean.to_owned())
}

/// A category: one lower-case word of letters, digits and dashes, or none.
pub fn category(text: &str) -> Result<Option<String>, String> {
    let word = text.trim().trim_start_matches('#').to_lowercase();
    if word.is_empty() {
        return Ok(None);
    }
    let plain = word.chars().all(|c| c.is_alphanumeric() || c == '-');
    if !plain || word.chars().count() > MAX_CATEGORY {
        return Err(format!(
            "A category is one word of letters, digits and dashes, at most {MAX_CATEGORY} long."
        ));
    }
    Ok(Some(word))
}

/// A link that a browser may follow without harm: http or https, with a host.
/// Scheme and host become lower case, so that the same link is stored once.
pub fn url(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() {
        return Err("Please give the link's address.".into());
    }
    if text.chars().any(|c| c.is_control() || c == '\\') {
        return Err("The address holds characters that no address has.".into());
    }
    let mut encoded = String::new();
    for c in text.chars() {
        if c.is_ascii() && !matches!(c, ' ' | '"' | '<' | '>' | '`' | '{' | '}' | '|' | '^') {
            encoded.push(c);
        } else {
            let mut bytes = [0; 4];
            for byte in c.encode_utf8(&mut bytes).bytes() {
                encoded.push_str(&format!("%{byte:02X}"));
            }
        }
    }
    if encoded.len() > MAX_URL {
        return Err(format!(
            "The address is too long: at most {MAX_URL} bytes, please."
        ));
    }
    let (link, fragment) = match encoded.split_once('#') {
        Some((link, fragment)) => (link, Some(fragment)),
        None => (encoded.as_str(), None),
    };
    let bad = || "The address must begin with http:// or https://, followed by a host.".to_owned();
    let uri: Uri = link.parse().map_err(|_| bad())?;
    let scheme = uri.scheme_str().unwrap_or_default().to_lowercase();
    let authority = uri
        .authority()
        .map(|a| a.as_str().to_lowercase())
        .unwrap_or_default();
    let has_host = uri.host().is_some_and(|host| !host.is_empty());
    if !matches!(scheme.as_str(), "http" | "https") || !has_host || authority.contains('@') {
        return Err(bad());
    }
    let path = uri.path_and_query().map_or("/", |p| p.as_str());
    let mut url = format!("{scheme}://{authority}{path}");
    if let Some(fragment) = fragment.filter(|f| !f.is_empty()) {
        url.push('#');
        url.push_str(fragment);
    }
    Ok(url)
}

/// The host of a stored link, without `www.`, for showing beside the title.
pub fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let host = &rest[..end];
    host.strip_prefix("www.").unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_http_and_uniform() {
        assert_eq!(
            url(" HTTPS://Example.COM/A?b=c#d ").unwrap(),
            "https://example.com/A?b=c#d"
        );
        assert_eq!(url("http://example.com").unwrap(), "http://example.com/");
        assert_eq!(
            url("http://example.com/ü x").unwrap(),
            "http://example.com/%C3%BC%20x"
        );
        assert_eq!(url("http://[::1]:8080/x").unwrap(), "http://[::1]:8080/x");
        for bad in [
            "",
            "javascript:alert(1)",
            "JaVaScRiPt://example.com/%0aalert(1)",
            "data:text/html,x",
            "example.com",
            "//example.com",
            "http://",
            "http:///x",
            "http://user:pass@example.com/",
            "http://exa\nmple.com",
            "ftp://example.com",
            "http:\\\\example.com",
        ] {
            assert!(url(bad).is_err(), "{bad:?}");
        }
        assert!(url(&format!("http://example.com/{}", "x".repeat(2000))).is_err());
    }

    #[test]
    fn hosts_are_short() {
        assert_eq!(host("https://www.example.com/a"), "example.com");
        assert_eq!(host("http://example.com:8080?x"), "example.com:8080");
    }

    #[test]
    fn lines_and_comments_are_cleaned() {
        assert_eq!(title("  a \t b\n c ").unwrap(), "a b c");
        assert!(title(" \u{7} ").is_err());
        assert!(title(&"x".repeat(201)).is_err());
        assert_eq!(author("").unwrap(), "anonymous");
        assert_eq!(comment(" a\r\nb\u{8} \r").unwrap(), "a\nb");
        assert!(comment("\r\n ").is_err());
        assert_eq!(category(" #Rust ").unwrap().as_deref(), Some("rust"));
        assert_eq!(category("").unwrap(), None);
        assert!(category("two words").is_err());
        assert!(category("<b>").is_err());
    }
}
