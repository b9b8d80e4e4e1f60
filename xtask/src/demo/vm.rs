//! What happens inside VMs: DHCP clients, pings, a web server, connections.

use std::fs;
use std::net::IpAddr;
use std::time::Duration;

use miette::{IntoDiagnostic, Result, bail};
use serde_json::Value;

use super::directory;
use super::interrupt;
use super::namespace::command;
use super::plan::Vm;
use super::program::{Running, finish, succeed};

/// How long a DHCP client may take.
const LEASE: Duration = Duration::from_secs(20);
/// How long anything else may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// An address family of DHCP.
#[derive(Clone, Copy)]
pub enum Family {
    /// DHCPv4.
    V4,
    /// DHCPv6, beside router advertisements.
    V6,
}

impl Family {
    const fn flag(self) -> &'static str {
        match self {
            Self::V4 => "-4",
            Self::V6 => "-6",
        }
    }

    const fn file(self) -> &'static str {
        match self {
            Self::V4 => "dhcp4",
            Self::V6 => "dhcp6",
        }
    }
}

/// What a VM came up with, as its kernel has it.
#[derive(Debug, PartialEq, Eq)]
pub struct Settings {
    /// Addresses with their prefix lengths, but for link-local ones.
    pub addresses: Vec<String>,
    /// Where its default route leads.
    pub gateway: String,
    /// Longest packet of this family.
    pub mtu: String,
    /// What the DHCP server said of DNS.
    pub dns: String,
}

impl std::fmt::Display for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { addresses, gateway, mtu, dns } = self;
        write!(f, "{} via {gateway}, MTU {mtu}, DNS {dns}", addresses.join(" "))
    }
}

