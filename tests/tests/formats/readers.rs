//! Readers of CEF, LEEF and octet-counted streams, made from their descriptions and not from the encoders.

use std::collections::BTreeMap;

/// What a CEF or LEEF event says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Event {
    /// Between the bars.
    pub(crate) header: Vec<String>,
    /// Behind them.
    pub(crate) fields: BTreeMap<String, String>,
}

/// Micro Focus Security ArcSight Common Event Format, "Header Information", "The Extension Dictionary", "Character Encoding":
/// seven bars, those inside of a header field escaped; then pairs of a key and a value, divided by spaces, equals signs inside
/// of a value escaped.
pub(crate) fn cef(line: &str) -> Result<Event, String> {
    let rest = line.strip_prefix("CEF:0|").ok_or("no CEF:0")?;
    let mut header = Vec::new();
    let mut field = String::new();
    let mut chars = rest.char_indices();
    let mut extension = None;
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some((_, escaped @ ('\\' | '|'))) => field.push(escaped),
                other => return Err(format!("`\\` before {other:?} in the header")),
            },
            '|' => {
                header.push(std::mem::take(&mut field));
                if header.len() == 6 {
                    extension = Some(&rest[at + 1..]);
                    break;
                }
            }
            _ => field.push(c),
        }
    }
    let extension = extension.ok_or("fewer than seven bars")?;
    let severity: u8 = header[5].parse().map_err(|_| format!("severity {:?}", header[5]))?;
    if severity > 10 {
        return Err(format!("severity {severity}"));
    }
    Ok(Event { header, fields: pairs(extension)? })
}

/// Each unescaped equals sign ends a key, which begins behind the last space before it.
fn pairs(extension: &str) -> Result<BTreeMap<String, String>, String> {
    let mut signs = Vec::new();
    let mut escaped = false;
    for (at, byte) in extension.bytes().enumerate() {
        match byte {
            _ if escaped => {
                if !matches!(byte, b'\\' | b'=' | b'n' | b'r') {
                    return Err(format!("`\\` before {:?}", char::from(byte)));
                }
                escaped = false;
            }
            b'\\' => escaped = true,
            b'=' => signs.push(at),
            _ => {}
        }
    }
    if escaped {
        return Err("a `\\` at the end".to_owned());
    }
    let keys: Vec<usize> =
        signs.iter().map(|sign| extension[..*sign].rfind(' ').map_or(0, |space| space + 1)).collect();
    let mut fields = BTreeMap::new();
    for (index, (key_at, sign)) in keys.iter().zip(&signs).enumerate() {
        let key = &extension[*key_at..*sign];
        if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            return Err(format!("key {key:?}"));
        }
        let end = keys.get(index + 1).map_or(extension.len(), |next| next.saturating_sub(1));
        let raw = extension.get(sign + 1..end).ok_or("a key inside of a key")?;
        let value = raw.replace("\\=", "=").replace("\\\\", "\\");
        if fields.insert(key.to_owned(), value).is_some() {
            return Err(format!("{key} twice"));
        }
    }
    Ok(fields)
}

/// IBM QRadar Log Event Extended Format, version 2.0: six bars, the fifth before the delimiter of attributes as `x` and two
/// hexadecimal digits, which no attribute has inside; a key ends at the first equals sign.
pub(crate) fn leef(line: &str) -> Result<Event, String> {
    let mut parts = line.splitn(7, '|');
    if parts.next() != Some("LEEF:2.0") {
        return Err("no LEEF:2.0".to_owned());
    }
    let header: Vec<String> = parts.by_ref().take(5).map(str::to_owned).collect();
    let attributes = parts.next().ok_or("fewer than six bars")?;
    if header[4] != "x09" {
        return Err(format!("delimiter {:?}", header[4]));
    }
    let mut fields = BTreeMap::new();
    for attribute in attributes.split('\t') {
        let (key, value) = attribute.split_once('=').ok_or_else(|| format!("attribute {attribute:?}"))?;
        if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(format!("key {key:?}"));
        }
        if fields.insert(key.to_owned(), value.to_owned()).is_some() {
            return Err(format!("{key} twice"));
        }
    }
    Ok(Event { header, fields })
}
