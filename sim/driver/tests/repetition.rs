//! A device that comes, works and goes, many times: what it leaves behind.

#[expect(dead_code, reason = "no sockets are needed here")]
mod support;

use support::namespace::Namespace;
use support::testpmd::{Testpmd, dpdk};
use support::turn;

/// What one life of a device consists of: rules of all kinds, traffic, and a detach that finds the rules there. Its uplink's
/// application sends to another device, which stays. The next life is another one.
const LIVES: [&[&str]; 3] = [
    // A card with synchronous rules.
    &[
        "port attach net_eswitch1,vfs=1,representor=vf0,uplink=gen:[flows=10],vf0=peer:cable",
        "port start all",
        "flow create 1 transfer group 0 pattern eth / ipv4 src is 10.0.0.1 / end actions count / jump group 1 / end",
        "flow create 1 transfer group 1 pattern eth / ipv4 / udp / end actions count / vxlan_encap / represented_port ethdev_port_id 2 / end",
        "flow create 2 ingress pattern eth / ipv4 src is 10.0.0.2 / end actions count / queue index 0 / end",
        "flow indirect_action 1 create transfer action count / end",
        "flow create 1 transfer group 0 pattern eth / ipv4 src is 10.0.0.9 / end actions indirect 0 / drop / end",
        "start",
    ],
    // Everything there is, through both interfaces.
    &[
        "port attach net_eswitch1,vfs=1,representor=vf0,profile=unlimited,uplink=gen:[flows=10],vf0=peer:cable",
        "port start all",
        "port stop 2",
        "port stop 1",
        "flow configure 1 queues_number 2 queues_size 16 counters_number 64 aging_counters_number 64 meters_number 64 conn_tracks_number 8 flags 0",
        "port start all",
        "add port meter profile srtcm_rfc2697 1 1 1000 1000 0 0",
        "add port meter policy 1 1 g_actions end y_actions end r_actions drop / end",
        "create port meter 1 1 1 1 yes 0xffff 1 g 0",
        "set conntrack com peer 1 is_orig 1 enable 1 live 0 sack 1 cack 0 last_dir 0 liberal 1 state 0 max_ack_win 0 r_lim 0 last_win 60000 last_seq 5000 last_ack 1001 last_end 5001 last_index 2",
        "set conntrack orig scale 15 fin 0 acked 0 unack_data 1 sent_end 1001 reply_end 61001 max_win 60000 max_ack 0",
        "set conntrack rply scale 15 fin 0 acked 1 unack_data 1 sent_end 5001 reply_end 65001 max_win 60000 max_ack 1001",
        "set sample_actions 0 vxlan_encap / port_id id 2 / end",
        "set raw_encap 0 eth src is 02:00:00:00:01:01 dst is 02:00:00:00:01:02 / ipv4 src is 192.0.2.1 dst is 192.0.2.2 / udp dst is 4789 / vxlan vni is 100 / end_set",
        "flow indirect_action 1 create action_id 1 transfer action conntrack / end",
        "flow indirect_action 1 create action_id 2 transfer action age timeout 1000 / end",
        "flow indirect_action 1 create action_id 3 transfer action count / end",
        "flow indirect_action 1 create action_id 4 transfer action meter_mark mtr_profile 1 mtr_policy 1 mtr_color_mode 0 mtr_state 1 / end",
        "flow indirect_action 1 create action_id 5 transfer action raw_encap index 0 / end",
        "flow indirect_action 2 create action_id 6 ingress action rss queues 0 end / end",
        "flow create 1 transfer group 0 pattern eth / ipv4 src is 10.0.0.1 / end actions indirect 3 / age timeout 1000 / jump group 1 / end",
        "flow create 1 transfer group 1 pattern eth / ipv4 / udp / end actions count / meter mtr_id 1 / sample ratio 2 index 0 / represented_port ethdev_port_id 2 / end",
        "flow create 1 transfer group 0 pattern eth / ipv4 src is 10.0.0.2 / end actions indirect 2 / indirect 4 / dec_ttl / indirect 5 / represented_port ethdev_port_id 2 / end",
        "flow create 1 transfer group 0 pattern eth / ipv4 src is 10.0.0.3 / end actions meter_mark mtr_profile 1 mtr_policy 1 mtr_color_mode 0 mtr_state 1 / drop / end",
        "flow create 1 transfer group 0 pattern eth / ipv4 / tcp / end actions indirect 1 / jump group 2 / end",
        "flow create 1 transfer group 2 pattern conntrack is 1 / end actions of_push_vlan ethertype 0x8100 / represented_port ethdev_port_id 2 / end",
        "flow create 2 ingress pattern eth / ipv4 / end actions mark id 7 / indirect 6 / end",
        "flow create 1 egress pattern eth / end actions count / passthru / end",
        "flow pattern_template 1 create transfer pattern_template_id 1 template eth / ipv4 src mask 255.255.255.255 / end",
        "flow actions_template 1 create transfer actions_template_id 1 template count / age / meter_mark / represented_port / end mask count / age / meter_mark / represented_port / end",
        "flow template_table 1 create table_id 1 group 0 priority 1 transfer rules_number 8 pattern_template 1 actions_template 1",
        "flow queue 1 create 0 template_table 1 pattern_template 0 actions_template 0 postpone no pattern eth / ipv4 src is 10.0.0.4 / end actions count / age timeout 1000 / meter_mark mtr_profile 1 mtr_policy 1 mtr_color_mode 0 mtr_state 1 / represented_port ethdev_port_id 2 / end",
        "flow queue 1 create 1 template_table 1 pattern_template 0 actions_template 0 postpone yes pattern eth / ipv4 src is 10.0.0.5 / end actions count / age timeout 1000 / meter_mark mtr_profile 1 mtr_policy 1 mtr_color_mode 0 mtr_state 1 / represented_port ethdev_port_id 2 / end",
        "flow queue 1 indirect_action 0 create action_id 8 transfer postpone no action count / end",
        "start",
        "flow query 1 0 age",
        "flow dump 1 all",
        "flow aged 1",
        "show port meter stats 1 1 yes",
    ],
    // A card with templates; results nobody pulls, operations nobody pushes.
    &[
        "port attach net_eswitch1,vfs=1,representor=vf0,profile=bluefield3-hws-22.11,uplink=gen:[flows=10],vf0=peer:cable",
        "port start all",
        "port stop 2",
        "port stop 1",
        "flow configure 1 queues_number 2 queues_size 16 counters_number 64 aging_counters_number 64 meters_number 64 conn_tracks_number 8 flags 1",
        "flow configure 2 queues_number 1 queues_size 16 counters_number 0 aging_counters_number 0 meters_number 0 flags 0",
        "port start all",
        "add port meter profile srtcm_rfc2697 1 0 1000 1000 0 0",
        "flow indirect_action 1 create action_id 2 transfer action age timeout 1000 / end",
        "flow indirect_action 1 create action_id 4 transfer action meter_mark mtr_profile 0 mtr_color_mode 0 mtr_state 1 / end",
        "flow pattern_template 1 create transfer pattern_template_id 1 template eth / ipv4 src mask 255.255.255.255 / end",
        "flow actions_template 1 create transfer actions_template_id 1 template count / represented_port / end mask count / represented_port / end",
        "flow actions_template 1 create transfer actions_template_id 2 template indirect 2 / indirect 4 / drop / end mask age / meter_mark / drop / end",
        "flow template_table 1 create table_id 1 group 1 priority 0 transfer rules_number 8 pattern_template 1 actions_template 1",
        "flow template_table 1 create table_id 2 group 1 priority 1 transfer rules_number 8 pattern_template 1 actions_template 2",
        "flow actions_template 1 create transfer actions_template_id 3 template jump group 1 / end mask jump group 0xffffffff / end",
        "flow template_table 1 create table_id 3 group 0 priority 0 transfer rules_number 8 pattern_template 1 actions_template 3",
        "flow queue 1 create 0 template_table 3 pattern_template 0 actions_template 0 postpone no pattern eth / ipv4 src is 10.0.0.4 / end actions jump group 1 / end",
        "flow queue 1 create 0 template_table 1 pattern_template 0 actions_template 0 postpone no pattern eth / ipv4 src is 10.0.0.4 / end actions count / represented_port ethdev_port_id 2 / end",
        "flow queue 1 create 1 template_table 2 pattern_template 0 actions_template 0 postpone no pattern eth / ipv4 src is 10.0.0.5 / end actions indirect 2 / indirect 4 / drop / end",
        "flow queue 1 create 1 template_table 1 pattern_template 0 actions_template 0 postpone yes pattern eth / ipv4 src is 10.0.0.6 / end actions count / represented_port ethdev_port_id 2 / end",
        "start",
    ],
];
/// How it ends.
const END: &[&str] = &[
    "stop",
    "port stop 2",
    "port stop all",
    "port close 1",
    "port close 2",
    "device detach net_eswitch1",
];

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

fn live(testpmd: &mut Testpmd, life: &[&str]) {
    for line in life {
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
    for life in LIVES.iter().cycle().take(2 * LIVES.len()) {
        live(&mut testpmd, life);
        assert_eq!(free_mbufs(&mut testpmd), free);
    }
    testpmd.quit();
}

/// Valgrind finds nothing of the driver's: no invalid access, and nothing lost.
///
/// As many times as `PENSTOCK_REPETITIONS` says, else each life once.
#[test]
fn valgrind_finds_nothing() {
    let Some(_turn) = turn() else { return };
    if std::process::Command::new("valgrind").arg("--version").output().is_err() {
        assert!(std::env::var_os("CI").is_none(), "valgrind is missing; run `cargo xtask setup`");
        eprintln!("skipped: valgrind is missing; run `cargo xtask setup`");
        return;
    }
    let count = std::env::var("PENSTOCK_REPETITIONS").map_or(LIVES.len(), |count| {
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
    for life in LIVES.iter().cycle().take(count) {
        live(&mut testpmd, life);
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
