//! Queries of the requests the server makes.

/// A query under construction; values cannot smuggle in parameters.
#[derive(Debug, Default)]
pub struct Query(String);

impl Query {
    pub fn push(&mut self, name: &str, value: &str) {
        self.0.push(if self.0.is_empty() { '?' } else { '&' });
        self.0.push_str(name);
        self.0.push('=');
        escape(value, &mut self.0);
    }

    /// With the question mark, or nothing at all.
    pub fn text(self) -> String {
        self.0
    }
}

/// Percent-encodes all but the unreserved characters of RFC 3986.
fn escape(value: &str, out: &mut String) {
    for byte in value.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.push(byte as char);
            }
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn query_values_cannot_smuggle_parameters() {
        let mut query = Query::default();
        query.push("since", "1&follow=true#");
        query.push("command", "größer");
        assert_eq!(
            query.text(),
            "?since=1%26follow%3Dtrue%23&command=gr%C3%B6%C3%9Fer"
        );
    }
}
