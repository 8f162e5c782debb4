//! The functions Kubernetes adds to CEL, as its documentation lists them.

mod format;
mod lists;
mod net;
mod quantity;
mod semver;
mod text;
mod url;

use std::sync::Arc;

use cel::common::types::{DYN_TYPE, LIST_TYPE, STRING_TYPE, Type};
use cel::common::value::{CowVal, Val};
use cel::objects::{Opaque, OptionalValue};
use cel::{Env, ExecutionError, Value};

/// What a function is given and gives; the error is a sentence for the rule's author.
type Act = fn(&[Value]) -> Result<Value, String>;
type Native = for<'b, 'v> fn(Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError>;

/// Whose member a function is.
#[derive(Clone, Copy)]
enum Owner {
    Nobody,
    Text,
    List,
    /// A type of this library, by name.
    Ours(&'static str),
    /// Nobody's, but its argument is of a type of this library.
    About(&'static str),
}

/// One function: owner, name, how many arguments it takes, and what it does.
struct Function {
    owner: Owner,
    name: &'static str,
    arguments: usize,
    native: Native,
}

macro_rules! function {
    ($owner:expr, $name:literal, $arguments:literal, $act:expr) => {
        $crate::cel::library::Function {
            owner: $owner,
            name: $name,
            arguments: $arguments,
            native: |args| $crate::cel::library::run($name, args, $act),
        }
    };
}
use function;

fn run<'b, 'v>(
    name: &str,
    args: Vec<CowVal<'b, 'v>>,
    act: Act,
) -> Result<CowVal<'b, 'v>, ExecutionError> {
    super::budget::spend(1)?;
    let args: Vec<Value> = args
        .iter()
        .map(|arg| Value::try_from(arg.as_ref()))
        .collect::<Result<_, _>>()?;
    let made = act(&args).map_err(|why| ExecutionError::function_error(name, why))?;
    let made: Box<dyn Val> = made.try_into()?;
    Ok(CowVal::Owned(made))
}

fn all() -> impl Iterator<Item = &'static Function> {
    [
        format::ALL,
        lists::ALL,
        net::ALL,
        quantity::ALL,
        semver::ALL,
        text::ALL,
        url::ALL,
    ]
    .into_iter()
    .flatten()
}

/// Whether this is the name of a function of the library: `find`, `sets.contains`.
pub fn has(name: &str) -> bool {
    all().any(|function| function.name == name)
}

/// Adds the library. What clashes with a function of the crate would be a defect of ours;
/// the tests call every one of them.
pub fn add(env: &mut Env) {
    for function in all() {
        let Function {
            owner,
            name,
            arguments,
            native,
        } = function;
        let mut types: Vec<Type> = Vec::new();
        types.resize_with(*arguments, || DYN_TYPE);
        let mut member = |target: Type, whose: &str| {
            let id = format!("k8s_{whose}_{name}_{arguments}");
            env.add_member_overload(name, &id, target, std::mem::take(&mut types), *native)
        };
        let added = match owner {
            Owner::Text => member(STRING_TYPE, "text"),
            Owner::List => member(LIST_TYPE, "list"),
            Owner::Ours(of) => member(Type::new_opaque_type(*of), of),
            Owner::Nobody => {
                let id = format!("k8s_{name}_{arguments}");
                env.add_overload(name, &id, types, *native)
            }
            Owner::About(of) => {
                let id = format!("k8s_{name}_{of}");
                env.add_overload(name, &id, vec![Type::new_opaque_type(*of)], *native)
            }
        };
        debug_assert!(added.is_ok(), "{name}: {added:?}");
    }
}

fn opaque(value: impl Opaque) -> Value {
    Value::Opaque(Arc::new(value))
}

fn some(value: Value) -> Value {
    opaque(OptionalValue::of(value))
}

fn none() -> Value {
    opaque(OptionalValue::none())
}

fn string(value: impl Into<String>) -> Value {
    Value::String(Arc::new(value.into()))
}

fn strings(values: impl IntoIterator<Item = String>) -> Value {
    Value::List(Arc::new(values.into_iter().map(string).collect()))
}

/// The text at a place of the arguments.
fn text_of(args: &[Value], at: usize) -> Result<&str, String> {
    match args.get(at) {
        Some(Value::String(text)) => Ok(text),
        _ => Err("no such overload".to_owned()),
    }
}

fn list_of(args: &[Value], at: usize) -> Result<&[Value], String> {
    match args.get(at) {
        Some(Value::List(items)) => Ok(items),
        _ => Err("no such overload".to_owned()),
    }
}

fn number_of(args: &[Value], at: usize) -> Result<i64, String> {
    match args.get(at) {
        Some(Value::Int(n)) => Ok(*n),
        _ => Err("no such overload".to_owned()),
    }
}

/// The value of a type of ours.
fn ours<T: 'static>(args: &[Value], at: usize) -> Result<&T, String> {
    match args.get(at) {
        Some(Value::Opaque(value)) => value.downcast_ref::<T>(),
        _ => None,
    }
    .ok_or_else(|| "no such overload".to_owned())
}

fn order(ordering: std::cmp::Ordering) -> Value {
    Value::Int(ordering as i64)
}
