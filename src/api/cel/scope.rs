//! What can be told of a rule before it runs: names nobody declared, fields the schema does
//! not have, operators between values that do not go together. In cel-go's words.

use cel::IdedExpr;
use cel::common::ast::{CallExpr, EntryExpr, Expr, LiteralValue, SelectExpr, SourceInfo};
use serde_json::Value;

use super::{KNOWN, TYPE_NAMES, budget, escape, library};
use crate::json::{bool_at, map_at, str_at};

/// What is known of a value's type.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Type<'a> {
    Dyn,
    /// What a schema describes.
    Of(&'a Value),
    /// By CEL's name.
    Plain(&'static str),
}

impl<'a> Type<'a> {
    fn of(schema: Option<&'a Value>) -> Type<'a> {
        let Some(schema) = schema else {
            return Type::Dyn;
        };
        if bool_at(schema, "/x-kubernetes-int-or-string") || bool_at(schema, "/nullable") {
            return Type::Dyn;
        }
        match (str_at(schema, "/type"), str_at(schema, "/format")) {
            ("string", "" | "uuid" | "ipv4" | "ipv6" | "uri") => Type::Plain("string"),
            ("integer", _) => Type::Plain("int"),
            ("number", _) => Type::Plain("double"),
            ("boolean", _) => Type::Plain("bool"),
            ("object" | "array", _) => Type::Of(schema),
            _ => Type::Dyn,
        }
    }
}

/// The walk through one rule.
pub struct Scope<'a> {
    source: &'a SourceInfo,
    /// Variables and what is known of them; those of loops come and go at the end.
    names: Vec<(String, Type<'a>)>,
    /// Sentences about the rule, and where in it.
    issues: Vec<(usize, String)>,
    /// Variables the rule names.
    pub used: Vec<String>,
}

impl<'a> Scope<'a> {
    pub fn new(source: &'a SourceInfo, variables: &[&str], schema: Option<&'a Value>) -> Self {
        let typed = |name: &&str| {
            let known = matches!(*name, "self" | "oldSelf");
            ((*name).to_owned(), Type::of(schema.filter(|_| known)))
        };
        Scope {
            source,
            names: variables.iter().map(typed).collect(),
            issues: vec![],
            used: vec![],
        }
    }

    /// `oldSelf` may be nothing.
    pub fn old_is_optional(mut self) -> Self {
        for (name, known) in &mut self.names {
            if name == "oldSelf" {
                *known = Type::Dyn;
            }
        }
        self
    }

    /// Looks through a rule, which must come to a value of type `wanted`, and puts guards
    /// around its loops.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&mut self, rule: &mut IdedExpr, wanted: &str) -> Result<(), String> {
        let found = self.visit(rule);
        if !self.issues.is_empty() {
            return Err(format!("compilation failed: {}", self.told()));
        }
        match found {
            Type::Plain(found) if found != wanted => {
                Err(format!("cel expression must evaluate to a {wanted}"))
            }
            Type::Of(_) => Err(format!("cel expression must evaluate to a {wanted}")),
            _ => Ok(()),
        }
    }

    fn told(&self) -> String {
        let told = |(at, words): &(usize, String)| {
            let before = &self.source.source[..*at];
            let line = before.matches('\n').count();
            let column = before.chars().rev().take_while(|c| *c != '\n').count();
            let snippet = self.source.source.lines().nth(line).unwrap_or_default();
            format!(
                "ERROR: <input>:{}:{}: {words}\n | {snippet}\n | {}^",
                line + 1,
                column + 1,
                ".".repeat(column)
            )
        };
        let all: Vec<String> = self.issues.iter().map(told).collect();
        all.join("\n")
    }

    fn start(&self, expr: &IdedExpr) -> usize {
        let start = self
            .source
            .offset_for(expr.id)
            .map_or(0, |(start, _)| start);
        let source = &self.source.source;
        let start = usize::try_from(start).unwrap_or(0).min(source.len());
        (0..=start)
            .rev()
            .find(|at| source.is_char_boundary(*at))
            .unwrap_or(0)
    }

    fn issue(&mut self, at: usize, words: String) {
        if !self
            .issues
            .iter()
            .any(|known| *known == (at, words.clone()))
        {
            self.issues.push((at, words));
        }
    }

    fn declared(&self, name: &str) -> Option<Type<'a>> {
        let found = self.names.iter().rev().find(|(known, _)| known == name);
        found.map(|(_, known)| *known)
    }

    fn visit(&mut self, expr: &mut IdedExpr) -> Type<'a> {
        let at = self.start(expr);
        match &mut expr.expr {
            Expr::Ident(name) => {
                let name = name.trim_start_matches('.').to_owned();
                if let Some(known) = self.declared(&name) {
                    if !self.used.contains(&name) {
                        self.used.push(name);
                    }
                    return known;
                }
                if !name.starts_with('@') && !TYPE_NAMES.contains(&name.as_str()) {
                    self.issue(
                        at,
                        format!("undeclared reference to '{name}' (in container '')"),
                    );
                }
                Type::Dyn
            }
            Expr::Select(select) => self.select(select, at),
            Expr::Call(call) => {
                let found = self.call(call, at);
                let adds_item =
                    matches!(call.args.last(), Some(last) if matches!(last.expr, Expr::List(_)));
                if call.func_name == "_+_" && !adds_item {
                    let sum = std::mem::take(expr);
                    *expr = guarded(budget::SIZED, vec![sum]);
                }
                found
            }
            Expr::Comprehension(inner) => {
                let range = self.visit(&mut inner.iter_range);
                self.visit(&mut inner.accu_init);
                let depth = self.names.len();
                self.names.push((inner.accu_var.clone(), Type::Dyn));
                let (first, second) = match range {
                    Type::Of(schema) if str_at(schema, "/type") == "array" => {
                        let item = Type::of(schema.get("items"));
                        match inner.iter_var2 {
                            Some(_) => (Type::Plain("int"), item),
                            None => (item, Type::Dyn),
                        }
                    }
                    Type::Of(_) => (Type::Plain("string"), Type::Dyn),
                    _ => (Type::Dyn, Type::Dyn),
                };
                self.names.push((inner.iter_var.clone(), first));
                if let Some(name) = &inner.iter_var2 {
                    self.names.push((name.clone(), second));
                }
                self.visit(&mut inner.loop_cond);
                self.visit(&mut inner.loop_step);
                self.names.truncate(depth + 1);
                let result = self.visit(&mut inner.result);
                self.names.truncate(depth);
                let condition = std::mem::take(&mut inner.loop_cond);
                let so_far = IdedExpr {
                    id: condition.id,
                    expr: Expr::Ident(inner.accu_var.clone()),
                };
                inner.loop_cond = guarded(budget::GUARD, vec![condition, so_far]);
                result
            }
            Expr::List(list) => {
                for item in &mut list.elements {
                    self.visit(item);
                }
                Type::Dyn
            }
            Expr::Map(map) => {
                self.entries(&mut map.entries);
                Type::Dyn
            }
            Expr::Struct(made) => {
                self.entries(&mut made.entries);
                Type::Dyn
            }
            Expr::Literal(literal) => match literal {
                LiteralValue::Boolean(_) => Type::Plain("bool"),
                LiteralValue::Int(_) => Type::Plain("int"),
                LiteralValue::Double(_) => Type::Plain("double"),
                LiteralValue::String(_) => Type::Plain("string"),
                LiteralValue::Bytes(_) | LiteralValue::Null | LiteralValue::UInt(_) => Type::Dyn,
            },
            Expr::Unspecified => Type::Dyn,
        }
    }

    fn entries(&mut self, entries: &mut [cel::common::ast::IdedEntryExpr]) {
        for entry in entries {
            match &mut entry.expr {
                EntryExpr::StructField(field) => {
                    self.visit(&mut field.value);
                }
                EntryExpr::MapEntry(entry) => {
                    self.visit(&mut entry.key);
                    self.visit(&mut entry.value);
                }
            }
        }
    }

    fn select(&mut self, select: &mut SelectExpr, at: usize) -> Type<'a> {
        let operand = self.visit(&mut select.operand);
        let field = select.field.as_str();
        let (result, wrong) = match operand {
            Type::Dyn => (Type::Dyn, None),
            Type::Plain(name) => {
                let why = format!("type '{name}' does not support field selection");
                (Type::Dyn, Some(why))
            }
            Type::Of(schema) => match member(schema, field) {
                Some(found) => (found, None),
                None => (Type::Dyn, Some(format!("undefined field '{field}'"))),
            },
        };
        if let Some(wrong) = wrong {
            // cel-go points at the dot.
            let dot = format!(".{field}");
            let rest = self.source.source.get(at..).unwrap_or_default();
            let at = rest.find(&dot).map_or(at, |found| at + found);
            self.issue(at, wrong);
        }
        match select.test {
            true => Type::Plain("bool"),
            false => result,
        }
    }

    fn call(&mut self, call: &mut CallExpr, at: usize) -> Type<'a> {
        let name = call.func_name.clone();
        let mut whole = name.clone();
        let mut target = None;
        if let Some(owner) = &mut call.target {
            let namespace = match &owner.expr {
                Expr::Ident(space) if self.declared(space).is_none() => Some(space.clone()),
                _ => None,
            };
            match namespace {
                Some(space) if is_known(&format!("{space}.{name}")) => {
                    whole = format!("{space}.{name}");
                }
                _ => target = Some(self.visit(owner)),
            }
        }
        let types: Vec<Type<'a>> = call.args.iter_mut().map(|arg| self.visit(arg)).collect();
        let is_word = name.starts_with(|c: char| c.is_ascii_alphabetic());
        if is_word && !is_known(&whole) {
            self.issue(
                at,
                format!("undeclared reference to '{whole}' (in container '')"),
            );
            return Type::Dyn;
        }
        if call.target.is_some() && matches!(name.as_str(), "replace" | "join") {
            call.func_name = format!("@{name}");
        }
        if let [Type::Plain(a), Type::Plain(b)] = types[..]
            && let Some(result) = operator(&name, a, b)
        {
            return result.map_or_else(
                || {
                    self.issue(
                        at,
                        format!("found no matching overload for '{name}' applied to '({a}, {b})'"),
                    );
                    Type::Dyn
                },
                Type::Plain,
            );
        }
        match (name.as_str(), types.first(), target) {
            ("_[_]", Some(Type::Of(schema)), _) => {
                let inner = schema
                    .get("items")
                    .or_else(|| schema.get("additionalProperties"));
                Type::of(inner)
            }
            (
                "_==_" | "_!=_" | "_<_" | "_<=_" | "_>_" | "_>=_" | "_&&_" | "_||_" | "!_" | "@in"
                | "startsWith" | "endsWith" | "matches" | "contains",
                ..,
            ) => Type::Plain("bool"),
            ("size", ..) => Type::Plain("int"),
            _ => Type::Dyn,
        }
    }
}

