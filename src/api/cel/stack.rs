//! Rules nest as deep as their authors like, and the crate walks them by recursion: parsing is
//! done on a stack of its own, and what nests too deeply is refused.

use cel::IdedExpr;
use cel::common::ast::{EntryExpr, Expr, SourceInfo};

use super::ENV;

/// Deepest tree of a rule: a chain of operators nests without brackets.
const MAX_DEPTH: usize = 60;

/// Deepest rule that is evaluated where it is asked for.
const SHALLOW: usize = 16;

/// Stack for the others and for parsing, in bytes: some frames for each byte of a rule. Only
/// what is used of it is ever there.
const STACK: usize = 96 * 1024 * 1024;

/// A rule that was read.
pub struct Parsed {
    pub rule: IdedExpr,
    pub source: SourceInfo,
    /// It is evaluated by recursion beyond what an ordinary stack holds.
    pub is_deep: bool,
}

/// Parses a rule. The parser is not ours, and rules come from anywhere.
///
/// # Errors
/// What is wrong with the rule.
pub fn parse(rule: &str) -> Result<Parsed, String> {
    let parsing = || {
        let parsed = ENV.parser().parse_with_source_info(rule);
        let (rule, source) = parsed.map_err(|error| format!("compilation failed: {error}"))?;
        match depth(&rule) {
            depth if depth > MAX_DEPTH => {
                Err("compilation failed: the rule is nested too deeply".to_owned())
            }
            depth => Ok(Parsed {
                rule,
                source,
                is_deep: depth > SHALLOW,
            }),
        }
    };
    let unreadable = |_| "compilation failed: the rule cannot be parsed".to_owned();
    on_large(parsing)?.map_err(unreadable)?
}

/// Does something on a stack for rules of any length; an inner error is a panic.
///
/// # Errors
/// There is no thread to be had.
pub fn on_large<T: Send>(act: impl FnOnce() -> T + Send) -> Result<std::thread::Result<T>, String> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("rule".to_owned())
            .stack_size(STACK)
            .spawn_scoped(scope, act)
            .map_err(|error| format!("there is no thread for the rule: {error}"))?;
        Ok(thread.join())
    })
}

/// How deep an expression nests, up to one more than rules may. Walks without recursion.
fn depth(expression: &IdedExpr) -> usize {
    let mut open = vec![(expression, 1)];
    let mut deepest = 0;
    while let Some((expression, depth)) = open.pop() {
        deepest = deepest.max(depth);
        if depth > MAX_DEPTH {
            break;
        }
        let mut below = |inner| open.push((inner, depth + 1));
        match &expression.expr {
            Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => {}
            Expr::Call(call) => {
                call.target.iter().for_each(|target| below(target));
                call.args.iter().for_each(below);
            }
            Expr::Comprehension(parts) => [
                &parts.iter_range,
                &parts.accu_init,
                &parts.loop_cond,
                &parts.loop_step,
                &parts.result,
            ]
            .into_iter()
            .for_each(below),
            Expr::List(list) => list.elements.iter().for_each(below),
            Expr::Select(select) => below(&select.operand),
            Expr::Map(map) => map
                .entries
                .iter()
                .for_each(|entry| entry_parts(&entry.expr, &mut below)),
            Expr::Struct(made) => made
                .entries
                .iter()
                .for_each(|entry| entry_parts(&entry.expr, &mut below)),
        }
    }
    deepest
}

fn entry_parts<'e>(entry: &'e EntryExpr, below: &mut impl FnMut(&'e IdedExpr)) {
    match entry {
        EntryExpr::StructField(field) => below(&field.value),
        EntryExpr::MapEntry(entry) => {
            below(&entry.key);
            below(&entry.value);
        }
    }
}
