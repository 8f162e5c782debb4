//! What a rule may cost. Nothing interrupts a rule at work, so the places where its work
//! grows are wrapped, before it runs, in functions that charge for it: loops by what they
//! run over, calls by what they are given.
//!
//! ```text
//!   self.list.all(x, x in self.names)
//!   @range(self.list).all(x, @whole(x) in @whole(self.names))
//! ```

use std::cell::Cell;

use cel::common::ast::{CallExpr, EntryExpr, Expr, operators};
use cel::common::types::{CelBytes, CelList, CelMap, CelString};
use cel::common::types::{DYN_TYPE, INT_TYPE, LIST_TYPE, STRING_TYPE};
use cel::common::value::{CowVal, Val};
use cel::{Env, ExecutionError, IdedExpr};

/// Units one run may spend; each is worth one step or some bytes. Upstream's
/// limit for one expression.
const BUDGET: u64 = 1_000_000;

/// Deepest tree of a rule: a chain of operators nests without brackets, and is walked by
/// recursion.
pub(super) const MAX_DEPTH: usize = 60;

/// Bytes of text that cost as much as one step.
const BYTES: usize = 16;

/// What a pattern costs to compile before its counted repetitions, which multiply.
const PATTERN: u64 = 200;

const RANGE: &str = "@range";
const GIVEN: &str = "@given";
const WHOLE: &str = "@whole";
const COMPILED: &str = "@pattern";
const REPLACE: &str = "@replace";
const JOIN: &str = "@join";

/// Functions that look at everything inside their arguments.
const THOROUGH: &[&str] = &[
    operators::EQUALS,
    operators::NOT_EQUALS,
    operators::IN,
    "distinct",
    "sort",
    "flatten",
    "min",
    "max",
    "greatest",
    "least",
    "indexOf",
    "lastIndexOf",
];

/// Names before a function's own that are no values.
const NAMESPACES: &[&str] = &["math", "optional", "strings", "lists", "sets", "base64"];

thread_local! {
    static LEFT: Cell<u64> = const { Cell::new(0) };
}

/// Runs `evaluate` with a full purse. What it gives does not count if the purse is empty
/// in the end: an error may have been swallowed by the other side of an `||`.
pub(super) fn within<T>(evaluate: impl FnOnce() -> T) -> Result<T, String> {
    LEFT.set(BUDGET);
    let evaluated = evaluate();
    match LEFT.get() {
        0 => Err(EXHAUSTED.to_owned()),
        _ => Ok(evaluated),
    }
}

/// Upstream's sentence.
const EXHAUSTED: &str =
    "validation failed due to running out of cost budget, no further validation rules will be run";

fn charge(units: u64) -> Result<(), ExecutionError> {
    let left = LEFT.get().saturating_sub(units);
    LEFT.set(left);
    match left {
        0 => Err(ExecutionError::function_error("rule", EXHAUSTED)),
        _ => Ok(()),
    }
}

/// Adds the functions that charge. A clash of names would be a defect of the crate; rules
/// then fail for want of them, which the tests would show.
pub(super) fn add(env: &mut Env) {
    let _ = env.add_overload(RANGE, RANGE, vec![DYN_TYPE], |args| {
        pay(args, |value| whole(value))
    });
    let _ = env.add_overload(WHOLE, WHOLE, vec![DYN_TYPE], |args| {
        pay(args, |value| whole(value))
    });
    let _ = env.add_overload(GIVEN, GIVEN, vec![DYN_TYPE], |args| pay(args, given));
    let _ = env.add_overload(COMPILED, COMPILED, vec![DYN_TYPE], |args| {
        pay(args, pattern)
    });
    let text = vec![STRING_TYPE, STRING_TYPE];
    let counted = vec![STRING_TYPE, STRING_TYPE, INT_TYPE];
    let _ = env.add_member_overload(REPLACE, "@replace_all", STRING_TYPE, text, replace);
    let _ = env.add_member_overload(REPLACE, "@replace_some", STRING_TYPE, counted, replace);
    let _ = env.add_member_overload(JOIN, "@join_plain", LIST_TYPE, vec![], join);
    let _ = env.add_member_overload(JOIN, "@join_with", LIST_TYPE, vec![STRING_TYPE], join);
}

