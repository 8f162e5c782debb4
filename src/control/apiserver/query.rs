//! Query parameters of each verb, read once and checked as upstream checks them.

use axum::extract::Query;
use cadet_api::field;
use cadet_api::resource::Resource;
use cadet_api::selector::{FieldSelector, LabelSelector};
use cadet_api::status::Status;
use cadet_store::Revision;
use http::Uri;

/// All parameters of a request in order.
#[derive(Debug, Clone, Default)]
pub struct Parameters(Vec<(String, String)>);

impl Parameters {
    pub fn of(uri: &Uri) -> Result<Parameters, Status> {
        Query::<Vec<(String, String)>>::try_from_uri(uri)
            .map(|Query(pairs)| Parameters(pairs))
            .map_err(|error| Status::bad_request(format!("invalid query: {error}")))
    }

    /// The first non-empty value of a parameter.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(key, value)| key == name && !value.is_empty())
            .map(|(_, value)| value.as_str())
    }

    /// All values of a parameter, empty ones too.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0
            .iter()
            .filter(move |(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// Present and not `false` or `0`, as apimachinery reads booleans from a query.
    pub fn flag(&self, name: &str) -> bool {
        self.0
            .iter()
            .find(|(key, _)| key == name)
            .is_some_and(|(_, value)| !matches!(value.to_lowercase().as_str(), "false" | "0"))
    }

    pub fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, Status> {
        self.get(name)
            .map(|text| {
                text.parse().map_err(|_| {
                    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
                    let whole = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
                    let why = match whole {
                        true => "value out of range",
                        false => "invalid syntax",
                    };
                    Status::bad_request(format!("strconv.ParseInt: parsing {text:?}: {why}"))
                })
            })
            .transpose()
    }
}

/// How a list's `resourceVersion` is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Match {
    Exact,
    NotOlderThan,
}

/// What list and watch may be asked with.
#[derive(Debug, Clone)]
pub struct ListOptions {
    pub labels: LabelSelector,
    pub fields: FieldSelector,
    pub limit: Option<u64>,
    pub continue_token: Option<String>,
    /// `Some(0)` means "any state will do".
    pub revision: Option<Revision>,
    pub revision_match: Option<Match>,
    pub bookmarks: bool,
    pub initial_events: Option<bool>,
    pub timeout_seconds: Option<u64>,
}

impl ListOptions {
    pub fn of(
        parameters: &Parameters,
        resource: &Resource,
        watch: bool,
    ) -> Result<ListOptions, Status> {
        let bad = |error: cadet_api::selector::Error| Status::bad_request(error.to_string());
        let labels = LabelSelector::parse(parameters.get("labelSelector").unwrap_or(""));
        let fields = FieldSelector::parse(parameters.get("fieldSelector").unwrap_or(""));
        let fields = fields.and_then(|fields| fields.into_stored(resource));
        let fields = fields.map_err(bad)?;
        let limit = parameters
            .number::<i64>("limit")?
            .filter(|limit| *limit != 0);
        let options = ListOptions {
            labels: labels.map_err(bad)?,
            fields,
            limit: limit
                .map(u64::try_from)
                .transpose()
                .map_err(|_| Status::bad_request("limit must not be negative"))?,
            continue_token: parameters.get("continue").map(str::to_owned),
            revision: parameters
                .get("resourceVersion")
                .map(parse_revision)
                .transpose()?,
            revision_match: match parameters.get("resourceVersionMatch") {
                None => None,
                Some("Exact") => Some(Match::Exact),
                Some("NotOlderThan") => Some(Match::NotOlderThan),
                Some(other) => {
                    let error = field::Error::not_supported(
                        "resourceVersionMatch",
                        other,
                        &["Exact", "NotOlderThan", ""],
                    );
                    return Err(invalid_options(&[error]));
                }
            },
            bookmarks: parameters.flag("allowWatchBookmarks"),
            initial_events: parameters
                .get("sendInitialEvents")
                .map(|_| parameters.flag("sendInitialEvents")),
            timeout_seconds: parameters.number("timeoutSeconds")?,
        };
        if watch {
            options.check_watch()
        } else {
            options.check_list()
        }?;
        Ok(options)
    }

    fn check_watch(&self) -> Result<(), Status> {
        let wrong = match (self.initial_events, self.revision_match) {
            (None, Some(_)) => Some((
                "resourceVersionMatch",
                "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
            )),
            (Some(_), None | Some(Match::Exact)) => Some((
                "resourceVersionMatch",
                "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
            )),
            _ => None,
        };
        wrong.map_or(Ok(()), |(name, why)| {
            Err(invalid_options(&[field::Error::forbidden(name, why)]))
        })
    }

