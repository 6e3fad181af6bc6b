//! What faults do, in words.

use std::fmt;
use std::time::Duration;

use super::{Effect, Share};

/// A share in per cent: `12.5 %`.
impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.0 / 10_000, self.0 % 10_000);
        let rest = format!("{rest:04}");
        match rest.trim_end_matches('0') {
            "" => write!(f, "{whole} %"),
            rest => write!(f, "{whole}.{rest} %"),
        }
    }
}

/// All that it does, with commas between: `loses 30 % by chance, delays by 20ms`.
impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let by_chance = |share: Share, what: &str| (share.0 > 0).then(|| format!("{what} {share} by chance"));
        let lasting = |time: Duration, what: &str| (!time.is_zero()).then(|| format!("{what} {time:?}"));
        let all = [
            self.cut.map(|reason| format!("lets nothing pass ({reason})")),
            by_chance(self.loss, "loses"),
            by_chance(self.duplicate, "doubles"),
            by_chance(self.corrupt, "corrupts"),
            by_chance(self.mark, "marks"),
            by_chance(self.reorder, "holds back"),
            lasting(self.delay, "delays by"),
            lasting(self.jitter, "delays by up to another"),
            self.bottleneck.map(|neck| format!("passes {} bit/s", neck.bits_per_second)),
            self.mtu.map(|mtu| format!("passes nothing longer than {mtu} B")),
            self.no_icmp_errors.then(|| "loses ICMP errors".to_owned()),
        ];
        let all: Vec<_> = all.into_iter().flatten().collect();
        f.write_str(&all.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(300_000, "30 %")]
    #[case(1_000, "0.1 %")]
    #[case(125_000, "12.5 %")]
    #[case(1_000_000, "100 %")]
    fn a_share_reads_as_per_cent(#[case] parts: u32, #[case] text: &str) {
        assert_eq!(Share(parts).to_string(), text);
    }

    #[test]
    fn a_fault_tells_all_that_it_does() {
        let effect = Effect {
            loss: Share(500_000),
            delay: Duration::from_millis(20),
            no_icmp_errors: true,
            ..Effect::default()
        };
        assert_eq!(effect.to_string(), "loses 50 % by chance, delays by 20ms, loses ICMP errors");
    }
}
