//! Many rooms; an app that is closed and opened; a server that is restarted.
use crate::{
    World,
    app::{App, Auth, wait, wait_for},
    conversation::text,
};
use anyhow::{Context, Result, ensure};
use matrix_sdk::{
    Room, RoomState,
    ruma::{
        OwnedUserId, RoomId,
        api::client::room::create_room::v3::{Request, RoomPreset},
        events::{AnyInitialStateEvent, InitialStateEvent, room::encryption::RoomEncryptionEventContent},
        serde::Raw,
    },
};

pub fn encryption() -> Raw<AnyInitialStateEvent> {
    InitialStateEvent::with_empty_state_key(RoomEncryptionEventContent::with_recommended_defaults()).to_raw_any()
}

/// A room of the app's user; others are invited.
pub async fn make(app: &App, name: &str, preset: RoomPreset, encrypted: bool, invite: Vec<OwnedUserId>) -> Result<Room> {
    let mut r = Request::new();
    r.name = Some(name.to_owned());
    r.preset = Some(preset);
    r.invite = invite;
    if encrypted {
        r.initial_state = vec![encryption()];
    }
    Ok(app.client.create_room(r).await?)
}

fn known(app: &App) -> usize {
    app.client.joined_rooms().len() + app.client.invited_rooms().len()
}

fn first(app: &App) -> Option<matrix_sdk::ruma::OwnedRoomId> {
    app.entries.lock().unwrap().get(0).map(|r| r.room_id().to_owned())
}

pub async fn many(w: &mut World) -> Result<()> {
    let before = known(&w.bob);
    let mut oldest = None;
    for i in before..130 {
        let invite = if i == before { vec![w.alice.me().to_owned()] } else { vec![] };
        let r = make(&w.bob, &format!("bulk {i}"), RoomPreset::PrivateChat, false, invite).await?;
        if i == before {
            oldest = Some(r.room_id().to_owned());
        }
    }
    let oldest = oldest.context("no room was made")?;
    w.ok(&format!("bob makes {} rooms", 130 - before));
    let r = wait("the room list says 130, and has them", async || {
        (w.bob.maximum() == Some(130) && w.bob.entries.lock().unwrap().len() == 130).then_some(())
    })
    .await;
    if r.is_err() {
        println!("    maximum {:?}, entries {}", w.bob.maximum(), w.bob.entries.lock().unwrap().len());
    }
    r?;
    w.ok("the room list says 130 rooms, and has them all");
    let a = w.alice.entry_in(&oldest, RoomState::Invited).await?;
    a.join().await?;
    w.alice.entry_in(&oldest, RoomState::Joined).await?;
    w.ok("alice joins the oldest of them");
    ensure!(first(&w.bob) != Some(oldest.clone()), "it is first already");
    a.send(text("a message in the oldest room")).await?;
    wait("the oldest room is first in bob's list", async || {
        (first(&w.bob)? == oldest).then_some(())
    })
    .await?;
    w.ok("after her message it is first in bob's room list");
    w.oldest = Some(oldest.clone());

    // A new phone of bob.
    let phone = App::new("bob's phone", &w.url, &w.dir.join("phone"), Auth::Login(&w.user("bob")), &w.utds).await?;
    w.ok("bob logs in on a new phone");
    let r = wait("the phone knows of all 130 rooms", async || {
        (phone.maximum() == Some(130)).then_some(())
    })
    .await;
    println!(
        "    first page: {} rooms, maximum {:?}",
        phone.entries.lock().unwrap().len(),
        phone.maximum()
    );
    r?;
    w.ok("its loading state says 130");
    let r = wait("all 130 rooms", async || {
        let e = phone.entries.lock().unwrap();
        (e.len() == 130 && e.iter().all(|r| r.state() == RoomState::Joined)).then_some(())
    })
    .await;
    if r.is_err() {
        println!("    has {}", phone.entries.lock().unwrap().len());
    }
    r?;
    w.ok("all 130 have arrived");
    wait("names of all rooms", async || {
        phone
            .entries
            .lock()
            .unwrap()
            .iter()
            .all(|r| r.cached_display_name().is_some())
            .then_some(())
    })
    .await?;
    w.ok("all have names");
    let (a, b): (Vec<_>, Vec<_>) = {
        let ids = |a: &App| a.entries.lock().unwrap().iter().map(|r| r.room_id().to_owned()).collect::<Vec<_>>();
        (ids(&phone), ids(&w.bob))
    };
    let different = a.iter().zip(&b).filter(|(x, y)| x != y).count();
    println!("    order on both devices: {different} of {} places differ", a.len());
    ensure!(a[0] == oldest, "the first one on the phone is another one");
    w.ok("the room with the last message is first");
    phone.client.logout().await?;
    phone.close().await;
    w.ok("the phone is logged out");
    Ok(())
}

