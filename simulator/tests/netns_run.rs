//! `overlab run --backend netns` as somebody beside it sees it: what the kernel shows inside a node's namespace, what real
//! programs do there, what tshark reads in a capture, and what is left when the run is killed.

#[cfg(target_os = "linux")]
mod common;

#[cfg(target_os = "linux")]
mod linux {
    use std::fs;
    use std::path::{Path, PathBuf};
    use std::process::{Child, Command, ExitCode, Output, Stdio};
    use std::time::Duration;

    use libtest_mimic::Failed;
    use nix::poll::{PollTimeout, poll};
    use nix::time::{ClockId, clock_gettime};
    use overlab_simulator::scenario::load;
    use overlab_simulator::world;

    use crate::common::{self, Body};

    const LIMIT: Duration = Duration::from_secs(10);
    const GONE_WITHIN: Duration = Duration::from_secs(5);

    pub(super) fn main() -> ExitCode {
        let test = |name: &str, body: fn() -> Result<Option<String>, Failed>| (name.to_owned(), Box::new(body) as Body);
        let tests = [
            test(
                "the_kernel_of_a_node_shows_the_routes_of_its_tables",
                the_kernel_shows_the_tables,
            ),
            test(
                "a_real_ping_of_a_node_leaves_with_its_tunnel_address",
                a_real_ping_leaves_with_the_tunnel_address,
            ),
            test("nothing_is_left_of_a_run_that_is_killed", || {
                nothing_is_left(nix::libc::SIGKILL)
            }),
            test("nothing_is_left_of_a_run_that_is_interrupted", || {
                nothing_is_left(nix::libc::SIGINT)
            }),
            test(
                "tshark_reads_tunnels_on_the_underlay_and_bare_packets_in_a_subnet",
                tshark_reads_a_capture,
            ),
        ];
        // Links outside are compared before and after: one at a time.
        common::main(tests, 1)
    }

    /// A run of a scenario that goes on for long, and its namespaces.
    struct Running {
        child: Child,
        file: PathBuf,
        namespaces: Vec<Namespace>,
        _folder: tempfile::TempDir,
    }

    /// A namespace of a run, named after the machine whose address its `eth0` has.
    struct Namespace {
        path: String,
        address: String,
    }

    impl Drop for Running {
        fn drop(&mut self) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }

    impl Running {
        fn start(scenario: &str) -> Result<Running, Failed> {
            let folder = tempfile::tempdir()?;
            let file = folder.path().join("long.yaml");
            let shipped = fs::read_to_string(scenarios().join(scenario))?;
            fs::write(&file, shipped.replacen("duration: 500ms", "duration: 60s", 1))?;
            let stacks = {
                let model = load(&file)
                    .map_err(|d| d.iter().map(ToString::to_string).collect::<String>())?
                    .model;
                model.nodes.len() + model.workloads.len()
            };
            let child = overlab()
                .arg("run")
                .arg(&file)
                .args(["--backend", "netns"])
                .stdout(Stdio::null())
                .spawn()?;
            let mut running = Running {
                child,
                file,
                namespaces: Vec::new(),
                _folder: folder,
            };
            until(LIMIT, "the run has made its stacks", || {
                running.namespaces = namespaces(running.child.id());
                running.namespaces.len() == stacks
            })?;
            Ok(running)
        }

        fn namespace_of(&self, address: &str) -> Result<&Namespace, Failed> {
            let found = self.namespaces.iter().find(|namespace| namespace.address == address);
            found.ok_or_else(|| format!("no namespace has {address}").into())
        }
    }

    impl Namespace {
        fn run(&self, command: &[&str]) -> Result<String, Failed> {
            let inside = format!("--net={}", self.path);
            let mut all = vec![inside.as_str()];
            all.extend(command);
            said("nsenter", &all)
        }
    }

