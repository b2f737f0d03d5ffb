//! Signatures of policy sets by the tool that operators use, so that the agent is tested against somebody else's code.
//!
//! In: a folder with policy files. Out: its manifest, and the signature `minisign` makes.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};

use crate::skip::{Tier, skip};

/// Why sets cannot be signed here, if they cannot.
pub fn missing() -> Option<String> {
    match Command::new("minisign").arg("-v").stdin(Stdio::null()).output() {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(format!("`minisign -v` failed: {}", output.status)),
        Err(error) => Some(format!("`minisign` cannot be run: {error}; install minisign")),
    }
}

/// Somebody with a key.
#[derive(Debug)]
pub struct Signer {
    secret: PathBuf,
    public: PathBuf,
    key: String,
}

impl Signer {
    /// A new key, in files named after its owner, or `None` after the skip of `test` was recorded.
    pub fn new(tier: Tier, test: &str, folder: &Path, owner: &str) -> Option<Self> {
        if let Some(reason) = missing() {
            skip(tier, test, &reason);
            return None;
        }
        Some(Self::make(folder, owner).expect("a tool that runs makes a key"))
    }

    fn make(folder: &Path, owner: &str) -> Result<Self> {
        let (secret, public) = (folder.join(format!("{owner}.key")), folder.join(format!("{owner}.pub")));
        minisign(Command::new("minisign").arg("-GW").arg("-p").arg(&public).arg("-s").arg(&secret))?;
        let text = fs::read_to_string(&public)?;
        let key = text.lines().nth(1).context("a public key has two lines")?.to_owned();
        Ok(Self { secret, public, key })
    }

    /// The public key as it is written in a configuration.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The file of the public key.
    pub fn public(&self) -> &Path {
        &self.public
    }

    /// Signs a file as it is: `FILE.minisig` beside it.
    ///
    /// # Errors
    /// When minisign fails.
    pub fn sign(&self, file: &Path) -> Result<()> {
        self.sign_with(file, &["-t", "cell 1"])
    }

    /// Signs with further options of minisign.
    ///
    /// # Errors
    /// When minisign fails.
    pub fn sign_with(&self, file: &Path, options: &[&str]) -> Result<()> {
        minisign(
            Command::new("minisign").arg("-S").arg("-s").arg(&self.secret).args(options).arg("-m").arg(file),
        )
    }
}

fn minisign(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output().context("failed to run minisign")?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
