//! Functions that belong to no other group: of identifiers, hashes, sizes and waiting.

use std::time::Duration;

use driftdb_env::{OsRand, Rand};
use driftdb_types::{DataType as T, Result, Value};
use sha2::{Digest, Sha256};

use super::text::function;
use super::{Builtin, Facts, Kind, Nulls, Overload, Returns, mismatch};

/// How long a sleeper looks away from the wish to cancel it.
const LOOK: Duration = Duration::from_millis(10);

/// The function that waits.
pub(super) const SLEEP: &str = "pg_sleep";

pub(super) const FUNCTIONS: &[Builtin] = &[
    Builtin {
        name: "gen_random_uuid",
        nulls: Nulls::Strict,
        volatile: true,
        overloads: &[Overload {
            args: &[],
            rest: None,
            returns: Returns::Is(T::Uuid),
            eval: |_, _| Ok(Value::Uuid(random_uuid())),
        }],
    },
    // PostgreSQL's returns void, which clients see as an empty text.
    Builtin {
        name: SLEEP,
        nulls: Nulls::Strict,
        volatile: true,
        overloads: &[Overload { args: &[Kind::Is(T::Float8)], rest: None, returns: Returns::Is(T::Text), eval: sleep }],
    },
    function!("pg_size_pretty", Strict, [(T::Int8) => T::Text, |_, a| match a {
        [Value::Int8(size)] => Ok(Value::Text(size_pretty(*size))),
        other => Err(mismatch("pg_size_pretty", other)),
    }]),
    function!("sha256", Strict, [(T::Bytea) => T::Bytea, |_, a| match a {
        [Value::Bytea(bytes)] => Ok(Value::Bytea(Sha256::digest(bytes).to_vec())),
        other => Err(mismatch("sha256", other)),
    }]),
];

/// Of version 4 (RFC 9562): all random but for the version and the variant.
fn random_uuid() -> [u8; 16] {
    let mut bytes = [0; 16];
    OsRand::new().fill(&mut bytes);
    let number = u128::from_be_bytes(bytes);
    let marked = (number & !(0xf << 76) & !(0x3 << 62)) | (0x4 << 76) | (0x2 << 62);
    marked.to_be_bytes()
}

fn sleep(facts: &Facts, args: &[Value]) -> Result<Value> {
    let [Value::Float8(seconds)] = args else { return Err(mismatch("pg_sleep", args)) };
    let length = Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX);
    let end = facts.clock.monotonic().saturating_add(length);
    loop {
        facts.cancel.check()?;
        let left = end.saturating_sub(facts.clock.monotonic());
        if left.is_zero() {
            return Ok(Value::Text(String::new()));
        }
        facts.clock.sleep(left.min(LOOK));
    }
}

/// In the largest unit that leaves it readable: up to 10240 bytes, from there on up to 20479 of a unit.
fn size_pretty(size: i64) -> String {
    if size.unsigned_abs() < 10 * 1024 {
        return format!("{size} bytes");
    }
    // Twice the count of a unit, so that the last step can round to the nearest.
    let mut halves = size / 512;
    let mut units = ["kB", "MB", "GB", "TB", "PB"].into_iter().peekable();
    while let Some(unit) = units.next() {
        if units.peek().is_none() || halves.unsigned_abs() < 20 * 1024 - 1 {
            return format!("{} {unit}", (halves + halves.signum()) / 2);
        }
        halves /= 1024;
    }
    String::new()
}
