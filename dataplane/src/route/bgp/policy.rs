//! What a node announces: the filters of its peers, then Calico's own export rules.

use ipnet::IpNet;

use super::paths::Path;
use super::sessions::{Network, Session, Speaker};
use crate::calico::{Announcement, BgpFilter, BgpPeer, ClusterState, FilterRule};
use crate::{Family, PerFamily};

/// The ranges that the export rules ask for.
#[derive(Debug)]
pub(super) struct Policy<'a> {
    cluster: &'a ClusterState,
    family: Family,
    /// The ranges of the pools, with whether they are kept from BGP.
    pools: Vec<(IpNet, bool)>,
}

impl<'a> Policy<'a> {
    pub(super) fn of(cluster: &'a ClusterState, family: Family) -> Policy<'a> {
        let pools = cluster.pools().values().filter(|pool| Family::of_net(pool.cidr) == family);
        Policy {
            cluster,
            family,
            pools: pools.map(|pool| (pool.cidr, pool.disable_bgp_export)).collect(),
        }
    }

    /// Whether a node's own export rules let a path out: pools that are not kept from BGP, but of a block of the node nothing
    /// less than the whole.
    ///
    /// Source: Calico confd/etc/calico/confd/templates/bird_aggr.cfg.template, bird_ipam.cfg.template.
    pub(super) fn exports(&self, speaker: &Speaker<'_>, own: &[IpNet], prefix: IpNet, path: &Path) -> bool {
        let mut around = self.pools.iter().filter(|(pool, _)| pool.contains(&prefix)).peekable();
        let in_pool = around.peek().is_some();
        let kept = around.any(|(_, kept)| *kept);
        let inside_own = own.iter().any(|block| *block != prefix && block.contains(&prefix));
        in_pool && !kept && (!inside_own || path.metric < speaker.metric)
    }

    /// Whether the sender of a session lets a path out.
    pub(super) fn lets_out(
        &self,
        network: &Network<'_>,
        session: &Session<'_>,
        own: &[IpNet],
        prefix: IpNet,
        path: &Path,
    ) -> bool {
        let Some(speaker) = network.speakers.get(session.from) else {
            return false;
        };
        if speaker.node.is_none() {
            return true;
        }
        let verdict = self.filter(network, session, session.export, |f| &f.export, prefix, path);
        verdict.unwrap_or_else(|| self.exports(speaker, own, prefix, path))
    }

    /// Whether the receiver of a session takes a path.
    pub(super) fn lets_in(&self, network: &Network<'_>, session: &Session<'_>, prefix: IpNet, path: &Path) -> bool {
        let inside = network.speakers.get(session.to).is_some_and(|s| s.node.is_some());
        let filter = session.import.filter(|_| inside);
        self.filter(network, session, filter, |f| &f.import, prefix, path)
            .unwrap_or(true)
    }

    /// What the filters of a peering say; none if no rule of theirs fits.
    fn filter(
        &self,
        network: &Network<'_>,
        session: &Session<'_>,
        peering: Option<&BgpPeer>,
        direction: fn(&BgpFilter) -> &PerFamily<Vec<FilterRule>>,
        prefix: IpNet,
        path: &Path,
    ) -> Option<bool> {
        let route = Announcement {
            prefix,
            from_peer: path.from.is_some(),
            peer: network.kind(session.from, session.to),
            as_path: &path.as_path,
            metric: path.metric,
        };
        let filters = peering?
            .filters
            .iter()
            .filter_map(|name| self.cluster.bgp_filters().get(name));
        let mut rules = filters.flat_map(|filter| direction(filter).get(self.family));
        rules.find(|rule| rule.matches(&route)).map(|rule| rule.accept)
    }
}
