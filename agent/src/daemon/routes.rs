//! What the agent does when interfaces, routes and neighbours change: packets forget the ways that they remember.
//!
//! In: the kernel's news. Out: another edition, at once and once more when it is quiet again. The kernel tells some changes before it makes
//! them (a route that is deleted, an interface that goes down): a packet that asks in between is told the old way, and would keep it for
//! [`bulkhead_common::forward::LIFE`].

use std::time::{Duration, Instant};

use super::Agent;
use crate::dataplane::LinkNews;

/// How long after the last news the kernel has surely made the change that it told.
const SETTLED: Duration = Duration::from_millis(50);

/// When ways are forgotten once more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Settling(Option<Instant>);

impl Settling {
    /// There were news.
    fn heard(&mut self, now: Instant) {
        self.0 = Some(now + SETTLED);
    }
}

impl Agent {
    /// Interfaces or addresses changed.
    pub(super) fn heard_of_links(&mut self, news: LinkNews) {
        self.link_news = self.link_news.and(news);
        if news.lost > 0 {
            tracing::warn!(lost = self.link_news.lost, "news of the interfaces were lost; all are looked at");
        }
        self.look();
    }

    /// Routes, neighbours or what else the way of a packet depends on changed.
    pub(super) fn heard_of_routes(&mut self, news: LinkNews) {
        self.route_news = self.route_news.and(news);
        if news.messages > 0 || news.lost > 0 {
            self.reroute();
            self.settling.heard(Instant::now());
        }
        if news.rules > 0 || news.lost > 0 || self.nics.has_other_forwarding() {
            self.look();
        }
    }

    /// When ways are forgotten once more, if they are.
    pub fn settles_at(&self) -> Option<Instant> {
        self.settling.0
    }

    /// What was told is made by now.
    pub(super) fn settle(&mut self) {
        self.settling = Settling::default();
        self.reroute();
    }

    fn reroute(&mut self) {
        match self.dataplane.reroute() {
            Ok(()) => drop(self.warnings.remove("routes")),
            Err(error) => {
                let note = format!("routes and neighbours that changed count a second later: {error}");
                self.warnings.insert("routes", note);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ways_are_forgotten_once_more_behind_the_last_news() {
        let (mut settling, begun) = (Settling::default(), Instant::now());
        for after in [0, 10, 200] {
            let now = begun + Duration::from_millis(after);
            settling.heard(now);
            assert_eq!(settling, Settling(Some(now + SETTLED)));
        }
    }
}
