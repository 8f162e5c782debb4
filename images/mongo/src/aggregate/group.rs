//! `$group`: one document per distinct `_id`, with accumulated fields.

use std::collections::BTreeMap;

use bson::{Bson, Document};

use crate::command::Results;
use crate::number::{Arithmetic, Overflow, as_double, calculate, is_number};
use crate::order::key_of;
use crate::query::expression::Expression;
use crate::refusal::{Answer, Refusal};

/// Memory the groups may hold together, in bytes, before the stage is refused.
const MEMORY_LIMIT: usize = 32 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Sum,
    Avg,
    Min,
    Max,
    First,
    Last,
    Push,
    AddToSet,
}

const KINDS: [(&str, Kind); 8] = [
    ("$sum", Kind::Sum),
    ("$avg", Kind::Avg),
    ("$min", Kind::Min),
    ("$max", Kind::Max),
    ("$first", Kind::First),
    ("$last", Kind::Last),
    ("$push", Kind::Push),
    ("$addToSet", Kind::AddToSet),
];

/// A parsed `$group`.
pub struct Group {
    id: Expression,
    fields: Vec<(String, Kind, Expression)>,
}

struct Accumulator {
    value: Option<Bson>,
    items: Vec<Bson>,
    sum: f64,
    count: u64,
}

impl Group {
    /// Understands the stage's argument.
    pub fn parse(spec: &Document) -> Answer<Self> {
        let id = spec
            .get("_id")
            .ok_or_else(|| Refusal::bad_value("a group specification must include an _id"))?;
        let mut fields = Vec::new();
        for (name, value) in spec.iter().filter(|(name, _)| *name != "_id") {
            if name.contains('.') || name.starts_with('$') {
                return Err(Refusal::bad_value(format!(
                    "The field name '{name}' cannot be used in $group"
                )));
            }
            let single = value
                .as_document()
                .filter(|d| d.len() == 1)
                .and_then(|d| d.iter().next());
            let Some((operator, argument)) = single else {
                return Err(Refusal::bad_value(format!(
                    "The field '{name}' must be an accumulator object"
                )));
            };
            if operator == "$count" {
                fields.push((name.clone(), Kind::Sum, Expression::Literal(Bson::Int32(1))));
                continue;
            }
            let Some((_, kind)) = KINDS.iter().find(|(known, _)| known == operator) else {
                return Err(Refusal::bad_value(format!(
                    "unknown group operator '{operator}'"
                )));
            };
            fields.push((name.clone(), *kind, Expression::parse(argument)?));
        }
        Ok(Self {
            id: Expression::parse(id)?,
            fields,
        })
    }

    /// The group behind `$sortByCount`.
    pub fn counting(expression: &Bson) -> Answer<Self> {
        Ok(Self {
            id: Expression::parse(expression)?,
            fields: vec![(
                "count".into(),
                Kind::Sum,
                Expression::Literal(Bson::Int32(1)),
            )],
        })
    }

    /// Reads all documents and gives one per group, in the order the groups appeared.
    pub fn run(&self, input: Results) -> Answer<Vec<Document>> {
        let mut places: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
        let mut groups: Vec<(Bson, Vec<Accumulator>)> = Vec::new();
        let mut held = 0usize;
        for document in input {
            let document = document?;
            let id = self.id.evaluate(&document)?;
            let key = key_of(&id);
            let place = match places.get(&key) {
                Some(place) => *place,
                None => {
                    held = held.saturating_add(key.len() * 2 + 64 * (1 + self.fields.len()));
                    places.insert(key, groups.len());
                    groups.push((id, self.fields.iter().map(|_| Accumulator::new()).collect()));
                    groups.len() - 1
                }
            };
            for ((_, kind, expression), accumulator) in self.fields.iter().zip(&mut groups[place].1)
            {
                if let Some(value) = expression.find(&document)? {
                    held = held.saturating_add(accumulator.add(*kind, value)?);
                } else if *kind == Kind::First || *kind == Kind::Last {
                    accumulator.add(*kind, Bson::Null)?;
                }
            }
            if held > MEMORY_LIMIT {
                return Err(Refusal::bad_value(format!(
                    "$group would hold more than {MEMORY_LIMIT} bytes"
                )));
            }
        }
        let finished = groups.into_iter().map(|(id, accumulators)| {
            let mut document = Document::new();
            document.insert("_id", id);
            for ((name, kind, _), accumulator) in self.fields.iter().zip(accumulators) {
                document.insert(name, accumulator.finish(*kind));
            }
            document
        });
        Ok(finished.collect())
    }
}

impl Accumulator {
    fn new() -> Self {
        Self {
            value: None,
            items: Vec::new(),
            sum: 0.0,
            count: 0,
        }
    }

    /// Takes a value in; returns how many more bytes are held.
    fn add(&mut self, kind: Kind, value: Bson) -> Answer<usize> {
        match kind {
            // What is no number is left out of sums and averages.
            Kind::Sum if is_number(&value) => {
                let sum = self.value.take().unwrap_or(Bson::Int32(0));
                self.value = Some(calculate(Arithmetic::Add, &sum, &value, Overflow::Widen)?);
            }
            Kind::Avg if is_number(&value) => {
                self.sum += as_double(&value)?;
                self.count += 1;
            }
            Kind::Sum | Kind::Avg => {}
            Kind::Min | Kind::Max if matches!(value, Bson::Null | Bson::Undefined) => {}
            Kind::Min | Kind::Max => {
                let better = match &self.value {
                    None => true,
                    Some(old) if kind == Kind::Min => key_of(&value) < key_of(old),
                    Some(old) => key_of(&value) > key_of(old),
                };
                if better {
                    self.value = Some(value);
                }
            }
            Kind::First => {
                self.value.get_or_insert(value);
            }
            Kind::Last => self.value = Some(value),
            Kind::Push => {
                let size = key_of(&value).len() + 32;
                self.items.push(value);
                return Ok(size);
            }
            Kind::AddToSet => {
                let key = key_of(&value);
                if !self.items.iter().any(|item| key_of(item) == key) {
                    self.items.push(value);
                    return Ok(key.len() + 32);
                }
            }
        }
        Ok(0)
    }

    fn finish(self, kind: Kind) -> Bson {
        match kind {
            Kind::Sum => self.value.unwrap_or(Bson::Int32(0)),
            Kind::Avg if self.count == 0 => Bson::Null,
            Kind::Avg => Bson::Double(self.sum / self.count as f64),
            Kind::Push | Kind::AddToSet => Bson::Array(self.items),
            Kind::Min | Kind::Max | Kind::First | Kind::Last => self.value.unwrap_or(Bson::Null),
        }
    }
}
