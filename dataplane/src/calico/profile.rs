//! Capability profiles: which Calico version's rules hold, and what differs between them here. They are not a version parser.

use std::fmt;
use std::str::FromStr;

use crate::fields::suggestion;
use crate::route::Owner;

/// The rules of one line of Calico releases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Profile {
    /// Calico up to v3.22: the overlay guide holds to the letter.
    V3_22,
    /// Calico v3.32.
    #[default]
    V3_32,
}

impl Profile {
    /// Every profile, oldest first.
    pub const ALL: [Profile; 2] = [Profile::V3_22, Profile::V3_32];

    /// The name, as `calico/v3.32`.
    pub const fn name(self) -> &'static str {
        match self {
            Profile::V3_22 => "calico/v3.22",
            Profile::V3_32 => "calico/v3.32",
        }
    }

    /// Whether IPv6 pools may use VXLAN (from v3.23).
    ///
    /// Source: Calico libcalico-go/lib/validator/v3/validator.go, validateIPPoolSpec.
    pub fn accepts_ipv6_vxlan(self) -> bool {
        self > Profile::V3_22
    }

    /// Whether VXLAN tunnel routes carry the tunnel's MTU themselves (from v3.31).
    ///
    /// Source: Calico felix/dataplane/linux/route_mgr.go, updateRoutes.
    pub fn tunnel_routes_carry_mtu(self) -> bool {
        self > Profile::V3_22
    }

    /// The metric of local workload routes and of BIRD's routes: 1024 from v3.32, none (0) before.
    ///
    /// Source: Calico felix/config/config_params.go, IPv4NormalRoutePriority.
    pub fn normal_route_metric(self) -> u32 {
        match self {
            Profile::V3_22 => 0,
            Profile::V3_32 => 1024,
        }
    }

    /// Who programs the routes of IPIP pools and of pools without encapsulation; those of VXLAN pools are always Felix's.
    ///
    /// Source: Calico design/cluster-route-programming/DESIGN.md.
    pub fn bgp_route_owner(self) -> Owner {
        match self {
            Profile::V3_22 | Profile::V3_32 => Owner::Bird,
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Why a text names no profile.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnknownProfile {
    /// A Calico version whose rules are known to differ and are not modelled yet.
    #[error("profile `{0}` is not modelled yet")]
    NotModelled(String),
    /// Anything else; the nearest profile, if one is near.
    #[error("unknown profile `{name}`{}", .near.map(|n| format!("; did you mean `{n}`?")).unwrap_or_default())]
    Unknown {
        /// The text.
        name: String,
        /// The nearest profile's name.
        near: Option<&'static str>,
    },
}

impl FromStr for Profile {
    type Err = UnknownProfile;

    fn from_str(text: &str) -> Result<Profile, UnknownProfile> {
        if text == "calico/v3.33" {
            return Err(UnknownProfile::NotModelled(text.to_owned()));
        }
        Profile::ALL
            .into_iter()
            .find(|p| p.name() == text)
            .ok_or_else(|| UnknownProfile::Unknown {
                name: text.to_owned(),
                near: suggestion(text, Profile::ALL.map(Profile::name)),
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_profile_reads_back_from_its_name() {
        for profile in Profile::ALL {
            assert_eq!(profile.to_string().parse(), Ok(profile));
        }
    }

    #[test]
    fn the_profile_in_which_felix_programs_ipip_is_refused_as_not_modelled() {
        assert_eq!(
            "calico/v3.33".parse::<Profile>(),
            Err(UnknownProfile::NotModelled("calico/v3.33".to_owned()))
        );
        assert_eq!("v3.32".parse::<Profile>().unwrap_err().to_string(), "unknown profile `v3.32`");
        assert!(
            "calico/3.32"
                .parse::<Profile>()
                .unwrap_err()
                .to_string()
                .contains("did you mean `calico/v3.32`")
        );
    }
}
