use super::*;
use std::os::unix::net::UnixListener;
use std::sync::{Arc, Mutex};
use std::thread;

use crate::attachment::testing::lease;
use crate::backend::BackendKind;
use crate::lease::Lease;

/// A VM's process, as far as QMP knows it: devices, netdevs, character devices.
#[derive(Default)]
struct Vm {
    devices: Vec<String>,
    netdevs: Vec<String>,
    chardevs: Vec<String>,
    refuses: Option<&'static str>,
    keeps_devices: bool,
}

fn vm(state: Vm) -> (tempfile::TempDir, PathBuf, Arc<Mutex<Vm>>) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("vm.qmp");
    let listener = UnixListener::bind(&path).unwrap();
    let state = Arc::new(Mutex::new(state));
    let vm = state.clone();
    thread::spawn(move || {
        for stream in listener.incoming() {
            // The client ends when it likes.
            let _ = serve(stream.unwrap(), &vm);
        }
    });
    (directory, path, state)
}

fn serve(mut stream: UnixStream, vm: &Mutex<Vm>) -> io::Result<()> {
    writeln!(stream, "{}", json!({"QMP": {"version": {}, "capabilities": ["oob"]}}))?;
    for line in BufReader::new(stream.try_clone()?).lines() {
        let request: Value = serde_json::from_str(&line?)?;
        let command = request["execute"].as_str().unwrap();
        let text = |key: &str| request["arguments"][key].as_str().unwrap_or_default().to_owned();
        let mut vm = vm.lock().unwrap();
        writeln!(stream, "{}", json!({"event": "NIC_RX_FILTER_CHANGED", "data": {}}))?;
        let mut gone = None;
        let forget = |list: &mut Vec<String>| {
            let before = list.len();
            list.retain(|id| *id != text("id"));
            (before != list.len()).then(|| json!({})).ok_or("not found")
        };
        let add = |list: &mut Vec<String>| {
            list.push(text("id"));
            Ok(json!({}))
        };
        let answer = if vm.refuses == Some(command) {
            Err("told to refuse")
        } else {
            match command {
                "qmp_capabilities" => Ok(Value::Object(serde_json::Map::new())),
                "qom-list" => Ok(vm.devices.iter().map(|id| json!({"name": id})).collect()),
                "query-chardev" => Ok(vm.chardevs.iter().map(|id| json!({"label": id})).collect()),
                "chardev-add" if vm.chardevs.contains(&text("id")) => Err("Chardev exists"),
                "chardev-add" => add(&mut vm.chardevs),
                "netdev_add" if vm.netdevs.contains(&text("id")) => Err("Duplicate ID"),
                "netdev_add" => add(&mut vm.netdevs),
                "device_add" => add(&mut vm.devices),
                "device_del" if !vm.keeps_devices => {
                    gone = Some(text("id"));
                    forget(&mut vm.devices)
                }
                // The guest does not answer.
                "device_del" => Ok(Value::Null),
                "netdev_del" => forget(&mut vm.netdevs),
                "chardev-remove" => forget(&mut vm.chardevs),
                _ => Err("CommandNotFound"),
            }
        };
        let answer = match answer {
            Ok(value) => json!({"return": value, "id": request["id"]}),
            Err(text) => {
                json!({"error": {"class": "GenericError", "desc": text}, "id": request["id"]})
            }
        };
        writeln!(stream, "{answer}")?;
        if let Some(device) = gone {
            writeln!(stream, "{}", json!({"event": "DEVICE_DELETED", "data": {"device": device}}))?;
        }
    }
    Ok(())
}

fn device(backend: BackendKind) -> VmDevice {
    let lease = Lease { backend, ..lease(1, 0) };
    VmDevice::of(&lease, "0000:01:10.0".parse().ok(), Some(Path::new("/run/vf0.sock"))).unwrap()
}

#[test]
fn in_and_out() {
    for backend in BackendKind::ALL {
        let (_directory, path, state) = vm(Vm::default());
        let device = device(backend);
        let mut qmp = Qmp::connect(&path).unwrap();
        qmp.plug(&device, None).unwrap();
        assert!(qmp.has_device("penstock-1").unwrap());
        assert_eq!(
            qmp.has_chardev("penstock-1-socket").unwrap(),
            backend == BackendKind::VhostUser
        );
        drop(qmp);
        let mut qmp = Qmp::connect(&path).unwrap();
        for _ in 0..2 {
            qmp.unplug(device.ids()).unwrap();
            assert!(!qmp.has_device("penstock-1").unwrap());
        }
        let vm = state.lock().unwrap();
        assert!(vm.devices.is_empty() && vm.netdevs.is_empty() && vm.chardevs.is_empty());
    }
}

#[test]
fn a_refused_device_leaves_nothing_behind() {
    let left = vec!["penstock-1-backend".to_owned()];
    let state = Vm { refuses: Some("device_add"), netdevs: left, ..Vm::default() };
    let (_directory, path, state) = vm(state);
    let mut qmp = Qmp::connect(&path).unwrap();
    let error = qmp.plug(&device(BackendKind::VhostUser), None).unwrap_err().to_string();
    assert_eq!(error, "the VM refuses device_add: told to refuse");
    let vm = state.lock().unwrap();
    assert!(vm.netdevs.is_empty() && vm.chardevs.is_empty());
}

#[test]
fn who_does_not_answer_is_not_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("vm.qmp");
    assert!(matches!(Qmp::connect(&path), Err(QmpError::NoVm { .. })));
    for (says, expected) in [
        ("hello\n".to_owned(), "what the VM says is not QMP: expected value"),
        ("{\"return\": {}}\n".to_owned(), "what the VM says is not QMP: Returned"),
        (String::new(), "the VM's QMP connection broke"),
        ("x".repeat(2 << 20), "what the VM says is not QMP: a line without an end"),
    ] {
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).unwrap();
        let vm = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.write_all(says.as_bytes());
        });
        let error = Qmp::connect(&path).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
        vm.join().unwrap();
    }
    // It accepts, and is silent.
    let _ = std::fs::remove_file(&path);
    let _listener = UnixListener::bind(&path).unwrap();
    let start = Instant::now();
    let error = Qmp::connect(&path).unwrap_err();
    assert!(matches!(error, QmpError::Silent("a greeting")), "{error}");
    assert!(start.elapsed() < ANSWER + Duration::from_secs(5));
}
