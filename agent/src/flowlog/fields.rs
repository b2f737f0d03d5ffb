//! The fields of one line by their names.

use std::{borrow::Cow, collections::BTreeMap};

/// Fields that are there and have a value.
#[derive(Default)]
pub(super) struct Fields<'l>(pub(super) BTreeMap<&'l str, Cow<'l, str>>);

impl Fields<'_> {
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(AsRef::as_ref)
    }

    /// A field that every flow has.
    pub(super) fn needed<T: std::str::FromStr>(&self, name: &str) -> Result<T, String> {
        let text = self.text(name).ok_or_else(|| format!("`{name}` is missing"))?;
        text.parse().map_err(|_| wrong(name))
    }

    /// A field that may be missing.
    pub(super) fn number<T: std::str::FromStr + Default>(&self, name: &str) -> Result<T, String> {
        if self.0.contains_key(name) { self.needed(name) } else { Ok(T::default()) }
    }

    /// A moment that every flow has: seconds since 1970, or RFC 3339 (Zeek writes either, `LogAscii::json_timestamps`).
    pub(super) fn moment(&self, name: &str) -> Result<f64, String> {
        let text = self.text(name).ok_or_else(|| format!("`{name}` is missing"))?;
        if let Ok(seconds) = text.parse() {
            return Ok(seconds);
        }
        let time: jiff::Timestamp = text.parse().map_err(|_| wrong(name))?;
        Ok(time.as_duration().as_secs_f64())
    }
}

/// What a field is not. The reason is the same for every value, so that there are few of them.
pub(super) fn wrong(name: &str) -> String {
    let form = match name {
        "from" | "to" | "id.orig_h" | "id.resp_h" => "no IP address, as `10.20.1.11` is",
        "time" | "ts" => "neither a time with its zone, as `2026-11-23T14:00:00Z` is, nor seconds since 1970",
        "port" => "no port (of ICMP type and code, as `8/0`)",
        "id.orig_p" | "id.resp_p" => "no port",
        "seconds" | "duration" => "no number of seconds",
        _ => "no whole number",
    };
    format!("`{name}` is {form}")
}
