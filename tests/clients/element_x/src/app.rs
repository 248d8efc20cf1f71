//! An app like Element X: a client with its stores, its SyncService, its room list, its timelines.
use anyhow::{Context, Result, bail};
use eyeball_im::Vector;
use futures_util::{StreamExt, pin_mut};
use matrix_sdk::{
    Client, Room, RoomState, ThreadingSupport,
    authentication::{matrix::MatrixSession, oauth::OAuthSession},
    config::RequestConfig,
    cross_process_lock::CrossProcessLockConfig,
    encryption::{BackupDownloadStrategy, EncryptionSettings},
    ruma::{
        EventId, OwnedUserId, RoomId, UserId,
        api::client::{account::register, uiaa},
        events::{
            key::verification::request::ToDeviceKeyVerificationRequestEvent,
            room::message::{MessageType, OriginalSyncRoomMessageEvent},
        },
    },
    sliding_sync::VersionBuilder,
};
use matrix_sdk_ui::{
    RoomListService, Timeline,
    room_list_service::{RoomListLoadingState, filters},
    sync_service::{State, SyncService},
    timeline::{EventTimelineItem, RoomExt, TimelineFocus, TimelineItem, TimelineReadReceiptTracking},
    unable_to_decrypt_hook::{UnableToDecryptHook, UnableToDecryptInfo, UtdHookManager},
};
use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

pub const PASSWORD: &str = "correct horse battery staple";

/// Waits until `f` gives something, for 20 s.
pub async fn wait<T>(what: &str, f: impl AsyncFnMut() -> Option<T>) -> Result<T> {
    wait_for(what, 20, f).await
}

