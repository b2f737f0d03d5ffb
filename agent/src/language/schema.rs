//! A language as a JSON Schema (draft 2020-12), so that an editor completes, explains and checks while one types.
//!
//! In: the root table. Out: the schema. It accepts whatever the parser accepts; what only the parser can know (names
//! that are declared elsewhere, bits beyond a prefix length) it leaves to `bulkhead check`.

use serde_json::{Map, Value, json};

use super::{Format, Key, Kind, Needs, Table};

/// The whole language below `root`.
pub fn schema(root: &'static Table, title: &str) -> Value {
    let mut document = object(root);
    document.insert("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema"));
    document.insert("title".to_owned(), json!(title));
    let below = root.all().into_iter().filter(|table| table.name != root.name);
    let definitions = below.map(|table| (definition(table), Value::Object(object(table)))).collect();
    document.insert("$defs".to_owned(), Value::Object(definitions));
    Value::Object(document)
}

fn definition(table: &Table) -> String {
    table.name.to_lowercase()
}

fn reference(table: &Table) -> Value {
    json!({ "$ref": format!("#/$defs/{}", definition(table)) })
}

fn object(table: &'static Table) -> Map<String, Value> {
    let properties: Map<String, Value> =
        table.keys().map(|key| (key.name.to_owned(), property(key))).collect();
    let required: Vec<&str> = table.keys().filter(|key| key.required).map(|key| key.name).collect();
    let mut found = Map::new();
    found.insert("type".to_owned(), json!("object"));
    found.insert("description".to_owned(), json!(plain(table.doc)));
    found.insert("properties".to_owned(), Value::Object(properties));
    found.insert("additionalProperties".to_owned(), json!(false));
    if !required.is_empty() {
        found.insert("required".to_owned(), json!(required));
    }
    for needs in table.needs {
        let (word, names) = match needs {
            Needs::One(names) => ("oneOf", names),
            Needs::Any(names) => ("anyOf", names),
        };
        let alternatives: Vec<Value> = names.iter().map(|name| json!({ "required": [name] })).collect();
        let all = found.entry("allOf").or_insert_with(|| json!([]));
        if let Some(all) = all.as_array_mut() {
            all.push(json!({ word: alternatives }));
        }
    }
    found
}

fn property(key: &Key) -> Value {
    let mut found = match key.kind {
        Kind::One(format) => single(format),
        Kind::Many(format) => {
            let single = Value::Object(single(format));
            fields(json!({ "anyOf": [single, { "type": "array", "items": single }] }))
        }
        Kind::Integer { low, high } => fields(json!({ "type": "integer", "minimum": low, "maximum": high })),
        Kind::Boolean => fields(json!({ "type": "boolean" })),
        Kind::Word(words) => fields(json!({ "type": "string", "enum": words })),
        Kind::Time => fields(json!({ "type": "string", "format": "date-time" })),
        // Older drafts, which some editors implement, ignore what stands beside a reference.
        Kind::Table(table) => return reference(table),
        Kind::Named(table, name) => fields(json!({
            "type": "object",
            "propertyNames": { "pattern": name.pattern },
            "additionalProperties": reference(table),
        })),
        Kind::Entries(table) => fields(json!({ "type": "array", "items": reference(table) })),
    };
    found.insert("description".to_owned(), json!(plain(key.doc)));
    if let Some(default) = key.default.and_then(value) {
        found.insert("default".to_owned(), default);
    }
    if let Some(example) = value(key.example) {
        found.insert("examples".to_owned(), json!([example]));
    }
    Value::Object(found)
}

fn single(format: &Format) -> Map<String, Value> {
    let mut kinds = vec![json!({ "type": "string", "pattern": format.pattern })];
    if !format.words.is_empty() {
        kinds.insert(0, json!({ "type": "string", "enum": format.words }));
    }
    if let Some((low, high)) = format.number {
        kinds.push(json!({ "type": "integer", "minimum": low, "maximum": high }));
    }
    match <[Value; 1]>::try_from(kinds) {
        Ok([text]) => fields(text),
        Err(kinds) => fields(json!({ "anyOf": kinds })),
    }
}

fn fields(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(fields) => fields,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Map::new(),
    }
}

/// A TOML value as JSON; `None` for no text.
fn value(text: &str) -> Option<Value> {
    let document: toml::Table = toml::from_str(&format!("value = {text}")).ok()?;
    document.get("value").map(as_json)
}

/// A TOML value as a schema judges it: dates and times are texts.
pub fn as_json(value: &toml::Value) -> Value {
    match value {
        toml::Value::String(text) => json!(text),
        toml::Value::Integer(number) => json!(number),
        toml::Value::Float(number) => json!(number),
        toml::Value::Boolean(flag) => json!(flag),
        toml::Value::Datetime(time) => json!(time.to_string()),
        toml::Value::Array(list) => list.iter().map(as_json).collect(),
        toml::Value::Table(table) => table.iter().map(|(key, value)| (key.clone(), as_json(value))).collect(),
    }
}

/// A doc comment as lines for a hover.
pub(super) fn plain(doc: &str) -> String {
    doc.lines().map(|line| line.strip_prefix(' ').unwrap_or(line)).collect::<Vec<_>>().join("\n")
}
