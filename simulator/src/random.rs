//! Named streams of chance: each begins at a number that follows from the run's seed and the stream's name alone, so that what is
//! added to a scenario moves nobody else's luck.

use sha1::{Digest, Sha1};

/// Where the stream of this name begins.
pub fn stream(seed: u64, name: &str) -> u64 {
    let digest: [u8; 20] = Sha1::digest(format!("{seed} {name}")).into();
    digest.first_chunk().map_or(seed, |bytes| u64::from_be_bytes(*bytes))
}
