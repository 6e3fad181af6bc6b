//! Whatever comes in, the engine answers and does not fall over.

use overlab_dataplane::engine::{Ingress, Out, Outcome};
use overlab_dataplane::route::DeviceId;
use overlab_dataplane::{Family, Instant, Packet};
use proptest::prelude::*;
use serde_json::json;

use super::cluster::{NODES, Udp};
use super::{fix_checksum, ipip, nodes, vxlan, wire};

proptest! {
    #[test]
    fn no_bytes_from_anywhere_make_it_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        version in any::<bool>(),
        device in 0u16..6,
    ) {
        let mut bytes = bytes;
        if version && bytes.len() >= 20 {
            let length = bytes.len() as u16;
            bytes[0] = 0x45;
            bytes[2..4].copy_from_slice(&length.to_be_bytes());
            bytes[16..20].copy_from_slice(&[10, 0, 1, 5]);
            fix_checksum(&mut bytes);
        }
        for pool in [ipip("Always"), vxlan("CrossSubnet"), json!({})] {
            let [mut a, ..] = nodes(pool, json!({}));
            a.handle(Ingress::Device(DeviceId(device)), &bytes);
            a.handle(Ingress::Host, &bytes);
        }
    }

    #[test]
    fn a_changed_tunnel_packet_never_makes_it_panic(at in 0usize..178, value in any::<u8>(), sum in any::<bool>()) {
        for pool in [ipip("Always"), vxlan("Always")] {
            let [mut a, _, mut c] = nodes(pool, json!({}));
            let mut bytes = wire(a.pod_sends(&Udp::new(NODES[0].3, NODES[2].3).build()));
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
            if sum && bytes[0] == 0x45 {
                fix_checksum(&mut bytes);
            }
            c.wire_brings(&bytes);
        }
    }
}

#[test]
fn tunnels_within_tunnels_are_unwrapped_without_a_deep_stack() {
    let [_, b, _] = super::tables(Family::V4, ipip("Always"), json!({}));
    let mut b = super::Node::new(b);
    let header = |length: usize| {
        let mut header = Udp::new("10.0.1.5", "10.0.1.6").build()[..20].to_vec();
        header[2..4].copy_from_slice(&(length as u16).to_be_bytes());
        header[9] = 4;
        fix_checksum(&mut header);
        header
    };
    let levels = 3000;
    let payload = Udp::new("10.0.1.5", "10.0.1.6").build();
    let headers = (0..levels).rev().flat_map(|below| header(20 * (below + 1) + payload.len()));
    let bytes: Vec<u8> = headers.chain(payload.iter().copied()).collect();
    let thread = std::thread::Builder::new().stack_size(256 * 1024);
    let delivered = thread.spawn(move || b.wire_brings(&bytes).out.len()).unwrap().join().unwrap();
    assert_eq!(delivered, 1);
}

#[test]
fn a_tag_follows_its_packet_and_its_fragments_and_nothing_else() {
    let [mut a, ..] = nodes(vxlan("Always"), json!({}));
    let pod = Ingress::Device(super::pod_device(a.engine.tables()));
    let mut outcome = Outcome::default();
    for (length, dont_fragment, tagged) in [(128, true, 1), (1500, false, 2), (1500, true, 0)] {
        let mut packet = Packet::from_bytes(
            &Udp {
                length,
                dont_fragment,
                ..Udp::new(NODES[0].3, NODES[2].3)
            }
            .build(),
        );
        packet.set_tag(overlab_dataplane::Tag(7));
        a.engine.handle(Instant::ZERO, pod, packet, &mut outcome);
        let tags = outcome
            .out
            .iter()
            .map(Out::packet)
            .filter(|packet| packet.tag().0 == 7)
            .count();
        assert_eq!(tags, tagged, "{length} B");
    }
}
