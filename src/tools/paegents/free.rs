//! Free JSON in arguments: passed on as it is, within a bound.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::error::Error;

/// The most bytes of it.
const BYTES_MAX: usize = 16 * 1024;
/// The most items of a cart.
const ITEMS_MAX: usize = 100;

/// Free JSON.
///
/// # Errors
///
/// [`crate::error::Code::InvalidArgument`], with the argument.
pub(super) fn check_json<T: Serialize>(field: &str, value: &T) -> Result<(), Error> {
    if serde_json::to_vec(value).is_ok_and(|json| json.len() <= BYTES_MAX) {
        return Ok(());
    }
    let problem = format!("must have at most {BYTES_MAX} bytes as JSON");
    Err(Error::argument(field, problem, "{\"text\":\"…\"}"))
}

/// The items of a cart.
///
/// # Errors
///
/// As [`check_json`].
pub(super) fn check_items(field: &str, items: &[Map<String, Value>]) -> Result<(), Error> {
    if items.len() > ITEMS_MAX || items.iter().any(Map::is_empty) {
        let problem = format!("must be at most {ITEMS_MAX} items, and none of them empty");
        let example = "[{\"name\":\"Report\",\"quantity\":1}]";
        return Err(Error::argument(field, problem, example));
    }
    check_json(field, &items)
}
