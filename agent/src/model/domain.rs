//! DNS names as policies write them: itself, or with `*.` in front every name below.

/// Whether a policy's name means this one. Both are in lower case and without the final dot.
pub fn covers(pattern: &str, name: &str) -> bool {
    match pattern.strip_prefix('*') {
        Some(below) => name.len() > below.len() && name.ends_with(below),
        None => pattern == name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_means_the_names_below() {
        for (pattern, name, covered) in [
            ("update.vendor.example", "update.vendor.example", true),
            ("update.vendor.example", "a.update.vendor.example", false),
            ("*.cdn.example", "a.cdn.example", true),
            ("*.cdn.example", "a.b.cdn.example", true),
            ("*.cdn.example", "cdn.example", false),
            ("*.cdn.example", "evilcdn.example", false),
            ("*.cdn.example", ".cdn.example", false),
        ] {
            assert_eq!(covers(pattern, name), covered, "{pattern} {name}");
        }
    }
}
