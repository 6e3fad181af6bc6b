//! The one loop: it moves packets and time between a world and a backend, and knows neither's insides.

use std::time::Duration;

use overlab_dataplane::Instant;

use crate::backend::{Backend, BackendError, HostAction};
use crate::world::World;

/// How long a run waits, after the last packet was sent, for packets that nobody has told the end of.
const DRAIN: Duration = Duration::from_secs(1);

/// Runs a world over a backend: attaches its stacks, starts its flows, and goes on until every packet's end is known, or
/// nothing has been heard of the missing ones for a second after `end_of_sending`.
///
/// # Errors
/// If the backend fails.
pub fn drive(world: &mut World, backend: &mut dyn Backend, end_of_sending: Instant) -> Result<(), BackendError> {
    for stack in world.stacks() {
        backend.host(HostAction::Attach(stack.clone()))?;
    }
    for start in world.starts() {
        backend.host(HostAction::Start(start.clone()))?;
    }
    let drained = end_of_sending.saturating_add(DRAIN);
    let mut events = Vec::new();
    loop {
        let now = advance(world, backend)?;
        let mut delivered = false;
        for (port, packet) in world.deliveries() {
            backend.deliver(port, packet);
            delivered = true;
        }
        let sent = now >= end_of_sending;
        let over = sent && world.is_settled() && world.is_idle();
        if !delivered && (over || now >= drained) {
            return Ok(());
        }
        // What was handed over last may have needed no answer, as an acknowledgement: only what is there already is taken.
        let next = match (over, sent) {
            (true, _) => now,
            (false, true) => drained,
            (false, false) => end_of_sending,
        };
        let deadline = world.next_deadline().map_or(next, |deadline| deadline.min(next));
        backend.wait(Some(deadline), &mut events)?;
        // What changes or arrives at this instant comes before what is sent at it.
        let now = advance(world, backend)?;
        for event in events.drain(..) {
            world.handle(now, event);
        }
    }
}

/// Lets everything happen that is due, tells the stacks what they have from here on, and says until when.
fn advance(world: &mut World, backend: &mut dyn Backend) -> Result<Instant, BackendError> {
    let now = backend.now();
    world.advance(now);
    for action in world.actions() {
        backend.host(action)?;
    }
    Ok(now)
}
