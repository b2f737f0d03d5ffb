//! Cargo, called by a task or a test that cargo itself runs.

use std::{env, process::Command};

/// The cargo that runs this process, as a person would call it.
///
/// It tells whomever it runs which package they are. Build scripts ask for the same words (`ring`'s does), so with those of another package
/// they would be taken for out of date, and everything above them compiled again.
pub fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in env::vars_os() {
        if name
            .to_str()
            .is_some_and(|name| ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|of| name.starts_with(of)))
        {
            command.env_remove(name);
        }
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cargo_said_of_this_package_is_not_passed_on() {
        let command = cargo();
        let removed: Vec<&str> = command
            .get_envs()
            .filter(|(_, value)| value.is_none())
            .filter_map(|(name, _)| name.to_str())
            .collect();
        for name in ["CARGO_PKG_NAME", "CARGO_PKG_VERSION_MAJOR", "CARGO_MANIFEST_DIR"] {
            assert!(removed.contains(&name), "{name}");
        }
        assert!(!removed.contains(&"CARGO_HOME") && !removed.contains(&"CARGO"));
    }
}
