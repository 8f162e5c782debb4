//! Rules in the Common Expression Language, as custom kinds and webhooks carry them.
//!
//! The language is the `cel` crate's; of Kubernetes' own libraries there are strings, lists
//! and math. A rule that calls anything else is refused when it is taken in, never passed
//! over.

mod budget;

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, LazyLock};

use cel::{Context, Env, extensions};
use serde_json::Value;

/// Longest rule, in bytes; upstream's limit is of the same order.
const MAX_RULE: usize = 10_000;

/// Largest value a rule may look at, in JSON bytes. What a rule makes of it is bounded by
/// its budget.
const MAX_VALUE: usize = 64 * 1024;

/// Deepest rule that is evaluated where it is asked for.
const SHALLOW: usize = 16;

/// Stack for the others and for parsing, in bytes: some frames for each byte of a rule. Only what is used
/// of it is ever there.
const STACK: usize = 96 * 1024 * 1024;

static ENV: LazyLock<Arc<Env>> = LazyLock::new(|| {
    let mut env = Env::stdlib();
    // Each names functions of its own; a clash would be a defect of the crate, and the
    // rules that need the rest are then refused.
    for extension in [extensions::strings, extensions::lists, extensions::math] {
        let _ = env.add_extension(extension);
    }
    budget::add(&mut env);
    Arc::new(env)
});

/// Functions a rule may call: the standard ones and those of the three extensions.
const KNOWN: &[&str] = &[
    "size",
    "has",
    "all",
    "exists",
    "exists_one",
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
    "min",
    "max",
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
    "slice",
    "sort",
    "distinct",
    "flatten",
    "greatest",
    "least",
    "abs",
    "ceil",
    "floor",
    "round",
    "sign",
    "trunc",
    "optional.of",
];

/// Variables that rules of one sort have and those of another have not.
const ROLES: &[&str] = &[
    "self",
    "oldSelf",
    "object",
    "oldObject",
    "request",
    "authorizer",
    "params",
    "variables",
    "namespaceObject",
];

/// A rule ready to run.
#[derive(Debug)]
pub struct Program {
    expression: cel::IdedExpr,
    /// It is evaluated by recursion beyond what an ordinary stack holds.
    is_deep: bool,
    /// It compares with the state before, so it is not asked of new values.
    pub looks_back: bool,
    /// Which of [`ROLES`] it names.
    speaks_of: Vec<&'static str>,
}

impl Program {
    /// Reads a rule.
    ///
    /// # Errors
    /// What is wrong with it, for the author.
    pub fn compile(rule: &str) -> Result<Program, String> {
        if rule.trim().is_empty() {
            return Err("rule is not specified".to_owned());
        }
        if rule.len() > MAX_RULE {
            return Err(format!("the rule is longer than {MAX_RULE} bytes"));
        }
        let (program, depth) = parse(rule)?;
        let references = program.references();
        let stranger = references
            .functions()
            .into_iter()
            .find(|name| is_word(name) && !KNOWN.contains(name))
            .map(str::to_owned);
        let looks_back = references.has_variable("oldSelf");
        let known = |name: &&str| references.has_variable(name);
        let speaks_of = ROLES.iter().copied().filter(known).collect();
        if let Some(name) = stranger {
            return Err(format!(
                "undeclared reference to '{name}': this cluster's CEL does not have that function"
            ));
        }
        let mut expression = program.expression().clone();
        budget::meter(&mut expression);
        Ok(Program {
            expression,
            is_deep: depth > SHALLOW,
            looks_back,
            speaks_of,
        })
    }

    /// Reads a rule that speaks of `variables` where others speak of `self`.
    ///
    /// # Errors
    /// As [`Program::compile`].
    pub fn compile_with(rule: &str, variables: &[&str]) -> Result<Program, String> {
        let program = Program::compile(rule)?;
        // The crate does not tell loop variables from others, so only these can be told.
        let stranger = program
            .speaks_of
            .iter()
            .find(|name| !variables.contains(name));
        match stranger {
            Some(name) => Err(format!(
                "undeclared reference to '{name}' (in container '')"
            )),
            None => Ok(program),
        }
    }

    /// Whether the rule holds.
    ///
    /// # Errors
    /// Why it could not be told: a missing key, a wrong type.
    pub fn holds(&self, this: &Value, old: Option<&Value>) -> Result<bool, String> {
        match self.run(this, old)? {
            cel::Value::Bool(truth) => Ok(truth),
            _ => Err("the rule did not evaluate to a boolean".to_owned()),
        }
    }