pub async fn wait_for<T>(what: &str, seconds: u64, mut f: impl AsyncFnMut() -> Option<T>) -> Result<T> {
    let start = Instant::now();
    loop {
        if let Some(v) = f().await {
            return Ok(v);
        }
        if start.elapsed() > Duration::from_secs(seconds) {
            bail!("timed out after {seconds} s: {what}");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// All events that could not be decrypted: (who, event, seconds until it could after all).
#[derive(Debug, Default)]
pub struct Utds(pub Mutex<Vec<(String, String, Option<Duration>, String)>>);

#[derive(Debug)]
struct Hook(String, Arc<Utds>, Client);

/// Whether the event is decrypted by now: the hook hears of some events only after they have been decrypted late.
async fn is_decrypted(client: &Client, id: &matrix_sdk::ruma::EventId) -> bool {
    for room in client.rooms() {
        if let Ok((cache, _drop)) = room.event_cache().await
            && let Ok(Some(event)) = cache.find_event(id).await
        {
            return !event.kind.is_utd();
        }
    }
    false
}

impl UnableToDecryptHook for Hook {
    fn on_utd(&self, i: UnableToDecryptInfo) {
        if i.time_to_decrypt.is_some() {
            self.1
                .0
                .lock()
                .unwrap()
                .push((self.0.clone(), i.event_id.to_string(), i.time_to_decrypt, format!("{:?}", i.cause)));
            return;
        }
        let (who, utds, client) = (self.0.clone(), self.1.clone(), self.2.clone());
        tokio::spawn(async move {
            let late = is_decrypted(&client, &i.event_id).await.then_some(Duration::MAX);
            println!(
                "    UTD at {who}: {} ({})",
                i.event_id,
                if late.is_some() { "in fact decrypted" } else { "not decrypted" }
            );
            utds.0
                .lock()
                .unwrap()
                .push((who, i.event_id.to_string(), late, format!("{:?}", i.cause)));
        });
    }
}

pub enum Auth<'a> {
    Register(&'a str),
    Login(&'a str),
    Restore(MatrixSession),
    OAuth(&'a str),
    RestoreOAuth(OAuthSession),
}

pub struct App {
    pub name: String,
    pub dir: PathBuf,
    pub client: Client,
    pub sync: Arc<SyncService>,
    pub rls: Arc<RoomListService>,
    pub utd: Arc<UtdHookManager>,
    pub entries: Arc<Mutex<Vector<Room>>>,
    pub loading: Arc<Mutex<RoomListLoadingState>>,
    pub states: Arc<Mutex<Vec<String>>>,
    /// Incoming verification requests.
    pub requests: Arc<Mutex<Vec<(OwnedUserId, String)>>>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

pub async fn make_client(url: &str, dir: &Path, holder: &str) -> Result<Client> {
    let client = Client::builder()
        .server_name_or_homeserver_url(url)
        .sqlite_store(dir, None)
        .user_agent("element-x")
        .sliding_sync_version_builder(VersionBuilder::DiscoverNative)
        .with_encryption_settings(EncryptionSettings {
            auto_enable_cross_signing: true,
            backup_download_strategy: BackupDownloadStrategy::AfterDecryptionFailure,
            auto_enable_backups: true,
        })
        .with_threading_support(ThreadingSupport::Enabled { with_subscriptions: true })
        // The keys would come as a file, and the server has no media yet.
        .with_enable_share_history_on_invite(false)
        .cross_process_store_config(CrossProcessLockConfig::multi_process(holder))
        .request_config(RequestConfig::short_retry())
        .build()
        .await?;
    Ok(client)
}

impl App {
    pub async fn new(name: &str, url: &str, dir: &Path, auth: Auth<'_>, utds: &Arc<Utds>) -> Result<Self> {
        let client = make_client(url, dir, "main").await.context("building the client")?;
        match auth {
            Auth::Register(user) => {
                let mut r = register::v3::Request::new();
                r.username = Some(user.to_owned());
                r.password = Some(PASSWORD.to_owned());
                r.initial_device_display_name = Some(format!("Element X of {name}"));
                r.auth = Some(uiaa::AuthData::Dummy(uiaa::Dummy::new()));
                client.matrix_auth().register(r).await.context("register")?;
            }
            Auth::Login(user) => {
                client
                    .matrix_auth()
                    .login_username(user, PASSWORD)
                    .initial_device_display_name(&format!("Element X, {name}"))
                    .send()
                    .await
                    .context("login")?;
            }
            Auth::OAuth(user) => crate::oauth::log_in(&client, user).await.context("OAuth login")?,
            Auth::RestoreOAuth(session) => client.restore_session(session).await.context("restore_session")?,
            Auth::Restore(session) => {
                client.restore_session(session).await.context("restore_session")?;
            }
        }
        if client.session_meta().is_none() {
            anyhow::bail!("not logged in");
        }
        let requests: Arc<Mutex<Vec<(OwnedUserId, String)>>> = Default::default();
        let r = requests.clone();
        client.add_event_handler(move |ev: ToDeviceKeyVerificationRequestEvent| {
            let r = r.clone();
            async move { r.lock().unwrap().push((ev.sender, ev.content.transaction_id.to_string())) }
        });
        let r = requests.clone();
        client.add_event_handler(move |ev: OriginalSyncRoomMessageEvent| {
            let r = r.clone();
            async move {
                if let MessageType::VerificationRequest(_) = ev.content.msgtype {
                    r.lock().unwrap().push((ev.sender, ev.event_id.to_string()))
                }
            }
        });
        let sync = Arc::new(SyncService::builder(client.clone()).with_offline_mode().build().await?);
        let rls = sync.room_list_service();
        let mut utd = UtdHookManager::new(Arc::new(Hook(name.to_owned(), utds.clone(), client.clone())), client.clone())
            .with_max_delay(Duration::from_secs(10));
        utd.reload_from_store().await?;
        let mut app = App {
            name: name.to_owned(),
            dir: dir.to_owned(),
            client,
            sync,
            rls,
            utd: Arc::new(utd),
            entries: Default::default(),
            loading: Arc::new(Mutex::new(RoomListLoadingState::NotLoaded)),
            states: Default::default(),
            requests,
            tasks: vec![],
        };
        let mut states = app.sync.state();
        let seen = app.states.clone();
        let who = name.to_owned();
        app.tasks.push(tokio::spawn(async move {
            while let Some(state) = states.next().await {
                if matches!(state, State::Error(_)) {
                    println!("    SyncService of {who}: {state:?}");
                }
                seen.lock().unwrap().push(format!("{state:?}"));
            }
        }));
        let list = app.rls.all_rooms().await?;
        let mut loading = list.loading_state();
        let seen = app.loading.clone();
        app.tasks.push(tokio::spawn(async move {
            *seen.lock().unwrap() = loading.get();
            while let Some(state) = loading.next().await {
                *seen.lock().unwrap() = state;
            }
        }));
        let entries = app.entries.clone();
        app.tasks.push(tokio::spawn(async move {
            let (stream, controller) = list.entries_with_dynamic_adapters(200);
            controller.set_filter(Box::new(filters::new_filter_all(vec![
                Box::new(filters::new_filter_non_left()),
                Box::new(filters::new_filter_not(Box::new(filters::new_filter_space()))),
                Box::new(filters::new_filter_deduplicate_versions()),
            ])));
            pin_mut!(stream);
            while let Some(diffs) = stream.next().await {
                let mut e = entries.lock().unwrap();
                for diff in diffs {
                    diff.map(|item| item.into_inner()).apply(&mut e);
                }
            }
        }));
        app.client.event_cache().subscribe()?;
        app.sync.start().await;
        Ok(app)
    }

    pub fn session(&self) -> MatrixSession {
        self.client.matrix_auth().session().expect("a session")
    }

    pub fn me(&self) -> &UserId {
        self.client.user_id().expect("a user ID")
    }

    pub fn maximum(&self) -> Option<u32> {
        match &*self.loading.lock().unwrap() {
            RoomListLoadingState::NotLoaded => None,
            RoomListLoadingState::Loaded { maximum_number_of_rooms } => *maximum_number_of_rooms,
        }
    }

    /// The room as the room list shows it.
    pub fn entry(&self, id: &RoomId) -> Option<Room> {
        self.entries.lock().unwrap().iter().find(|r| r.room_id() == id).cloned()
    }

    pub async fn entry_in(&self, id: &RoomId, state: RoomState) -> Result<Room> {
        wait(
            &format!(
                "{}: room {id} in the room list as {state:?} (is {:?})",
                self.name,
                self.client.get_room(id).map(|r| r.state())
            ),
            async || self.entry(id).filter(|r| r.state() == state),
        )
        .await
    }

    /// Opens a room, as a tap on it does.
    pub async fn open(&self, id: &RoomId) -> Result<Tl> {
        self.rls.subscribe_to_rooms(&[id]).await;
        self.timeline(
            id,
            TimelineFocus::Live {
                hide_threaded_events: true,
            },
        )
        .await
    }

    /// Opens a thread.
    pub async fn thread(&self, id: &RoomId, root: &EventId) -> Result<Tl> {
        let root_event_id = root.to_owned();
        self.timeline(id, TimelineFocus::Thread { root_event_id }).await
    }

    pub async fn timeline(&self, id: &RoomId, focus: TimelineFocus) -> Result<Tl> {
        let room = self.client.get_room(id).with_context(|| format!("{}: no room {id}", self.name))?;
        let tl = room
            .timeline_builder()
            .with_focus(focus)
            .track_read_marker_and_receipts(TimelineReadReceiptTracking::AllEvents)
            .with_unable_to_decrypt_hook(self.utd.clone())
            .build()
            .await?;
        Tl::new(&self.name, tl).await
    }

    pub async fn close(mut self) {
        self.sync.stop().await;
        for t in self.tasks.drain(..) {
            t.abort();
            let _ = t.await;
        }
    }
}

impl Drop for App {
    fn drop(&mut self) {
        for t in &self.tasks {
            t.abort();
        }
    }
}

/// An open timeline, and what it shows.
pub struct Tl {
    pub name: String,
    pub tl: Arc<Timeline>,
    pub items: Arc<Mutex<Vector<Arc<TimelineItem>>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Tl {
    async fn new(name: &str, tl: Timeline) -> Result<Self> {
        let tl = Arc::new(tl);
        let (items, stream) = tl.subscribe().await;
        let items = Arc::new(Mutex::new(items));
        let seen = items.clone();
        let task = tokio::spawn(async move {
            pin_mut!(stream);
            while let Some(diffs) = stream.next().await {
                let mut s = seen.lock().unwrap();
                for d in diffs {
                    d.apply(&mut s);
                }
            }
        });
        Ok(Tl {
            name: name.to_owned(),
            tl,
            items,
            task,
        })
    }

    pub fn events(&self) -> Vec<EventTimelineItem> {
        self.items.lock().unwrap().iter().filter_map(|i| i.as_event().cloned()).collect()
    }

    pub fn find(&self, f: impl Fn(&EventTimelineItem) -> bool) -> Option<EventTimelineItem> {
        self.events().into_iter().rev().find(|e| f(e))
    }

    pub fn undecrypted(&self) -> usize {
        self.events().iter().filter(|e| e.content().is_unable_to_decrypt()).count()
    }

    /// Waits for a message of the other side, or our own, as it came back from the server.
    pub async fn message(&self, body: &str) -> Result<EventTimelineItem> {
        self.item(&format!("message {body:?}"), |e| {
            e.is_remote_event() && e.content().as_message().is_some_and(|m| m.body() == body)
        })
        .await
    }

    pub async fn item(&self, what: &str, f: impl Fn(&EventTimelineItem) -> bool) -> Result<EventTimelineItem> {
        let r = wait(&format!("{}: {what}", self.name), async || self.find(&f)).await;
        if r.is_err() {
            println!("    timeline of {}:", self.name);
            for e in self.events().iter().rev().take(12).rev() {
                let c = format!("{:?}", e.content());
                println!("      {:?} {} {}", e.event_id(), e.sender(), &c[..c.len().min(160)]);
            }
        }
        r
    }
}

impl Drop for Tl {
    fn drop(&mut self) {
        self.task.abort();
    }
}
