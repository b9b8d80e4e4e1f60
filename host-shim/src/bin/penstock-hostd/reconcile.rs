//! Keeps the host as its leases say.

use std::sync::Arc;
use std::time::Duration;

use host_shim::attachment::{Attachments, Condition, SystemHost};
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

/// Looks at the host at once, at news, and at intervals, for ever.
pub async fn keep_up(
    attachments: Arc<Mutex<Attachments<SystemHost>>>,
    view: Arc<View>,
    news: Arc<Notify>,
    interval: Duration,
) {
    loop {
        let mut guard = attachments.clone().lock_owned().await;
        let shown = view.clone();
        let work = move || {
            let result = guard.reconcile();
            let before = shown.leases();
            shown.publish(&*guard);
            (result, before, shown.leases())
        };
        match tokio::task::spawn_blocking(work).await {
            Ok((result, before, after)) => {
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
            Err(error) => error!("reconciling ended early: {error}"),
        }
        tokio::select! {
            () = tokio::time::sleep(interval) => {}
            () = news.notified() => tokio::time::sleep(SETTLE).await,
        }
    }
}
