//! `bulkhead explain`: what a code of a finding means, why it matters and how to mend it.

use serde_json::{Value, json};

use super::{Exit, print_json};
use crate::diagnostic::{Example, Explanation, closest, codes, codes_markdown};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A code, as in `error[BH0101]`; without one, every code is listed
    code: Option<String>,
    /// Print JSON
    #[arg(long, conflicts_with = "markdown")]
    json: bool,
    /// Print every code with its explanation, in Markdown
    #[arg(long, conflicts_with = "code")]
    markdown: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<Exit> {
    let Args { code, json, markdown } = args;
    match code {
        Some(code) => one(code, *json)?,
        None if *markdown => out!("{}", codes_markdown().trim_end()),
        None if *json => {
            let all: Vec<Value> = codes().values().map(document).collect();
            print_json(&json!({ "version": 1, "codes": all }))?;
        }
        None => {
            for Explanation { code, severity, title, .. } in codes().values() {
                out!("{code}  {:<7}  {title}", severity.name());
            }
        }
    }
    Ok(Exit::Fine)
}

fn one(wanted: &str, json: bool) -> anyhow::Result<()> {
    let name = wanted.trim_matches(['[', ']']).to_uppercase();
    let Some(found) = codes().get(name.as_str()) else {
        let hint = match nearest(&name) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => "`bulkhead explain` lists every code".to_owned(),
        };
        anyhow::bail!("no finding has the code `{}`\nhint: {hint}", crate::diagnostic::escape(wanted));
    };
    if json {
        let mut value = document(found);
        value["version"] = json!(1);
        return print_json(&value);
    }
    let Explanation { code, severity, title, text, wrong, right } = found;
    out!("{}[{code}]: {title}\n\n{text}", severity.name());
    for (word, examples) in [("Wrong", wrong), ("Right", right)] {
        for (number, example) in examples.iter().enumerate() {
            let place = if examples.len() > 1 { format!(", file {}", number + 1) } else { String::new() };
            let lines: Vec<String> =
                example.text.lines().map(|line| format!("    {line}").trim_end().to_owned()).collect();
            out!("\n{word}{place}:\n\n{}", lines.join("\n"));
        }
    }
    Ok(())
}

fn nearest(name: &str) -> Option<&'static str> {
    let lowered: Vec<(String, &'static str)> =
        codes().keys().map(|code| (code.to_lowercase(), *code)).collect();
    let meant = closest(name, lowered.iter().map(|(lowered, _)| lowered.as_str()))?;
    lowered.iter().find(|(lowered, _)| lowered == meant).map(|(_, code)| *code)
}

fn document(explained: &Explanation) -> Value {
    let Explanation { code, severity, title, text, wrong, right } = explained;
    let texts = |examples: &[Example]| examples.iter().map(|example| example.text).collect::<Vec<_>>();
    json!({
        "code": code,
        "severity": severity.name(),
        "title": title,
        "text": text,
        "wrong": texts(wrong),
        "right": texts(right),
    })
}
