//! Packets under way, in the order of their arrival; ties go to the one that was sent first.

use std::collections::BTreeMap;

use overlab_dataplane::Instant;

use crate::fabric::Transit;

#[derive(Debug, Default)]
pub(super) struct Queue {
    transits: BTreeMap<(Instant, u64), Transit>,
    pushed: u64,
}

impl Queue {
    pub(super) fn push(&mut self, transit: Transit) {
        self.pushed += 1;
        self.transits.insert((transit.at, self.pushed), transit);
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.transits.keys().next().map(|(at, _)| *at)
    }

    pub(super) fn pop_due(&mut self, now: Instant) -> Option<Transit> {
        let entry = self.transits.first_entry().filter(|entry| entry.key().0 <= now)?;
        Some(entry.remove())
    }
}
