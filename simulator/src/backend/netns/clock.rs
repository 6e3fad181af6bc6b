//! The run's clock: nanoseconds of CLOCK_MONOTONIC since it was started. It is the only place that reads a clock.
#![expect(clippy::disallowed_methods, reason = "the netns backend runs in real time")]

use overlab_dataplane::Instant;

/// A clock that stands at zero until it is started.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Clock(Option<std::time::Instant>);

impl Clock {
    /// Starts the clock, unless it runs already.
    pub(super) fn start(&mut self) {
        self.0.get_or_insert_with(std::time::Instant::now);
    }

    /// Whether it runs.
    pub(super) fn runs(self) -> bool {
        self.0.is_some()
    }

    /// Time since the start.
    pub(super) fn now(self) -> Instant {
        self.0
            .map_or(Instant::ZERO, |start| Instant::ZERO.saturating_add(start.elapsed()))
    }
}
