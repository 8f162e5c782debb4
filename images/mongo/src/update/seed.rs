//! What an upsert inserts before the update is applied.

use bson::{Bson, Document};

use super::place;
use crate::query::parse::is_operators;
use crate::query::path::Path;
use crate::refusal::Answer;

/// The document an upsert starts from: what the query demands by equality.
///
/// # Errors
/// When the query demands two things of one place.
pub fn seed_of(query: &Document) -> Answer<Document> {
    let mut seed = Document::new();
    collect_equalities(query, &mut seed)?;
    Ok(seed)
}

fn collect_equalities(query: &Document, seed: &mut Document) -> Answer<()> {
    for (name, value) in query {
        match (name.as_str(), value) {
            ("$and", Bson::Array(parts)) => {
                for part in parts {
                    if let Bson::Document(part) = part {
                        collect_equalities(part, seed)?;
                    }
                }
            }
            ("$or", Bson::Array(parts)) if parts.len() == 1 => {
                if let Some(Bson::Document(part)) = parts.first() {
                    collect_equalities(part, seed)?;
                }
            }
            (operator, _) if operator.starts_with('$') => {}
            (_, Bson::RegularExpression(_)) => {}
            (field, Bson::Document(operators)) if is_operators(operators) => {
                if let Some(value) = operators.get("$eq") {
                    place::set(seed, Path::parse(field)?.parts(), value.clone())?;
                }
            }
            (field, value) => place::set(seed, Path::parse(field)?.parts(), value.clone())?,
        }
    }
    Ok(())
}
