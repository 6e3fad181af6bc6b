//! The applications at the two ends of a TCP flow: a client asks, a server answers. They see streams of bytes and times, and know
//! neither sockets nor packets, so that both backends run the same ones.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use overlab_dataplane::Instant;

use crate::observe::{read_stamp, stamp};
use crate::scenario::Flow;

/// Bytes of the stamp that every request and reply begins with.
const STAMP: usize = 8;

/// These bytes of a message: a stamp, then a counting pattern.
fn message(port: u16, number: u32, bytes: Range<usize>) -> Vec<u8> {
    let stamp = stamp(port, number);
    bytes.map(|at| stamp.get(at).copied().unwrap_or((at % 251) as u8)).collect()
}

/// The next bytes of a message of which `sent` are gone, at most as many as there is room for.
fn chunk(port: u16, number: u32, sent: usize, length: usize, room: usize) -> Vec<u8> {
    message(port, number, sent..length.min(sent.saturating_add(room)))
}

/// What the asking application is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// It will ask at some time.
    Waits(Instant),
    /// It has sent so much of a request, and got so much of the reply.
    Asks { sent: usize, received: usize },
    /// It will not ask any more.
    Done,
}

/// The client: a closed loop, in which the next request begins at the next multiple of the interval after the whole
/// reply came.
#[derive(Clone, Debug)]
pub struct Client {
    port: u16,
    request: usize,
    reply: usize,
    start: Instant,
    interval: Duration,
    /// No request begins from then on.
    stop: Instant,
    number: u32,
    turn: Turn,
}

impl Client {
    /// The application of a flow's sender.
    pub fn new(flow: &Flow) -> Client {
        Client {
            port: flow.source_port,
            request: flow.payload,
            reply: flow.reply_payload,
            start: flow.start,
            interval: flow.interval,
            stop: flow.start.saturating_add(flow.interval * flow.count),
            number: 0,
            turn: Turn::Waits(flow.start),
        }
    }

    /// When it wants to ask, if it waits for that time.
    pub fn due(&self) -> Option<Instant> {
        match self.turn {
            Turn::Waits(at) => Some(at),
            Turn::Asks { .. } | Turn::Done => None,
        }
    }

    /// Asks no more; a request that has begun is finished.
    pub fn stop(&mut self, now: Instant) {
        self.stop = self.stop.min(now);
    }

    /// The next bytes of a request, which begins now if it is time; at most as many as there is room for.
    pub fn outgoing(&mut self, now: Instant, room: usize) -> Vec<u8> {
        if let Turn::Waits(at) = self.turn
            && at <= now
        {
            self.turn = match at < self.stop {
                true => Turn::Asks { sent: 0, received: 0 },
                false => Turn::Done,
            };
        }
        match self.turn {
            Turn::Asks { sent, .. } => chunk(self.port, self.number, sent, self.request, room),
            Turn::Waits(_) | Turn::Done => Vec::new(),
        }
    }

    /// The socket took so many of the bytes.
    pub fn took(&mut self, bytes: usize) {
        if let Turn::Asks { sent, .. } = &mut self.turn {
            *sent += bytes;
        }
    }

    /// So many bytes came back; whether the reply is whole with them.
    pub fn incoming(&mut self, now: Instant, bytes: usize) -> bool {
        let Turn::Asks { received, .. } = &mut self.turn else {
            return false;
        };
        *received += bytes;
        if *received < self.reply {
            return false;
        }
        self.number += 1;
        let intervals = now.since(self.start).as_nanos() / self.interval.as_nanos().max(1) + 1;
        let next = self
            .start
            .saturating_add(self.interval * u32::try_from(intervals).unwrap_or(u32::MAX));
        self.turn = if next < self.stop { Turn::Waits(next) } else { Turn::Done };
        true
    }
}

/// How long the replies of each flow are, by the port in its stamps: the source port that a listener sees may have been translated
/// on the way.
pub type Replies = BTreeMap<u16, (usize, usize)>;

/// The request and reply lengths of a flow, as [`Replies`] holds them.
pub fn lengths(flow: &Flow) -> (u16, (usize, usize)) {
    (flow.source_port, (flow.payload, flow.reply_payload))
}

/// The server of one connection.
#[derive(Clone, Debug, Default)]
pub struct Server {
    /// The bytes of a stamp that is not whole yet.
    stamp: Vec<u8>,
    /// Whose request is read, and how much of it is to come.
    asked: Option<(u16, u32, usize)>,
    /// Whose reply is written: port, number, bytes that are gone.
    answer: Option<(u16, u32, usize)>,
}

