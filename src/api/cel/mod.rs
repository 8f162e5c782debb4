//! Rules in the Common Expression Language, as custom kinds and webhooks carry them.
//!
//! The language is the `cel` crate's, Kubernetes' own functions are in `library`. A rule
//! that calls anything else is refused when it is taken in (`scope`), never passed over, and
//! one that takes too long is ended (`budget`).

mod budget;
mod library;
mod scope;
mod stack;

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, LazyLock};

use cel::objects::OptionalValue;
use cel::{Context, Env, ExecutionError, IdedExpr, extensions};
use serde_json::Value;

/// Longest rule, in bytes; upstream's limit is of the same order.
const MAX_RULE: usize = 10_000;

/// Largest value a rule may look at, in JSON bytes: every rule gets a copy of it, and a
/// single step (`budget`) may take a time that grows with it.
const MAX_VALUE: usize = 64 * 1024;

static ENV: LazyLock<Arc<Env>> = LazyLock::new(|| {
    let mut env = Env::stdlib();
    // Each names functions of its own; a clash would be a defect of the crate.
    for extension in [extensions::strings, extensions::lists, extensions::math] {
        let added = env.add_extension(extension);
        debug_assert!(added.is_ok(), "{added:?}");
    }
    library::add(&mut env);
    budget::add(&mut env);
    Arc::new(env)
});

/// Functions of the crate that a rule may call; the others are in [`library`].
const KNOWN: &[&str] = &[
    "size",
    "has",
    "all",
    "exists",
    "exists_one",
    "existsOne",
    "map",
    "filter",
    "contains",
    "startsWith",
    "endsWith",
    "matches",
    "string",
    "int",
    "uint",
    "double",
    "bytes",
    "bool",
    "type",
    "dyn",
    "charAt",
    "indexOf",
    "lastIndexOf",
    "lowerAscii",
    "upperAscii",
    "replace",
    "split",
    "join",
    "substring",
    "trim",
    "reverse",
    "format",
    "strings.quote",
    "slice",
    "sort",
    "sortBy",
    "distinct",
    "flatten",
    "lists.range",
    "math.greatest",
    "math.least",
    "math.abs",
    "math.ceil",
    "math.floor",
    "math.round",
    "math.sign",
    "math.trunc",
    "math.isNaN",
    "math.isInf",
    "math.isFinite",
    "math.sqrt",
    "math.bitAnd",
    "math.bitOr",
    "math.bitXor",
    "math.bitNot",
    "math.bitShiftLeft",
    "math.bitShiftRight",
    "optional.of",
    "optional.none",
    "optional.ofNonZeroValue",
    "hasValue",
    "value",
    "or",
    "orValue",
    "optMap",
    "optFlatMap",
];

/// Names of types, which stand in rules as values.
const TYPE_NAMES: &[&str] = &[
    "int",
    "uint",
    "double",
    "bool",
    "string",
    "bytes",
    "list",
    "map",
    "null_type",
    "type",
];

/// A rule ready to run.
#[derive(Debug)]
pub struct Program {
    rule: IdedExpr,
    is_deep: bool,
    /// It compares with the state before, so it is not asked of new values.
    pub looks_back: bool,
}

/// What rules of custom kinds speak of.
const OWN: &[&str] = &["self", "oldSelf"];

impl Program {
    /// Reads a rule about `self`, of which nothing is known.
    ///
    /// # Errors
    /// What is wrong with it, for the author.
    pub fn compile(rule: &str) -> Result<Program, String> {
        Program::read(rule, OWN, None, false, "bool")
    }

    /// Reads a rule about a `self` of this schema; `optional` if there may be no `oldSelf`.
    ///
    /// # Errors
    /// As [`Program::compile`].
    pub fn compile_for(rule: &str, schema: &Value, optional: bool) -> Result<Program, String> {
        Program::read(rule, OWN, Some(schema), optional, "bool")
    }

    /// Reads an expression that makes a message.
    ///
    /// # Errors
    /// As [`Program::compile`].
    pub fn compile_message(text: &str, schema: &Value, optional: bool) -> Result<Program, String> {
        Program::read(text, OWN, Some(schema), optional, "string")
    }

    /// Reads a rule that speaks of `variables` where others speak of `self`.
    ///
    /// # Errors
    /// As [`Program::compile`].
    pub fn compile_with(rule: &str, variables: &[&str]) -> Result<Program, String> {
        Program::read(rule, variables, None, false, "bool")
    }

    fn read(
        rule: &str,
        variables: &[&str],
        schema: Option<&Value>,
        optional: bool,
        wanted: &str,
    ) -> Result<Program, String> {
        if rule.trim().is_empty() {
            return Err("rule is not specified".to_owned());
        }
        if rule.len() > MAX_RULE {
            return Err(format!("the rule is longer than {MAX_RULE} bytes"));
        }
        let stack::Parsed {
            mut rule,
            source,
            is_deep,
        } = stack::parse(rule)?;
        let mut scope = scope::Scope::new(&source, variables, schema);
        if optional {
            scope = scope.old_is_optional();
        }
        scope.check(&mut rule, wanted)?;
        let looks_back = scope.used.iter().any(|name| name == "oldSelf");
        Ok(Program {
            rule,
            is_deep,
            looks_back,
        })
    }

