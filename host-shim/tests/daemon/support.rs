//! A host in a directory, and a daemon for it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use host_shim::api::v1::host_client::HostClient;
use host_shim::api::v1::{
    AttachRequest, AttachResponse, Check, DetachRequest, DoctorRequest, DpuRequest, DpuStatus,
    EnrollHostRequest, EnrollHostResponse, Lease, ListRequest, SetVfsRequest, SupportBundleRequest,
};
use tokio::runtime::{Builder, Runtime};
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

/// Asks again and again until the answer is there.
pub fn wait_for<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(start.elapsed() < Duration::from_mins(1), "no {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// A host without devices but a NIC in software.
pub struct Host {
    directory: tempfile::TempDir,
    vfs: u32,
}

impl Host {
    pub fn new(vfs: u32, more: &str) -> Self {
        let host = Self { directory: tempfile::tempdir().unwrap(), vfs };
        fs::create_dir(host.path("sys")).unwrap();
        host.configure(more);
        host
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn socket(&self) -> PathBuf {
        self.path("hostd.sock")
    }

    /// Writes the configuration, with something more in it.
    pub fn configure(&self, more: &str) {
        let sockets: Vec<String> = (0..self.vfs)
            .map(|vf| format!("vf{vf} = '{}'", self.path(&format!("vf{vf}.sock")).display()))
            .collect();
        let text = format!(
            "stateDirectory = '{}'\n[api]\nsocket = '{}'\n[devices]\nsysfs = '{}'\n{more}\n[[softwareCards]]\n\
             name = \"sim\"\nserial = \"SIM1\"\npfMac = \"02:00:00:00:01:00\"\nsockets = {{{}}}\n",
            self.path("state").display(),
            self.socket().display(),
            self.path("sys").display(),
            sockets.join(", ")
        );
        fs::write(self.path("hostd.toml"), text).unwrap();
    }

    /// Removes the leases, as if the disk was lost.
    pub fn forget_leases(&self) {
        fs::remove_file(self.path("state/leases.json")).unwrap();
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_penstock-hostd"));
        command.arg("--config").arg(self.path("hostd.toml")).stdin(Stdio::null());
        command
    }

    /// Runs a daemon that ends by itself, badly; what it says.
    pub fn run_to_end(&self) -> String {
        let output = self.command().output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).unwrap()
    }
}

/// A daemon that runs.
pub struct Daemon {
    child: Mutex<Child>,
    runtime: Runtime,
    client: HostClient<Channel>,
    socket: PathBuf,
}

async fn connect(socket: &Path) -> Option<HostClient<Channel>> {
    let endpoint = Endpoint::try_from(format!("unix://{}", socket.display())).unwrap();
    HostClient::connect(endpoint).await.ok()
}

impl Daemon {
    pub fn start(host: &Host) -> Self {
        let log = fs::File::options().create(true).append(true).open(host.path("log")).unwrap();
        let mut child = host.command().stderr(log).spawn().unwrap();
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let client = wait_for("socket", || {
            if let Some(status) = child.try_wait().unwrap() {
                panic!("{status}: {}", fs::read_to_string(host.path("log")).unwrap());
            }
            let endpoint =
                Endpoint::try_from(format!("unix://{}", host.socket().display())).unwrap();
            runtime.block_on(HostClient::connect(endpoint)).ok()
        });
        Self { child: Mutex::new(child), runtime, client, socket: host.socket() }
    }

    pub fn attach(&self, request: AttachRequest) -> Result<AttachResponse, Status> {
        let mut client = self.client.clone();
        self.runtime.block_on(client.attach(request)).map(tonic::Response::into_inner)
    }

    pub fn detach(&self, vm: &str) -> Result<(), Status> {
        let mut client = self.client.clone();
        let request = DetachRequest { vm: vm.into(), interface: String::new() };
        self.runtime.block_on(client.detach(request)).map(drop)
    }

    pub fn list(&self) -> Vec<Lease> {
        let mut client = self.client.clone();
        self.runtime.block_on(client.list(ListRequest {})).unwrap().into_inner().leases
    }

    pub fn dpu(&self) -> Option<DpuStatus> {
        let mut client = self.client.clone();
        self.runtime.block_on(client.dpu(DpuRequest {})).unwrap().into_inner().dpu
    }

    pub fn enroll(&self, token: &str) -> Result<EnrollHostResponse, Status> {
        let mut client = self.client.clone();
        let request = EnrollHostRequest { token: token.into() };
        self.runtime.block_on(client.enroll(request)).map(tonic::Response::into_inner)
    }

    pub fn doctor(&self) -> Vec<Check> {
        let mut client = self.client.clone();
        self.runtime.block_on(client.doctor(DoctorRequest {})).unwrap().into_inner().checks
    }

    pub fn set_vfs(&self, request: SetVfsRequest) -> Result<(), Status> {
        let mut client = self.client.clone();
        self.runtime.block_on(client.set_vfs(request)).map(drop)
    }

    pub fn support_bundle(&self) -> Vec<u8> {
        let mut client = self.client.clone();
        self.runtime
            .block_on(client.support_bundle(SupportBundleRequest {}))
            .unwrap()
            .into_inner()
            .archive
    }

    /// Attaches and detaches until the daemon is gone; `answered` counts the answers.
    pub fn storm(
        &self,
        seed: u64,
        answered: Arc<AtomicU32>,
        request: impl Fn(u32) -> AttachRequest + Send + 'static,
    ) -> JoinHandle<()> {
        let socket = self.socket.clone();
        thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            let Some(mut client) = runtime.block_on(connect(&socket)) else { return };
            let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
            loop {
                // xorshift: the same in each run.
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                let request = request((random >> 40) as u32);
                let detach = DetachRequest { vm: request.vm.clone(), interface: String::new() };
                let result = runtime.block_on(async {
                    if random & 1 == 0 {
                        client.attach(request).await.map(drop)
                    } else {
                        client.detach(detach).await.map(drop)
                    }
                });
                match result {
                    Err(status) if is_gone(&status) => return,
                    _ => {
                        answered.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
        })
    }

    /// Asks it to end, and waits.
    pub fn terminate(self) -> ExitStatus {
        let id = self.child.lock().unwrap().id();
        let kill = Command::new("kill").arg(id.to_string()).status().unwrap();
        assert!(kill.success());
        self.wait()
    }

    pub fn kill(&self) {
        self.child.lock().unwrap().kill().unwrap();
    }

    /// Waits until it has ended.
    pub fn wait(self) -> ExitStatus {
        let status =
            wait_for("end of the daemon", || self.child.lock().unwrap().try_wait().unwrap());
        drop(self);
        status
    }
}

/// What calls end with when there is nobody to answer.
fn is_gone(status: &Status) -> bool {
    let text = format!("{status:?}");
    ["transport", "connection", "broken pipe", "h2 protocol"].iter().any(|word| text.contains(word))
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let child = self.child.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
        let _ = child.kill();
        let _ = child.wait();
    }
}
