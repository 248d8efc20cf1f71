//! The part of Element Call.
use crate::{World, app::wait};
use anyhow::{Context, Result, bail, ensure};
use matrix_sdk::{
    Room,
    ruma::{
        MilliSecondsSinceUnixEpoch,
        events::{
            Mentions,
            rtc::{
                decline::RtcDeclineEventContent,
                notification::{NotificationType, RtcNotificationEventContent},
            },
        },
        exports::serde_json::{Value, json},
    },
    widget::{
        Capabilities, CapabilitiesProvider, ClientProperties, EncryptionSystem, Intent, VirtualElementCallWidgetConfig,
        VirtualElementCallWidgetProperties, WidgetDriver, WidgetDriverHandle, WidgetSettings,
    },
};
use std::time::Duration;

fn membership(device: &str) -> Value {
    json!({
        "application": "m.call", "call_id": "", "scope": "m.room", "device_id": device, "expires": 14400000,
        "focus_active": {"type": "livekit", "focus_selection": "oldest_membership"},
        "foci_preferred": [{"type": "livekit", "livekit_alias": "x", "livekit_service_url": "https://rtc.example.org"}],
        "m.call.intent": "video",
    })
}

pub async fn calls(w: &mut World) -> Result<()> {
    let foci = w.alice.client.rtc_foci().await?;
    println!("    rtc_foci: {foci:?}");
    ensure!(!foci.is_empty(), "no foci in the well-known");
    w.ok("the foci of calls, from the well-known");
    let (a, b) = (w.alice_dm()?, w.bob_dm()?);
    let device = w.alice.client.device_id().unwrap().to_string();
    let key = format!("_{}_{device}_m.call", w.alice.me());
    let sent = a
        .send_state_event_raw("org.matrix.msc3401.call.member", &key, membership(&device))
        .await?;
    wait("the call is active for both", async || {
        (a.has_active_room_call() && b.has_active_room_call()).then_some(())
    })
    .await?;
    ensure!(
        b.active_room_call_participants() == [w.alice.me().to_owned()],
        "participants {:?}",
        b.active_room_call_participants()
    );
    println!("    intent: {:?}", b.active_room_call_consensus_intent());
    w.ok("alice is in a call: has_active_room_call at both, with its participant");
    let mut n = RtcNotificationEventContent::new(MilliSecondsSinceUnixEpoch::now(), Duration::from_secs(30), NotificationType::Ring);
    n.mentions = Some(Mentions::with_user_ids([w.bob.me().to_owned()]));
    n.relates_to = Some(matrix_sdk::ruma::events::relation::Reference::new(sent.event_id.clone()));
    w.atl().tl.send(n.into()).await?;
    let e = w
        .btl()
        .item("the call's notification", |e| {
            format!("{:?}", e.content()).contains("RtcNotification")
        })
        .await?;
    let id = e.event_id().context("no event ID")?.to_owned();
    w.ok("a notification of the call rings at bob");
    let (_guard, mut declined) = a.subscribe_to_call_decline_events(&id);
    b.send(RtcDeclineEventContent::new(id)).await?;
    wait("bob's decline", async || declined.try_recv().ok()).await?;
    w.ok("bob declines, alice learns it");
    a.send_state_event_raw("org.matrix.msc3401.call.member", &key, json!({})).await?;
    wait("the call is over for both", async || {
        (!a.has_active_room_call() && !b.has_active_room_call()).then_some(())
    })
    .await?;
    w.ok("the call is over");
    Ok(())
}

struct All;
impl CapabilitiesProvider for All {
    async fn acquire_capabilities(&self, c: Capabilities) -> Capabilities {
        c
    }
}

/// What the widget says, and what it gets, without a browser.
struct Widget {
    handle: WidgetDriverHandle,
    id: String,
    events: Vec<Value>,
    next: u32,
}

