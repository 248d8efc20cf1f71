#![recursion_limit = "512"]
//! What Element X does with a homeserver, step by step, with its engine: `element-x URL`.
//!
//! The server lets everybody register with no more than the dummy stage, sets no rate limits, has `public_base_url` and a
//! transport for calls. It is to be restarted when the program says `RESTART`, which then waits for a line.
//!
//! Environment: ONLY: the parts to play after the conversation (e.g. 4,6); SDK_LOG: where the SDK's log goes, RUST_LOG:
//! how much of it.
mod app;
mod calls;
mod conversation;
mod devices;
mod oauth;
mod rooms;
mod social;

use anyhow::{Context, Result};
use app::{App, Auth, Tl, Utds, wait};
use matrix_sdk::{Room, ruma::OwnedRoomId};
use std::{path::PathBuf, sync::Arc, time::Instant};

/// What all steps share.
pub struct World {
    pub url: String,
    pub dir: PathBuf,
    pub suffix: String,
    pub utds: Arc<Utds>,
    pub alice: App,
    pub bob: App,
    pub dm: OwnedRoomId,
    pub alice_tl: Option<Tl>,
    pub bob_tl: Option<Tl>,
    /// A room far down in bob's list, in which alice is.
    pub oldest: Option<OwnedRoomId>,
    pub last: Instant,
    pub steps: usize,
}

impl World {
    pub fn ok(&mut self, what: &str) {
        println!("ok: {:5} ms  {what}", self.last.elapsed().as_millis());
        self.last = Instant::now();
        self.steps += 1;
    }
    pub fn skip(&mut self, what: &str) {
        println!("--: skipped  {what}");
        self.last = Instant::now();
    }
    pub fn user(&self, name: &str) -> String {
        format!("{name}{}", self.suffix)
    }
    pub fn alice_dm(&self) -> Result<Room> {
        self.alice.client.get_room(&self.dm).context("alice has no DM")
    }
    pub fn bob_dm(&self) -> Result<Room> {
        self.bob.client.get_room(&self.dm).context("bob has no DM")
    }
    /// Both have the DM open.
    pub async fn open_dm(&mut self) -> Result<()> {
        let dm = self.dm.clone();
        self.alice_tl = Some(self.alice.open(&dm).await?);
        self.bob_tl = Some(self.bob.open(&dm).await?);
        Ok(())
    }
    pub fn atl(&self) -> &Tl {
        self.alice_tl.as_ref().expect("alice's timeline")
    }
    pub fn btl(&self) -> &Tl {
        self.bob_tl.as_ref().expect("bob's timeline")
    }
}

async fn run() -> Result<()> {
    let url = std::env::args().nth(1).context("usage: element-x URL")?;
    let only = std::env::var("ONLY").ok();
    let wanted = |part: &str| only.as_ref().is_none_or(|o| o.split(',').any(|p| p == part));
    let suffix = format!(
        "{:x}",
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_millis() & 0xffffffff
    );
    let dir = tempfile::tempdir()?;
    let utds = Arc::new(Utds::default());
    let start = Instant::now();
    let alice = App::new(
        "alice",
        &url,
        &dir.path().join("alice"),
        Auth::Register(&format!("alice{suffix}")),
        &utds,
    )
    .await?;
    let bob = App::new("bob", &url, &dir.path().join("bob"), Auth::Register(&format!("bob{suffix}")), &utds).await?;
    let mut w = World {
        url,
        dir: dir.path().to_owned(),
        suffix,
        utds,
        alice,
        bob,
        dm: OwnedRoomId::try_from("!none:none")?,
        alice_tl: None,
        bob_tl: None,
        oldest: None,
        last: start,
        steps: 0,
    };
    w.ok("alice and bob are registered, SyncService and room list run");
    wait("cross-signing of both", async || {
        let a = w.alice.client.encryption().cross_signing_status().await?;
        let b = w.bob.client.encryption().cross_signing_status().await?;
        (a.is_complete() && b.is_complete()).then_some(())
    })
    .await?;
    w.ok("cross-signing keys were made and uploaded by both");
    wait("room lists loaded", async || {
        (w.alice.maximum() == Some(0) && w.bob.maximum() == Some(0)).then_some(())
    })
    .await?;
    w.ok("both room lists are loaded, with 0 rooms");

    conversation::start(&mut w).await?;
    macro_rules! part {
        ($number:literal, $f:path) => {
            if wanted($number) {
                println!("-- part {}", $number);
                w.last = Instant::now();
                $f(&mut w).await.context(concat!("part ", $number))?;
            }
        };
    }
    part!("3", conversation::talk);
    part!("3b", conversation::long_history);
    part!("4", rooms::many);
    part!("5", rooms::reopen);
    part!("5b", rooms::restart);
    part!("6", devices::recovery);
    part!("6b", devices::sas);
    part!("6d", devices::many_devices);
    part!("6c", oauth::oauth);
    part!("7", social::notifications);
    part!("7b", social::spaces);
    part!("7c", social::finding);
    part!("7d", social::knocking);
    part!("7e", social::moderation);
    part!("7f", social::upgrade);
    part!("7g", social::more);
    part!("7h", social::threads_and_places);
    part!("8", calls::calls);
    part!("8b", calls::widget);

    part!("9", oauth::reset_identity);

    // The end: what could not be read?
    tokio::time::sleep(std::time::Duration::from_secs(11)).await;
    let utds = w.utds.0.lock().unwrap();
    let (late, never): (Vec<_>, Vec<_>) = utds.iter().partition(|u| u.2.is_some());
    // What was said before a device came, it reads when it is verified: that all of it can be read then is a step.
    let (early, never): (Vec<_>, Vec<_>) = never.into_iter().partition(|u| u.3 == "HistoricalMessageAndDeviceIsUnverified");
    for a in [&w.alice, &w.bob] {
        println!("states of {}'s SyncService: {:?}", a.name, a.states.lock().unwrap());
    }
    println!("{} steps in {} s", w.steps, start.elapsed().as_secs());
    println!(
        "decrypted late: {}; not before the device was verified: {}",
        late.len(),
        early.len()
    );
    println!("undecryptable messages: {}", never.len());
    anyhow::ensure!(never.is_empty(), "undecryptable: {never:?}");
    Ok(())
}

#[tokio::main]
async fn main() {
    if let Ok(path) = std::env::var("SDK_LOG") {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(path).expect("the log");
        tracing_subscriber::fmt()
            .with_ansi(false)
            .with_env_filter(std::env::var("RUST_LOG").unwrap_or_else(|_| "warn".to_owned()))
            .with_writer(std::sync::Mutex::new(log))
            .init();
    }
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.first().is_some_and(|a| a == "--nse") {
        if let Err(e) = social::extension(&args[1..]).await {
            println!("{e:#}");
            std::process::exit(1);
        }
        return;
    }
    if let Err(e) = run().await {
        println!("failed: {e:#}");
        std::process::exit(1);
    }
}
