//! What is left of a run whose process is killed: nothing. A veth end inside each namespace tells, since it goes with its
//! namespace and takes the other end along, which lies where the test can see it.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::net::if_::{if_nameindex, if_nametoindex};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::time::{ClockId, clock_gettime};
use overlab_simulator::backend::StackId;
use overlab_simulator::scenario::{Flow, Transport};
use rtnetlink::LinkVeth;

use crate::Test;
use crate::bench::{Bench, flow, workload};
use crate::netlink::{connect, inside, make_link, move_link};

pub(crate) const TESTS: &[Test] = &[("nothing_is_left_of_a_killed_run", nothing_is_left_of_a_killed_run)];

const STACKS: u32 = 4;
const LIMIT: Duration = Duration::from_secs(5);

/// The helper process: stacks and a running flow, until it is killed. It prints the descriptor of each namespace.
pub(crate) fn hold() -> ! {
    let stacks = (1..=STACKS).map(|id| workload(id, &Ipv4Addr::from(0x0a41_0000 + id).to_string(), 1450));
    let mut bench = Bench::new(
        stacks.collect(),
        &[(overlab_simulator::backend::PortId(1), overlab_simulator::backend::PortId(2))],
    );
    let endless = Flow {
        count: u32::MAX,
        ..flow(Transport::Icmp, "10.65.0.2", 40001)
    };
    bench.start(0, endless, StackId(1), StackId(2));
    bench.run(Duration::from_millis(10));
    for id in 1..=STACKS {
        println!("{}", bench.backend.namespace_fd(StackId(id)).unwrap().as_raw_fd());
    }
    loop {
        bench.run(Duration::from_secs(1));
    }
}

fn nothing_is_left_of_a_killed_run() -> Option<String> {
    let mounts = || fs::read_to_string("/proc/self/mounts").unwrap();
    let links = || {
        let links = if_nameindex().unwrap();
        links.iter().map(|link| link.name().to_owned()).collect::<Vec<_>>()
    };
    let before = (mounts(), links());
    let mut child = Command::new(std::env::current_exe().unwrap())
        .arg("--hold")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let process = child.id();
    let printed = BufReader::new(child.stdout.take().unwrap()).lines();
    let namespaces: Vec<String> = printed.take(STACKS as usize).map(Result::unwrap).collect();
    assert_eq!(namespaces.len(), STACKS as usize);

    let took = inside(None, || {
        let socket = connect();
        for (number, descriptor) in namespaces.iter().enumerate() {
            let (near, far) = (format!("near{number}"), format!("far{number}"));
            make_link(&socket, LinkVeth::new(&near, &far).build());
            move_link(&socket, &far, File::open(format!("/proc/{process}/fd/{descriptor}")).unwrap());
            assert!(if_nametoindex(far.as_str()).is_err(), "{far} is in the run's namespace");
        }
        socket.add_membership(1).unwrap();
        let near: Vec<String> = (0..namespaces.len()).map(|number| format!("near{number}")).collect();
        assert!(near.iter().all(|name| if_nametoindex(name.as_str()).is_ok()));
        child.kill().unwrap();
        let killed = now();
        assert_eq!(child.wait().unwrap().signal(), Some(nix::libc::SIGKILL));
        while near.iter().any(|name| if_nametoindex(name.as_str()).is_ok()) {
            let left = LIMIT
                .checked_sub(now() - killed)
                .expect("namespaces outlived their process by 5 s");
            let mut news = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
            if poll(&mut news, PollTimeout::try_from(left).unwrap()).unwrap() > 0 {
                socket.recv_from_full().unwrap();
            }
        }
        now() - killed
    });
    assert!(took < LIMIT, "it took {took:?}");
    assert!(!fs::exists(format!("/proc/{process}")).unwrap());
    assert_eq!((mounts(), links()), before);
    None
}

fn now() -> Duration {
    clock_gettime(ClockId::CLOCK_MONOTONIC).unwrap().into()
}