impl Server {
    /// Bytes came in.
    pub fn incoming(&mut self, replies: &Replies, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let Some((port, number, to_come)) = self.asked.as_mut() else {
                let missing = STAMP.saturating_sub(self.stamp.len()).min(rest.len());
                let (head, tail) = rest.split_at(missing);
                self.stamp.extend_from_slice(head);
                rest = tail;
                if self.stamp.len() == STAMP {
                    self.begin(replies);
                }
                continue;
            };
            let part = (*to_come).min(rest.len());
            *to_come -= part;
            rest = rest.get(part..).unwrap_or_default();
            if *to_come == 0 {
                self.answer = Some((*port, *number, 0));
                self.asked = None;
            }
        }
    }

    /// A stamp is whole. One that is nobody's is never answered.
    fn begin(&mut self, replies: &Replies) {
        let stamp = std::mem::take(&mut self.stamp);
        let Some((port, number)) = read_stamp(&stamp) else { return };
        match replies.get(&port) {
            Some((request, _)) if *request > STAMP => self.asked = Some((port, number, request - STAMP)),
            Some(_) => self.answer = Some((port, number, 0)),
            None => {}
        }
    }

    /// The next bytes of a reply, at most as many as there is room for.
    pub fn outgoing(&self, replies: &Replies, room: usize) -> Vec<u8> {
        let answer = self.answer.and_then(|(port, number, sent)| {
            let (_, reply) = replies.get(&port)?;
            Some(chunk(port, number, sent, *reply, room))
        });
        answer.unwrap_or_default()
    }

    /// The socket took so many of the bytes.
    pub fn took(&mut self, bytes: usize) {
        if let Some((_, _, sent)) = &mut self.answer {
            *sent += bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::from_nanos(millis * 1_000_000)
    }

    /// Asks for 20 B with 10 B every 10 ms from 5 ms on, at three instants.
    fn client() -> Client {
        Client {
            port: 12_345,
            request: 10,
            reply: 20,
            start: at(5),
            interval: Duration::from_millis(10),
            stop: at(35),
            number: 0,
            turn: Turn::Waits(at(5)),
        }
    }

    fn ask(client: &mut Client, now: Instant) -> usize {
        let bytes = client.outgoing(now, usize::MAX).len();
        client.took(bytes);
        bytes
    }

    #[test]
    fn the_next_request_begins_at_the_next_multiple_after_the_whole_reply() {
        let mut client = client();
        assert_eq!(
            (ask(&mut client, at(4)), client.due()),
            (0, Some(at(5))),
            "not before its time"
        );
        assert_eq!(
            (ask(&mut client, at(6)), client.due()),
            (10, None),
            "a late connection asks at once"
        );
        assert_eq!(ask(&mut client, at(16)), 0, "and only once");
        assert!(!client.incoming(at(17), 19));
        assert_eq!(client.due(), None, "a byte is missing");
        assert!(client.incoming(at(18), 1));
        assert_eq!(client.due(), Some(at(25)), "the one at 15 ms is left out");
    }

    #[test]
    fn no_request_begins_at_or_after_the_end() {
        let mut client = client();
        ask(&mut client, at(5));
        assert!(client.incoming(at(6), 20));
        assert_eq!(client.due(), Some(at(15)));
        ask(&mut client, at(15));
        assert!(
            client.incoming(at(25), 20),
            "the reply that comes at a multiple waits for the one after it"
        );
        assert_eq!((client.due(), ask(&mut client, at(35))), (None, 0));
    }

    #[test]
    fn who_is_stopped_finishes_what_it_has_begun() {
        let mut client = client();
        ask(&mut client, at(5));
        client.stop(at(6));
        assert!(client.incoming(at(7), 20));
        assert_eq!(client.due(), None);
    }

    #[test]
    fn the_server_finds_requests_however_they_are_cut() {
        let replies = Replies::from([(12_345, (10, 20)), (23_456, (8, 5))]);
        let requests = [message(12_345, 7, 0..10), message(12_345, 8, 0..10), message(23_456, 0, 0..8)];
        for cut in 1..=10 {
            let mut server = Server::default();
            let mut answers = Vec::new();
            for request in &requests {
                for piece in request.chunks(cut) {
                    assert!(server.outgoing(&replies, 100).is_empty(), "not before the request is whole");
                    server.incoming(&replies, piece);
                }
                let mut answer = Vec::new();
                while answer.len() < 100 {
                    let bytes = server.outgoing(&replies, 3);
                    if bytes.is_empty() {
                        break;
                    }
                    server.took(bytes.len());
                    answer.extend(bytes);
                }
                answers.push(answer);
            }
            let expected = [message(12_345, 7, 0..20), message(12_345, 8, 0..20), message(23_456, 0, 0..5)];
            assert_eq!(answers, expected, "cut into pieces of {cut} B");
        }
    }

    #[test]
    fn a_stamp_that_is_nobodys_is_not_answered() {
        let replies = Replies::from([(12_345, (10, 20))]);
        let mut server = Server::default();
        server.incoming(&replies, &message(54_321, 0, 0..10));
        assert_eq!(server.outgoing(&replies, 100), Vec::<u8>::new());
    }
}
