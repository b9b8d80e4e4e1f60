//! Network namespaces of a test's own, and sockets in them.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

/// A namespace that is removed with this value.
pub struct Namespace {
    pub name: String,
    /// Where DPDK programs that run in it keep their sockets and locks, which they leave behind.
    pub runtime: tempfile::TempDir,
}

impl Namespace {
    /// A new namespace whose name begins with `penstock-` and what it is for.
    pub fn new(purpose: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("penstock-{purpose}-{}-{number}", std::process::id());
        run("ip", &["netns", "add", &name]);
        let namespace = Self { name, runtime: tempfile::tempdir().expect("a directory") };
        // No router solicitations or other frames of the kernel's own between those of a test.
        namespace.ip(&["link", "set", "lo", "up"]);
        namespace.sysctl("net.ipv6.conf.default.disable_ipv6", "1");
        namespace
    }

    /// Runs `ip` in the namespace.
    pub fn ip(&self, arguments: &[&str]) {
        let mut all = vec!["-n", &self.name];
        all.extend(arguments);
        run("ip", &all);
    }

    fn sysctl(&self, key: &str, value: &str) {
        let file = format!("/proc/sys/{}", key.replace('.', "/"));
        let value = value.to_owned();
        self.enter(move || std::fs::write(&file, value).expect("write a sysctl")).join().unwrap();
    }

    /// Takes an interface over from another namespace, gives it an address and sets it up.
    pub fn take(&self, from: &Self, interface: &str, address: &str) {
        from.ip(&["link", "set", interface, "netns", &self.name]);
        self.ip(&["addr", "add", address, "dev", interface]);
        self.ip(&["link", "set", interface, "up"]);
    }

    /// Runs `work` on a thread in the namespace.
    pub fn enter<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> thread::JoinHandle<T> {
        let file = File::open(format!("/run/netns/{}", self.name)).expect("open the namespace");
        thread::spawn(move || {
            // SAFETY: moves this thread alone, which ends with the work.
            let result = unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) };
            assert_eq!(result, 0, "setns: {}", std::io::Error::last_os_error());
            work()
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.name]).status();
    }
}

/// Runs a program that must succeed.
pub fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().expect(program);
    assert!(
        output.status.success(),
        "{program} {}: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
}

#[allow(dead_code, reason = "not every test is about datagrams and connections of ours")]
fn any(port: u16) -> SocketAddr {
    (IpAddr::V4(Ipv4Addr::UNSPECIFIED), port).into()
}

/// How many of `count` datagrams of `size` bytes came back from an echoing peer.
#[allow(dead_code, reason = "not every test is about datagrams and connections of ours")]
pub fn echo(client: &Namespace, server: &Namespace, to: &str, count: u32, size: usize) -> u32 {
    const PATIENCE: Duration = Duration::from_secs(3);
    const PATIENCE_AFTER_A_LOSS: Duration = Duration::from_millis(500);
    // A kernel that asked for an address in vain gives up three seconds later, together with all that it holds back by then.
    for namespace in [client, server] {
        namespace.ip(&["neigh", "flush", "all"]);
    }
    let listening = server
        .enter(|| UdpSocket::bind(any(0)).expect("bind a server"))
        .join()
        .expect("the server's thread");
    let to: SocketAddr =
        format!("{to}:{}", listening.local_addr().unwrap().port()).parse().unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let client_done = Arc::clone(&done);
    let answering = thread::spawn(move || {
        listening.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let mut buffer = vec![0; 10_000];
        while !client_done.load(Ordering::Relaxed) {
            if let Ok((length, from)) = listening.recv_from(&mut buffer) {
                let _ = listening.send_to(&buffer[..length], from);
            }
        }
    });
    let came_back = client
        .enter(move || {
            let socket = UdpSocket::bind(any(0)).expect("bind a client");
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            let mut buffer = vec![0; 10_000];
            (0..count)
                .filter(|number| {
                    let mut datagram = vec![0x5a; size];
                    datagram[..4].copy_from_slice(&number.to_be_bytes());
                    if socket.send_to(&datagram, to).is_err() {
                        return false;
                    }
                    // What comes too late for its own datagram is not taken for the next one's.
                    while let Ok(length) = socket.recv(&mut buffer) {
                        if buffer[..length] == datagram[..] {
                            return true;
                        }
                    }
                    socket.set_read_timeout(Some(PATIENCE_AFTER_A_LOSS)).unwrap();
                    false
                })
                .count()
        })
        .join()
        .expect("the client's thread");
    done.store(true, Ordering::Relaxed);
    answering.join().expect("the answering thread");
    u32::try_from(came_back).unwrap()
}

/// Sends `size` bytes over TCP and returns how many arrived as they were sent.
#[allow(dead_code, reason = "not every test is about datagrams and connections of ours")]
pub fn transfer(client: &Namespace, server: &Namespace, to: &str, size: usize) -> usize {
    const PATIENCE: Duration = Duration::from_secs(5);
    let byte = |position: usize| (position % 251) as u8;
    let listening = server
        .enter(|| TcpListener::bind(any(0)).expect("bind a server"))
        .join()
        .expect("the server's thread");
    let to: SocketAddr =
        format!("{to}:{}", listening.local_addr().unwrap().port()).parse().unwrap();
    let receiving = thread::spawn(move || {
        let (mut stream, _) = listening.accept().expect("accept");
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut arrived = Vec::new();
        let _ = stream.read_to_end(&mut arrived);
        arrived.iter().enumerate().take_while(|&(position, &got)| got == byte(position)).count()
    });
    client
        .enter(move || {
            let mut stream = TcpStream::connect_timeout(&to, PATIENCE).expect("connect");
            stream.set_write_timeout(Some(PATIENCE)).unwrap();
            let data: Vec<u8> = (0..size).map(byte).collect();
            stream.write_all(&data).expect("send");
            stream.shutdown(Shutdown::Write).unwrap();
            let _ = stream.read(&mut [0]);
        })
        .join()
        .expect("the client's thread");
    receiving.join().expect("the receiving thread")
}