impl Vm {
    /// Starts a DHCP client.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start_dhcp(&self, family: Family) -> Result<Running> {
        let file = |ending: &str| self.file(&format!("{}{ending}", family.file()));
        let mut client = command(self.namespace, "dhclient");
        client.args(["-d", family.flag()]);
        client.arg("-cf").arg(directory::file("dhclient.conf"));
        client.arg("-sf").arg(directory::file("dhclient-script"));
        client.arg("-lf").arg(file(".leases")).arg("-pf").arg(file(".pid"));
        client.arg("-e").arg(format!("lease={}", file("").display())).arg("eth0");
        Running::start(&mut client, &file(".log"))
    }

    /// What the VM came up with, once it did.
    ///
    /// # Errors
    /// When its kernel does not say, or it does not come up.
    pub fn settings(&self, family: Family) -> Result<Settings> {
        let file = self.file(family.file());
        let dns = interrupt::wait_for(LEASE, || Ok(fs::read_to_string(&file).ok()))?;
        let Some(dns) = dns else {
            let log = self.file(&format!("{}.log", family.file()));
            let said = fs::read_to_string(log).unwrap_or_default();
            bail!("{}: the DHCP client got no answer:\n{}", self.name, said.trim());
        };
        let address = self.ip(family, &["address", "show", "dev", "eth0", "scope", "global"])?;
        let infos = address.pointer("/0/addr_info").and_then(Value::as_array);
        let addresses = infos.into_iter().flatten().filter_map(|info| {
            let address = info.get("local")?.as_str()?;
            Some(format!("{address}/{}", info.get("prefixlen")?))
        });
        let route = self.ip(family, &["route", "show", "default"])?;
        let gateway = route.pointer("/0/gateway").and_then(Value::as_str).unwrap_or("nobody");
        let mtu = match family {
            Family::V4 => "/sys/class/net/eth0/mtu",
            // Router advertisements set it, for IPv6 alone.
            Family::V6 => "/proc/sys/net/ipv6/conf/eth0/mtu",
        };
        let mtu = self.run("cat", &[mtu])?;
        Ok(Settings {
            addresses: addresses.collect(),
            gateway: gateway.to_owned(),
            mtu: mtu.trim().to_owned(),
            dns: dns.trim().to_owned(),
        })
    }

    fn ip(&self, family: Family, arguments: &[&str]) -> Result<Value> {
        let mut command = command(self.namespace, "ip");
        let text = succeed(command.args(["-json", family.flag()]).args(arguments), PATIENCE)?;
        if text.trim().is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_str(&text).into_diagnostic()
    }

    /// How many of `count` pings were answered.
    ///
    /// # Errors
    /// When ping does not run.
    pub fn ping(&self, to: IpAddr, count: u32) -> Result<u32> {
        let mut ping = command(self.namespace, "ping");
        ping.args(["-n", "-q", "-i", "0.1", "-W", "1", "-c", &count.to_string()]);
        let said = finish(ping.arg(to.to_string()), PATIENCE)?.output;
        let received = said.split(", ").find_map(|part| part.strip_suffix(" received"));
        Ok(received.and_then(|number| number.parse().ok()).unwrap_or(0))
    }

    /// Starts a web server that says who it is.
    ///
    /// # Errors
    /// When it does not start.
    pub fn serve_web(&self) -> Result<Running> {
        directory::write(&self.file("www/index.html"), self.name)?;
        let mut server = command(self.namespace, "busybox");
        server.args(["httpd", "-f", "-p", "80", "-h"]).arg(self.file("www"));
        Running::start(&mut server, &self.file("httpd.log"))
    }

    /// What the web server at an address says.
    ///
    /// # Errors
    /// When the client does not run.
    pub fn fetch(&self, from: IpAddr) -> Result<String> {
        let host = if from.is_ipv6() { format!("[{from}]") } else { from.to_string() };
        let mut client = command(self.namespace, "curl");
        client.args(["--silent", "--noproxy", "*", "--max-time", "3", &format!("http://{host}/")]);
        let said = finish(&mut client, PATIENCE)?;
        Ok(if said.success { said.output.trim().to_owned() } else { "no answer".to_owned() })
    }

    /// Whether a TCP connection can be opened within a second or two.
    ///
    /// # Errors
    /// When the client does not run.
    pub fn connects(&self, to: IpAddr, port: u16) -> Result<bool> {
        let mut client = command(self.namespace, "busybox");
        client.args(["nc", "-w", "2", &to.to_string(), &port.to_string()]);
        Ok(finish(&mut client, PATIENCE)?.success)
    }

    /// How many packets its interface has received.
    ///
    /// # Errors
    /// When its kernel does not say.
    pub fn received(&self) -> Result<u64> {
        let text = self.run("cat", &["/sys/class/net/eth0/statistics/rx_packets"])?;
        text.trim().parse().into_diagnostic()
    }

    /// How many segments of its connections to a port were lost on their way, as TCP knows by now: those that it sent
    /// again, less those that the receiver then had twice (RFC 2883), because they were only late.
    ///
    /// # Errors
    /// When there is no such connection.
    pub fn segments_lost(&self, port: u16) -> Result<u64> {
        let to = format!(":{port}");
        let options = ["--tcp", "--info", "--oneline", "--no-header", "--numeric"];
        let text = self.run("ss", &[&options[..], &["dport", "=", &to]].concat())?;
        if text.trim().is_empty() {
            bail!("{}: there is no connection to port {port}", self.name);
        }
        Ok(text.lines().map(segments_lost).sum())
    }

    /// Runs a program in the VM that must succeed.
    ///
    /// # Errors
    /// When it fails.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Result<String> {
        succeed(command(self.namespace, program).args(arguments), PATIENCE)
    }
}

/// What a line of `ss --info` tells; counts of 0 are left out there.
fn segments_lost(line: &str) -> u64 {
    let value = |name: &str| line.split_whitespace().find_map(|word| word.strip_prefix(name));
    let sent_again = value("retrans:").and_then(|text| text.rsplit('/').next()?.parse().ok());
    let had_twice = value("dsack_dups:").and_then(|text| text.parse().ok());
    sent_again.unwrap_or(0_u64).saturating_sub(had_twice.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::segments_lost;

    #[test]
    fn segments_that_were_only_late_are_not_lost() {
        assert_eq!(
            segments_lost("ESTAB 0 0 10.0.0.1:1 10.0.0.2:5201 cubic rto:204 delivered:34"),
            0
        );
        assert_eq!(segments_lost("ESTAB 0 0 cubic retrans:0/3 delivered:34"), 3);
        assert_eq!(segments_lost("ESTAB 0 0 cubic retrans:1/3 dsack_dups:2 delivered:34"), 1);
    }
}
