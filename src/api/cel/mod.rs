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

/// Largest value a rule may look at, in JSON bytes. With nested loops the time a rule takes
/// grows with a power of it, and nothing interrupts a rule at work.
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
const RESERVED_TYPES: &[&str] = &[
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
            assert_eq!(program.holds(&object, Old::Nothing), Ok(want), "{rule}");
        }
        let back = Program::compile("self.replicas >= oldSelf.replicas").expect("rule");
        assert!(back.looks_back);
        assert_eq!(
            back.holds(&object, Old::Was(&json!({"replicas": 4}))),
            Ok(false)
        );
    }

    #[test]
    fn what_cannot_be_run_is_refused_at_once() {
        for bad in ["", "self.", "self.x ==", "nothing(self.x) == 'a'", "((("] {
            assert!(Program::compile(bad).is_err(), "{bad}");
        }
        let missing = Program::compile("self.none == 1").expect("rule");
        assert!(missing.holds(&json!({}), Old::Nothing).is_err());
    }

    #[test]
    fn kubernetes_own_functions_are_there() {
        let this = json!({"l": [3, 1, 2], "s": ["a", "b", "a"], "t": "abc 123 def 456", "e": []});
        for rule in [
            "[1, 2, 3].isSorted() && !self.l.isSorted() && self.l.sum() == 6",
            "self.l.min() == 1 && self.l.max() == 3 && self.e.sum() == 0",
            "self.s.indexOf('a') == 0 && self.s.lastIndexOf('a') == 2 && self.s.indexOf('z') == -1",
            "self.t.find('[0-9]+') == '123' && self.t.find('x') == ''",
            "self.t.findAll('[0-9]+') == ['123', '456'] && self.t.findAll('[0-9]+', 1) == ['123']",
            "isURL('https://example.com:80/a') && !isURL('../a') && !isURL('https://a:b:c/')",
            "url('https://example.com:80/a b?k=v&k=w').getHost() == 'example.com:80'",
            "url('https://example.com:80/').getHostname() == 'example.com' && url('https://[::1]:80/').getPort() == '80'",
            "url('https://example.com/with space/').getEscapedPath() == '/with%20space/'",
            "url('https://example.com/?k=a%20b&k=w').getQuery() == {'k': ['a b', 'w']} && url('/p').getScheme() == ''",
            "isQuantity('1.3Gi') && !isQuantity('1a') && quantity('50k').isInteger()",
            "quantity('50k').add(quantity('20k')) == quantity('70k') && quantity('50k').sub(20000) == quantity('30k')",
            "quantity('200M').compareTo(quantity('0.2G')) == 0 && quantity('50Mi').isGreaterThan(quantity('50M'))",
            "quantity('-1').sign() == -1 && quantity('5').asInteger() == 5 && quantity('1.5').asApproximateFloat() == 1.5",
            "isIP('127.0.0.1') && isIP('::1') && !isIP('127.0.0.1/8') && ip('::1').family() == 6",
            "ip.isCanonical('2001:db8::abcd') && !ip.isCanonical('2001:DB8::ABCD') && ip('127.0.0.1').isLoopback()",
            "ip('169.254.1.1').isLinkLocalUnicast() && ip('8.8.8.8').isGlobalUnicast() && ip('0.0.0.0').isUnspecified()",
            "isCIDR('192.168.0.0/16') && !isCIDR('192.168.0.0/33') && cidr('::1/128').prefixLength() == 128",
            "cidr('192.168.0.0/24').containsIP('192.168.0.1') && !cidr('192.168.0.0/24').containsIP(ip('192.168.1.1'))",
            "cidr('10.0.0.0/8').containsCIDR('10.1.0.0/16') && cidr('10.1.2.3/8').masked() == cidr('10.0.0.0/8')",
            "cidr('10.1.2.3/8').ip() == ip('10.1.2.3') && string(ip('::1')) == '::1'",
            "!format.named('dns1123Label').value().validate('a').hasValue() && !format.named('x').hasValue()",
            "format.dns1123Label().validate('a_b').hasValue() && !format.date().validate('2026-01-01').hasValue()",
            "sets.contains([1, 2, 3], [2]) && sets.equivalent([1, 1, 2], [2, 1]) && sets.intersects([1], [1, 2])",
            "isSemver('1.2.3-a.1+b') && !isSemver('1.2') && semver('1.2.3').isLessThan(semver('1.10.0'))",
            "semver('1.0.0-a').isLessThan(semver('1.0.0')) && semver('2.1.0').major() == 2",
            "'tacocat'.charAt(3) == 'o' && 'a,b'.split(',').join('-') == 'a-b' && ' a '.trim() == 'a'",
            "'ABC'.lowerAscii() == 'abc' && 'abc'.substring(1) == 'bc' && 'abc'.reverse() == 'cba'",
            "[[1], [2]].flatten() == [1, 2] && math.greatest(1, 2) == 2 && [3, 1].sort() == [1, 3]",
            "'abab'.replace('a', 'c') == 'cbcb' && 'abab'.replace('a', 'c', 1) == 'cbab' && ['a', 'b'].join() == 'ab'",
            "optional.of(1).hasValue() && self.?none.orValue(5) == 5 && [1, 1].distinct() == [1]",
        ] {
            let program = Program::compile(rule).unwrap_or_else(|why| panic!("{rule}: {why}"));
            assert_eq!(program.holds(&this, Old::Nothing), Ok(true), "{rule}");
        }
    }

    #[test]
    fn a_rule_is_checked_against_its_schema() {
        let schema = json!({"type": "object", "properties": {
            "replicas": {"type": "integer"}, "name": {"type": "string"},
            "list": {"type": "array", "items": {"type": "object", "properties": {"n": {"type": "string"}}}},
            "labels": {"type": "object", "additionalProperties": {"type": "string"}},
            "any": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}});
        for (rule, words) in [
            ("self.replicas > 1 && self.list.all(x, x.n == 'a')", ""),
            (
                "self.labels['a'] == 'b' && self.labels.c == 'd' && self.any.x == 1",
                "",
            ),
            ("self.metadata.name == self.name && has(self.name)", ""),
            ("self.list.map(x, x.n).exists(n, n == self.name)", ""),
            (
                "self.foo > 1",
                "compilation failed: ERROR: <input>:1:5: undefined field 'foo'\n | self.foo > 1\n | ....^",
            ),
            (
                "self.list.all(x, x.m == 'a')",
                "compilation failed: ERROR: <input>:1:19: undefined field 'm'\n | self.list.all(x, x.m == 'a')\n | ..................^",
            ),
            (
                "foo > 1",
                "compilation failed: ERROR: <input>:1:1: undeclared reference to 'foo' (in container '')\n | foo > 1\n | ^",
            ),
            ("self.replicas", "cel expression must evaluate to a bool"),
        ] {
            let said = Program::compile_for(rule, &schema, false).err();
            assert_eq!(said.unwrap_or_default(), words, "{rule}");
        }
        for (rule, part) in [
            (
                "self.replicas > 'a'",
                "found no matching overload for '_>_' applied to '(int, string)'",
            ),
            (
                "self.name.x == 1",
                "type 'string' does not support field selection",
            ),
            (
                "self.name + 1 == 'a'",
                "found no matching overload for '_+_' applied to '(string, int)'",
            ),
            (
                "frob(self)",
                "undeclared reference to 'frob' (in container '')",
            ),
        ] {
            let said = Program::compile_for(rule, &schema, false).err();
            assert!(
                said.as_deref().unwrap_or_default().contains(part),
                "{rule}: {said:?}"
            );
        }
        assert!(Program::compile_message("'a' + self.name", &schema, false).is_ok());
        assert!(Program::compile_message("self.replicas", &schema, false).is_err());
    }

    #[test]
    fn a_rule_ends_by_its_budget() {
        let list: Vec<i64> = (0..2000).collect();
        let this = json!({"l": list, "s": "x".repeat(30_000)});
        for rule in [
            "self.l.all(a, self.l.all(b, self.l.all(c, self.l.all(d, a + b + c + d >= 0))))",
            "self.l.exists(a, self.l.map(b, self.l.map(c, a + b + c)).size() < 0)",
            "self.l.all(a, sets.equivalent(self.l, self.l))",
            "[self.s].map(a, a + a + a + a).map(a, a + a + a + a).map(a, a + a).size() > 0",
            "self.s.replace('', self.s).size() > 0",
            "self.l.map(a, 'x').join(self.s) == ''",
        ] {
            let program = Program::compile(rule).expect(rule);
            let said = program.holds(&this, Old::Nothing);
            assert_eq!(said, Err(budget::EXCEEDED.to_owned()), "{rule}");
        }
        let next = Program::compile("self.l.all(a, a >= 0)").expect("rule");
        assert_eq!(next.holds(&this, Old::Nothing), Ok(true));
    }

    #[test]
    fn the_value_before_may_be_nothing() {
        let rule = "!oldSelf.hasValue() || oldSelf.value() <= self";
        let program = Program::compile_for(rule, &json!({"type": "integer"}), true).expect(rule);
        let (two, three) = (json!(2), json!(3));
        assert_eq!(program.holds(&two, Old::Perhaps(None)), Ok(true));
        assert_eq!(program.holds(&two, Old::Perhaps(Some(&three))), Ok(false));
    }
}
