//! What held through a run, and from which instant on.

use overlab_dataplane::Instant;

/// A value that changes at instants of a run, with all that it has been.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History<T> {
    first: T,
    /// In the order of their instants.
    changes: Vec<(Instant, T)>,
}

impl<T> History<T> {
    /// The value at the start of the run.
    pub fn new(first: T) -> History<T> {
        let changes = Vec::new();
        History { first, changes }
    }

    /// Another value from an instant on, which is no earlier than that of the last change. Of several at one instant the last
    /// holds.
    pub fn set(&mut self, at: Instant, value: T) {
        self.changes.push((at, value));
    }

    /// The value at an instant: that of the last change at it or before it.
    pub fn at(&self, instant: Instant) -> &T {
        let before = self.changes.partition_point(|(at, _)| *at <= instant);
        let change = before.checked_sub(1).and_then(|last| self.changes.get(last));
        change.map_or(&self.first, |(_, value)| value)
    }

    /// The value at the start of the run.
    pub fn first(&self) -> &T {
        &self.first
    }

    /// The value at the end of the run.
    pub fn last(&self) -> &T {
        self.changes.last().map_or(&self.first, |(_, value)| value)
    }

    /// Every value with the instant from which it held, in their order.
    pub fn iter(&self) -> impl Iterator<Item = (Instant, &T)> {
        let changes = self.changes.iter().map(|(at, value)| (*at, value));
        std::iter::once((Instant::ZERO, &self.first)).chain(changes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_holds_from_its_own_instant_on() {
        let at = Instant::from_nanos;
        let mut history = History::new("first");
        history.set(at(5), "lost");
        history.set(at(5), "second");
        history.set(at(9), "third");
        let held = [0, 4, 5, 8, 9, 100].map(|nanos| *history.at(at(nanos)));
        assert_eq!(held, ["first", "first", "second", "second", "third", "third"]);
        assert_eq!(*history.last(), "third");
        assert_eq!(history.iter().map(|(at, _)| at.as_nanos()).collect::<Vec<_>>(), [0, 5, 5, 9]);
    }
}
