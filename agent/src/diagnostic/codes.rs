//! What each code means: for `bulkhead explain`, for the rules of a SARIF report and for the documentation.
//!
//! In: the Markdown files of `codes/`, a section for each code. Out: [`codes`]. A code is used in the source exactly when
//! it has a section here, and its examples are what they say: tests see to both.

use std::{collections::BTreeMap, fmt::Write, sync::LazyLock};

use super::Severity;

/// A family of codes: what it is about, and its sections.
static FAMILIES: [(&str, &str); 8] = [
    ("Files and notation", include_str!("codes/files.md")),
    ("Keys, names and entries", include_str!("codes/keys.md")),
    ("Values", include_str!("codes/values.md")),
    ("Names and what they stand for", include_str!("codes/names.md")),
    ("What is missing or too much", include_str!("codes/parts.md")),
    ("Warnings about a policy", include_str!("codes/warnings.md")),
    ("The agent's configuration", include_str!("codes/config.md")),
    ("Signatures, and who may write", include_str!("codes/sets.md")),
];

/// What a code means.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// `BH0101`.
    pub code: &'static str,
    /// Whether it forbids the use of the text; a code of both kinds is an error here.
    pub severity: Severity,
    /// One line without a full stop.
    pub title: &'static str,
    /// What it means, why it matters and how to mend it: Markdown.
    pub text: &'static str,
    /// Files that together give the code.
    pub wrong: Vec<Example>,
    /// The same without it.
    pub right: Vec<Example>,
}

/// A file of an example, or a command.
#[derive(Clone, Copy, Debug)]
pub struct Example {
    /// `toml` for a whole file, anything else for what cannot be shown as one.
    pub notation: &'static str,
    /// Its text.
    pub text: &'static str,
}

static CODES: LazyLock<BTreeMap<&'static str, Explanation>> = LazyLock::new(|| {
    let sections = FAMILIES.iter().flat_map(|(_, text)| sections(text));
    sections
        .map(|section| {
            explanation(section).unwrap_or_else(|| panic!("a section of codes/ is wrong:\n{section}"))
        })
        .map(|found| (found.code, found))
        .collect()
});

/// Every code with its meaning.
pub fn codes() -> &'static BTreeMap<&'static str, Explanation> {
    &CODES
}

/// Every code in one document for people, in Markdown.
pub fn codes_markdown() -> String {
    let mut text = "# Diagnostics\n\n<!-- Generated from the agent's own explanations: `cargo xtask docs`. -->\n\n\
        What `bulkhead check` finds has a code that never changes its meaning. `bulkhead explain CODE` shows its section of \
        this page.\n\n| code | means |\n|---|---|\n"
        .to_owned();
    for Explanation { code, severity, title, .. } in codes().values() {
        let kind = match severity {
            Severity::Error => "",
            Severity::Warning => " (warning)",
        };
        let _ = writeln!(text, "| [{code}](#{}) | {title}{kind} |", code.to_lowercase());
    }
    for (family, sections) in FAMILIES {
        let _ = write!(text, "\n## {family}\n\n");
        // Headings of one code only, so that its anchor is the code.
        for line in sections.lines() {
            match line.strip_prefix("## ").and_then(|heading| heading.split_once(' ')) {
                Some((code, title)) => {
                    let title = title.strip_prefix("(warning) ").unwrap_or(title);
                    let _ = write!(text, "### {code}\n\n**{title}**\n");
                }
                None if line == "### Wrong" => text.push_str("Wrong:\n"),
                None if line == "### Right" => text.push_str("Right:\n"),
                None => {
                    let _ = writeln!(text, "{line}");
                }
            }
        }
    }
    text
}

/// A text from each `## ` to the next.
fn sections(text: &'static str) -> impl Iterator<Item = &'static str> {
    let starts = text.match_indices("\n## ").map(|(at, _)| at + 1);
    let starts: Vec<usize> = std::iter::once(0).chain(starts).collect();
    let ends: Vec<usize> = starts.iter().copied().skip(1).chain([text.len()]).collect();
    starts.into_iter().zip(ends).map(|(start, end)| &text[start..end])
}

fn explanation(section: &'static str) -> Option<Explanation> {
    let (heading, rest) = section.strip_prefix("## ")?.split_once('\n')?;
    let (code, title) = heading.split_once(' ')?;
    let (severity, title) = match title.strip_prefix("(warning) ") {
        Some(title) => (Severity::Warning, title),
        None => (Severity::Error, title),
    };
    let (text, rest) = rest.split_once("\n### Wrong\n")?;
    let (wrong, right) = rest.split_once("\n### Right\n")?;
    let (wrong, right) = (examples(wrong)?, examples(right)?);
    Some(Explanation { code, severity, title, text: text.trim(), wrong, right })
}

/// The fenced blocks of a text; `None` if there is none or one does not end.
fn examples(mut text: &'static str) -> Option<Vec<Example>> {
    let mut found = Vec::new();
    while let Some((_, rest)) = text.split_once("```") {
        let (notation, rest) = rest.split_once('\n')?;
        let (inside, after) = rest.split_once("\n```")?;
        found.push(Example { notation, text: inside });
        text = after;
    }
    (!found.is_empty()).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_are_in_order_and_each_code_has_one() {
        let headings: Vec<&str> =
            FAMILIES.iter().flat_map(|(_, text)| sections(text)).filter_map(|s| s.get(3..9)).collect();
        assert!(headings.is_sorted(), "{headings:?}");
        assert_eq!(headings.len(), codes().len(), "a code has two sections");
        assert!(headings.len() > 80);
    }

    #[test]
    fn explanations_are_sentences_and_titles_are_not() {
        for Explanation { code, title, text, .. } in codes().values() {
            assert!(!title.ends_with('.') && !title.starts_with(char::is_uppercase), "{code}: {title}");
            assert!(text.len() > 60 && text.ends_with('.'), "{code}: {text}");
            assert!(text.lines().all(|line| line.chars().count() <= 128), "{code} has long lines");
        }
    }
}
