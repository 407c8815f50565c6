//! The work of built-in sellers: useful, small, the same answer to the same question.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Value, json};

use crate::sandbox::keys::sha256_hex;

/// Decimal numbers are counted in millionths.
const MILLIONTHS: i128 = 1_000_000;
/// The most columns of a table.
const COLUMNS_MAX: usize = 200;

/// Units: symbol, dimension, and size in millionths of the dimension's base.
const UNITS: [(&str, &str, i128); 14] = [
    ("m", "length", 1_000_000),
    ("km", "length", 1_000_000_000),
    ("cm", "length", 10_000),
    ("in", "length", 25_400),
    ("ft", "length", 304_800),
    ("mi", "length", 1_609_344_000),
    ("g", "mass", 1_000_000),
    ("kg", "mass", 1_000_000_000),
    ("oz", "mass", 28_349_523),
    ("lb", "mass", 453_592_370),
    ("s", "time", 1_000_000),
    ("min", "time", 60_000_000),
    ("h", "time", 3_600_000_000),
    ("d", "time", 86_400_000_000),
];

/// The units that can be converted, by dimension.
pub(crate) fn units() -> Value {
    let mut dimensions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (symbol, dimension, _) in UNITS {
        dimensions.entry(dimension).or_default().push(symbol);
    }
    json!({ "units": dimensions })
}

/// Does the work, or says in the seller's own words what is wrong with the input.
pub(crate) fn work(worker: &str, input: &Value) -> Result<Value, Value> {
    match worker {
        "csv_summary" => csv_summary(member_text(input, "csv")?),
        "schema_check" => schema_check(input),
        "sha256" => {
            let text = member_text(input, "text")?;
            let digest = sha256_hex(text.as_bytes());
            Ok(json!({ "algorithm": "sha256", "bytes": text.len(), "hex": digest }))
        }
        "unit_conversion" => convert(input),
        "word_count" => {
            let text = member_text(input, "text")?;
            let (words, characters) = (text.split_whitespace().count(), text.chars().count());
            Ok(json!({ "words": words, "characters": characters }))
        }
        _ => Ok(text_statistics(member_text(input, "text")?)),
    }
}

fn refused(field: &str, detail: &str) -> Value {
    json!({ "error": "invalid_input", "field": field, "detail": detail })
}

/// A text member, on top or inside `input`.
fn member_text<'a>(input: &'a Value, name: &str) -> Result<&'a str, Value> {
    let nested = input.get("input");
    input
        .get(name)
        .or_else(|| nested.and_then(|nested| nested.get(name)))
        .or(nested)
        .and_then(Value::as_str)
        .ok_or_else(|| refused(name, "must be text"))
}

fn text_statistics(text: &str) -> Value {
    let words: Vec<String> = text
        .split(|c: char| !c.is_alphanumeric() && c != '\'')
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect();
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for word in &words {
        *counts.entry(word).or_default() += 1;
    }
    let mut top: Vec<(&str, usize)> = counts.iter().map(|(word, count)| (*word, *count)).collect();
    top.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    let sentences = text.split(['.', '!', '?']).filter(|part| !part.trim().is_empty()).count();
    let letters: usize = words.iter().map(|word| word.chars().count()).sum();
    let mean_tenths = (letters * 10).checked_div(words.len()).unwrap_or(0);
    json!({
        "characters": text.chars().count(),
        "words": words.len(),
        "unique_words": counts.len(),
        "sentences": sentences,
        "lines": text.lines().count(),
        "mean_word_length": format!("{}.{}", mean_tenths / 10, mean_tenths % 10),
        "most_frequent": top
            .iter()
            .take(5)
            .map(|(word, count)| json!({ "word": word, "count": count }))
            .collect::<Vec<_>>(),
    })
}

fn csv_summary(csv: &str) -> Result<Value, Value> {
    let mut lines = csv.lines().filter(|line| !line.trim().is_empty());
    let header = lines.next().ok_or_else(|| refused("csv", "has no header"))?;
    let names = fields(header);
    if names.len() > COLUMNS_MAX {
        return Err(refused("csv", "has more than 200 columns"));
    }
    let rows: Vec<Vec<String>> = lines.map(fields).collect();
    if let Some(row) = (2..).zip(&rows).find(|(_, row)| row.len() != names.len()) {
        let detail = format!("line {} has {} fields, not {}", row.0, row.1.len(), names.len());
        return Err(refused("csv", &detail));
    }
    let columns: Vec<Value> = (0..)
        .zip(&names)
        .map(|(at, name): (usize, _)| {
            let cells: Vec<&String> = rows.iter().filter_map(|row| row.get(at)).collect();
            let filled = cells.iter().filter(|cell| !cell.is_empty()).count();
            let numbers: Vec<i128> = cells.iter().filter_map(|cell| decimal(cell)).collect();
            if filled == 0 || numbers.len() < filled {
                let distinct: std::collections::BTreeSet<_> = cells.into_iter().collect();
                return json!({ "name": name, "type": "text", "filled": filled,
                    "distinct": distinct.len() });
            }
            let sum: i128 = numbers.iter().fold(0_i128, |sum, n| sum.saturating_add(*n));
            let mean = i128::try_from(numbers.len()).ok().and_then(|count| sum.checked_div(count));
            json!({
                "name": name,
                "type": "number",
                "filled": filled,
                "sum": show(sum),
                "mean": mean.map(show),
                "min": numbers.iter().min().copied().map(show),
                "max": numbers.iter().max().copied().map(show),
            })
        })
        .collect();
    Ok(json!({ "rows": rows.len(), "columns": columns }))
}

