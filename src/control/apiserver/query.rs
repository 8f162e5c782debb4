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

/// The parameter that says how `resourceVersion` is meant.
const MATCH: &str = "resourceVersionMatch";

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
        let limit = parameters.number::<i64>("limit")?;
        let options = ListOptions {
            labels: labels.map_err(bad)?,
            fields,
            // Zero and less are no limit, as upstream reads them.
            limit: limit
                .and_then(|limit| u64::try_from(limit).ok())
                .filter(|limit| *limit != 0),
            continue_token: parameters.get("continue").map(str::to_owned),
            revision: parameters
                .get("resourceVersion")
                .map(parse_revision)
                .transpose()?,
            revision_match: match parameters.get(MATCH) {
                Some("Exact") => Some(Match::Exact),
                Some("NotOlderThan") => Some(Match::NotOlderThan),
                _ => None,
            },
            bookmarks: parameters.flag("allowWatchBookmarks"),
            initial_events: parameters
                .get("sendInitialEvents")
                .map(|_| parameters.flag("sendInitialEvents")),
            timeout_seconds: parameters.number("timeoutSeconds")?,
        };
        let wanted = parameters.get(MATCH);
        let errors = match watch {
            true => options.wrong_for_watch(wanted),
            false => options.wrong_for_list(wanted),
        };
        match errors.as_slice() {
            [] => Ok(options),
            errors => Err(Status::invalid_options("ListOptions", errors)),
        }
    }

    /// What is wrong of a watch; `wanted` is the match as the client wrote it.
    fn wrong_for_watch(&self, wanted: Option<&str>) -> Vec<field::Error> {
        let mut errors = vec![];
        let mut forbid = |why: &str| errors.push(field::Error::forbidden(MATCH, why));
        let newer = self.revision_match == Some(Match::NotOlderThan);
        if self.initial_events.is_some() && !newer {
            forbid("sendInitialEvents requires setting resourceVersionMatch to NotOlderThan");
        }
        let Some(wanted) = wanted else {
            return errors;
        };
        if self.initial_events.is_none() {
            forbid(
                "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
            );
        }
        if !newer {
            errors.push(field::Error::not_supported(
                MATCH,
                wanted,
                &["NotOlderThan"],
            ));
        }
        if self.continue_token.is_some() {
            let why = "resourceVersionMatch is forbidden when continue is provided";
            errors.push(field::Error::forbidden(MATCH, why));
        }
        errors
    }

    /// As [`ListOptions::wrong_for_watch`], of a list.
    fn wrong_for_list(&self, wanted: Option<&str>) -> Vec<field::Error> {
        let mut errors = vec![];
        if let Some(wanted) = wanted {
            let mut forbid = |why: &str| errors.push(field::Error::forbidden(MATCH, why));
            if self.revision.is_none() {
                forbid("resourceVersionMatch is forbidden unless resourceVersion is provided");
            }
            if self.continue_token.is_some() {
                forbid("resourceVersionMatch is forbidden when continue is provided");
            }
            if self.revision_match.is_none() {
                let known = ["Exact", "NotOlderThan", ""];
                errors.push(field::Error::not_supported(MATCH, wanted, &known));
            }
            if self.revision == Some(0) && self.revision_match == Some(Match::Exact) {
                let why = "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"";
                errors.push(field::Error::forbidden(MATCH, why));
            }
        }
        if self.initial_events.is_some() {
            let why = "sendInitialEvents is forbidden for list";
            errors.push(field::Error::forbidden("sendInitialEvents", why));
        }
        errors
    }
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

/// Which verb the options of a write are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Write {
    Create,
    Update,
    Patch,
    /// A patch that is an applied configuration.
    Apply,
}

impl Write {
    /// Kind of the options, which refusals name.
    fn kind(self) -> &'static str {
        match self {
            Write::Create => "CreateOptions",
            Write::Update => "UpdateOptions",
            Write::Patch | Write::Apply => "PatchOptions",
        }
    }
}

/// Longest name of a field manager, in bytes.
pub const MANAGER_MAX: usize = 128;

impl WriteOptions {
    /// # Errors
    /// 422 with every wrong option.
    pub fn of(parameters: &Parameters, write: Write) -> Result<WriteOptions, Status> {
        let mut errors = vec![];
        let manager = parameters.get("fieldManager");
        if write == Write::Patch && parameters.get("force").is_some() {
            let why = "may not be specified for non-apply patch";
            errors.push(field::Error::forbidden("force", why));
        }
        if write == Write::Apply && manager.is_none() {
            let why = "is required for apply patch";
            errors.push(field::Error::required("fieldManager", why));
        }
        errors.extend(manager.into_iter().flat_map(wrong_manager));
        let dry_run = dry_run(parameters.get("dryRun").as_slice());
        let dry_run = dry_run.unwrap_or_else(|error| {
            errors.push(*error);
            false
        });
        let validation = match parameters.get("fieldValidation") {
            Some("Ignore") => FieldValidation::Ignore,
            Some("Strict") => FieldValidation::Strict,
            // The server's default since Kubernetes 1.27.
            None | Some("Warn") => FieldValidation::Warn,
            Some(other) => {
                let known = ["", "Ignore", "Strict", "Warn"];
                errors.push(field::Error::not_supported(
                    "fieldValidation",
                    other,
                    &known,
                ));
                FieldValidation::Warn
            }
        };
        if !errors.is_empty() {
            return Err(Status::invalid_options(write.kind(), &errors));
        }
        Ok(WriteOptions {
            dry_run,
            validation,
        })
    }
}

/// What is wrong with the name of a field manager.
fn wrong_manager(name: &str) -> Vec<field::Error> {
    let mut errors = vec![];
    if name.len() > MANAGER_MAX {
        errors.push(field::Error::too_long("fieldManager", MANAGER_MAX));
    }
    for (at, c) in name.char_indices().filter(|(_, c)| c.is_control()) {
        let why = format!(
            "invalid character U+{:04X} (at position {at})",
            u32::from(c)
        );
        errors.push(field::Error::invalid("fieldManager", name, why));
    }
    errors
}

/// `All` is the only dry run there is.
pub fn dry_run(texts: &[&str]) -> Result<bool, Box<field::Error>> {
    match texts.iter().all(|text| *text == "All") {
        true => Ok(!texts.is_empty()),
        false => {
            let wrong = field::Error::not_supported("dryRun", texts.to_vec(), &["All"]);
            Err(Box::new(wrong))
        }
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