/// Charges for an argument and gives it back.
fn pay<'b, 'v>(
    args: Vec<CowVal<'b, 'v>>,
    price: impl Fn(&dyn Val) -> u64,
) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let value = args.into_iter().next();
    let value =
        value.ok_or_else(|| ExecutionError::function_error("rule", "nothing to pay for"))?;
    charge(price(&*value))?;
    Ok(value)
}

/// A value without what is inside it.
fn given(value: &dyn Val) -> u64 {
    let size = if let Some(text) = value.downcast_ref::<CelString>() {
        text.inner().len() / BYTES
    } else if let Some(bytes) = value.downcast_ref::<CelBytes>() {
        bytes.inner().len() / BYTES
    } else if let Some(list) = value.downcast_ref::<CelList>() {
        list.inner().len() / 4
    } else if let Some(map) = value.downcast_ref::<CelMap>() {
        map.inner().len() / 4
    } else {
        0
    };
    1 + size as u64
}

/// A value with all that is inside it.
fn whole(value: &dyn Val) -> u64 {
    if let Some(list) = value.downcast_ref::<CelList>() {
        1 + list.inner().iter().map(|item| whole(&**item)).sum::<u64>()
    } else if let Some(map) = value.downcast_ref::<CelMap>() {
        1 + map
            .inner()
            .values()
            .map(|item| 1 + whole(&**item))
            .sum::<u64>()
    } else {
        given(value)
    }
}

fn pattern(value: &dyn Val) -> u64 {
    let text = value.downcast_ref::<CelString>().map(|text| text.inner());
    let text = text.unwrap_or_default();
    let most = |counts: &str| {
        let counts = counts.split('}').next().unwrap_or_default();
        let numbers = counts
            .split(',')
            .filter_map(|n| n.trim().parse::<u64>().ok());
        numbers.max().unwrap_or(1).max(1)
    };
    let repeated = text
        .split('{')
        .skip(1)
        .map(most)
        .fold(1, u64::saturating_mul);
    // A class such as \w has hundreds of ranges.
    let classes = if text.contains('\\') { 10 } else { 1 };
    given(value)
        .saturating_add(PATTERN)
        .saturating_add(repeated.saturating_mul(classes))
}

fn text<'a>(value: &'a CowVal<'_, '_>) -> Result<&'a str, ExecutionError> {
    let text = value.downcast_ref::<CelString>().map(|text| text.inner());
    text.ok_or_else(|| ExecutionError::function_error("rule", "not a string"))
}

/// `replace`, which can square its text, paid for before it is done.
fn replace<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let [this, from, to, count @ ..] = args.as_slice() else {
        return Err(ExecutionError::invalid_argument_count(3, args.len()));
    };
    let (this, from, to) = (text(this)?, text(from)?, text(to)?);
    let count = count
        .first()
        .and_then(|count| count.downcast_ref::<cel::common::types::CelInt>())
        .and_then(|count| usize::try_from(*count.inner()).ok())
        .unwrap_or(usize::MAX);
    let found = this.matches(from).take(count).count();
    charge(((this.len() + found.saturating_mul(to.len())) / BYTES) as u64)?;
    Ok(CowVal::owned(CelString::from(
        this.replacen(from, to, count),
    )))
}

