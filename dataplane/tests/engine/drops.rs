//! Every reason for which a node throws a packet away can be brought about, and is told to the sender where the RFCs and Linux
//! say so.

use std::collections::BTreeSet;
use std::sync::Arc;

use overlab_dataplane::Family;
use overlab_dataplane::engine::{DropReason, Ingress};
use overlab_dataplane::route::{NatRules, NodeTables, RouteKind, RpFilter};
use rstest::rstest;
use serde_json::json;

use super::cluster::{NODES, Udp, like, tables};
use super::{Node, fix_checksum, icmp_error, ipip, nodes, nodes_of, reason, vxlan, wire};

/// What is expected: the reason, and type and code of the ICMP error.
type Expected = (DropReason, Option<(u8, u8)>);

fn drops() -> Vec<(&'static str, Expected, Expected)> {
    let mut seen = Vec::new();
    let mut case = |name, expected: Expected, node: &mut Node, from: Ingress, bytes: &[u8]| {
        let outcome = node.handle(from, bytes);
        let found = reason(outcome).expect(name);
        seen.push((
            name,
            expected,
            (found, icmp_error(outcome).map(|(_, kind, code, _)| (kind, code))),
        ));
    };
    let card = Ingress::Device(super::CARD);
    let [pod_a, pod_b, pod_c] = NODES.map(|node| node.3);
    let a_to_c = Udp::new(pod_a, pod_c);

    let families = [
        (Family::V4, ipip("Always"), (11, 0), (3, 4)),
        (Family::V4, vxlan("Always"), (11, 0), (3, 4)),
        (Family::V6, vxlan("Always"), (3, 0), (2, 0)),
    ];
    for (family, pool, expired, too_big) in families {
        let [mut a, ..] = nodes_of(family, pool, json!({}));
        let pod = Ingress::Device(super::pod_device(a.engine.tables()));
        let a_to_c = Udp::of(family, pod_a, pod_c);
        case(
            "a false source",
            (DropReason::WorkloadSpoof, None),
            &mut a,
            pod,
            &Udp::of(family, pod_b, pod_c).build(),
        );
        let short = Udp { ttl: 1, ..a_to_c };
        case(
            "no TTL left",
            (DropReason::TtlExpired, Some(expired)),
            &mut a,
            pod,
            &short.build(),
        );
        let long = Udp { length: 1490, ..a_to_c };
        case("too long", (DropReason::TooBig, Some(too_big)), &mut a, pod, &long.build());
        let nobody = Udp::of(family, pod_a, "10.244.0.11");
        case(
            "nobody's address",
            (DropReason::Blackhole, None),
            &mut a,
            pod,
            &nobody.build(),
        );
        case(
            "to the own node",
            (DropReason::PolicyDeny, None),
            &mut a,
            pod,
            &Udp::of(family, pod_a, "10.0.1.5").build(),
        );
        let vxlan_of_its_own = Udp {
            destination_port: 4789,
            ..a_to_c
        };
        case(
            "a tunnel of its own",
            (DropReason::WorkloadEncapDenied, None),
            &mut a,
            pod,
            &vxlan_of_its_own.build(),
        );
    }

    for (name, pool) in [("ipip", ipip("Always")), ("vxlan", vxlan("Always"))] {
        let [mut a, _, mut c] = nodes(pool, json!({}));
        let pod = Ingress::Device(super::pod_device(a.engine.tables()));
        let tunnelled = wire(a.pod_sends(&a_to_c.build()));
        let mut stranger = tunnelled.clone();
        stranger[12..16].copy_from_slice(&[10, 0, 9, 9]);
        // The UDP checksum covers the address; 0 says that there is none.
        if name == "vxlan" {
            stranger[26..28].fill(0);
        }
        fix_checksum(&mut stranger);
        case(
            "an unknown tunnel source",
            (DropReason::TunnelSourceDenied, None),
            &mut c,
            card,
            &stranger,
        );
        let mut tunnel_of_its_own = Udp::new(pod_a, pod_c).build();
        tunnel_of_its_own[9] = 4;
        fix_checksum(&mut tunnel_of_its_own);
        case(
            "a tunnel of its own",
            (DropReason::WorkloadEncapDenied, None),
            &mut a,
            pod,
            &tunnel_of_its_own,
        );
        for source in ["127.0.0.1", "0.1.2.3", "224.0.0.1", "255.255.255.255", "10.0.2.7"] {
            case(
                "no source",
                (DropReason::Martian, None),
                &mut c,
                card,
                &Udp::new(source, pod_c).build(),
            );
        }
        case("cut short", (DropReason::Malformed, None), &mut c, card, &tunnelled[..60]);
        let mut wrong_sum = tunnelled.clone();
        wrong_sum[10] ^= 1;
        case("a wrong checksum", (DropReason::Malformed, None), &mut c, card, &wrong_sum);
        let mut congested = tunnelled.clone();
        congested[1] = 3;
        fix_checksum(&mut congested);
        case(
            "congestion outside only",
            (DropReason::TunnelEcn, None),
            &mut c,
            card,
            &congested,
        );
        for (offset, length) in [(0usize, 64usize), (32, 64)] {
            let mut fragment = Udp::new("10.0.9.9", "10.0.2.7").build()[..20].to_vec();
            fragment.extend(std::iter::repeat_n(7, length));
            fragment[2..4].copy_from_slice(&((20 + length) as u16).to_be_bytes());
            fragment[6..8].copy_from_slice(&(0x2000 | (offset / 8) as u16).to_be_bytes());
            fix_checksum(&mut fragment);
            if offset > 0 {
                case(
                    "overlapping fragments",
                    (DropReason::ReassemblyFailed, None),
                    &mut c,
                    card,
                    &fragment,
                );
            } else {
                assert!(c.handle(card, &fragment).drop.is_none());
            }
        }
    }

    let [mut a, _, mut c] = nodes(vxlan("Always"), json!({}));
    let good = wire(a.pod_sends(&a_to_c.build()));
    let mut changed = |name, reason, at: usize, value: u8, keep_sum: bool| {
        let mut bytes = good.clone();
        bytes[at] = value;
        if !keep_sum {
            bytes[26..28].fill(0);
        }
        case(name, (reason, None), &mut c, card, &bytes);
    };
    changed("a wrong UDP checksum", DropReason::BadChecksum, 90, 0xee, true);
    changed("no I flag", DropReason::VxlanBadHeader, 28, 0, false);
    changed("a reserved bit", DropReason::VxlanBadHeader, 35, 1, false);
    changed("another VNI", DropReason::VxlanUnknownVni, 33, 0x11, false);
    changed("another MAC", DropReason::WrongInnerMac, 36, 0x02, false);
    changed("a tagged frame", DropReason::WrongInnerMac, 48, 0x81, false);

    let mut looped = good.clone();
    looped.copy_within(36..42, 42);
    looped[26..28].fill(0);
    case(
        "its own MAC as source",
        (DropReason::WrongInnerMac, None),
        &mut c,
        card,
        &looped,
    );

    let [mut ipip_a, _, mut ipip_c] = nodes(ipip("Always"), json!({}));
    let ipip_packet = wire(ipip_a.pod_sends(&a_to_c.build()));
    case(
        "IPIP without tunl0",
        (DropReason::NoDecap, Some((3, 2))),
        &mut c,
        card,
        &ipip_packet,
    );
    case(
        "VXLAN without a device",
        (DropReason::NoDecap, Some((3, 3))),
        &mut ipip_c,
        card,
        &good,
    );

    let by_hand = |family: Family, change: &dyn Fn(&mut NodeTables), pool| {
        let [a, ..] = tables(family, pool, json!({}));
        let mut a = NodeTables::clone(&a);
        change(&mut a);
        Node::new(Arc::new(a))
    };
    let mut circular = by_hand(
        Family::V4,
        &|a| {
            let mut routes: Vec<_> = a.routes().cloned().collect();
            let own = routes.iter_mut().filter(|r| r.kind == RouteKind::Host);
            own.for_each(|r| r.kind = RouteKind::Ipip);
            *a = a.clone().with_routes(routes);
        },
        ipip("Always"),
    );
    let pod = Ingress::Device(super::pod_device(circular.engine.tables()));
    case(
        "a tunnel through itself",
        (DropReason::TunnelRecursion, None),
        &mut circular,
        pod,
        &a_to_c.build(),
    );
    let mut strict = by_hand(Family::V4, &|a| a.rp_filter = RpFilter::Strict, ipip("Always"));
    case(
        "bare, where the way back leads into a tunnel",
        (DropReason::RpFilter, None),
        &mut strict,
        card,
        &Udp::new(pod_c, pod_a).build(),
    );
    for family in [Family::V4, Family::V6] {
        let a_to_c = Udp::of(family, pod_a, pod_c);
        let mut deaf = by_hand(
            family,
            &|a| a.vxlan.get_mut(family).as_mut().unwrap().ends = [].into(),
            vxlan("Always"),
        );
        let pod = Ingress::Device(super::pod_device(deaf.engine.tables()));
        case(
            "no entry for the tunnel address",
            (DropReason::NoVtep, None),
            &mut deaf,
            pod,
            &a_to_c.build(),
        );
        let mut plain = by_hand(family, &|a| a.forwarding = false, json!({}));
        case(
            "not forwarding",
            (DropReason::NotForwarding, None),
            &mut plain,
            card,
            &Udp::of(family, "10.0.9.9", pod_a).build(),
        );
        let mut one_port = by_hand(
            family,
            &|a| {
                *a.nat.get_mut(family) = NatRules {
                    masquerade: [like(family, "10.244.0.0/16").parse().unwrap()].into(),
                    ports: Some((5000, 5000)),
                    ..NatRules::default()
                }
            },
            json!({}),
        );
        let outside = Udp::of(family, pod_a, "10.0.9.9");
        assert_eq!(one_port.handle(pod, &outside.build()).drop, None);
        let second = Udp {
            source_port: outside.source_port + 1,
            ..outside
        };
        case(
            "no port left",
            (DropReason::NoNatMapping, None),
            &mut one_port,
            pod,
            &second.build(),
        );
        let mut deserted = by_hand(
            family,
            &|a| a.services = super::services::service(family, &[], "None"),
            json!({}),
        );
        let called = Udp::of(family, pod_a, super::services::SERVICE);
        let told = match family {
            Family::V4 => (3, 3),
            Family::V6 => (1, 4),
        };
        case(
            "a service without endpoints",
            (DropReason::NoListener, Some(told)),
            &mut deserted,
            pod,
            &called.build(),
        );
        let mut cut_off = by_hand(family, &|a| *a = a.clone().with_routes([]), json!({}));
        // Without a route back there is nobody to tell; that the error is due is seen where there is one.
        case("no route", (DropReason::NoRoute, None), &mut cut_off, pod, &a_to_c.build());
    }
    seen
}

