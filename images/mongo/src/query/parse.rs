//! From a filter document to [`Filter`]; whatever is not understood is refused.

use std::collections::BTreeSet;

use bson::{Bson, Document};

use super::expression::Expression;
use super::filter::{Condition, Filter, Ordered, truth, whole_number};
use super::path::Path;
use super::pattern::Pattern;
use crate::order::{class, class_of, key_of};
use crate::refusal::{Answer, Refusal};

/// Names `$type` accepts, with their numbers; `number` stands for four types.
const TYPE_NAMES: [(&str, &[i32]); 22] = [
    ("double", &[1]),
    ("string", &[2]),
    ("object", &[3]),
    ("array", &[4]),
    ("binData", &[5]),
    ("undefined", &[6]),
    ("objectId", &[7]),
    ("bool", &[8]),
    ("date", &[9]),
    ("null", &[10]),
    ("regex", &[11]),
    ("dbPointer", &[12]),
    ("javascript", &[13]),
    ("symbol", &[14]),
    ("javascriptWithScope", &[15]),
    ("int", &[16]),
    ("timestamp", &[17]),
    ("long", &[18]),
    ("decimal", &[19]),
    ("minKey", &[-1]),
    ("maxKey", &[127]),
    ("number", &[1, 16, 18, 19]),
];

impl Filter {
    /// Understands a filter document.
    ///
    /// # Errors
    /// `BadValue` for every operator or shape that is not known.
    pub fn parse(query: &Document) -> Answer<Self> {
        let mut parts = Vec::new();
        for (name, value) in query {
            match name.as_str() {
                "$and" => parts.push(Filter::And(parse_list(name, value)?)),
                "$or" => parts.push(Filter::Or(parse_list(name, value)?)),
                "$nor" => parts.push(Filter::Nor(parse_list(name, value)?)),
                "$expr" => parts.push(Filter::Expr(Expression::parse(value)?)),
                // A note for the server's log; it has no meaning for the result.
                "$comment" => {}
                unknown if unknown.starts_with('$') => {
                    return Err(Refusal::bad_value(format!(
                        "unknown top level operator: {unknown}"
                    )));
                }
                field => {
                    let path = Path::parse(field)?;
                    for condition in conditions(value)? {
                        parts.push(Filter::Field(path.clone(), condition));
                    }
                }
            }
        }
        Ok(Filter::And(parts))
    }
}

fn parse_list(name: &str, value: &Bson) -> Answer<Vec<Filter>> {
    let items = value
        .as_array()
        .filter(|items| !items.is_empty())
        .ok_or_else(|| Refusal::bad_value(format!("{name} must be a nonempty array")))?;
    items
        .iter()
        .map(|item| match item {
            Bson::Document(query) => Filter::parse(query),
            _ => Err(Refusal::bad_value(format!(
                "{name}'s entries need to be documents"
            ))),
        })
        .collect()
}

/// True for a document of operators, such as `{$gt: 1}`. A DBRef is a value.
pub fn is_operators(value: &Document) -> bool {
    value
        .keys()
        .next()
        .is_some_and(|key| key.starts_with('$') && !matches!(key.as_str(), "$ref" | "$id" | "$db"))
}

/// What is asked of one field: a plain value or a document of operators.
fn conditions(value: &Bson) -> Answer<Vec<Condition>> {
    match value {
        Bson::Document(operators) if is_operators(operators) => operator_conditions(operators),
        Bson::RegularExpression(regex) => Ok(vec![Condition::Regex(Pattern::from_value(regex)?)]),
        plain => Ok(vec![Condition::Equal(key_of(plain))]),
    }
}

fn operator_conditions(operators: &Document) -> Answer<Vec<Condition>> {
    let mut all = Vec::new();
    for (name, value) in operators {
        let condition = match name.as_str() {
            "$eq" => Condition::Equal(key_of(value)),
            "$ne" => Condition::Not(vec![Condition::Equal(key_of(value))]),
            "$lt" => compare(Ordered::Less, value)?,
            "$lte" => compare(Ordered::LessOrEqual, value)?,
            "$gt" => compare(Ordered::Greater, value)?,
            "$gte" => compare(Ordered::GreaterOrEqual, value)?,
            "$in" => membership(name, value)?,
            "$nin" => Condition::Not(vec![membership(name, value)?]),
            "$not" => Condition::Not(negated(value)?),
            "$exists" => Condition::Exists(truth(value)),
            "$size" => Condition::Size(size(value)?),
            "$all" => Condition::All(all_of(value)?),
            "$elemMatch" => element_match(value)?,
            "$mod" => modulo(value)?,
            "$type" => Condition::Type(types(value)?),
            "$regex" => regex(value, operators.get("$options"))?,
            "$options" if operators.contains_key("$regex") => continue,
            "$options" => return Err(Refusal::bad_value("$options needs a $regex")),
            unknown => return Err(Refusal::bad_value(format!("unknown operator: {unknown}"))),
        };
        all.push(condition);
    }
    Ok(all)
}

fn compare(ordered: Ordered, value: &Bson) -> Answer<Condition> {
    if let Bson::RegularExpression(_) = value {
        return Err(Refusal::bad_value(
            "Can't have RegEx as arg to an order operator",
        ));
    }
    // Nothing is above or below NaN; equal is what is left of "or equal".
    if matches!(value, Bson::Double(v) if v.is_nan()) {
        return Ok(match ordered {
            Ordered::Less | Ordered::Greater => Condition::In(BTreeSet::new(), Vec::new()),
            _ => Condition::Equal(key_of(value)),
        });
    }
    Ok(Condition::Compare(ordered, class_of(value), key_of(value)))
}