/// `join`, likewise.
fn join<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let (list, between) = match args.as_slice() {
        [list] => (list, ""),
        [list, between] => (list, text(between)?),
        _ => return Err(ExecutionError::invalid_argument_count(1, args.len())),
    };
    let items = list
        .as_iterable()
        .ok_or_else(|| ExecutionError::function_error("join", "not a list"))?;
    let (mut items, mut parts) = (items.iter(), vec![]);
    while let Some(item) = items.next() {
        let part = item.downcast_ref::<CelString>().map(|text| text.inner());
        let part = part.ok_or_else(|| ExecutionError::function_error("join", "not a string"))?;
        charge(((part.len() + between.len()) / BYTES + 1) as u64)?;
        parts.push(part);
    }
    Ok(CowVal::owned(CelString::from(parts.join(between))))
}

/// How deep an expression nests, up to one more than rules may. Walks without recursion.
pub(super) fn depth(expression: &IdedExpr) -> usize {
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

/// Puts the charging functions into an expression of bounded [`depth`].
pub(super) fn meter(expression: &mut IdedExpr) {
    match &mut expression.expr {
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => {}
        Expr::Call(call) => meter_call(call),
        Expr::Comprehension(parts) => {
            for part in [
                &mut parts.iter_range,
                &mut parts.accu_init,
                &mut parts.loop_cond,
                &mut parts.loop_step,
                &mut parts.result,
            ] {
                meter(part);
            }
            wrap(&mut parts.iter_range, RANGE);
        }
        Expr::List(list) => list.elements.iter_mut().for_each(meter_item),
        Expr::Select(select) => meter(&mut select.operand),
        Expr::Map(map) => {
            for entry in &mut map.entries {
                meter_entry(&mut entry.expr);
            }
        }
        Expr::Struct(made) => {
            for entry in &mut made.entries {
                meter_entry(&mut entry.expr);
            }
        }
    }
}

fn meter_item(item: &mut IdedExpr) {
    meter(item);
    wrap(item, GIVEN);
}

fn meter_entry(entry: &mut EntryExpr) {
    match entry {
        EntryExpr::StructField(field) => meter_item(&mut field.value),
        EntryExpr::MapEntry(entry) => {
            meter(&mut entry.key);
            meter_item(&mut entry.value);
        }
    }
}

fn meter_call(call: &mut CallExpr) {
    let member = call.target.is_some();
    let namespace = |target: &IdedExpr| match &target.expr {
        Expr::Ident(name) => NAMESPACES.contains(&name.as_str()),
        _ => false,
    };
    let qualified = call.target.as_deref().is_some_and(namespace);
    let logical = matches!(
        call.func_name.as_str(),
        operators::LOGICAL_AND
            | operators::LOGICAL_OR
            | operators::LOGICAL_NOT
            | operators::CONDITIONAL
            | operators::NOT_STRICTLY_FALSE
    );
    let price = match THOROUGH.contains(&call.func_name.as_str()) {
        true => WHOLE,
        false => GIVEN,
    };
    if let Some(target) = call.target.as_deref_mut().filter(|_| !qualified) {
        meter(target);
        wrap(target, price);
    }
    for arg in &mut call.args {
        meter(arg);
        match call.func_name.as_str() {
            _ if logical => {}
            "matches" => wrap(arg, COMPILED),
            _ => wrap(arg, price),
        }
    }
    match call.func_name.as_str() {
        "replace" if member => call.func_name = REPLACE.to_owned(),
        "join" if member => call.func_name = JOIN.to_owned(),
        _ => {}
    }
}

/// Wraps an expression in a function of one argument. Literals cost nothing, and the names
/// of macros (`@result`) stand where the crate looks for them.
fn wrap(expression: &mut IdedExpr, function: &str) {
    match &expression.expr {
        Expr::Literal(_) | Expr::Unspecified if function != COMPILED => return,
        Expr::List(_) if function == GIVEN => return,
        Expr::Ident(name) if name.starts_with('@') => return,
        _ => {}
    }
    let id = expression.id;
    let inner = std::mem::replace(
        expression,
        IdedExpr {
            id,
            expr: Expr::Unspecified,
        },
    );
    expression.expr = Expr::Call(CallExpr {
        func_name: function.to_owned(),
        target: None,
        args: vec![inner],
    });
}
