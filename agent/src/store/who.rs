//! Who did something: a user on the control socket, or the agent itself and why.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Whoever is behind a change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Who {
    /// The agent itself: `start`, `SIGHUP`, `timer`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// The user's number, as the kernel knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// The user's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
}

impl Who {
    /// Nobody but the agent, for this reason.
    pub fn agent(why: &str) -> Self {
        Self { agent: Some(why.to_owned()), ..Self::default() }
    }

    /// A process of a user.
    pub fn process(uid: u32, user: Option<String>, pid: Option<u32>) -> Self {
        Self { agent: None, uid: Some(uid), user, pid }
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { agent, uid, user, pid } = self;
        if let Some(agent) = agent {
            return f.write_str(agent);
        }
        let Some(uid) = uid else { return f.write_str("unknown") };
        let pid = pid.map(|pid| format!(" pid {pid}")).unwrap_or_default();
        match user {
            Some(user) => write!(f, "{user} (uid {uid}{pid})"),
            None => write!(f, "uid {uid}{pid}"),
        }
    }
}