fn membership(name: &str, value: &Bson) -> Answer<Condition> {
    let items = value
        .as_array()
        .ok_or_else(|| Refusal::bad_value(format!("{name} needs an array")))?;
    let mut keys = BTreeSet::new();
    let mut patterns = Vec::new();
    for item in items {
        match item {
            Bson::RegularExpression(regex) => patterns.push(Pattern::from_value(regex)?),
            Bson::Document(inner) if is_operators(inner) => {
                return Err(Refusal::bad_value(format!("cannot nest $ under {name}")));
            }
            plain => {
                keys.insert(key_of(plain));
            }
        }
    }
    Ok(Condition::In(keys, patterns))
}

fn negated(value: &Bson) -> Answer<Vec<Condition>> {
    match value {
        Bson::RegularExpression(regex) => Ok(vec![Condition::Regex(Pattern::from_value(regex)?)]),
        Bson::Document(operators) if is_operators(operators) => operator_conditions(operators),
        _ => Err(Refusal::bad_value(
            "$not needs a regex or a document of operators",
        )),
    }
}

fn size(value: &Bson) -> Answer<i64> {
    let exact = match value {
        Bson::Double(v) => v.fract() == 0.0,
        _ => true,
    };
    whole_number(value)
        .filter(|size| exact && *size >= 0)
        .ok_or_else(|| Refusal::bad_value("$size needs a whole number that is not negative"))
}

fn all_of(value: &Bson) -> Answer<Vec<Condition>> {
    let items = value
        .as_array()
        .ok_or_else(|| Refusal::bad_value("$all needs an array"))?;
    let mut all = Vec::new();
    for item in items {
        match item {
            Bson::Document(inner) if inner.keys().next().is_some_and(|k| k == "$elemMatch") => {
                all.extend(operator_conditions(inner)?);
            }
            Bson::Document(inner) if is_operators(inner) => {
                return Err(Refusal::bad_value("no $ expressions in $all"));
            }
            plain => all.extend(conditions(plain)?),
        }
    }
    Ok(all)
}

fn element_match(value: &Bson) -> Answer<Condition> {
    let inner = value
        .as_document()
        .ok_or_else(|| Refusal::bad_value("$elemMatch needs an Object"))?;
    let logical = inner
        .keys()
        .next()
        .is_some_and(|k| matches!(k.as_str(), "$and" | "$or" | "$nor" | "$expr"));
    if is_operators(inner) && !logical {
        return Ok(Condition::ElementValue(operator_conditions(inner)?));
    }
    Ok(Condition::ElementDocument(Box::new(Filter::parse(inner)?)))
}

fn modulo(value: &Bson) -> Answer<Condition> {
    let pair: Option<Vec<i64>> = value
        .as_array()
        .filter(|items| items.len() == 2)
        .and_then(|items| items.iter().map(whole_number).collect());
    match pair.as_deref() {
        Some([0, _]) => Err(Refusal::bad_value("divisor cannot be 0")),
        // i64::MIN % -1 overflows; any number leaves 0 for either sign of one.
        Some([-1, remainder]) => Ok(Condition::Modulo {
            divisor: 1,
            remainder: *remainder,
        }),
        Some([divisor, remainder]) => Ok(Condition::Modulo {
            divisor: *divisor,
            remainder: *remainder,
        }),
        _ => Err(Refusal::bad_value(
            "malformed mod, needs to be an array of two numbers",
        )),
    }
}

fn types(value: &Bson) -> Answer<BTreeSet<i32>> {
    let single = [value.clone()];
    let items = match value {
        Bson::Array(items) => items.as_slice(),
        _ => &single,
    };
    let mut wanted = BTreeSet::new();
    for item in items {
        match item {
            Bson::String(name) => match TYPE_NAMES.iter().find(|(known, _)| known == name) {
                Some((_, numbers)) => wanted.extend(numbers.iter().copied()),
                None => {
                    return Err(Refusal::bad_value(format!(
                        "Unknown type name alias: {name}"
                    )));
                }
            },
            number => {
                let number = whole_number(number)
                    .and_then(|n| i32::try_from(n).ok())
                    .filter(|n| TYPE_NAMES.iter().any(|(_, numbers)| numbers.contains(n)))
                    .ok_or_else(|| {
                        Refusal::bad_value(format!("Invalid numerical type code: {number}"))
                    })?;
                wanted.insert(number);
            }
        }
    }
    Ok(wanted)
}

fn regex(value: &Bson, options: Option<&Bson>) -> Answer<Condition> {
    let options = match options {
        None => None,
        Some(Bson::String(text)) => Some(text.as_str()),
        Some(_) => return Err(Refusal::bad_value("$options has to be a string")),
    };
    let pattern = match value {
        Bson::String(text) => Pattern::new(text, options.unwrap_or(""))?,
        Bson::RegularExpression(regex) => Pattern::new(
            regex.pattern.as_str(),
            options.unwrap_or(regex.options.as_str()),
        )?,
        _ => return Err(Refusal::bad_value("$regex has to be a string")),
    };
    Ok(Condition::Regex(pattern))
}

/// The `_id` values a query can possibly match, if it names them: a road past the scan.
pub fn named_ids(query: &Document) -> Option<Vec<Bson>> {
    let plain = |value: &Bson| !matches!(class_of(value), class::REGEX);
    match query.get("_id")? {
        Bson::Document(operators) if is_operators(operators) => {
            if let Some(value) = operators.get("$eq") {
                return plain(value).then(|| vec![value.clone()]);
            }
            let items = operators.get("$in")?.as_array()?;
            items.iter().all(plain).then(|| items.clone())
        }
        value => plain(value).then(|| vec![value.clone()]),
    }
}
