//! Port matches of access lists (RFC 8519 4.2): an operator with a port, or a range.

use serde_json::Value;

/// Ranges of ports, in order, without overlap.
pub(super) type Ranges = Vec<(u16, u16)>;

/// The ports that a match means, or what is wrong with it.
pub(super) fn ranges(value: &Value) -> Result<Ranges, String> {
    let Some(fields) = value.as_object() else { return Err(format!("`{value}` is no port match")) };
    let number = |name: &str| -> Result<Option<u16>, String> {
        let Some(value) = fields.get(name) else { return Ok(None) };
        let found = value.as_u64().and_then(|number| u16::try_from(number).ok());
        found.map(Some).ok_or_else(|| format!("`{name}` is `{value}`, which is no port"))
    };
    if let Some(unknown) =
        fields.keys().find(|key| !["operator", "port", "lower-port", "upper-port"].contains(&key.as_str()))
    {
        return Err(format!("`{unknown}` is no part of a port match"));
    }
    let (port, low, high) = (number("port")?, number("lower-port")?, number("upper-port")?);
    let operator = match fields.get("operator") {
        None => "eq",
        Some(word) => word.as_str().ok_or_else(|| format!("`operator` is `{word}`, which is no word"))?,
    };
    match (operator, port, low, high) {
        ("eq", Some(port), None, None) => Ok(vec![(port, port)]),
        ("lte", Some(port), None, None) => Ok(vec![(0, port)]),
        ("gte", Some(port), None, None) => Ok(vec![(port, u16::MAX)]),
        ("neq", Some(port), None, None) => {
            let below = port.checked_sub(1).map(|below| (0, below));
            let above = port.checked_add(1).map(|above| (above, u16::MAX));
            Ok(below.into_iter().chain(above).collect())
        }
        ("eq", None, Some(low), Some(high)) if !fields.contains_key("operator") && low <= high => {
            Ok(vec![(low, high)])
        }
        (_, None, Some(low), Some(high)) if low > high => {
            Err(format!("the range from {low} to {high} is empty"))
        }
        _ => Err(format!("`{value}` is no port match")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_operator_is_ranges() {
        for (value, expected) in [
            (json!({"operator": "eq", "port": 502}), vec![(502, 502)]),
            (json!({"port": 502}), vec![(502, 502)]),
            (json!({"operator": "lte", "port": 10}), vec![(0, 10)]),
            (json!({"operator": "gte", "port": 65_535}), vec![(65_535, 65_535)]),
            (json!({"operator": "neq", "port": 0}), vec![(1, 65_535)]),
            (json!({"operator": "neq", "port": 7}), vec![(0, 6), (8, 65_535)]),
            (json!({"lower-port": 5, "upper-port": 9}), vec![(5, 9)]),
        ] {
            assert_eq!(ranges(&value), Ok(expected), "{value}");
        }
    }

    #[test]
    fn what_is_no_port_match_is_said() {
        for value in [
            json!(502),
            json!({}),
            json!({"operator": "eq"}),
            json!({"operator": "about", "port": 1}),
            json!({"port": 65_536}),
            json!({"port": -1}),
            json!({"operator": 1, "port": 1}),
            json!({"lower-port": 9, "upper-port": 5}),
            json!({"lower-port": 9}),
            json!({"port": 1, "lower-port": 1, "upper-port": 2}),
            json!({"port": 1, "colour": 2}),
        ] {
            assert!(ranges(&value).is_err(), "{value}");
        }
    }
}