/// Bob's app is closed, and opened again later.
pub async fn reopen(w: &mut World) -> Result<()> {
    let dm = w.dm.clone();
    let session = w.bob.session();
    let dir = w.bob.dir.clone();
    w.bob_tl = None;
    // Another user takes bob's place for so long, so that nothing of bob's app is left.
    let carol = App::new("carol", &w.url, &w.dir.join("carol"), Auth::Register(&w.user("carol")), &w.utds).await?;
    let bob = std::mem::replace(&mut w.bob, carol);
    let me = bob.me().to_owned();
    let states = bob.states.clone();
    bob.close().await;
    w.ok("bob's app is closed");
    println!("    its states: {:?}", states.lock().unwrap());
    let other = make(&w.alice, "Made meanwhile", RoomPreset::PrivateChat, true, vec![me.clone()]).await?;
    let a = w.alice_dm()?;
    for i in 0..30 {
        if i == 15 {
            a.discard_room_key().await?;
        }
        a.send(text(&format!("meanwhile {i}"))).await?;
    }
    w.ok("alice sends 30 messages with 2 keys meanwhile, and an invitation to a new room");
    if let Some(r) = w.oldest.as_ref().and_then(|o| w.alice.client.get_room(o)) {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        r.send(text("in the oldest room, the latest of all")).await?;
        w.last = std::time::Instant::now();
    }
    let bob = App::new("bob", &w.url, &dir, Auth::Restore(session), &w.utds).await?;
    let carol = std::mem::replace(&mut w.bob, bob);
    w.ok("bob's app is opened again, from its store");
    let room = w.bob_dm()?;
    let tl = w.bob.open(&dm).await?;
    tl.message("meanwhile 29").await?;
    w.ok("the last message is there");
    let mut pages = 0;
    loop {
        let n = tl
            .events()
            .iter()
            .filter(|e| e.content().as_message().is_some_and(|m| m.body().starts_with("meanwhile ")))
            .count();
        if n == 30 {
            break;
        }
        pages += 1;
        if pages > 20 {
            let m: Vec<_> = tl
                .events()
                .iter()
                .map(|e| {
                    e.content()
                        .as_message()
                        .map(|m| m.body().to_owned())
                        .unwrap_or(format!("{:?}", e.content()).chars().take(50).collect())
                })
                .collect();
            anyhow::bail!("only {n} of 30: {m:#?}");
        }
        tl.tl.paginate_backwards(20).await?;
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    ensure!(tl.undecrypted() == 0, "{} undecrypted", tl.undecrypted());
    w.ok(&format!("all 30 messages are there, decrypted ({pages} pages)"));
    ensure!(room.room_id() == dm, "another room");
    if let Some(o) = w.oldest.clone() {
        let r = wait("the room with the latest message leads the list", async || {
            let e = w.bob.entries.lock().unwrap();
            let joined: Vec<_> = e
                .iter()
                .filter(|r| r.state() == RoomState::Joined)
                .take(2)
                .map(|r| r.room_id().to_owned())
                .collect();
            (joined == [o.clone(), dm.clone()]).then_some(())
        })
        .await;
        if r.is_err() {
            for r in w.bob.entries.lock().unwrap().iter().take(4) {
                println!(
                    "    {:?} {:?} {:?}",
                    r.cached_display_name(),
                    r.latest_event_timestamp(),
                    r.recency_stamp()
                );
            }
        }
        r?;
        w.ok("the room list is in the order of what has happened meanwhile");
    }
    w.bob.entry_in(other.room_id(), RoomState::Invited).await?.join().await?;
    w.bob.entry_in(other.room_id(), RoomState::Joined).await?;
    w.ok("the invitation is there, and he joins");
    wait("alice sees him join", async || (other.joined_members_count() == 2).then_some(())).await?;
    tl.tl.send(text("I am back").into()).await?;
    w.atl().message("I am back").await?;
    w.ok("alice reads that he is back");
    w.bob_tl = Some(tl);
    carol.close().await;
    Ok(())
}

/// The server is restarted while both sync.
pub async fn restart(w: &mut World) -> Result<()> {
    for a in [&w.alice, &w.bob] {
        a.states.lock().unwrap().clear();
    }
    println!("RESTART");
    let read = tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new())).await??;
    ensure!(read > 0, "the server was not restarted");
    w.ok("the server was restarted");
    let running = |a: &App| a.states.lock().unwrap().last().is_none_or(|s| s == "Running");
    wait_for("both run again", 30, async || (running(&w.alice) && running(&w.bob)).then_some(())).await?;
    println!(
        "    states since: alice {:?}, bob {:?}",
        w.alice.states.lock().unwrap(),
        w.bob.states.lock().unwrap()
    );
    // As Element X does when the network is back.
    w.alice.client.send_queue().set_enabled(true).await;
    w.bob.client.send_queue().set_enabled(true).await;
    w.atl().tl.send(text("after the restart").into()).await?;
    w.btl().message("after the restart").await?;
    w.btl().tl.send(text("yes, after it").into()).await?;
    w.atl().message("yes, after it").await?;
    w.ok("both go on by themselves, messages go both ways");
    let id: &RoomId = &w.dm;
    ensure!(
        w.alice.entry(id).is_some() && w.bob.entry(id).is_some(),
        "the room is not in the lists"
    );
    Ok(())
}