impl Widget {
    async fn recv(&mut self) -> Result<Value> {
        let m = tokio::time::timeout(Duration::from_secs(20), self.handle.recv())
            .await
            .context("timed out: a message to the widget")?
            .context("the driver ended")?;
        Ok(m.parse::<Value>()?)
    }
    /// Answers what the client asks; keeps the events.
    async fn handle(&mut self, m: Value) -> Result<()> {
        if m["api"] == "toWidget" {
            let mut answer = m.clone();
            answer["response"] = match m["action"].as_str() {
                Some("capabilities") => json!({"capabilities": self.capabilities()}),
                _ => json!({}),
            };
            if matches!(m["action"].as_str(), Some("send_event" | "update_state" | "send_to_device")) {
                self.events.push(m);
            }
            self.handle.send(answer.to_string()).await;
        }
        Ok(())
    }
    fn capabilities(&self) -> Value {
        json!([
            "io.element.requires_client",
            "org.matrix.msc4157.send.delayed_event",
            "org.matrix.msc4157.update_delayed_event",
            "org.matrix.msc2762.send.state_event:org.matrix.msc3401.call.member",
            "org.matrix.msc2762.receive.state_event:org.matrix.msc3401.call.member",
            "org.matrix.msc2762.receive.state_event:m.room.create",
            "org.matrix.msc2762.receive.state_event:m.room.member",
            "org.matrix.msc2762.receive.state_event:m.room.encryption",
            "org.matrix.msc2762.receive.state_event:m.room.name",
            "org.matrix.msc2762.send.event:io.element.call.encryption_keys",
            "org.matrix.msc2762.receive.event:io.element.call.encryption_keys",
            "org.matrix.msc2762.send.event:org.matrix.msc4075.rtc.notification",
            "org.matrix.msc2762.receive.event:org.matrix.msc4075.rtc.notification",
            "org.matrix.msc2762.send.event:m.reaction",
            "org.matrix.msc2762.receive.event:m.reaction",
            "org.matrix.msc3819.send.to_device:io.element.call.encryption_keys",
            "org.matrix.msc3819.receive.to_device:io.element.call.encryption_keys",
        ])
    }
    async fn ask(&mut self, action: &str, data: Value) -> Result<Value> {
        self.next += 1;
        let id = format!("r{}", self.next);
        self.handle
            .send(json!({"api": "fromWidget", "widgetId": self.id, "requestId": id, "action": action, "data": data}).to_string())
            .await;
        loop {
            let m = self.recv().await?;
            if m["api"] == "fromWidget" && m["requestId"] == id.as_str() {
                if !m["response"]["error"].is_null() {
                    bail!("{action}: {}", m["response"]);
                }
                return Ok(m["response"].clone());
            }
            self.handle(m).await?;
        }
    }
    async fn until(&mut self, what: &str, f: impl Fn(&Value) -> bool) -> Result<Value> {
        loop {
            if let Some(e) = self.events.iter().find(|e| f(e)) {
                return Ok(e.clone());
            }
            let m = self.recv().await.with_context(|| format!("timed out: {what}"))?;
            self.handle(m).await?;
        }
    }
    async fn start(room: Room, name: &str) -> Result<Self> {
        let settings = WidgetSettings::new_virtual_element_call_widget(
            VirtualElementCallWidgetProperties {
                element_call_url: "https://call.example.org/room".to_owned(),
                widget_id: name.to_owned(),
                encryption: EncryptionSystem::PerParticipantKeys,
                ..Default::default()
            },
            VirtualElementCallWidgetConfig {
                intent: Some(Intent::StartCallDm),
                ..Default::default()
            },
        )?;
        let url = settings
            .generate_webview_url(&room, ClientProperties::new("io.element.x", None, None))
            .await?;
        ensure!(url.as_str().contains("deviceId"), "the URL is {url}");
        let (driver, handle) = WidgetDriver::new(settings);
        tokio::spawn(driver.run(room, All));
        let mut w = Widget {
            handle,
            id: name.to_owned(),
            events: vec![],
            next: 0,
        };
        w.ask("supported_api_versions", json!({})).await?;
        w.ask("content_loaded", json!({})).await?;
        loop {
            let m = w.recv().await?;
            let done = m["action"] == "notify_capabilities";
            if done {
                let approved = m["data"]["approved"].as_array().map_or(0, |a| a.len());
                ensure!(approved >= 15, "approved {}", m["data"]);
            }
            w.handle(m).await?;
            if done {
                break;
            }
        }
        Ok(w)
    }
}

pub async fn widget(w: &mut World) -> Result<()> {
    let (a, b) = (w.alice_dm()?, w.bob_dm()?);
    let (da, db) = (
        w.alice.client.device_id().unwrap().to_string(),
        w.bob.client.device_id().unwrap().to_string(),
    );
    let mut wa = Widget::start(a.clone(), "alice-call").await?;
    let mut wb = Widget::start(b.clone(), "bob-call").await?;
    w.ok("Element Call's widget starts at both, with its capabilities");
    let openid = wa.ask("get_openid", json!({})).await?;
    if openid["state"] == "request" {
        let m = loop {
            let m = wa.recv().await?;
            let found = m["action"] == "openid_credentials";
            let c = m.clone();
            wa.handle(m).await?;
            if found {
                break c;
            }
        };
        ensure!(m["data"]["access_token"].is_string(), "{m}");
    }
    w.ok("it gets an OpenID token");
    // As Element Call joins: first the end of the call, delayed, then its membership.
    let key = format!("_{}_{da}_m.call", w.alice.me());
    let t = "org.matrix.msc3401.call.member";
    let delayed = wa
        .ask("send_event", json!({"type": t, "state_key": key, "content": {}, "delay": 3000}))
        .await?;
    let delay_id = delayed["delay_id"]
        .as_str()
        .with_context(|| format!("no delay ID: {delayed}"))?
        .to_owned();
    w.ok("its leave is scheduled (MSC4140)");
    wa.ask("send_event", json!({"type": t, "state_key": key, "content": membership(&da)}))
        .await?;
    let e = wb
        .until("alice's membership in bob's widget", |e| {
            e.to_string().contains(&key) && e.to_string().contains("https://rtc.example.org")
        })
        .await?;
    println!("    by {}", e["action"]);
    wait("the call is active", async || b.has_active_room_call().then_some(())).await?;
    w.ok("alice joins; bob's widget and his app see it");
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(1500)).await;
        wa.ask(
            "org.matrix.msc4157.update_delayed_event",
            json!({"delay_id": delay_id, "action": "restart"}),
        )
        .await?;
    }
    ensure!(b.has_active_room_call(), "the call has ended though the leave was put off");
    w.ok("the leave is put off 3 times, over 4.5 s; the call goes on");
    let me_b = w.bob.me().to_string();
    wa.ask(
        "send_to_device",
        json!({"type": "io.element.call.encryption_keys", "encrypted": true, "messages": {me_b: {db.clone(): {"keys": {"index": 0, "key": "c2VjcmV0"}, "room_id": w.dm, "member": {"claimed_device_id": da}, "session": {}, "sent_ts": 1}}}}),
    )
    .await?;
    let e = wb
        .until("the key of the call, to the device", |e| {
            e["action"] == "send_to_device" && e.to_string().contains("c2VjcmV0")
        })
        .await?;
    println!("    encrypted: {}", e["data"]["encrypted"]);
    w.ok("the call's key goes from device to device, encrypted");
    wait("the call ends by the delayed leave", async || {
        (!b.has_active_room_call()).then_some(())
    })
    .await?;
    w.ok("alice's app vanishes: the delayed leave is sent by the server, and the call is over");
    Ok(())
}