#[test]
fn every_drop_has_its_reason_and_its_icmp_error() {
    for (name, expected, found) in drops() {
        assert_eq!(found, expected, "{name}");
    }
}

#[test]
fn every_reason_is_brought_about() {
    let seen: BTreeSet<_> = drops().into_iter().map(|(_, _, (reason, _))| reason).collect();
    assert_eq!(seen, DropReason::ALL.iter().copied().collect());
}

#[rstest]
#[case(Family::V4, (3, 0))]
#[case(Family::V6, (1, 0))]
fn an_unroutable_destination_is_told_to_a_sender_that_can_be_reached(#[case] family: Family, #[case] error: (u8, u8)) {
    let [a, ..] = tables(family, json!({}), json!({}));
    let but_default = a.routes().filter(|route| route.destination.prefix_len() > 0).cloned();
    let a = NodeTables::clone(&a).with_routes(but_default.collect::<Vec<_>>());
    let mut node = Node::new(Arc::new(a));
    let outcome = node.pod_sends(&Udp::of(family, NODES[0].3, "8.8.8.8").build());
    assert_eq!(reason(outcome), Some(DropReason::NoRoute));
    let expected = (like(family, "10.0.1.5"), error.0, error.1, 0);
    assert_eq!(icmp_error(outcome), Some(expected));
}
