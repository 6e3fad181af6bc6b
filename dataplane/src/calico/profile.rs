//! Capability profiles: which Calico version's rules hold, and what differs between them here. They are not a version parser.

use std::fmt;
use std::str::FromStr;

use super::ClusterRoutes;
use crate::fields::suggestion;

/// The rules of one line of Calico releases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Profile {
    /// Calico up to v3.22: the overlay guide holds to the letter.
    V3_22,
    /// Calico v3.32.
    #[default]
    V3_32,
    /// Calico v3.33: Felix programs the routes of IPIP pools.
    V3_33,
}

impl Profile {
    /// Every profile, oldest first.
    pub const ALL: [Profile; 3] = [Profile::V3_22, Profile::V3_32, Profile::V3_33];

    /// The name, as `calico/v3.32`.
    pub const fn name(self) -> &'static str {
        match self {
            Profile::V3_22 => "calico/v3.22",
            Profile::V3_32 => "calico/v3.32",
            Profile::V3_33 => "calico/v3.33",
        }
    }

    /// The minor version of Calico v3 whose fields exist.
    pub const fn minor(self) -> u8 {
        match self {
            Profile::V3_22 => 22,
            Profile::V3_32 => 32,
            Profile::V3_33 => 33,
        }
    }

    /// Whether pools that overlap earlier ones hand out nothing (from v3.32).
    ///
    /// Source: Calico kube-controllers/pkg/controllers/ippool/pool_controller.go, reconcileConditions.
    pub fn judges_overlaps(self) -> bool {
        self >= Profile::V3_32
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

    /// Whether UDP to the VXLAN port is exempt from connection tracking (from v3.29).
    ///
    /// Source: Calico felix/rules/static.go, StaticRawPreroutingChain.
    pub fn untracks_vxlan(self) -> bool {
        self > Profile::V3_22
    }

    /// The metric of local workload routes and of BIRD's routes: 1024 from v3.32, none (0) before.
    ///
    /// Source: Calico felix/config/config_params.go, IPv4NormalRoutePriority.
    pub fn normal_route_metric(self) -> u32 {
        match self {
            Profile::V3_22 => 0,
            Profile::V3_32 | Profile::V3_33 => 1024,
        }
    }

    /// The classes of routes that a value of `programClusterRoutes` stands for; none for a text that this version does not know,
    /// which leaves its reader's default.
    ///
    /// Source: Calico felix/config/config_params.go, ProgramIPIPClusterRoutes and ProgramNoEncapClusterRoutes.
    pub fn program_cluster_routes(self, text: &str) -> Option<ClusterRoutes> {
        let (ipip, no_encap) = match text {
            "Enabled" => (true, true),
            "Disabled" => (false, false),
            "EnabledIPIPOnly" if self >= Profile::V3_33 => (true, false),
            "EnabledNoEncapOnly" if self >= Profile::V3_33 => (false, true),
            _ => return None,
        };
        Some(ClusterRoutes { ipip, no_encap })
    }

    /// The classes of routes that Felix programs unless configured: IPIP from v3.33, none before.
    ///
    /// Source: Calico design/cluster-route-programming/DESIGN.md.
    pub fn felix_routes(self) -> ClusterRoutes {
        ClusterRoutes {
            ipip: self >= Profile::V3_33,
            no_encap: false,
        }
    }

    /// The classes of routes that BIRD programs unless configured: those that are not Felix's.
    ///
    /// Source: Calico design/cluster-route-programming/DESIGN.md.
    pub fn bird_routes(self) -> ClusterRoutes {
        let felix = self.felix_routes();
        ClusterRoutes {
            ipip: !felix.ipip,
            no_encap: !felix.no_encap,
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
#[error("unknown profile `{name}`{}", .near.map(|n| format!("; did you mean `{n}`?")).unwrap_or_default())]
pub struct UnknownProfile {
    /// The text.
    pub name: String,
    /// The nearest profile's name, if one is near.
    pub near: Option<&'static str>,
}

/// The profile that stands for a version of Calico that has none of its own: the next one, since rules are seldom taken back.
fn covering(text: &str) -> Option<Profile> {
    let minor: u16 = text.strip_prefix("calico/v3.")?.split('.').next()?.parse().ok()?;
    Some(match minor {
        ..=22 => Profile::V3_22,
        23..=32 => Profile::V3_32,
        33.. => Profile::V3_33,
    })
}

impl FromStr for Profile {
    type Err = UnknownProfile;

    fn from_str(text: &str) -> Result<Profile, UnknownProfile> {
        Profile::ALL
            .into_iter()
            .find(|p| p.name() == text)
            .ok_or_else(|| UnknownProfile {
                name: text.to_owned(),
                near: covering(text)
                    .map(Profile::name)
                    .or_else(|| suggestion(text, Profile::ALL.map(Profile::name))),
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
    fn a_version_without_a_profile_is_told_the_next_one() {
        let near = |text: &str| text.parse::<Profile>().unwrap_err().near;
        let versions = ["calico/v3.9", "calico/v3.25", "calico/v3.29.1", "calico/v3.40"];
        let names = ["calico/v3.22", "calico/v3.32", "calico/v3.32", "calico/v3.33"];
        assert_eq!(versions.map(near), names.map(Some));
    }

    #[test]
    fn an_unknown_profile_is_told_the_nearest_one() {
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