    /// The namespaces that a process holds and that are ready: their `eth0` has an address and a default route.
    fn namespaces(process: u32) -> Vec<Namespace> {
        let Ok(descriptors) = fs::read_dir(format!("/proc/{process}/fd")) else {
            return Vec::new();
        };
        let paths = descriptors
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| fs::read_link(path).is_ok_and(|target| target.to_string_lossy().starts_with("net:[")));
        let ready = |path: PathBuf| {
            let mut namespace = Namespace {
                path: path.display().to_string(),
                address: String::new(),
            };
            let routes = namespace
                .run(&["ip", "route", "show", "default"])
                .ok()
                .filter(|routes| !routes.is_empty());
            let addresses = routes.and_then(|_| namespace.run(&["ip", "-o", "-4", "addr", "show", "dev", "eth0"]).ok())?;
            let address = addresses.split_whitespace().skip_while(|word| *word != "inet").nth(1)?;
            namespace.address = address.split('/').next()?.to_owned();
            Some(namespace)
        };
        paths.filter_map(ready).collect()
    }

    fn the_kernel_shows_the_tables() -> Result<Option<String>, Failed> {
        if let Some(missing) = missing(&["ip", "nsenter"]) {
            return Ok(Some(missing));
        }
        for scenario in [
            "guide/vxlan-cross-subnet.yaml",
            "guide/ipip-cross-subnet.yaml",
            "guide/vxlan-always.yaml",
        ] {
            let running = Running::start(scenario)?;
            let model = load(&running.file).map_err(|_| "the scenario is wrong")?.model;
            for (node, tables) in model.nodes.iter().zip(world::tables(&model)) {
                let namespace = running.namespace_of(&node.primary().addresses.v4.expect("it has IPv4").addr().to_string())?;
                let mut shown: Vec<_> = namespace
                    .run(&["ip", "route"])?
                    .lines()
                    .map(|line| line.trim().to_owned())
                    .collect();
                let tables = tables.first();
                let mut wanted: Vec<_> = tables.routes().map(|route| tables.text(route).to_string()).collect();
                shown.sort();
                wanted.sort();
                equal(&wanted, &shown)?;
                for device in &tables.devices {
                    let link = namespace.run(&["ip", "-o", "link", "show", "dev", &device.name])?;
                    holds(link.contains(&format!("mtu {} ", device.mtu)), || link.clone())?;
                    let addresses = namespace.run(&["ip", "-o", "-4", "addr", "show", "dev", &device.name])?;
                    for address in &device.addresses {
                        holds(addresses.contains(&format!("inet {address} ")), || addresses.clone())?;
                    }
                }
            }
            for workload in &model.workloads {
                let namespace = running.namespace_of(&workload.addresses.v4.expect("it has IPv4").to_string())?;
                equal(
                    &"default via 169.254.1.1 dev eth0 onlink".to_owned(),
                    &namespace.run(&["ip", "route"])?.trim().to_owned(),
                )?;
            }
        }
        Ok(None)
    }

    fn a_real_ping_leaves_with_the_tunnel_address() -> Result<Option<String>, Failed> {
        if let Some(missing) = missing(&["ip", "nsenter", "ping"]) {
            return Ok(Some(missing));
        }
        for scenario in ["guide/ipip-always.yaml", "guide/vxlan-always.yaml"] {
            let running = Running::start(scenario)?;
            let node = running.namespace_of("10.0.1.11")?;
            let route = node.run(&["ip", "route", "get", "192.168.3.2"])?;
            holds(route.contains(" src 192.168.1.0 "), || route.clone())?;
            let ping = node.run(&["ping", "-c", "3", "-i", "0.2", "-W", "2", "192.168.3.2"])?;
            holds(ping.contains("3 received, 0% packet loss") && ping.contains("ttl=63"), || {
                ping.clone()
            })?;
            let size = node.run(&["ping", "-c", "1", "-W", "2", "-M", "do", "-s", "1400", "192.168.3.2"])?;
            holds(size.contains("1 received"), || size.clone())?;
        }
        Ok(None)
    }

    fn nothing_is_left(signal: i32) -> Result<Option<String>, Failed> {
        if let Some(missing) = missing(&["ip", "nsenter"]) {
            return Ok(Some(missing));
        }
        if !nix::unistd::geteuid().is_root() {
            return Ok(Some("only root may put links into another's namespaces".to_owned()));
        }
        let outside = || Ok::<_, Failed>((said("ip", &["-o", "link"])?, fs::read_to_string("/proc/self/mounts")?));
        let before = outside()?;
        let mut running = Running::start("guide/vxlan-always.yaml")?;
        // An end of a pair goes with its namespace and takes the other along, which lies where it can be seen.
        let mut ends = Vec::new();
        for (i, namespace) in running.namespaces.iter().enumerate() {
            let (near, far) = (format!("ovl-near{i}"), format!("ovl-far{i}"));
            said(
                "ip",
                &[
                    "link",
                    "add",
                    &near,
                    "type",
                    "veth",
                    "peer",
                    "name",
                    &far,
                    "netns",
                    &namespace.path,
                ],
            )?;
            ends.push(near);
        }
        let exists = |end: &String| Path::new("/sys/class/net").join(end).exists();
        holds(ends.iter().all(exists), || "every pair has an end outside".to_owned())?;
        let process = i32::try_from(running.child.id())?;
        let killed = now();
        nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(process),
            nix::sys::signal::Signal::try_from(signal)?,
        )?;
        running.child.wait()?;
        until(GONE_WITHIN, "every namespace is gone", || !ends.iter().any(exists))?;
        println!("gone {} ms after signal {signal}", (now() - killed).as_millis());
        holds(!Path::new(&format!("/proc/{process}")).exists(), || {
            "the process is gone".to_owned()
        })?;
        equal(&before, &outside()?)?;
        Ok(None)
    }

    fn tshark_reads_a_capture() -> Result<Option<String>, Failed> {
        if let Some(missing) = missing(&["tshark"]) {
            return Ok(Some(missing));
        }
        let folder = tempfile::tempdir()?;
        for (scenario, tunnel) in [
            ("ipip-cross-subnet", "ip.proto == 4"),
            ("vxlan-cross-subnet", "udp.dstport == 4789"),
        ] {
            let file = scenarios().join(format!("guide/{scenario}.yaml"));
            let capture = folder.path().join(scenario);
            let run = overlab()
                .arg("run")
                .arg(file)
                .args(["--backend", "netns", "--capture"])
                .arg(&capture)
                .output()?;
            holds(run.status.success(), || String::from_utf8_lossy(&run.stdout).into_owned())?;
            let pcap = fs::read_dir(&capture)?.next().ok_or("no capture was written")??.path();
            let count = |filter: &str| {
                let pcap = pcap.display().to_string();
                let checks = ["-o", "ip.check_checksum:TRUE", "-o", "udp.check_checksum:TRUE"];
                let mut command = vec!["-r", &pcap, "-Y", filter];
                command.extend(checks);
                Ok::<_, Failed>(said("tshark", &command)?.lines().count())
            };
            equal(
                &0,
                &count("_ws.malformed || ip.checksum.status == 0 || udp.checksum.status == 0")?,
            )?;
            holds(
                count(&format!("frame.interface_name == \"n1/eth0\" && {tunnel}"))? > 0,
                || format!("{tunnel} on the underlay"),
            )?;
            let bare = "frame.interface_name == \"n1/eth0\" && ip.src == 192.168.1.2 && ip.dst == 192.168.2.2";
            holds(count(&format!("{bare} && !({tunnel})"))? > 0, || {
                "bare packets inside the subnet".to_owned()
            })?;
            equal(&0, &count(&format!("{bare} && {tunnel}"))?)?;
            equal(&0, &count(&format!("frame.interface_name == \"web-n1/eth0\" && {tunnel}"))?)?;
        }
        Ok(None)
    }

    fn scenarios() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios")
    }

    fn overlab() -> Command {
        Command::new(env!("CARGO_BIN_EXE_overlab"))
    }

    /// The first of these programs that is not installed.
    fn missing(programs: &[&str]) -> Option<String> {
        let installed = |program: &&str| {
            let path = std::env::var_os("PATH").unwrap_or_default();
            std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
        };
        let missing = programs.iter().find(|program| !installed(program))?;
        Some(format!("{missing} is not installed"))
    }

    fn said(program: &str, arguments: &[&str]) -> Result<String, Failed> {
        let Output { status, stdout, stderr } = Command::new(program).args(arguments).output()?;
        let (out, error) = (
            String::from_utf8_lossy(&stdout).into_owned(),
            String::from_utf8_lossy(&stderr),
        );
        holds(status.success(), || {
            format!("{program} {}: {error}{out}", arguments.join(" "))
        })?;
        Ok(out)
    }

    fn holds(condition: bool, otherwise: impl FnOnce() -> String) -> Result<(), Failed> {
        if condition { Ok(()) } else { Err(otherwise().into()) }
    }

    fn equal<T: PartialEq + std::fmt::Debug>(expected: &T, actual: &T) -> Result<(), Failed> {
        holds(expected == actual, || format!("expected {expected:#?}\nactual   {actual:#?}"))
    }

    /// Looks again and again until a condition holds, or the time is up.
    fn until(limit: Duration, what: &str, mut condition: impl FnMut() -> bool) -> Result<(), Failed> {
        let end = now() + limit;
        while !condition() {
            holds(now() < end, || format!("not within {limit:?}: {what}"))?;
            poll(&mut [], PollTimeout::from(10u8))?;
        }
        Ok(())
    }

    fn now() -> Duration {
        clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from)
    }
}

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    linux::main()
}

#[cfg(not(target_os = "linux"))]
fn main() {}
