//! Prometheus metrics. Their names are listed in `docs/reference/metrics.md`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use dpu_app::datapath::counters::{PacketCounters, Traffic};
use dpu_app::offload::RuleTally;
use metrics::{counter, gauge};
use metrics_exporter_prometheus::{BuildError, PrometheusBuilder};
use metrics_util::MetricKindMask;
use model::decision::DropReason;
use trust::server::DpuServer;

use crate::nic_status::{NicStatus, doubts};
use crate::question::{Asker, Report};
use crate::shared::Shared;

/// How old a figure may be.
const INTERVAL: Duration = Duration::from_secs(1);
/// After this time, the figures of what is gone are gone.
const FORGET_AFTER: Duration = Duration::from_secs(10);

/// Serves metrics over HTTP at an address.
///
/// # Errors
/// When the address cannot be listened at.
pub fn serve(listen: SocketAddr) -> Result<(), BuildError> {
    PrometheusBuilder::new()
        .with_http_listener(listen)
        .idle_timeout(MetricKindMask::ALL, Some(FORGET_AFTER))
        .install()
}

/// Keeps the figures up to date, for ever.
pub async fn keep_up(shared: Arc<Shared>, asker: Arc<Asker>, hosts: Option<Arc<DpuServer>>) {
    let mut interval = tokio::time::interval(INTERVAL);
    loop {
        interval.tick().await;
        let alive = shared.is_alive();
        gauge!("penstock_datapath_up").set(f64::from(u8::from(alive)));
        gauge!("penstock_datapath_heartbeat_age_seconds").set(shared.heartbeat_age().as_secs_f64());
        publish_nic(&shared.nic.load());
        if let Some(hosts) = &hosts {
            publish_hosts(hosts);
        }
        let interfaces = shared.snapshot.load().as_ref().map_or(0, |s| s.interfaces.len());
        if alive && let Ok(report) = asker.report(interfaces).await {
            publish(&shared, &report);
        }
    }
}

/// A level as a gauge has it.
fn level(count: u64) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

fn publish(shared: &Shared, report: &Report) {
    gauge!("penstock_flows").set(f64::from(report.connections));
    counter!("penstock_flows_created_total").absolute(report.tally.created);
    for (reason, count) in report.tally.removals() {
        counter!("penstock_flows_removed_total", "reason" => reason.name()).absolute(count);
    }
    let lost = [
        ("unusable", report.tally.unusable),
        ("no_port", report.tally.no_port),
        ("without_intent", report.tally.without_intent),
    ];
    for (reason, count) in lost {
        counter!("penstock_lost_packets_total", "reason" => reason).absolute(count);
    }
    for (port, count) in &report.unsent {
        counter!("penstock_port_tx_dropped_total", "port" => port.to_string()).absolute(*count);
    }
    publish_packets("", "wire", &report.wire);
    publish_packets("", "unassigned", &report.unassigned);
    publish_packets("", "kernel", &report.kernel);
    let Traffic { packets, bytes } = report.sent_to_wire;
    counter!("penstock_wire_sent_packets_total").absolute(packets);
    counter!("penstock_wire_sent_bytes_total").absolute(bytes);
    let Some(snapshot) = shared.snapshot.load_full() else { return };
    // One gauge for the number, which a change of intent moves.
    gauge!("penstock_intent_epoch").set(level(snapshot.epoch));
    for (id, counters) in &report.interfaces {
        let Some(interface) = snapshot.interface(*id) else { continue };
        publish_packets(&interface.name, "vm", &counters.from_vm);
        publish_packets(&interface.name, "network", &counters.from_network);
        let name = || interface.name.clone();
        let Traffic { packets, bytes } = counters.delivered;
        counter!("penstock_delivered_packets_total", "interface" => name()).absolute(packets);
        counter!("penstock_delivered_bytes_total", "interface" => name()).absolute(bytes);
    }
}

/// What was received from one side, for one interface (or none).
fn publish_packets(interface: &str, from: &'static str, counters: &PacketCounters) {
    let name = || interface.to_owned();
    let Traffic { packets, bytes } = counters.received;
    counter!("penstock_received_packets_total", "interface" => name(), "from" => from)
        .absolute(packets);
    counter!("penstock_received_bytes_total", "interface" => name(), "from" => from)
        .absolute(bytes);
    for reason in DropReason::ALL {
        let count = counters.dropped(*reason);
        // A reason that never occurred would only lengthen the list.
        if count > 0 {
            let labels =
                [("interface", name()), ("from", from.into()), ("reason", reason.name().into())];
            counter!("penstock_dropped_packets_total", &labels).absolute(count);
        }
    }
}

fn publish_hosts(hosts: &DpuServer) {
    for (refusal, count) in hosts.refusals().counts() {
        counter!("penstock_host_refusals_total", "reason" => refusal.name()).absolute(count);
    }
    for host in hosts.hosts() {
        let name = || host.host.to_string();
        gauge!("penstock_host_leases", "host" => name()).set(level(host.leases.len() as u64));
        if let Some(ago) = host.heard {
            gauge!("penstock_host_heard_age_seconds", "host" => name()).set(ago.as_secs_f64());
        }
    }
}

fn publish_nic(nic: &NicStatus) {
    for (port, status) in &nic.ports {
        let name = || port.to_string();
        gauge!("penstock_port_link_up", "port" => name()).set(f64::from(u8::from(status.link_up)));
        let stats = status.stats;
        counter!("penstock_port_rx_packets_total", "port" => name()).absolute(stats.rx_packets);
        counter!("penstock_port_rx_bytes_total", "port" => name()).absolute(stats.rx_bytes);
        counter!("penstock_port_tx_packets_total", "port" => name()).absolute(stats.tx_packets);
        counter!("penstock_port_tx_bytes_total", "port" => name()).absolute(stats.tx_bytes);
        counter!("penstock_port_rx_missed_total", "port" => name()).absolute(stats.rx_missed);
        counter!("penstock_port_rx_errors_total", "port" => name()).absolute(stats.rx_errors);
        counter!("penstock_port_tx_errors_total", "port" => name()).absolute(stats.tx_errors);
    }
    let offload = &nic.offload;
    gauge!("penstock_offload_enabled").set(f64::from(u8::from(offload.disabled.is_none())));
    let RuleTally { statics, connections, in_doubt } = offload.rules;
    gauge!("penstock_rules", "kind" => "static").set(level(statics as u64));
    gauge!("penstock_rules", "kind" => "flow").set(level(connections as u64));
    for (what, count) in doubts(in_doubt) {
        gauge!("penstock_rules_in_doubt", "what" => what).set(level(count));
    }
    counter!("penstock_hardware_packets_total").absolute(offload.carried.packets);
    counter!("penstock_hardware_bytes_total").absolute(offload.carried.bytes);
    for (reason, count) in &offload.failures {
        counter!("penstock_offload_failures_total", "reason" => *reason).absolute(*count);
    }
    let queued = offload.queued;
    gauge!("penstock_offload_queue", "queue" => "wishes").set(level(queued.wishes));
    gauge!("penstock_offload_queue", "queue" => "notices").set(level(queued.notices));
}