/// A call of a function around expressions. Its name is outside of the language's own words,
/// so that no rule can say it.
fn guarded(name: &str, args: Vec<IdedExpr>) -> IdedExpr {
    IdedExpr {
        id: args.first().map_or(0, |first| first.id),
        expr: Expr::Call(CallExpr {
            func_name: name.to_owned(),
            target: None,
            args,
        }),
    }
}

/// What an operator between two plain types gives; `Some(None)` if they do not go together.
fn operator(name: &str, a: &'static str, b: &'static str) -> Option<Option<&'static str>> {
    let numbers = |t: &str| matches!(t, "int" | "double");
    match name {
        "_==_" | "_!=_" => Some((a == b || (numbers(a) && numbers(b))).then_some("bool")),
        "_<_" | "_<=_" | "_>_" | "_>=_" => {
            Some((a == b || (numbers(a) && numbers(b))).then_some("bool"))
        }
        "_&&_" | "_||_" => Some((a == "bool" && b == "bool").then_some("bool")),
        "_+_" => Some((a == b && a != "bool").then_some(a)),
        "_-_" | "_*_" | "_/_" => Some((a == b && numbers(a)).then_some(a)),
        "_%_" => Some((a == b && a == "int").then_some(a)),
        _ => None,
    }
}

/// Whether a function is there; macros call some by names that no rule can say.
fn is_known(name: &str) -> bool {
    name.contains('@') || KNOWN.contains(&name) || library::has(name)
}

/// The type of a member of an object; `None` if its schema has no such member.
fn member<'a>(schema: &'a Value, field: &str) -> Option<Type<'a>> {
    let properties = map_at(schema, "/properties");
    let found = properties
        .into_iter()
        .flatten()
        .find(|(name, _)| *name == field || escape(name) == field);
    if let Some((_, inner)) = found {
        return Some(match field {
            // Its schema says little, and every object has more of it.
            "metadata" => Type::Dyn,
            _ => Type::of(Some(inner)),
        });
    }
    if let Some(inner) = schema.get("additionalProperties") {
        return Some(Type::of(Some(inner).filter(|inner| inner.is_object())));
    }
    let open = bool_at(schema, "/x-kubernetes-preserve-unknown-fields")
        || bool_at(schema, "/x-kubernetes-embedded-resource")
        || matches!(field, "metadata" | "apiVersion" | "kind");
    open.then_some(Type::Dyn)
}
