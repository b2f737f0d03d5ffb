//! Which of the two formats whoever asks reads.
//!
//! In: the `Accept` header of a request (RFC 9110 12.5.1). Out: a format, its name and the page.

use super::{Snapshot, classic, open_metrics};

const OPEN_METRICS: &str = "application/openmetrics-text";
const TEXT: &str = "text/plain";

/// A format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// The text format of Prometheus before it, which everything reads.
    Classic,
}

impl Form {
    /// OpenMetrics for whoever names it, and does not like plain text better.
    pub fn wanted(accept: &str) -> Self {
        let open = quality(accept, OPEN_METRICS);
        if open > 0.0 && open >= quality(accept, TEXT) { Self::OpenMetrics } else { Self::Classic }
    }

    /// As `Content-Type` has it.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Classic => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// The page.
    pub fn page(self, snapshot: Snapshot) -> String {
        let page = open_metrics(snapshot);
        match self {
            Self::OpenMetrics => page,
            Self::Classic => classic(&page),
        }
    }
}

/// How much a type is liked: 0 when it is not named.
fn quality(accept: &str, wanted: &str) -> f32 {
    let ranges = accept.split(',').filter_map(|range| {
        let mut parts = range.split(';').map(str::trim);
        parts.next().filter(|name| name.eq_ignore_ascii_case(wanted))?;
        let said = parts.filter_map(|part| part.split_once('='));
        let mut said = said.filter(|(name, _)| name.trim().eq_ignore_ascii_case("q"));
        said.next().map_or(Some(1.0), |(_, value)| value.trim().parse().ok())
    });
    ranges.fold(0.0, f32::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_gets_the_format_that_it_likes_best() {
        let prometheus = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
            application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;q=0.3,\
            text/plain;version=0.0.4;q=0.2,*/*;q=0.1";
        let text_first = "text/plain;version=0.0.4;q=0.5, application/openmetrics-text;version=1.0.0;q=0.4";
        for (accept, form) in [
            (prometheus, Form::OpenMetrics),
            (OPEN_METRICS, Form::OpenMetrics),
            ("Application/OpenMetrics-Text ; Q = 0.1", Form::OpenMetrics),
            (text_first, Form::Classic),
            ("application/openmetrics-text;q=0", Form::Classic),
            ("application/openmetrics-text;q=much", Form::Classic),
            ("application/openmetrics-texts", Form::Classic),
            ("text/html, */*", Form::Classic),
            ("", Form::Classic),
        ] {
            assert_eq!(Form::wanted(accept), form, "{accept}");
        }
    }

    #[test]
    fn each_format_is_named_as_it_is_written() {
        let page = |form: Form| form.page(Snapshot::default());
        assert!(Form::OpenMetrics.content_type().starts_with(OPEN_METRICS));
        assert!(page(Form::OpenMetrics).ends_with("# EOF\n"));
        assert!(Form::Classic.content_type().starts_with("text/plain; version=0.0.4"));
        assert!(!page(Form::Classic).contains("EOF"));
    }
}
