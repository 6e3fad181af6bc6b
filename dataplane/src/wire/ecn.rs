//! The ECN field of an IP header, and what tunnels do to it.
//!
//! The rules are those of Linux: RFC 6040 at the exit, the older RFC 3168 at the entry.

use std::fmt;

/// The two low bits of the traffic class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ecn {
    /// `00`: the transport does not take part.
    #[default]
    NotEct,
    /// `01`: ECT(1).
    Ect1,
    /// `10`: ECT(0).
    Ect0,
    /// `11`: congestion experienced.
    Ce,
}

impl Ecn {
    /// The field in the two low bits of a traffic class byte; the others are not looked at.
    pub const fn from_bits(traffic_class: u8) -> Ecn {
        match traffic_class & 3 {
            0 => Ecn::NotEct,
            1 => Ecn::Ect1,
            2 => Ecn::Ect0,
            _ => Ecn::Ce,
        }
    }

    /// The field as a number from 0 to 3.
    pub const fn bits(self) -> u8 {
        match self {
            Ecn::NotEct => 0,
            Ecn::Ect1 => 1,
            Ecn::Ect0 => 2,
            Ecn::Ce => 3,
        }
    }

    /// The outer field that a tunnel entry sets for this inner one: the same, but for CE, which becomes ECT(0), so that the path
    /// through the tunnel shows its own congestion only.
    ///
    /// Source: Linux include/net/inet_ecn.h, INET_ECN_encapsulate (RFC 3168 section 9.1.1); RFC 6040 section 4.1 differs for CE.
    pub const fn encapsulate(self) -> Ecn {
        match self {
            Ecn::NotEct => Ecn::NotEct,
            Ecn::Ect1 => Ecn::Ect1,
            Ecn::Ect0 | Ecn::Ce => Ecn::Ect0,
        }
    }

    /// The field of the packet that leaves a tunnel, from this inner and the outer one; none if the packet is to be dropped,
    /// since congestion was signalled to a transport that would not hear it.
    ///
    /// Source: RFC 6040 section 4.2, figure 4; Linux include/net/inet_ecn.h, INET_ECN_decapsulate.
    pub const fn decapsulate(self, outer: Ecn) -> Option<Ecn> {
        match (self, outer) {
            (Ecn::NotEct, Ecn::Ce) => None,
            (Ecn::Ect0 | Ecn::Ect1 | Ecn::Ce, Ecn::Ce) => Some(Ecn::Ce),
            (Ecn::Ect0, Ecn::Ect1) => Some(Ecn::Ect1),
            (inner, Ecn::NotEct | Ecn::Ect0 | Ecn::Ect1) => Some(inner),
        }
    }
}

impl fmt::Display for Ecn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Ecn::NotEct => "not-ect",
            Ecn::Ect1 => "ect1",
            Ecn::Ect0 => "ect0",
            Ecn::Ce => "ce",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    /// Figure 4 of RFC 6040 as bits, columns Not-ECT, ECT(0), ECT(1), CE; 255 is drop.
    #[rstest]
    #[case::not_ect(0b00, [0b00, 0b00, 0b00, 255])]
    #[case::ect0(0b10, [0b10, 0b10, 0b01, 0b11])]
    #[case::ect1(0b01, [0b01, 0b01, 0b01, 0b11])]
    #[case::ce(0b11, [0b11, 0b11, 0b11, 0b11])]
    fn a_tunnel_exit_follows_figure_4_of_rfc_6040(#[case] inner: u8, #[case] row: [u8; 4]) {
        let found = [0b00, 0b10, 0b01, 0b11].map(|outer| {
            Ecn::from_bits(inner)
                .decapsulate(Ecn::from_bits(outer))
                .map_or(255, Ecn::bits)
        });
        assert_eq!(found, row);
    }

    #[test]
    fn a_tunnel_entry_copies_all_but_ce_which_becomes_ect0() {
        assert_eq!(
            [0b00, 0b01, 0b10, 0b11].map(|b| Ecn::from_bits(b).encapsulate().bits()),
            [0b00, 0b01, 0b10, 0b10]
        );
    }
}
