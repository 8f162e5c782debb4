//! GET of a collection: selected, in pages, each page of one list from the same revision.

use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cadet_api::status::Status;
use cadet_store::{Revision, RevisionError};
use serde::{Deserialize, Serialize};

use crate::call::ObjectCall;
use crate::encode::{self, Page};
use crate::query::{ListOptions, Match};
use crate::selection::Selection;
use crate::virtual_kinds;
use crate::world::Listing;

/// What a `continue` token says. Opaque to clients.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Token {
    /// 0 for whatever there is by then, because the list's own revision is forgotten.
    #[serde(rename = "rv")]
    revision: Revision,
    /// Namespace and name of the last object sent.
    after: (String, String),
}

impl Token {
    fn write(&self) -> String {
        // Two strings and a number always serialize.
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).unwrap_or_default())
    }

    fn read(text: &str) -> Result<Token, Status> {
        URL_SAFE_NO_PAD
            .decode(text)
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .ok_or_else(|| {
                Status::bad_request(
                    "invalid continue token: continue key is not valid: it was not given out by this server",
                )
            })
    }
}

pub async fn run(call: &ObjectCall) -> Result<Response, Status> {
    let options = ListOptions::of(&call.parameters, call.resource(), false)?;
    let token = options
        .continue_token
        .as_deref()
        .map(Token::read)
        .transpose()?;
    if token.is_some() && options.revision.is_some_and(|asked| asked != 0) {
        return Err(Status::bad_request(
            "specifying resource version is not allowed when using continue",
        ));
    }
    let namespace = call.reference.namespace.as_deref().unwrap_or_default();
    let computed = virtual_kinds::objects(&call.app, call.resource(), namespace, None);
    let mut listing = match computed.await {
        Some(objects) => Listing {
            revision: call.app.world.revision(),
            objects: objects?,
        },
        None => snapshot(call, &options, token.as_ref())?,
    };
    let selection = Selection::new(&options, call.reference.namespace.as_deref());
    listing.objects.retain(|object| selection.holds(object));
    if let Some(token) = &token {
        let (namespace, name) = (&token.after.0, &token.after.1);
        listing
            .objects
            .retain(|o| (o.namespace(), o.name()) > (namespace, name));
    }
    let page = cut(&mut listing, &options);
    encode::list(call, listing, &page)
}

/// The objects the whole list is made of.
fn snapshot(
    call: &ObjectCall,
    options: &ListOptions,
    token: Option<&Token>,
) -> Result<Listing, Status> {
    let world = &call.app.world;
    let namespace = call.reference.namespace.as_deref();
    let at = |revision| world.list_at(call.resource(), namespace, revision);
    if let Some(token) = token {
        if token.revision == 0 {
            return Ok(world.list(call.resource(), namespace));
        }
        return at(token.revision).map_err(|error| match error {
            RevisionError::TooOld { .. } => {
                let later = Token {
                    revision: 0,
                    after: token.after.clone(),
                };
                Status::continue_expired(later.write())
            }
            RevisionError::Future { asked, newest } => {
                Status::resource_version_too_large(asked, newest)
            }
        });
    }
    match (options.revision, options.revision_match) {
        (Some(revision), Some(Match::Exact)) => at(revision).map_err(|error| match error {
            RevisionError::TooOld { .. } => Status::list_expired(),
            RevisionError::Future { asked, newest } => {
                Status::resource_version_too_large(asked, newest)
            }
        }),
        (asked, _) => {
            let listing = world.list(call.resource(), namespace);
            match asked {
                // Whatever any server gave out is here by now: a newer one cannot arrive.
                Some(asked) if asked > listing.revision => {
                    Err(Status::resource_version_too_large(asked, listing.revision))
                }
                _ => Ok(listing),
            }
        }
    }
}

/// Cuts a listing to its page; what the page says about the rest.
fn cut(listing: &mut Listing, options: &ListOptions) -> Page {
    // Who is content with any state gets it whole, as from upstream's watch cache.
    let whole = options.revision == Some(0) && options.continue_token.is_none();
    let limit = options.limit.filter(|_| !whole);
    let limit = limit.and_then(|limit| usize::try_from(limit).ok());
    let Some(limit) = limit.filter(|limit| *limit < listing.objects.len()) else {
        return Page::default();
    };
    let rest = listing.objects.len() - limit;
    listing.objects.truncate(limit);
    let Some(last) = listing.objects.last() else {
        return Page::default();
    };
    let after = (last.namespace().to_owned(), last.name().to_owned());
    let token = Token {
        revision: listing.revision,
        after,
    };
    // With selectors upstream does not know how many of the rest would match, so says nothing.
    let count = options.labels.is_empty() && options.fields.is_empty();
    Page {
        continue_token: Some(token.write()),
        remaining: count.then_some(rest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_back_as_they_went_and_foreign_ones_are_refused() {
        let token = Token {
            revision: 7,
            after: ("ns".into(), "n\"ame".into()),
        };
        assert_eq!(Token::read(&token.write()), Ok(token));
        for foreign in ["", "!", "eyJ2IjoibWV0YS5rOHMuaW8vdjEifQ", "AAAA"] {
            assert_eq!(
                Token::read(foreign).err().map(|s| s.code),
                Some(400),
                "{foreign}"
            );
        }
    }
}