/// The fields of a CSV line, with quotes as in RFC 4180.
fn fields(line: &str) -> Vec<String> {
    let (mut all, mut field, mut quoted) = (Vec::new(), String::new(), false);
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                field.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => all.push(std::mem::take(&mut field).trim().to_owned()),
            c => field.push(c),
        }
    }
    all.push(field.trim().to_owned());
    all
}

/// A decimal number in millionths.
fn decimal(text: &str) -> Option<i128> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text),
    };
    let (whole, places) = digits.split_once('.').unwrap_or((digits, "0"));
    let is_digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if !is_digits(whole) || !is_digits(places) || places.len() > 6 || whole.len() > 24 {
        return None;
    }
    let whole: i128 = whole.parse().ok()?;
    let places: i128 = format!("{places:0<6}").parse().ok()?;
    Some(sign * (whole * MILLIONTHS + places))
}

fn show(millionths: i128) -> String {
    let sign = if millionths < 0 { "-" } else { "" };
    let (whole, places) =
        (millionths.unsigned_abs() / 1_000_000, millionths.unsigned_abs() % 1_000_000);
    let text = format!("{sign}{whole}.{places:06}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Checks a document against `required` members and their types.
fn schema_check(input: &Value) -> Result<Value, Value> {
    let nested = input.get("input").unwrap_or(input);
    let document = nested.get("document").ok_or_else(|| refused("document", "is missing"))?;
    let schema = nested.get("schema").ok_or_else(|| refused("schema", "is missing"))?;
    let mut problems = Vec::new();
    check(schema, document, "$", &mut problems, 0);
    Ok(json!({ "valid": problems.is_empty(), "problems": problems }))
}

fn check(schema: &Value, value: &Value, path: &str, problems: &mut Vec<Value>, depth: u8) {
    if let Some(wanted) = schema.get("type").and_then(Value::as_str)
        && !is_type(value, wanted)
    {
        problems.push(json!({ "path": path, "problem": format!("is not of type {wanted}") }));
        return;
    }
    for name in schema.get("required").and_then(Value::as_array).into_iter().flatten() {
        if let Some(name) = name.as_str()
            && value.get(name).is_none()
        {
            problems.push(json!({ "path": format!("{path}.{name}"), "problem": "is required" }));
        }
    }
    if depth > 16 {
        return;
    }
    for (name, schema) in schema.get("properties").and_then(Value::as_object).into_iter().flatten()
    {
        if let Some(member) = value.get(name) {
            check(schema, member, &format!("{path}.{name}"), problems, depth + 1);
        }
    }
    if let (Some(schema), Some(items)) = (schema.get("items"), value.as_array()) {
        for (at, item) in items.iter().enumerate() {
            check(schema, item, &format!("{path}[{at}]"), problems, depth + 1);
        }
    }
}

fn is_type(value: &Value, wanted: &str) -> bool {
    match wanted {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "number" => value.is_number(),
        "integer" => value.is_i64() || value.is_u64(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        _ => true,
    }
}

fn convert(input: &Value) -> Result<Value, Value> {
    let nested = input.get("input").unwrap_or(input);
    let units: BTreeMap<&str, (&str, i128)> =
        UNITS.into_iter().map(|(symbol, dimension, size)| (symbol, (dimension, size))).collect();
    let unit = |name: &str| {
        let symbol = nested.get(name).and_then(Value::as_str).unwrap_or_default();
        let known = || units.keys().copied().collect::<Vec<_>>().join(", ");
        units
            .get(symbol)
            .copied()
            .ok_or_else(|| refused(name, &format!("must be one of {}", known())))
    };
    let value = match nested.get("value") {
        Some(Value::String(text)) => decimal(text),
        Some(Value::Number(number)) => decimal(&number.to_string()),
        _ => None,
    };
    let value = value.ok_or_else(|| refused("value", "must be a decimal with up to six places"))?;
    let ((from, from_size), (to, to_size)) = (unit("from")?, unit("to")?);
    if from != to {
        return Err(refused("to", &format!("measures {to}, not {from}")));
    }
    let converted = value
        .checked_mul(from_size)
        .and_then(|product| product.checked_div(to_size))
        .ok_or_else(|| refused("value", "is too large"))?;
    Ok(json!({
        "value": show(value),
        "from": nested.get("from"),
        "to": nested.get("to"),
        "result": show(converted),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn works() {
        let stats = work("text_stats", &json!({ "text": "One two. Two!" })).unwrap();
        assert_eq!(stats["words"], 3);
        assert_eq!(stats["sentences"], 2);
        assert_eq!(stats["most_frequent"][0], json!({ "word": "two", "count": 2 }));
        let csv = json!({ "csv": "name,price\n\"a, b\",1.5\nc,-0.25\n" });
        let summary = work("csv_summary", &csv).unwrap();
        assert_eq!(summary["columns"][1]["sum"], "1.25");
        assert_eq!(summary["columns"][1]["min"], "-0.25");
        assert_eq!(summary["columns"][0]["distinct"], 2);
        assert!(work("csv_summary", &json!({ "csv": "a,b\n1" })).is_err());
        let miles = json!({ "value": "26.2", "from": "mi", "to": "km" });
        assert_eq!(work("unit_conversion", &miles).unwrap()["result"], "42.164812");
        let wrong = json!({ "value": "1", "from": "mi", "to": "kg" });
        assert_eq!(work("unit_conversion", &wrong).unwrap_err()["field"], "to");
        let digest = work("sha256", &json!({ "text": "abc" })).unwrap();
        assert_eq!(
            digest["hex"],
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        let schema = json!({ "schema": { "type": "object", "required": ["a"],
            "properties": { "b": { "type": "array", "items": { "type": "integer" } } } },
            "document": { "b": [1, "x"] } });
        let checked = work("schema_check", &schema).unwrap();
        assert_eq!(checked["problems"].as_array().unwrap().len(), 2);
    }
}