    fn check_list(&self) -> Result<(), Status> {
        let mut errors = vec![];
        let revision_match = "resourceVersionMatch";
        if self.initial_events.is_some() {
            errors.push(field::Error::forbidden(
                "sendInitialEvents",
                "sendInitialEvents is forbidden for list",
            ));
        }
        if self.revision_match.is_some() && self.revision.is_none() {
            errors.push(field::Error::forbidden(
                revision_match,
                "resourceVersionMatch is forbidden unless resourceVersion is provided",
            ));
        }
        if self.revision_match.is_some() && self.continue_token.is_some() {
            errors.push(field::Error::forbidden(
                revision_match,
                "resourceVersionMatch is forbidden when continue is provided",
            ));
        }
        if self.revision == Some(0) && self.revision_match == Some(Match::Exact) {
            errors.push(field::Error::forbidden(
                revision_match,
                "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
            ));
        }
        if errors.is_empty() {
            Ok(())
        } else {
            Err(invalid_options(&errors))
        }
    }
}

fn invalid_options(errors: &[field::Error]) -> Status {
    let sentences: Vec<String> = errors.iter().map(ToString::to_string).collect();
    let sentences = match sentences.as_slice() {
        [one] => one.clone(),
        many => format!("[{}]", many.join(", ")),
    };
    Status::failure(
        422,
        "Invalid",
        format!("ListOptions.meta.k8s.io \"\" is invalid: {sentences}"),
    )
}

/// Reads a `resourceVersion` that a client got from us.
pub fn parse_revision(text: &str) -> Result<Revision, Status> {
    text.parse().map_err(|_| {
        Status::bad_request(format!(
            "invalid resource version: resourceVersion: Invalid value: {text:?}: \
             strconv.ParseUint: parsing {text:?}: invalid syntax"
        ))
    })
}

/// How strictly unknown fields are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldValidation {
    Ignore,
    Warn,
    Strict,
}

/// What create, update and patch may be asked with.
#[derive(Debug, Clone)]
pub struct WriteOptions {
    pub dry_run: bool,
    pub validation: FieldValidation,
}

impl WriteOptions {
    pub fn of(parameters: &Parameters) -> Result<WriteOptions, Status> {
        Ok(WriteOptions {
            dry_run: dry_run(parameters.get("dryRun"))?,
            validation: match parameters.get("fieldValidation") {
                Some("Ignore") => FieldValidation::Ignore,
                // The server's default since Kubernetes 1.27.
                None | Some("Warn") => FieldValidation::Warn,
                Some("Strict") => FieldValidation::Strict,
                Some(other) => {
                    return Err(Status::bad_request(format!(
                        "fieldValidation: Unsupported value: {other:?}: supported values: \"Ignore\", \"Strict\", \"Warn\""
                    )));
                }
            },
        })
    }
}

/// `All` is the only dry run there is.
pub fn dry_run(text: Option<&str>) -> Result<bool, Status> {
    match text {
        None => Ok(false),
        Some("All") => Ok(true),
        Some(other) => Err(Status::bad_request(format!(
            "dryRun: Unsupported value: {other:?}: supported values: \"All\""
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cadet_api::resource;

    fn options(query: &str, watch: bool) -> Result<ListOptions, Status> {
        let uri: Uri = format!("/api/v1/pods?{query}").parse().expect("uri");
        let pods = resource::find("", "v1", "pods").expect("pods");
        ListOptions::of(&Parameters::of(&uri)?, pods, watch)
    }

    #[test]
    fn empty_parameters_count_as_absent_and_odd_query_starts_are_tolerated() {
        let read = options(
            "&limit=500&resourceVersion=&fieldSelector=spec.nodeName%3Dn1",
            false,
        );
        let read = read.expect("valid");
        assert_eq!((read.limit, read.revision), (Some(500), None));
        assert_eq!(read.fields.exact("spec.nodeName"), Some("n1"));
    }

    #[test]
    fn combinations_that_make_no_sense_are_refused_with_422() {
        let watch_list = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan";
        assert_eq!(
            options(watch_list, true).map(|o| o.initial_events),
            Ok(Some(true))
        );
        for (query, watch) in [
            ("sendInitialEvents=true", true),
            ("resourceVersionMatch=NotOlderThan&resourceVersion=1", true),
            ("resourceVersionMatch=Exact", false),
            ("resourceVersionMatch=Exact&resourceVersion=0", false),
            ("resourceVersionMatch=Newest&resourceVersion=1", false),
            (watch_list, false),
        ] {
            assert_eq!(
                options(query, watch).err().map(|s| s.code),
                Some(422),
                "{query}"
            );
        }
    }

    #[test]
    fn wrong_values_are_bad_requests() {
        for query in [
            "limit=-1",
            "limit=x",
            "resourceVersion=abc",
            "labelSelector=a%20b%20c",
            "fieldSelector=spec.colour%3Dred",
            "timeoutSeconds=soon",
        ] {
            assert_eq!(
                options(query, false).err().map(|s| s.code),
                Some(400),
                "{query}"
            );
        }
    }
}
