//! `penstock upgrade` with a daemon that is what its program says: well or ill.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use dpu_app::api::v1::dpu_server::{Dpu, DpuServer};
use dpu_app::api::v1::{self, probe_status};
use tokio::net::UnixListener;
use tokio_stream::wrappers::{ReceiverStream, UnixListenerStream};
use tonic::{Request, Response, Status};

/// A daemon as far as an upgrade sees it: its program is a script that says `well` or `ill` in a comment. It is restarted by
/// copying the installed program to `running`.
struct FakeDaemon {
    running: PathBuf,
    begun: std::sync::Mutex<(String, Instant)>,
}

type Answer<T> = Result<Response<T>, Status>;

fn not_here<T>() -> Answer<T> {
    Err(Status::unimplemented("not in this test"))
}

#[tonic::async_trait]
impl Dpu for FakeDaemon {
    async fn status(&self, _: Request<v1::StatusRequest>) -> Answer<v1::StatusResponse> {
        let program = fs::read_to_string(&self.running).unwrap();
        let mut begun = self.begun.lock().unwrap();
        if begun.0 != program {
            *begun = (program, Instant::now());
        }
        let well = begun.0.contains("# well");
        let result =
            if well { probe_status::Result::Answered } else { probe_status::Result::Unanswered };
        let problem = if well { "" } else { "it answers nobody" }.to_owned();
        let probe = v1::ProbeStatus { result: result.into(), microseconds: 9, problem };
        Ok(Response::new(v1::StatusResponse {
            alive: true,
            epoch: 1,
            probe: Some(probe),
            up_ms: u64::try_from(begun.1.elapsed().as_millis()).unwrap(),
            ..v1::StatusResponse::default()
        }))
    }

    async fn apply(&self, _: Request<v1::ApplyRequest>) -> Answer<v1::ApplyResponse> {
        not_here()
    }
    async fn patch(&self, _: Request<v1::PatchRequest>) -> Answer<v1::ApplyResponse> {
        not_here()
    }
    async fn get(&self, _: Request<v1::GetRequest>) -> Answer<v1::GetResponse> {
        not_here()
    }
    type FlowsStream = ReceiverStream<Result<v1::FlowsResponse, Status>>;
    async fn flows(&self, _: Request<v1::FlowsRequest>) -> Answer<Self::FlowsStream> {
        not_here()
    }
    async fn explain_offload(
        &self,
        _: Request<v1::ExplainOffloadRequest>,
    ) -> Answer<v1::ExplainOffloadResponse> {
        not_here()
    }
    type RulesStream = ReceiverStream<Result<v1::RulesResponse, Status>>;
    async fn rules(&self, _: Request<v1::RulesRequest>) -> Answer<Self::RulesStream> {
        not_here()
    }
    async fn create_host_token(
        &self,
        _: Request<v1::CreateHostTokenRequest>,
    ) -> Answer<v1::CreateHostTokenResponse> {
        not_here()
    }
    async fn hosts(&self, _: Request<v1::HostsRequest>) -> Answer<v1::HostsResponse> {
        not_here()
    }
    async fn revoke_host(
        &self,
        _: Request<v1::RevokeHostRequest>,
    ) -> Answer<v1::RevokeHostResponse> {
        not_here()
    }
}

struct Dpud {
    directory: tempfile::TempDir,
    _runtime: tokio::runtime::Runtime,
}

fn program(path: &Path, number: u32, condition: &str) {
    let text = format!("#!/bin/sh\n# {condition}\necho penstock-dpud {number}.0.0\n");
    fs::write(path, text).unwrap();
    fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
}

impl Dpud {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        program(&path("dpud"), 1, "well");
        program(&path("next"), 2, "well");
        program(&path("bad"), 3, "ill");
        fs::write(path("mute"), "#!/bin/sh\nexit 1\n").unwrap();
        fs::set_permissions(path("mute"), PermissionsExt::from_mode(0o755)).unwrap();
        fs::copy(path("dpud"), path("running")).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let begun = std::sync::Mutex::new((String::new(), Instant::now()));
        let daemon = FakeDaemon { running: path("running"), begun };
        let listener = {
            let _inside = runtime.enter();
            UnixListener::bind(path("dpud.sock")).unwrap()
        };
        let server = tonic::transport::Server::builder()
            .add_service(DpuServer::new(daemon))
            .serve_with_incoming(UnixListenerStream::new(listener));
        runtime.spawn(server);
        Self { directory, _runtime: runtime }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn version(&self, name: &str) -> Option<String> {
        let text = fs::read_to_string(self.path(name)).ok()?;
        text.lines().last().map(|line| line.replace("echo penstock-dpud ", ""))
    }

    /// Exit code, standard output, standard error.
    fn upgrade(&self, arguments: &[&str]) -> (i32, String, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_penstock"))
            .arg("upgrade")
            .args(arguments)
            .args(["--installed", "dpud", "--restart", "cp dpud running"])
            .args(["--patience", "1", "--watch", "1", "--socket", "dpud.sock"])
            .current_dir(self.directory.path())
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
    }
}

#[test]
fn a_daemon_that_is_well_stays() {
    let dpud = Dpud::new();
    let (code, out, errors) = dpud.upgrade(&["next"]);
    assert_eq!((code, out.as_str()), (0, "penstock-dpud 2.0.0 runs and is well\n"), "{errors}");
    assert_eq!(dpud.version("running").unwrap(), "2.0.0");
    assert_eq!(dpud.version("dpud.previous"), None);
}

#[test]
fn a_daemon_that_is_ill_goes() {
    let dpud = Dpud::new();
    let (code, _, errors) = dpud.upgrade(&["bad"]);
    assert_eq!(code, 1);
    assert!(errors.contains("not well: it answers nobody"), "{errors}");
    assert!(errors.contains("the one before runs again and is well"), "{errors}");
    let versions = ["dpud", "running", "dpud.previous"].map(|name| dpud.version(name));
    assert_eq!(versions, [Some("1.0.0".into()), Some("1.0.0".into()), None]);
    // What is no program of this machine never takes its place.
    let (code, _, errors) = dpud.upgrade(&["mute"]);
    assert_eq!(code, 1);
    assert!(errors.contains("mute: it does not say that it is penstock-dpud"), "{errors}");
    assert_eq!(dpud.version("dpud").unwrap(), "1.0.0");
}

#[test]
fn an_upgrade_that_ended_early_is_finished_by_hand() {
    let dpud = Dpud::new();
    // As after a death right after the restart.
    fs::rename(dpud.path("dpud"), dpud.path("dpud.previous")).unwrap();
    program(&dpud.path("dpud"), 2, "well");
    fs::copy(dpud.path("dpud"), dpud.path("running")).unwrap();
    let (code, _, errors) = dpud.upgrade(&["next"]);
    assert_eq!(code, 1);
    assert!(errors.contains("an earlier upgrade ended before"), "{errors}");
    let (code, out, errors) = dpud.upgrade(&["--roll-back"]);
    assert_eq!(code, 0, "{out}{errors}");
    assert_eq!(dpud.version("running").unwrap(), "1.0.0");
    let (code, _, errors) = dpud.upgrade(&["--roll-back"]);
    assert_eq!(code, 1);
    assert!(errors.contains("no program to go back to"), "{errors}");

    // An ill daemon is no beginning.
    program(&dpud.path("running"), 1, "ill");
    let (code, _, errors) = dpud.upgrade(&["next"]);
    assert_eq!(code, 1);
    assert!(errors.contains("nothing was changed"), "{errors}");
    assert_eq!(dpud.version("dpud").unwrap(), "1.0.0");
}
