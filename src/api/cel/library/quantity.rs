//! Quantities: `quantity("1.5Gi").isLessThan(quantity("2Gi"))`.

use cel::Value;
use cel::objects::Opaque;

use super::{Function, Owner, function, opaque, order, ours, text_of};
use crate::quantity::Quantity;

const NAME: &str = "kubernetes.Quantity";
const OURS: Owner = Owner::Ours(NAME);

#[derive(Debug, PartialEq, Eq)]
struct Amount(Quantity);

impl Opaque for Amount {
    fn runtime_type_name(&self) -> &str {
        NAME
    }
}

pub(super) const ALL: &[Function] = &[
    function!(Owner::Nobody, "quantity", 1, |args| {
        let read: Result<Quantity, _> = text_of(args, 0)?.parse();
        let read = read.map_err(|error| error.to_string())?;
        Ok(opaque(Amount(read)))
    }),
    function!(Owner::Nobody, "isQuantity", 1, |args| {
        Ok(Value::Bool(text_of(args, 0)?.parse::<Quantity>().is_ok()))
    }),
    function!(OURS, "isInteger", 0, |args| {
        Ok(Value::Bool(of(args, 0)?.is_whole()))
    }),
    function!(OURS, "asInteger", 0, |args| {
        let amount = of(args, 0)?;
        match amount.is_whole() {
            true => Ok(Value::Int(amount.value())),
            false => Err("cannot convert value to integer".to_owned()),
        }
    }),
    function!(OURS, "asApproximateFloat", 0, |args| {
        Ok(Value::Float(of(args, 0)?.approximately()))
    }),
    function!(OURS, "sign", 0, |args| {
        Ok(order(of(args, 0)?.cmp(&Quantity::default())))
    }),
    function!(OURS, "isGreaterThan", 1, |args| {
        Ok(Value::Bool(of(args, 0)? > of(args, 1)?))
    }),
    function!(OURS, "isLessThan", 1, |args| {
        Ok(Value::Bool(of(args, 0)? < of(args, 1)?))
    }),
    function!(OURS, "compareTo", 1, |args| {
        Ok(order(of(args, 0)?.cmp(&of(args, 1)?)))
    }),
    function!(OURS, "add", 1, |args| {
        Ok(opaque(Amount(of(args, 0)? + or_number(args)?)))
    }),
    function!(OURS, "sub", 1, |args| {
        Ok(opaque(Amount(of(args, 0)? - or_number(args)?)))
    }),
];

fn of(args: &[Value], at: usize) -> Result<Quantity, String> {
    ours::<Amount>(args, at).map(|amount| amount.0)
}

fn or_number(args: &[Value]) -> Result<Quantity, String> {
    match args.get(1) {
        Some(Value::Int(n)) => Ok(Quantity::units(*n)),
        _ => of(args, 1),
    }
}
