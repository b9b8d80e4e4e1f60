//! A real virtual machine on a `vhost:` link: QEMU, a Linux kernel with `virtio_net`, and busybox.

mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use support::namespace::Namespace;
use support::testpmd::Testpmd;
use support::{guest_kernel, turn};

/// Until a machine has booted, without the help of the processor, or has come back.
const PATIENCE: Duration = Duration::from_mins(3);
/// What goes to a machine, and comes back.
const BYTES: usize = 200_000;

/// What the machine runs: it answers pings, and sends back what comes to TCP port 5000.
const INIT: &str = "#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
for number in 0 1 2 3 4 5 6 7; do /bin/busybox insmod /$number.ko; done
/bin/busybox ip link set lo up
/bin/busybox ip addr add 10.0.0.1/24 dev eth0
/bin/busybox ip link set eth0 up
exec /bin/busybox nc -ll -p 5000 -e /bin/busybox cat
";

/// A running QEMU.
struct Machine(Child);

impl Machine {
    fn start(kernel: &Path, initial: &Path, socket: &Path, console: &Path) -> Self {
        let child = Command::new("qemu-system-x86_64")
            .args(["-accel", "tcg", "-m", "256", "-nographic", "-no-reboot", "-nodefaults"])
            .args(["-object", "memory-backend-memfd,id=memory,size=256M,share=on"])
            .args(["-numa", "node,memdev=memory"])
            .arg("-chardev")
            .arg(format!("socket,id=link,path={},reconnect=1", socket.display()))
            .args(["-netdev", "vhost-user,id=network,chardev=link"])
            // Debian's QEMU 7.2 crashes where it has MSI-X and no KVM.
            .args(["-device", "virtio-net-pci,netdev=network,romfile=,vectors=0"])
            .arg("-kernel")
            .arg(kernel.join("vmlinuz"))
            .arg("-initrd")
            .arg(initial)
            .args(["-append", "console=ttyS0 quiet mitigations=off panic=-1"])
            .arg("-serial")
            .arg(format!("file:{}", console.display()))
            .stdin(Stdio::null())
            // It complains while the card's application is away.
            .stderr(fs::File::create(errors(console)).expect("a file"))
            .spawn()
            .expect("run qemu-system-x86_64; `cargo xtask test` installs it");
        Self(child)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Where QEMU complains.
fn errors(console: &Path) -> PathBuf {
    console.with_extension("errors")
}

/// The machine's first file system: busybox with its libraries, the kernel's modules, and what to do with them.
fn initial_file_system(kernel: &Path, directory: &Path) -> PathBuf {
    let root = directory.join("root");
    let put = |from: &Path, to: &str| {
        let to = root.join(to.trim_start_matches('/'));
        fs::create_dir_all(to.parent().expect("a directory")).expect("a directory");
        fs::copy(from, &to).unwrap_or_else(|e| panic!("{}: {e}", from.display()));
    };
    fs::create_dir_all(root.join("proc")).expect("a directory");
    let busybox = "/bin/busybox";
    put(Path::new(busybox), busybox);
    let libraries = Command::new("ldd").arg(busybox).output().expect("run ldd");
    for word in String::from_utf8_lossy(&libraries.stdout).split_whitespace() {
        if word.starts_with('/') {
            put(Path::new(word), word);
        }
    }
    for number in 0..8 {
        let name = format!("{number}.ko");
        put(&kernel.join(&name), &name);
    }
    fs::write(root.join("init"), INIT).expect("write init");
    let archive = directory.join("initial.cpio");
    let pack = format!(
        "chmod +x init && find . | busybox cpio --create --format=newc > {}",
        archive.display()
    );
    let packed =
        Command::new("sh").args(["-c", &pack]).current_dir(&root).output().expect("run sh");
    assert!(packed.status.success(), "{}", String::from_utf8_lossy(&packed.stderr));
    archive
}

/// A card with the machine's socket and a neighbour's interface, which rules connect.
fn card(card: &Namespace, neighbour: &Namespace, socket: &Path) -> Testpmd {
    let device = format!(
        "net_eswitch0,vfs=2,representor=vf[0-1],vf0=vhost:{},vf1=tap:vf1,profile=unlimited",
        socket.display()
    );
    let mut testpmd = Testpmd::start(card, &device, &["--portmask=1"]);
    neighbour.take(card, "vf1", "10.0.0.2/24");
    for (from, to) in [(1, 2), (2, 1)] {
        let rule = format!(
            "flow create 0 transfer pattern represented_port ethdev_port_id is {from} / eth / end \
             actions count / represented_port ethdev_port_id {to} / end"
        );
        testpmd.expect(&rule, "created");
    }
    // Nothing goes this way, but somebody must poll.
    testpmd.command("set portlist 0,1,2");
    testpmd.command("set fwd rxonly");
    testpmd.command("start");
    testpmd
}

/// Sends bytes to the machine and compares what comes back.
fn exchange() -> std::io::Result<bool> {
    let address: SocketAddr = "10.0.0.1:5000".parse().expect("an address");
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    let sent: Vec<u8> = (0..BYTES).map(|index| (index % 251) as u8).collect();
    let mut writer = stream.try_clone()?;
    let bytes = sent.clone();
    let writing = thread::spawn(move || writer.write_all(&bytes));
    let mut back = vec![0; BYTES];
    stream.read_exact(&mut back)?;
    writing.join().expect("the writing thread")?;
    Ok(back == sent)
}

/// Waits for the machine to answer.
fn answers(neighbour: &Namespace, console: &Path) {
    let begin = Instant::now();
    loop {
        let outcome = neighbour.enter(exchange).join().expect("the exchange");
        match outcome {
            Ok(is_equal) => {
                assert!(is_equal, "what came back is not what was sent");
                return;
            }
            Err(problem) => assert!(
                begin.elapsed() < PATIENCE,
                "the machine does not answer ({problem}); its console, and what QEMU says:\n{}\n{}",
                fs::read_to_string(console).unwrap_or_default(),
                fs::read_to_string(errors(console)).unwrap_or_default()
            ),
        }
        thread::sleep(Duration::from_millis(200));
    }
}

/// A machine attaches, survives the end of the card's application, and another one takes its place.
#[test]
fn a_virtual_machine_attaches_and_outlives_the_application() {
    let (Some(_turn), Some(kernel)) = (turn(), guest_kernel()) else { return };
    let (nic, neighbour) = (Namespace::new("card"), Namespace::new("b"));
    let directory = tempfile::tempdir().expect("a directory");
    let in_directory = |name: &str| directory.path().join(name);
    let (socket, console) = (in_directory("vm0"), in_directory("console"));
    let initial = initial_file_system(&kernel, directory.path());

    let mut testpmd = card(&nic, &neighbour, &socket);
    let machine = Machine::start(&kernel, &initial, &socket, &console);
    answers(&neighbour, &console);
    assert!(testpmd.statistic(1, "link_rx_bytes") > BYTES as u64);
    assert_eq!(testpmd.statistic(1, "link_rx_errors"), 0);

    // Killed, and started again: the machine is still there, and so are its connections' peers.
    drop(testpmd);
    let mut testpmd = card(&nic, &neighbour, &socket);
    answers(&neighbour, &console);

    drop(machine);
    testpmd.until("show port summary 1", "down");
    let _machine = Machine::start(&kernel, &initial, &socket, &console);
    answers(&neighbour, &console);
    testpmd.quit();
}
