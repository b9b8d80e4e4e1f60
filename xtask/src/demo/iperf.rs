//! iperf3: TCP at full speed, and what came of it.

use std::net::IpAddr;
use std::process::Command;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use miette::{IntoDiagnostic, Result, WrapErr, miette};
use serde_json::Value;

use super::namespace::command;
use super::plan::Vm;
use super::program::{Running, finish};

/// How long a test may take beyond its own time.
const GRACE: Duration = Duration::from_secs(10);

/// What came of a test.
pub struct Transfer {
    /// At the receiver.
    pub megabits_per_second: f64,
}

/// Starts a server.
///
/// # Errors
/// When it does not start.
pub fn serve(vm: &Vm, port: u16) -> Result<Running> {
    let mut server = command(vm.namespace, "iperf3");
    server.args(["--server", "--port", &port.to_string()]);
    Running::start(&mut server, &vm.file(&format!("iperf3-{port}.log")))
}

/// A client's command.
pub fn client(vm: &Vm, to: IpAddr, port: u16, seconds: u32) -> Command {
    let mut client = command(vm.namespace, "iperf3");
    client.args(["--client", &to.to_string(), "--port", &port.to_string()]);
    client.args(["--time", &seconds.to_string(), "--connect-timeout", "3000"]);
    client
}

/// Runs a client to its end; with `--reverse` among `options` the server sends.
///
/// # Errors
/// When it fails.
pub fn run(vm: &Vm, to: IpAddr, port: u16, seconds: u32, options: &[&str]) -> Result<Transfer> {
    let mut client = client(vm, to, port, seconds);
    let said =
        finish(client.arg("--json").args(options), Duration::from_secs(seconds.into()) + GRACE)?;
    result(&said.output)
}

/// Reads what a client says with `--json`.
///
/// # Errors
/// When it says that the test failed, or nothing.
pub fn result(text: &str) -> Result<Transfer> {
    let value: Value = serde_json::from_str(text).into_diagnostic().wrap_err("iperf3 --json")?;
    if let Some(error) = value.get("error").and_then(Value::as_str) {
        return Err(miette!("iperf3: {error}"));
    }
    let received = value.pointer("/end/sum_received/bits_per_second").and_then(Value::as_f64);
    received
        .map(|bits| Transfer { megabits_per_second: bits / 1e6 })
        .ok_or_else(|| miette!("iperf3 --json lacks its result"))
}

/// The last time at which a client, reporting ten times a second, had received something.
pub fn last_arrival(lines: &Receiver<(Instant, String)>) -> Option<Instant> {
    lines.try_iter().filter(|(_, line)| has_bytes(line)).map(|(time, _)| time).last()
}

/// Whether a line such as `[  5]   0.00-0.10   sec   256 KBytes  21.0 Mbits/sec` tells of bytes.
fn has_bytes(line: &str) -> bool {
    let mut words = line.split_whitespace().skip_while(|word| *word != "sec").skip(1);
    words.next().and_then(|number| number.parse::<f64>().ok()).is_some_and(|number| number > 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_with_and_without_bytes() {
        assert!(has_bytes("[  5]   0.00-0.10   sec   256 KBytes  21.0 Mbits/sec"));
        assert!(!has_bytes("[  5]   0.10-0.20   sec  0.00 Bytes  0.00 bits/sec"));
        assert!(!has_bytes("[ ID] Interval           Transfer     Bitrate"));
        assert!(!has_bytes("Connecting to host 10.1.0.13, port 5202"));
    }

    #[test]
    fn results_and_errors() {
        let transfer = result(r#"{"end": {"sum_received": {"bits_per_second": 2.5e6}}}"#).unwrap();
        assert!((transfer.megabits_per_second - 2.5).abs() < 1e-9);
        let error = result(r#"{"error": "no route"}"#).err().unwrap().to_string();
        assert_eq!(error, "iperf3: no route");
    }
}