    /// Whether the rule holds.
    ///
    /// # Errors
    /// Why it could not be told: a missing key, a wrong type.
    pub fn holds(&self, this: &Value, old: Old<'_>) -> Result<bool, String> {
        match self.run(this, old)? {
            cel::Value::Bool(truth) => Ok(truth),
            _ => Err("the rule did not evaluate to a boolean".to_owned()),
        }
    }

    /// The text the expression makes (`messageExpression`).
    ///
    /// # Errors
    /// As [`Program::holds`].
    pub fn text(&self, this: &Value, old: Old<'_>) -> Result<String, String> {
        match self.run(this, old)? {
            cel::Value::String(text) => Ok(text.to_string()),
            _ => Err("the expression did not evaluate to a string".to_owned()),
        }
    }

    /// Whether the rule holds for these values, each under its name.
    ///
    /// # Errors
    /// As [`Program::holds`].
    pub fn holds_for(&self, variables: &[(&str, &Value)]) -> Result<bool, String> {
        let variables = variables
            .iter()
            .map(|(name, value)| small(value).map(|value| (*name, typed(value))))
            .collect::<Result<_, _>>()?;
        match self.run_with(variables)? {
            cel::Value::Bool(truth) => Ok(truth),
            _ => Err("the expression did not evaluate to a boolean".to_owned()),
        }
    }

    fn run(&self, this: &Value, old: Old<'_>) -> Result<cel::Value, String> {
        let mut variables = vec![("self", typed(small(this)?))];
        match old {
            Old::Nothing => {}
            Old::Was(old) => variables.push(("oldSelf", typed(small(old)?))),
            Old::Perhaps(old) => {
                let old = match old {
                    Some(old) => OptionalValue::of(typed(small(old)?)),
                    None => OptionalValue::none(),
                };
                variables.push(("oldSelf", cel::Value::Opaque(Arc::new(old))));
            }
        }
        self.run_with(variables)
    }

    fn run_with(&self, variables: Vec<(&str, cel::Value)>) -> Result<cel::Value, String> {
        // What is left of the budget is told where it was spent.
        let evaluate = || {
            let mut context = Context::with_env(Arc::clone(&ENV));
            for (name, value) in variables {
                context.add_variable_from_value(name, value);
            }
            budget::renew();
            let value = cel::Value::resolve(&self.rule, &context);
            match budget::is_spent() {
                true => Err(budget::EXCEEDED.to_owned()),
                false => value.map_err(|error| in_go(&error)),
            }
        };
        let run = match self.is_deep {
            true => stack::on_large(evaluate)?,
            false => std::panic::catch_unwind(AssertUnwindSafe(evaluate)),
        };
        run.unwrap_or_else(|_| Err("the rule could not be evaluated".to_owned()))
    }
}

/// What a rule may know of the value before.
#[derive(Debug, Clone, Copy)]
pub enum Old<'a> {
    Nothing,
    Was(&'a Value),
    /// With `optionalOldSelf` the rule is asked in any case.
    Perhaps(Option<&'a Value>),
}

/// cel-go's words for what went wrong.
fn in_go(error: &ExecutionError) -> String {
    match error {
        ExecutionError::NoSuchKey(key) => format!("no such key: {key}"),
        ExecutionError::IndexOutOfBounds(at) => match at {
            cel::Value::Int(n) => format!("index out of bounds: {n}"),
            _ => "index out of bounds".to_owned(),
        },
        ExecutionError::DivisionByZero(_) => "division by zero".to_owned(),
        ExecutionError::RemainderByZero(_) => "modulus by zero".to_owned(),
        ExecutionError::Overflow(..) => "integer overflow".to_owned(),
        ExecutionError::NoSuchOverload(_)
        | ExecutionError::UnsupportedBinaryOperator(..)
        | ExecutionError::ValuesNotComparable(..) => "no such overload".to_owned(),
        ExecutionError::FunctionError { message, .. } => message.clone(),
        other => other.to_string(),
    }
}

fn small(value: &Value) -> Result<&Value, String> {
    match value.to_string().len() > MAX_VALUE {
        true => Err(format!(
            "the value is larger than {MAX_VALUE} bytes, the most a rule may look at"
        )),
        false => Ok(value),
    }
}

/// A value as rules see it: whole numbers are `int`, and members stand under the names
/// CEL can spell (KEP-2876) beside their own, because a map's keys are data.
fn typed(value: &Value) -> cel::Value {
    match value {
        Value::Null => cel::Value::Null,
        Value::Bool(truth) => cel::Value::Bool(*truth),
        Value::Number(n) => match n.as_i64() {
            Some(n) => cel::Value::Int(n),
            None => cel::Value::Float(n.as_f64().unwrap_or(f64::NAN)),
        },
        Value::String(text) => cel::Value::String(Arc::new(text.clone())),
        Value::Array(items) => cel::Value::List(Arc::new(items.iter().map(typed).collect())),
        Value::Object(members) => {
            let mut out: HashMap<String, cel::Value> = HashMap::new();
            for (name, value) in members {
                let value = typed(value);
                let known = escape(name);
                if known != *name {
                    out.insert(known, value.clone());
                }
                out.insert(name.clone(), value);
            }
            out.into()
        }
    }
}

const RESERVED: &[&str] = &[
    "true",
    "false",
    "null",
    "in",
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

fn escape(name: &str) -> String {
    if RESERVED.contains(&name) {
        return format!("__{name}__");
    }
    name.replace("__", "__underscores__")
        .replace('.', "__dot__")
        .replace('-', "__dash__")
        .replace('/', "__slash__")
}

#[cfg(test)]
mod tests;
