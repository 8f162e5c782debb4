//! What a rule may cost. Every turn of a loop and every call into the library is counted, so
//! that a rule ends by a number of steps, whatever it nests.

use std::cell::Cell;

use cel::common::types::{BOOL_TYPE, CelString, DYN_TYPE};
use cel::common::value::{CowVal, Val};
use cel::{Env, ExecutionError};

/// Steps of one rule about one value: far beyond what rules of real definitions take, and
/// well below a second.
const STEPS: usize = 50_000;

/// The function that stands around the condition of every loop. CEL has no way to write it.
pub const GUARD: &str = "@spend";

/// The function that stands around every sum, because sums of texts can double them.
pub const SIZED: &str = "@sized";

/// Longest text a rule may make.
pub const MOST: usize = 256 * 1024;

/// How much of a text is one step.
const STRIDE: usize = 64;

/// How many values of a list, and how many bytes of text in it, are copied in the time of one
/// step.
const COPIES: usize = 128;
const COPIED: usize = 64 * 1024;

/// Upstream's words for a rule that costs too much.
pub const EXCEEDED: &str = "operation cancelled: actual cost limit exceeded";

thread_local! {
    static LEFT: Cell<usize> = const { Cell::new(STEPS) };
}

/// Gives the rule that is run next on this thread its steps.
pub fn renew() {
    LEFT.set(STEPS);
}

/// Takes steps from the rule at work.
///
/// # Errors
/// There are none left.
pub fn spend(steps: usize) -> Result<(), ExecutionError> {
    let left = LEFT.get().checked_sub(steps);
    LEFT.set(left.unwrap_or(0));
    match left {
        Some(_) => Ok(()),
        None => Err(ExecutionError::function_error("cost", EXCEEDED)),
    }
}

/// Whether the rule that ran last ran out of steps.
pub fn is_spent() -> bool {
    LEFT.get() == 0
}

/// One turn of a loop; it copies what was collected so far.
fn guard<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let (mut items, mut bytes) = (0, 0);
    if let Some(list) = args.get(1).and_then(|so_far| so_far.as_iterable()) {
        let mut list = list.iter();
        while let Some(item) = list.next() {
            items += 1;
            bytes += text_length(item);
        }
    }
    spend(1 + items / COPIES + bytes / COPIED)?;
    let condition = args.into_iter().next();
    condition.ok_or_else(|| ExecutionError::invalid_argument_count(2, 0))
}

fn text_length(value: &dyn Val) -> usize {
    let text = value.downcast_ref::<CelString>();
    text.map_or(0, |text| text.inner().len())
}

fn sized<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let sum = args.into_iter().next();
    let sum = sum.ok_or_else(|| ExecutionError::invalid_argument_count(1, 0))?;
    let mut size = 0;
    if sum.as_ref().downcast_ref::<CelString>().is_some() {
        size = text_length(sum.as_ref());
    } else if let Some(list) = sum.as_ref().as_iterable() {
        let mut items = list.iter();
        while items.next().is_some() {
            size += 1;
        }
    }
    made(size)?;
    Ok(sum)
}

/// Pays for a text or a list of this size.
///
/// # Errors
/// It is larger than any may be, or there are no steps left.
pub fn made(size: usize) -> Result<(), ExecutionError> {
    match size > MOST {
        true => spend(usize::MAX),
        false => spend(1 + size / STRIDE),
    }
}

/// Adds the guards.
pub fn add(env: &mut Env) {
    let added = [
        env.add_overload(GUARD, "spend_bool", vec![BOOL_TYPE, DYN_TYPE], guard),
        env.add_overload(SIZED, "sized_dyn", vec![DYN_TYPE], sized),
    ];
    debug_assert!(added.iter().all(Result::is_ok), "{added:?}");
}