    /// The text the expression makes (`messageExpression`).
    ///
    /// # Errors
    /// As [`Program::holds`].
    pub fn text(&self, this: &Value, old: Option<&Value>) -> Result<String, String> {
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
        match self.run_with(variables)? {
            cel::Value::Bool(truth) => Ok(truth),
            _ => Err("the expression did not evaluate to a boolean".to_owned()),
        }
    }

    fn run(&self, this: &Value, old: Option<&Value>) -> Result<cel::Value, String> {
        match old {
            Some(old) => self.run_with(&[("self", this), ("oldSelf", old)]),
            None => self.run_with(&[("self", this)]),
        }
    }

    fn run_with(&self, variables: &[(&str, &Value)]) -> Result<cel::Value, String> {
        for (_, value) in variables {
            if value.to_string().len() > MAX_VALUE {
                return Err(format!(
                    "the value is larger than {MAX_VALUE} bytes, the most a rule may look at"
                ));
            }
        }
        let evaluate = || {
            let mut context = Context::with_env(Arc::clone(&ENV));
            for (name, value) in variables {
                context.add_variable_from_value(*name, typed(value));
            }
            budget::within(|| cel::Value::resolve(&self.expression, &context))
        };
        let run = match self.is_deep {
            true => on_large_stack(evaluate)?,
            false => std::panic::catch_unwind(AssertUnwindSafe(evaluate)),
        };
        match run {
            Ok(evaluated) => evaluated?.map_err(|error| error.to_string()),
            Err(_) => Err("the rule could not be evaluated".to_owned()),
        }
    }
}

/// Parses a rule; gives how deep it nests as well. The parser is not ours, may panic, and
/// walks a chain of operators by recursion.
fn parse(rule: &str) -> Result<(cel::Program, usize), String> {
    let parsing = || {
        let program = ENV.compile(rule).map_err(|error| error.to_string())?;
        match budget::depth(program.expression()) {
            depth if depth > budget::MAX_DEPTH => Err("the rule is nested too deeply".to_owned()),
            depth => Ok((program, depth)),
        }
    };
    on_large_stack(parsing)?.map_err(|_| "the rule cannot be parsed".to_owned())?
}

/// Does something on a stack for rules of any length; an inner error is a panic.
fn on_large_stack<T: Send>(
    act: impl FnOnce() -> T + Send,
) -> Result<std::thread::Result<T>, String> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("rule".to_owned())
            .stack_size(STACK)
            .spawn_scoped(scope, act)
            .map_err(|error| format!("there is no thread for the rule: {error}"))?;
        Ok(thread.join())
    })
}

/// Operators are called by signs (`_&&_`, `@in`), functions by words.
fn is_word(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic())
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
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn rules_hold_or_not() {
        let object = json!({"replicas": 3, "max": 5, "name": "web-1", "x-y": 1,
            "list": [{"n": "a"}, {"n": "b"}], "labels": {"k": "v"}});
        for (rule, want) in [
            ("self.replicas <= self.max", true),
            ("self.replicas > self.max", false),
            ("has(self.name) && self.name.startsWith('web')", true),
            ("self.list.all(x, x.n != '')", true),
            ("self.list.exists(x, x.n == 'c')", false),
            ("size(self.list) == 2 && 'k' in self.labels", true),
            ("self.x__dash__y == 1", true),
            ("self.name.matches('^web-[0-9]+$')", true),
            ("!has(self.none) || self.none > 1", true),
        ] {
            let program = Program::compile(rule).expect(rule);
            assert_eq!(program.holds(&object, None), Ok(want), "{rule}");
        }
        let back = Program::compile("self.replicas >= oldSelf.replicas").expect("rule");
        assert!(back.looks_back);
        assert_eq!(
            back.holds(&object, Some(&json!({"replicas": 4}))),
            Ok(false)
        );
    }

    #[test]
    fn what_cannot_be_run_is_refused_at_once() {
        for bad in [
            "",
            "self.",
            "self.x ==",
            "url(self.x).getHost() == 'a'",
            "(((",
        ] {
            assert!(Program::compile(bad).is_err(), "{bad}");
        }
        let missing = Program::compile("self.none == 1").expect("rule");
        assert!(missing.holds(&json!({}), None).is_err());
    }
}
