//! OpenMetrics text as Prometheus read it before (text format 0.0.4), which most other readers still do.

/// The same page in the older format: a family of counters has the name of its samples, and nothing marks the end.
pub fn classic(page: &str) -> String {
    let counters: Vec<&str> =
        page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter")).collect();
    let mut out = String::with_capacity(page.len());
    for line in page.lines().filter(|line| *line != "# EOF" && !line.starts_with("# UNIT ")) {
        let comment =
            ["# HELP ", "# TYPE "].into_iter().find_map(|mark| Some((mark, line.strip_prefix(mark)?)));
        match comment.and_then(|(mark, rest)| Some((mark, rest.split_once(' ')?))) {
            Some((mark, (name, rest))) if counters.contains(&name) => {
                out += &format!("{mark}{name}_total {rest}\n")
            }
            Some(_) | None => out += &format!("{line}\n"),
        }
    }
    out
}
