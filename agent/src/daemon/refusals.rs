//! Refused requests on their way into the audit trail: whoever asks for nothing but what is refused cannot turn it over.
//!
//! In: what was refused, and the time. Out: what to write down: for each user so many at once, and then one in a while,
//! which says how many there were since the one before. Nothing is left out without being counted.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crate::store::audit::Event;

/// Refusals of one user that are written down one by one.
const AT_ONCE: u32 = 20;
/// There is room for one more after this.
const ONE_MORE: Duration = Duration::from_secs(10 * 60);
/// Users with room of their own; all others share.
const USERS: usize = 64;

/// Whose refusals: the agent's own reason, or the user's number. Nobody is all others.
type Whose = (Option<String>, Option<u32>);

/// How much each user has left.
#[derive(Default)]
pub(super) struct Refusals {
    users: BTreeMap<Whose, Room>,
}

struct Room {
    left: u32,
    /// Since when there is one less than there could be.
    since: Instant,
    /// The last one that was not written down.
    last: Option<Event>,
    /// How many were not, that one included.
    unwritten: u64,
}

impl Refusals {
    /// What to write down of a refusal, if it is time to.
    pub(super) fn take(&mut self, event: Event, now: Instant) -> Option<Event> {
        let whose = (event.by.agent.clone(), event.by.uid);
        self.users.retain(|_, room| room.is_of_use(now));
        let whose =
            if self.users.contains_key(&whose) || self.users.len() < USERS { whose } else { (None, None) };
        let room = self.users.entry(whose).or_insert_with(|| Room::new(now));
        room.unwritten += 1;
        room.last = Some(event);
        room.write(now)
    }

    /// What there is room for by now.
    pub(super) fn due(&mut self, now: Instant) -> Vec<Event> {
        self.users.values_mut().filter_map(|room| room.write(now)).collect()
    }

    /// What is left when the agent ends.
    pub(super) fn rest(&mut self) -> Vec<Event> {
        self.users.values_mut().filter_map(Room::told).collect()
    }
}

impl Room {
    fn new(now: Instant) -> Self {
        Self { left: AT_ONCE, since: now, last: None, unwritten: 0 }
    }

    fn refill(&mut self, now: Instant) {
        while self.left < AT_ONCE && now.duration_since(self.since) >= ONE_MORE {
            self.left += 1;
            self.since += ONE_MORE;
        }
    }

    fn is_of_use(&mut self, now: Instant) -> bool {
        self.refill(now);
        self.left < AT_ONCE || self.last.is_some()
    }

    fn write(&mut self, now: Instant) -> Option<Event> {
        self.refill(now);
        if self.left == 0 || self.last.is_none() {
            return None;
        }
        if self.left == AT_ONCE {
            self.since = now;
        }
        self.left -= 1;
        self.told()
    }

    fn told(&mut self) -> Option<Event> {
        let event = self.last.take()?;
        let left_out = std::mem::take(&mut self.unwritten) - 1;
        Some(Event { left_out, ..event })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Who, audit::Action};

    const SECOND: Duration = Duration::from_secs(1);

    fn refused(uid: u32, what: &str) -> Event {
        let by = Who::process(uid, None, Some(uid + 1000));
        Event { target: Some(what.to_owned()), ..Event::begun(Action::Confirm, by) }
    }

    #[test]
    fn a_flood_is_counted_and_leaves_room_for_others() {
        let mut refusals = Refusals::default();
        let begin = Instant::now();
        let written = (0..10_000).filter_map(|number| refusals.take(refused(7, &number.to_string()), begin));
        assert_eq!(written.map(|event| event.left_out).collect::<Vec<_>>(), [0; AT_ONCE as usize]);
        assert!(refusals.take(refused(8, "another"), begin).is_some());
        assert_eq!(refusals.due(begin + ONE_MORE - SECOND), []);
        // The last one stands for all that were left out before it.
        let due = refusals.due(begin + ONE_MORE);
        let [event] = &due[..] else { panic!("{due:?}") };
        assert_eq!((event.target.as_deref(), event.left_out), (Some("9999"), 9979));
        assert_eq!(refusals.due(begin + 10 * ONE_MORE), []);
    }

    #[test]
    fn a_flood_that_goes_on_is_one_entry_in_a_while() {
        let mut refusals = Refusals::default();
        let begin = Instant::now();
        let day = 24 * 60 * 60;
        let (mut written, mut told) = (0, 0);
        for second in 0..day {
            let now = begin + second * SECOND;
            for event in refusals.due(now).into_iter().chain(refusals.take(refused(7, ""), now)) {
                written += 1;
                told += 1 + event.left_out;
            }
        }
        assert_eq!(written, AT_ONCE + 143);
        for event in refusals.rest() {
            told += 1 + event.left_out;
        }
        assert_eq!(told, u64::from(day));
    }

    #[test]
    fn many_users_share_what_is_left() {
        let mut refusals = Refusals::default();
        let begin = Instant::now();
        let written = (0..1000).filter_map(|uid| refusals.take(refused(uid, ""), begin)).count();
        assert_eq!(written, USERS + AT_ONCE as usize);
        assert_eq!(refusals.users.len(), USERS + 1);
        // In time they are forgotten.
        refusals.due(begin + 30 * ONE_MORE);
        refusals.take(refused(1, ""), begin + 60 * ONE_MORE);
        assert_eq!(refusals.users.len(), 1);
    }
}
