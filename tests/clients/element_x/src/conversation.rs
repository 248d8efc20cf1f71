//! A direct conversation of two, with everything that is in it.
use crate::{World, app::wait};
use anyhow::{Result, ensure};
use matrix_sdk::{
    RoomState,
    room::edit::EditedContent,
    ruma::{
        api::client::receipt::create_receipt::v3::ReceiptType,
        events::{
            Mentions,
            receipt::{ReceiptThread, ReceiptType as EventReceiptType},
            room::message::{RoomMessageEventContent, RoomMessageEventContentWithoutRelation},
        },
    },
};
use matrix_sdk_ui::timeline::{RoomExt, TimelineDetails, TimelineFocus, TimelineItemContent};

pub fn text(body: &str) -> RoomMessageEventContent {
    RoomMessageEventContent::text_plain(body)
}

pub async fn start(w: &mut World) -> Result<()> {
    let room = w.alice.client.create_dm(w.bob.me()).await?;
    w.dm = room.room_id().to_owned();
    let dm = w.dm.clone();
    w.ok("alice makes an encrypted DM with bob");
    let a = w.alice.entry_in(&dm, RoomState::Joined).await?;
    wait("alice knows that the room is encrypted", async || {
        a.encryption_state().is_encrypted().then_some(())
    })
    .await?;
    w.ok("alice's room list has it");
    let room = w.bob.entry_in(&dm, RoomState::Invited).await?;
    // The list has a room before its state is in the store.
    let invite = wait("the invitation's details", async || room.invite_details().await.ok()).await?;
    ensure!(invite.inviter_id == w.alice.me(), "the inviter is {}", invite.inviter_id);
    ensure!(invite.inviter.is_some(), "the inviter's member event is missing in the invite");
    ensure!(room.is_direct().await?, "the invite is not direct");
    let name = room.display_name().await?;
    ensure!(name.to_string().starts_with("alice"), "the invite is called {name}");
    w.ok("bob sees the invitation, with its inviter, its name, and that it is direct");
    room.join().await?;
    w.bob.entry_in(&dm, RoomState::Joined).await?;
    w.ok("bob joins");
    wait("alice sees bob join", async || (a.joined_members_count() == 2).then_some(())).await?;
    w.ok("alice sees that bob has joined");
    wait("both know that it is a DM", async || {
        (w.alice.client.get_dm_room(w.bob.me()).is_some() && w.bob.client.get_dm_room(w.alice.me()).is_some()).then_some(())
    })
    .await?;
    w.ok("both have it among their direct chats (m.direct)");
    w.open_dm().await?;
    w.atl().tl.send(text("hello bob").into()).await?;
    w.atl().message("hello bob").await?;
    w.ok("alice's message comes back to her from the server");
    w.btl().message("hello bob").await?;
    w.ok("bob reads it");
    w.btl().tl.send(text("hello alice").into()).await?;
    w.atl().message("hello alice").await?;
    w.ok("alice reads bob's answer");
    Ok(())
}

