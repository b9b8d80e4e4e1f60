//! Keeps the host as its leases say.

use std::sync::Arc;
use std::time::Duration;

use host_shim::attachment::{Attachments, Condition, SystemHost};
use host_shim::dpu::DpuLink;
use host_shim::netlink::uevent::Uevents;
use tokio::sync::{Mutex, Notify};
use tracing::{error, info, warn};

use crate::view::View;

/// News of one cause come together: a card that returns says so of each VF.
const SETTLE: Duration = Duration::from_millis(200);

/// Passes on the kernel's news about devices. Without them all is looked at now and then.
pub fn listen(news: Arc<Notify>) {
    let wait = move || {
        let result = Uevents::listen().and_then(|uevents| {
            loop {
                uevents.wait()?;
                news.notify_one();
            }
        });
        if let Err::<(), _>(error) = result {
            warn!("no news of devices: {error}");
        }
    };
    if let Err(error) = std::thread::Builder::new().name("uevents".into()).spawn(wait) {
        warn!("no news of devices: {error}");
    }
}

/// Keeps everything up.
pub struct Reconciler {
    /// The attachments.
    pub attachments: Arc<Mutex<Attachments<SystemHost>>>,
    /// What there is to read of them.
    pub view: Arc<View>,
    /// The DPU, if there is one.
    pub dpu: Option<Arc<DpuLink>>,
    /// To be told when there is reason to look.
    pub news: Arc<Notify>,
    /// How often to look without.
    pub interval: Duration,
}

impl Reconciler {
    /// Looks at the host at once, at news, and at intervals, for ever.
    pub async fn keep_up(self) {
        loop {
            self.look().await;
            tokio::select! {
                () = tokio::time::sleep(self.interval) => {}
                () = self.news.notified() => tokio::time::sleep(SETTLE).await,
            }
        }
    }

    async fn look(&self) {
        let mut guard = self.attachments.clone().lock_owned().await;
        let (shown, dpu) = (self.view.clone(), self.dpu.clone());
        let work = move || {
            let result = guard.reconcile();
            if let Some(dpu) = dpu {
                dpu.release_others(guard.leases());
            }
            let before = shown.leases();
            shown.publish(&*guard);
            (result, before, shown.leases())
        };
        let (result, before, after) = match tokio::task::spawn_blocking(work).await {
            Ok(looked) => looked,
            Err(error) => return error!("reconciling ended early: {error}"),
        };
        if let Err(error) = result {
            error!("{error}");
        }
        for (lease, condition) in &after {
            let was = before.iter().find(|(other, _)| other.number == lease.number);
            if was.map(|(_, condition)| condition) == Some(condition) {
                continue;
            }
            if let Condition::Troubled(why) = condition {
                warn!(lease = %lease.key(), "{why}");
            } else if was.is_some() {
                info!(lease = %lease.key(), "well again");
            }
        }
    }
}
