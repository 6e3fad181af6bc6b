//! The run's clock, in nanoseconds since it was started. It goes as CLOCK_MONOTONIC does while the run waits, but it never passes
//! an instant for which something is planned before that is done, and what the machine needs to do it counts for little: a process
//! that is woken late, or does not get the processor, finds its time as it left it. So a busy machine makes a run longer, and moves
//! no packet to the other side of a change.
#![expect(clippy::disallowed_methods, reason = "the netns backend runs in real time")]

use std::time::Duration;

use overlab_dataplane::Instant;

/// A clock that stands at zero until it is started. Nothing else reads the machine's.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Clock {
    now: Instant,
    /// When the machine's clock was looked at last.
    seen: Option<std::time::Instant>,
}

impl Clock {
    /// Starts the clock, unless it runs already.
    pub(super) fn start(&mut self) {
        self.seen.get_or_insert_with(std::time::Instant::now);
    }

    /// Whether it runs.
    pub(super) fn runs(self) -> bool {
        self.seen.is_some()
    }

    /// Time since the start.
    pub(super) fn now(self) -> Instant {
        self.now
    }

    /// Lets it go on by the time since it was last let, at most by `longest`; what is beyond that never was.
    pub(super) fn pass(&mut self, longest: Duration) {
        if let Some(seen) = &mut self.seen {
            let real = std::time::Instant::now();
            self.now = self.now.saturating_add(real.duration_since(*seen).min(longest));
            *seen = real;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_beyond_a_step_never_was() {
        let mut clock = Clock::default();
        clock.pass(Duration::MAX);
        assert_eq!(clock.now(), Instant::ZERO, "it is not started");
        clock.start();
        let late = std::time::Instant::now();
        while late.elapsed() < Duration::from_millis(2) {
            std::thread::yield_now();
        }
        clock.pass(Duration::from_micros(100));
        assert_eq!(clock.now(), Instant::from_nanos(100_000));
        clock.pass(Duration::ZERO);
        assert_eq!(clock.now(), Instant::from_nanos(100_000), "it never goes by itself");
    }
}
