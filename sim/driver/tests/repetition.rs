//! A device that comes, works and goes, many times: what it leaves behind.

#[expect(dead_code, reason = "no sockets are needed here")]
mod support;

use support::namespace::Namespace;
use support::testpmd::{Testpmd, dpdk};
use support::turn;

/// What one life of a device consists of: rules of all kinds, traffic, and a detach that finds the rules there. Its uplink's
/// application sends to another device, which stays.
const LIFE: &[&str] = &[
    "port attach net_eswitch1,vfs=1,representor=vf0,uplink=gen:[flows=10],vf0=peer:cable",
    "port start all",
    "flow create 1 transfer group 0 pattern eth / ipv4 src is 10.0.0.1 / end actions count / jump group 1 / end",
    "flow create 1 transfer group 1 pattern eth / ipv4 / udp / end actions count / vxlan_encap / represented_port ethdev_port_id 2 / end",
    "flow create 2 ingress pattern eth / ipv4 src is 10.0.0.2 / end actions count / queue index 0 / end",
    "flow indirect_action 1 create transfer action count / end",
    "flow create 1 transfer group 0 pattern eth / ipv4 src is 10.0.0.9 / end actions indirect 0 / drop / end",
    "start",
];
/// How it ends.
const END: &[&str] =
    &["stop", "port stop all", "port close 1", "port close 2", "device detach net_eswitch1"];

/// Mbufs of the application that are not in use, in the pool and its caches.
fn free_mbufs(testpmd: &mut Testpmd) -> u64 {
    let output = testpmd.command("dump_mempool mb_pool_0");
    let number = |name: &str| -> u64 {
        let line =
            output.lines().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix('='));
        line.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("{name} in {output}"))
    };
    number("total_cache_count") + number("common_pool_count")
}

fn live(testpmd: &mut Testpmd) {
    for line in LIFE {
        let output = testpmd.command(line);
        assert!(!output.contains("error") && !output.contains("Bad"), "{line}: {output}");
    }
    let forwarded = (0..100).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(20));
        testpmd.statistic(1, "hw_forwarded_packets") > 0
            && testpmd.statistic(1, "software_rx_packets") > 0
    });
    assert!(forwarded, "{}", testpmd.command("show port xstats 1"));
    for line in END {
        testpmd.command(line);
    }
    testpmd.expect("show port summary all", "Number of available ports: 1");
}

/// No mbuf stays behind.
#[test]
fn a_device_that_goes_leaves_no_mbuf_behind() {
    let Some(_turn) = turn() else { return };
    let card = Namespace::new("card");
    let options = ["--no-flush-rx"];
    let mut testpmd = Testpmd::start(&card, "net_eswitch0,uplink=peer:cable", &options);
    let free = free_mbufs(&mut testpmd);
    for _ in 0..5 {
        live(&mut testpmd);
        assert_eq!(free_mbufs(&mut testpmd), free);
    }
    testpmd.quit();
}

/// Valgrind finds nothing of the driver's: no invalid access, and nothing lost.
///
/// As many times as `PENSTOCK_REPETITIONS` says, else 2.
#[test]
fn valgrind_finds_nothing() {
    let Some(_turn) = turn() else { return };
    if std::process::Command::new("valgrind").arg("--version").output().is_err() {
        assert!(std::env::var_os("CI").is_none(), "valgrind is missing; run `cargo xtask setup`");
        eprintln!("skipped: valgrind is missing; run `cargo xtask setup`");
        return;
    }
    let count = std::env::var("PENSTOCK_REPETITIONS").map_or(2, |count| {
        count.parse().unwrap_or_else(|_| panic!("PENSTOCK_REPETITIONS={count} is no number"))
    });
    let card = Namespace::new("card");
    let log = tempfile::NamedTempFile::new().expect("a file");
    let log_option = format!("--log-file={}", log.path().display());
    let valgrind = [
        "valgrind",
        // It runs one thread at a time; one that polls would leave the others none.
        "--fair-sched=try",
        "--leak-check=full",
        "--show-leak-kinds=definite,indirect",
        "--num-callers=40",
        &log_option,
        "dpdk-testpmd",
    ];
    let mut command = dpdk(&valgrind, &card, "net_eswitch0,uplink=peer:cable");
    command.args(["--", "-i", "--total-num-mbufs=4096", "--no-flush-rx"]);
    let mut testpmd = Testpmd::run(command);
    for _ in 0..count {
        live(&mut testpmd);
    }
    testpmd.quit();
    let log = std::fs::read_to_string(log.path()).expect("valgrind's log");
    assert!(log.contains("ERROR SUMMARY"), "valgrind did not come to an end:\n{log}");
    // Paragraphs are parted by lines that have nothing but the process's number. What glibc and EAL lose is theirs.
    let paragraphs = log.split("== \n");
    let ours: Vec<&str> = paragraphs
        .filter(|paragraph| paragraph.contains("penstock") && paragraph.contains(" at 0x"))
        .collect();
    assert!(ours.is_empty(), "{}", ours.join("\n"));
}