pub async fn talk(w: &mut World) -> Result<()> {
    let dm = w.dm.clone();
    let (me_a, me_b) = (w.alice.me().to_owned(), w.bob.me().to_owned());
    let hello = w.btl().message("hello bob").await?;
    let hello_id = hello.event_id().unwrap().to_owned();
    w.btl()
        .tl
        .send_reply(RoomMessageEventContentWithoutRelation::text_plain("a reply"), hello_id.clone())
        .await?;
    let reply = w.atl().message("a reply").await?;
    let details = reply.content().in_reply_to();
    ensure!(
        details.as_ref().is_some_and(|d| d.event_id == hello_id && d.event.is_ready()),
        "the reply is {details:?}"
    );
    w.ok("reply, with what it replies to");

    let mine = w.btl().message("a reply").await?;
    w.btl()
        .tl
        .edit(
            &mine.identifier(),
            EditedContent::RoomMessage(RoomMessageEventContentWithoutRelation::text_plain("an edited reply")),
        )
        .await?;
    let e = w.atl().message("an edited reply").await?;
    ensure!(e.content().as_message().unwrap().is_edited(), "not edited");
    ensure!(e.event_id() == reply.event_id(), "another event");
    w.ok("edit");

    let theirs = w.atl().message("an edited reply").await?;
    ensure!(w.atl().tl.toggle_reaction(&theirs.identifier(), "👍").await?, "not added");
    let id = theirs.event_id().unwrap().to_owned();
    for tl in [w.btl(), w.atl()] {
        tl.item("the reaction", |e| {
            e.event_id() == Some(&id)
                && e.content()
                    .reactions()
                    .is_some_and(|r| r.get("👍").is_some_and(|s| s.contains_key(&me_a)))
        })
        .await?;
    }
    w.ok("reaction, seen by both");
    // Wait for its remote echo, as its removal is a redaction of it.
    w.atl()
        .item("own reaction as a remote one", |e| {
            e.event_id() == Some(&id)
                && e.content().reactions().is_some_and(|r| {
                    r.get("👍")
                        .and_then(|s| s.get(&me_a))
                        .is_some_and(|i| format!("{:?}", i.status).starts_with("RemoteToRemote"))
                })
        })
        .await?;
    let theirs = w.atl().message("an edited reply").await?;
    ensure!(!w.atl().tl.toggle_reaction(&theirs.identifier(), "👍").await?, "not removed");
    for tl in [w.btl(), w.atl()] {
        tl.item("no reaction any more", |e| {
            e.event_id() == Some(&id) && e.content().reactions().is_none_or(|r| r.is_empty())
        })
        .await?;
    }
    w.ok("removal of the reaction");

    // A thread.
    let root = hello_id.clone();
    let ta = w
        .alice
        .timeline(
            &dm,
            TimelineFocus::Thread {
                root_event_id: root.clone(),
            },
        )
        .await?;
    ta.tl.send(text("first in the thread").into()).await?;
    ta.message("first in the thread").await?;
    w.ok("alice sends into a thread");
    let r = w
        .btl()
        .item("thread summary at bob", |e| {
            e.event_id() == Some(&root) && e.content().thread_summary().is_some_and(|t| t.num_replies == 1)
        })
        .await?;
    let summary = r.content().thread_summary().unwrap();
    ensure!(
        matches!(summary.latest_event, TimelineDetails::Ready(_)),
        "latest event {:?}",
        summary.latest_event
    );
    ensure!(
        w.btl()
            .find(|e| e.content().as_message().is_some_and(|m| m.body() == "first in the thread"))
            .is_none(),
        "shown in the main timeline"
    );
    w.ok("bob sees the thread's summary at its root, and its message not in the main timeline");
    let tb = w
        .bob
        .timeline(
            &dm,
            TimelineFocus::Thread {
                root_event_id: root.clone(),
            },
        )
        .await?;
    while !tb.tl.paginate_backwards(20).await? {}
    tb.message("first in the thread").await?;
    tb.message("hello bob").await?;
    w.ok("bob opens the thread: its root and its message are there");
    tb.tl.send(text("second in the thread").into()).await?;
    ta.message("second in the thread").await?;
    w.atl()
        .item("thread summary at alice", |e| {
            e.event_id() == Some(&root) && e.content().thread_summary().is_some_and(|t| t.num_replies == 2)
        })
        .await?;
    w.ok("bob answers in the thread, alice sees it, and 2 replies at the root");
    ensure!(ta.tl.mark_as_read(ReceiptType::Read).await?, "no threaded receipt was sent");
    let second = tb.message("second in the thread").await?.event_id().unwrap().to_owned();
    tb.item("alice's threaded receipt", |e| {
        e.event_id() == Some(&second) && e.read_receipts().contains_key(&me_a)
    })
    .await?;
    w.ok("alice's receipt in the thread is seen by bob");
    drop((ta, tb));

    // Redaction.
    w.atl().tl.send(text("to be redacted").into()).await?;
    let e = w.btl().message("to be redacted").await?;
    let id = e.event_id().unwrap().to_owned();
    let mine = w.atl().message("to be redacted").await?;
    w.atl().tl.redact(&mine.identifier(), Some("a mistake")).await?;
    for tl in [w.btl(), w.atl()] {
        tl.item("the redacted message", |e| e.event_id() == Some(&id) && e.content().is_redacted())
            .await?;
    }
    w.ok("redaction, seen by both");

    // Receipts.
    w.atl().tl.send(text("read me").into()).await?;
    let id = w.btl().message("read me").await?.event_id().unwrap().to_owned();
    ensure!(w.btl().tl.mark_as_read(ReceiptType::Read).await?, "no receipt was sent");
    w.atl()
        .item("bob's receipt", |e| {
            e.event_id() == Some(&id) && e.read_receipts().contains_key(&me_b)
        })
        .await?;
    w.ok("bob's public receipt is seen by alice");
    w.atl().tl.send(text("read me secretly").into()).await?;
    let private = w.btl().message("read me secretly").await?.event_id().unwrap().to_owned();
    ensure!(
        w.btl().tl.mark_as_read(ReceiptType::ReadPrivate).await?,
        "no private receipt was sent"
    );
    let room = w.bob_dm()?;
    wait("bob's private receipt comes back to him", async || {
        room.load_user_receipt(EventReceiptType::ReadPrivate, ReceiptThread::Main, &me_b)
            .await
            .ok()?
            .filter(|r| r.0 == private)
            .or(room
                .load_user_receipt(EventReceiptType::ReadPrivate, ReceiptThread::Unthreaded, &me_b)
                .await
                .ok()?
                .filter(|r| r.0 == private))
    })
    .await?;
    let mine = w.atl().message("read me secretly").await?;
    ensure!(!mine.read_receipts().contains_key(&me_b), "alice sees bob's private receipt");
    w.ok("bob's private receipt comes to him, and not to alice");
    ensure!(
        w.btl().tl.send_single_receipt(ReceiptType::FullyRead, private.clone()).await?,
        "no fully-read marker was sent"
    );
    wait("bob's fully-read marker", async || {
        (room.fully_read_event_id()? == private).then_some(())
    })
    .await?;
    w.ok("the fully-read marker comes back");

    // Typing.
    let (_guard, mut typing) = room.subscribe_to_typing_notifications();
    w.alice_dm()?.typing_notice(true).await?;
    wait("alice types", async || {
        typing.try_recv().ok().filter(|t| t == std::slice::from_ref(&me_a))
    })
    .await?;
    w.alice_dm()?.typing_notice(false).await?;
    wait("alice types no more", async || typing.try_recv().ok().filter(|t| t.is_empty())).await?;
    w.ok("typing notices come and go");

    // Unread counts, with the room closed.
    w.bob_tl = None;
    w.bob.rls.subscribe_to_rooms(&[]).await;
    wait("nothing is unread", async || (room.num_unread_messages() == 0).then_some(())).await?;
    w.atl().tl.send(text("unread 1").into()).await?;
    w.atl().message("unread 1").await?;
    w.atl()
        .tl
        .send(text("unread 2").add_mentions(Mentions::with_user_ids([me_b.clone()])).into())
        .await?;
    let r = wait("2 unread messages, 2 notifications, 1 mention", async || {
        ((
            room.num_unread_messages(),
            room.num_unread_notifications(),
            room.num_unread_mentions(),
        ) == (2, 2, 1))
            .then_some(())
    })
    .await;
    if r.is_err() {
        println!(
            "    {:?} {:?}",
            (
                room.num_unread_messages(),
                room.num_unread_notifications(),
                room.num_unread_mentions()
            ),
            room.unread_notification_counts()
        );
    }
    r?;
    w.ok("2 unread messages, 2 notifications, 1 mention in bob's closed room");
    println!("    counts of the server: {:?}", room.unread_notification_counts());
    let e = wait("the latest event in the room list", async || {
        match RoomExt::latest_event(&room).await {
            matrix_sdk_ui::timeline::LatestEventValue::Remote { content, .. } => {
                content.as_message().filter(|m| m.body() == "unread 2").map(|_| ())
            }
            _ => None,
        }
    })
    .await;
    if e.is_err() {
        println!("    latest event: {:?}", RoomExt::latest_event(&room).await);
    }
    e?;
    w.ok("the room list shows the latest message, decrypted");
    w.bob_tl = Some(w.bob.open(&dm).await?);
    w.btl().message("unread 2").await?;
    w.btl().tl.mark_as_read(ReceiptType::Read).await?;
    wait("nothing is unread any more", async || {
        ((
            room.num_unread_messages(),
            room.num_unread_notifications(),
            room.num_unread_mentions(),
        ) == (0, 0, 0))
            .then_some(())
    })
    .await?;
    w.ok("bob reads, and nothing is unread");
    room.set_unread_flag(true).await?;
    wait("marked as unread", async || room.is_marked_unread().then_some(())).await?;
    room.set_unread_flag(false).await?;
    wait("not marked as unread", async || (!room.is_marked_unread()).then_some(())).await?;
    w.ok("marked as unread, and not any more");
    room.set_is_favourite(true, None).await?;
    wait("favourite", async || room.is_favourite().then_some(())).await?;
    room.set_is_low_priority(true, None).await?;
    wait("low priority", async || {
        (room.is_low_priority() && !room.is_favourite()).then_some(())
    })
    .await?;
    room.set_is_low_priority(false, None).await?;
    wait("neither", async || (!room.is_low_priority()).then_some(())).await?;
    w.ok("favourite, low priority, neither");

    // Profile.
    w.alice.client.account().set_display_name(Some("Alice Liddell")).await?;
    w.btl()
        .item("alice's new name in the timeline", |e| {
            matches!(e.content(), TimelineItemContent::ProfileChange(c) if c.displayname_change().is_some_and(|d| d.new.as_deref() == Some("Alice Liddell")))
        })
        .await?;
    wait("alice's new name as a member, and of the DM", async || {
        let m = room.get_member_no_sync(&me_a).await.ok()??;
        let d = room.display_name().await.ok()?.to_string();
        (m.display_name() == Some("Alice Liddell") && d == "Alice Liddell").then_some(())
    })
    .await?;
    ensure!(
        w.alice.client.account().get_display_name().await?.as_deref() == Some("Alice Liddell"),
        "the profile has another name"
    );
    let p = w.bob.client.account().fetch_user_profile_of(&me_a).await?;
    w.ok("alice changes her name: in the timeline, the member list, the DM's name, the profile");
    println!("    profile: {p:?}");
    w.alice.client.account().set_avatar_url(None).await?;
    w.ok("alice removes the avatar that she does not have");

    // The room.
    let a = w.alice_dm()?;
    a.set_name("The rabbit hole".to_owned()).await?;
    a.set_room_topic("Down it goes").await?;
    wait("name and topic", async || {
        (room.name().as_deref() == Some("The rabbit hole") && room.topic().as_deref() == Some("Down it goes")).then_some(())
    })
    .await?;
    w.ok("room name and topic change");

    // Pinned events.
    let pin = w.btl().message("read me").await?.event_id().unwrap().to_owned();
    ensure!(a.pin_event(&pin).await?, "not pinned");
    wait("bob knows that it is pinned", async || {
        (room.pinned_event_ids()? == [pin.clone()]).then_some(())
    })
    .await?;
    let pinned = w.bob.timeline(&dm, TimelineFocus::PinnedEvents).await?;
    pinned.message("read me").await?;
    w.ok("a message is pinned, and shown among the pinned ones");
    ensure!(w.bob_dm()?.unpin_event(&pin).await?, "not unpinned");
    wait("alice knows that it is not pinned", async || {
        a.pinned_event_ids().is_none_or(|p| p.is_empty()).then_some(())
    })
    .await?;
    w.ok("bob unpins it");

    // A permalink.
    let f = w
        .bob
        .timeline(
            &dm,
            TimelineFocus::Event {
                target: hello_id,
                num_context_events: 20,
                thread_mode: matrix_sdk_ui::timeline::TimelineEventFocusThreadMode::Automatic {
                    hide_threaded_events: true,
                },
            },
        )
        .await?;
    f.message("hello bob").await?;
    f.message("read me").await?;
    w.ok("a timeline around an event, as by a permalink");
    ensure!(
        w.atl().undecrypted() + w.btl().undecrypted() == 0,
        "undecrypted items in the timelines"
    );
    Ok(())
}

pub async fn long_history(w: &mut World) -> Result<()> {
    use matrix_sdk::ruma::api::client::room::create_room::v3::{Request, RoomPreset};
    let mut r = Request::new();
    r.name = Some("Long".to_owned());
    r.preset = Some(RoomPreset::PrivateChat);
    r.invite = vec![w.bob.me().to_owned()];
    r.initial_state = vec![crate::rooms::encryption()];
    let room = w.alice.client.create_room(r).await?;
    let id = room.room_id().to_owned();
    w.bob.entry_in(&id, RoomState::Invited).await?.join().await?;
    wait("bob has joined", async || (room.joined_members_count() == 2).then_some(())).await?;
    w.ok("a second encrypted room");
    for i in 0..220 {
        room.send(text(&format!("message {i}"))).await?;
    }
    w.ok("220 messages are sent one after the other");
    let tl = w.bob.open(&id).await?;
    tl.message("message 219").await?;
    w.ok("bob opens the room and sees the last one");
    let mut rounds = 0;
    while !tl.tl.paginate_backwards(20).await? {
        rounds += 1;
        ensure!(rounds < 60, "no end of the history");
    }
    let seen = wait("all 220", async || {
        let bodies: Vec<String> = tl
            .events()
            .iter()
            .filter_map(|e| e.content().as_message().map(|m| m.body().to_owned()))
            .collect();
        (bodies.len() == 220).then_some(bodies)
    })
    .await;
    if seen.is_err() {
        println!("    {} items, {} undecrypted", tl.events().len(), tl.undecrypted());
    }
    let seen = seen?;
    ensure!(
        seen.iter().enumerate().all(|(i, b)| *b == format!("message {i}")),
        "wrong order: {seen:?}"
    );
    ensure!(tl.undecrypted() == 0, "{} undecrypted", tl.undecrypted());
    w.ok(&format!(
        "bob pages back to the start in {rounds} rounds: 220 messages, in order, all decrypted"
    ));
    drop(tl);
    let dm = w.dm.clone();
    w.bob.rls.subscribe_to_rooms(&[&dm]).await;
    Ok(())
}
