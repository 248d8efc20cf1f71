//! Notifications, spaces, finding rooms and people, knocking, moderation, upgrades.
use crate::{
    World,
    app::{App, Auth, wait},
    conversation::text,
    rooms::{encryption, make},
};
use anyhow::{Context, Result, bail, ensure};
use futures_util::{StreamExt, pin_mut};
use matrix_sdk::{
    RoomMemberships, RoomState,
    room_directory_search::RoomDirectorySearch,
    ruma::{
        RoomVersionId, UserId,
        api::client::room::{
            Visibility,
            create_room::v3::{CreationContent, Request, RoomPreset},
            upgrade_room,
        },
        events::{AnySyncTimelineEvent, InitialStateEvent, room::join_rules::RoomJoinRulesEventContent, room::member::MembershipState},
        int,
        room::{JoinRule, RoomType},
        serde::Raw,
    },
};
use matrix_sdk_ui::{
    notification_client::{NotificationClient, NotificationEvent, NotificationProcessSetup, NotificationStatus},
    spaces::SpaceService,
    timeline::RoomExt,
};

pub async fn notifications(w: &mut World) -> Result<()> {
    let dm = w.dm.clone();
    let a = w.alice_dm()?;
    let nc = NotificationClient::new(
        w.bob.client.clone(),
        NotificationProcessSetup::SingleProcess {
            sync_service: w.bob.sync.clone(),
        },
    )
    .await?;
    let sent = a.send(text("a push")).await?.response.event_id;
    match nc.get_notification(&dm, &sent).await? {
        NotificationStatus::Event(item) => {
            let NotificationEvent::Timeline(e) = &item.event else {
                bail!("an invite?")
            };
            let AnySyncTimelineEvent::MessageLike(m) = &**e else {
                bail!("a state event?")
            };
            let content = format!("{:?}", m.original_content());
            ensure!(content.contains("a push"), "not decrypted: {content}");
            ensure!(item.sender_display_name.is_some(), "no display name of the sender");
            ensure!(item.is_noisy == Some(true), "not noisy: {:?}", item.actions);
            println!(
                "    {} in {}, noisy {:?}, {} joined, DM {}",
                item.sender_display_name.unwrap_or_default(),
                item.room_computed_display_name,
                item.is_noisy,
                item.joined_members_count,
                item.room_is_dm
            );
        }
        other => bail!("{other:?}"),
    }
    w.ok("NotificationClient finds a message for a push, decrypted, with names");
    let status = nc.get_notification_with_context(&dm, &sent).await?;
    ensure!(matches!(status, NotificationStatus::Event(_)), "{status:?}");
    w.ok("and by /context");
    // An invitation.
    let room = make(
        &w.alice,
        "Pushed invitation",
        RoomPreset::PrivateChat,
        true,
        vec![w.bob.me().to_owned()],
    )
    .await?;
    w.alice.entry_in(room.room_id(), RoomState::Joined).await?;
    let m = wait("bob's member event at alice", async || room.get_member(w.bob.me()).await.ok()?).await?;
    let event = m.event().event_id().context("no event ID")?.to_owned();
    let status = nc.get_notification(room.room_id(), &event).await?;
    match status {
        NotificationStatus::Event(item) => {
            ensure!(matches!(item.event, NotificationEvent::Invite(_)), "{:?}", item.event);
            println!(
                "    {:?} invites into {:?}",
                item.sender_display_name, item.room_computed_display_name
            );
        }
        other => bail!("{other:?}"),
    }
    w.ok("and an invitation");
    w.bob.entry_in(room.room_id(), RoomState::Invited).await?.leave().await?;
    w.ok("which bob declines");
    w.bob.states.lock().unwrap().clear();
    // With the app closed, as by the extension of iOS: the same store, another process.
    w.bob.sync.stop().await;
    a.discard_room_key().await?;
    let sent = a.send(text("a push while the app sleeps")).await?.response.event_id;
    let session = serde_json::to_string(&w.bob.session())?;
    let out = tokio::process::Command::new(std::env::current_exe()?)
        .args(["--nse", &w.url, w.bob.dir.to_str().unwrap(), &session, dm.as_str(), sent.as_str()])
        .output()
        .await?;
    let said = String::from_utf8_lossy(&out.stdout);
    ensure!(
        out.status.success() && said.contains("while the app sleeps"),
        "the extension says {said} {}",
        String::from_utf8_lossy(&out.stderr)
    );
    w.ok("and a message with a new key while the app does not sync (as on iOS)");
    w.bob.sync.start().await;
    w.bob_tl = Some(w.bob.open(&dm).await?);
    w.btl().message("a push while the app sleeps").await?;
    w.ok("the app wakes up, and has it, too");
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    let states = w.bob.states.lock().unwrap().clone();
    ensure!(
        !states.contains(&"Offline".to_owned()),
        "its session has expired by that (M_UNKNOWN_POS): {states:?}"
    );
    w.ok("its sessions of sliding sync have gone on");
    Ok(())
}

/// The notification extension of iOS: a process of its own.
pub async fn extension(args: &[String]) -> Result<()> {
    let client = crate::app::make_client(&args[0], std::path::Path::new(&args[1]), "nse").await?;
    client
        .restore_session(serde_json::from_str::<matrix_sdk::authentication::matrix::MatrixSession>(&args[2])?)
        .await?;
    let nc = NotificationClient::new(client, NotificationProcessSetup::MultipleProcesses).await?;
    match nc
        .get_notification(
            <&matrix_sdk::ruma::RoomId>::try_from(&*args[3])?,
            <&matrix_sdk::ruma::EventId>::try_from(&*args[4])?,
        )
        .await?
    {
        NotificationStatus::Event(item) => println!("{:?}", item.event),
        other => bail!("{other:?}"),
    }
    Ok(())
}

pub async fn spaces(w: &mut World) -> Result<()> {
    let mut r = Request::new();
    r.name = Some("Wonderland".to_owned());
    r.preset = Some(RoomPreset::PublicChat);
    let mut c = CreationContent::new();
    c.room_type = Some(RoomType::Space);
    r.creation_content = Some(Raw::new(&c)?);
    r.invite = vec![w.bob.me().to_owned()];
    let space = w.alice.client.create_room(r).await?;
    let id = space.room_id().to_owned();
    let service = SpaceService::new(w.alice.client.clone()).await;
    let mut children = vec![];
    for name in ["Tea party", "Croquet", "Trial"] {
        let child = make(&w.alice, name, RoomPreset::PublicChat, false, vec![]).await?;
        w.alice.entry_in(child.room_id(), RoomState::Joined).await?;
        wait("the child is synced", async || child.power_levels().await.ok()).await?;
        wait("the space is synced", async || {
            w.alice
                .client
                .get_room(&id)
                .filter(|r| r.is_state_partially_or_fully_synced() && r.is_space())
        })
        .await?;
        if let Err(e) = service.add_child_to_space(child.room_id().to_owned(), id.clone()).await {
            bail!("add_child_to_space: {e:?}");
        }
        children.push(child.room_id().to_owned());
    }
    w.ok("alice makes a space with 3 children");
    let room = wait("bob's invitation to the space", async || {
        w.bob
            .client
            .get_room(&id)
            .filter(|r| r.state() == RoomState::Invited && r.is_space())
    })
    .await?;
    room.join().await?;
    w.ok("bob joins it");
    let sb = SpaceService::new(w.bob.client.clone()).await;
    let space = wait("bob's spaces", async || {
        sb.top_level_joined_spaces().await.into_iter().find(|s| s.room_id == id)
    })
    .await?;
    ensure!(space.name.as_deref() == Some("Wonderland"), "called {:?}", space.name);
    let n = wait("3 children by the state of the space", async || {
        sb.top_level_joined_spaces()
            .await
            .into_iter()
            .find(|s| s.room_id == id && s.children_count == 3)
    })
    .await;
    if n.is_err() {
        println!("    children_count is {}", space.children_count);
    }
    n?;
    w.ok("SpaceService has the space, with 3 children");
    let list = sb.space_room_list(id.clone()).await;
    list.paginate().await?;
    let rooms = list.rooms().await;
    let mut names: Vec<_> = rooms.iter().filter_map(|r| r.name.clone()).collect();
    names.sort();
    ensure!(names == ["Croquet", "Tea party", "Trial"], "children {names:?}");
    ensure!(
        rooms.iter().all(|r| !r.via.is_empty() && r.num_joined_members == 1),
        "children {rooms:#?}"
    );
    w.ok("its list of rooms (/hierarchy) has the 3 children");
    w.bob.client.join_room_by_id_or_alias((&*children[0]).into(), &rooms[0].via).await?;
    w.bob.entry_in(&children[0], RoomState::Joined).await?;
    wait("the child is shown as joined", async || {
        list.rooms()
            .await
            .into_iter()
            .find(|r| r.room_id == children[0] && r.state == Some(RoomState::Joined))
    })
    .await?;
    w.ok("bob joins one of them");
    service.remove_child_from_space(children[2].clone(), id.clone()).await?;
    wait("2 children", async || {
        sb.top_level_joined_spaces()
            .await
            .into_iter()
            .find(|s| s.room_id == id && s.children_count == 2)
    })
    .await?;
    w.ok("alice takes one out of the space");
    let handle = sb.leave_space(&id).await?;
    handle
        .leave(|r| r.space_room.room_id == id || r.space_room.room_id == children[0])
        .await?;
    wait("bob has left the space", async || {
        w.bob.client.get_room(&id).filter(|r| r.state() == RoomState::Left)
    })
    .await?;
    w.ok("bob leaves the space");
    Ok(())
}

pub async fn finding(w: &mut World) -> Result<()> {
    let name = format!("Mad Hatters {}", w.suffix);
    let alias = format!("hatters-{}", w.suffix);
    let mut r = Request::new();
    r.name = Some(name.clone());
    r.topic = Some("Tea".to_owned());
    r.preset = Some(RoomPreset::PublicChat);
    r.visibility = Visibility::Public;
    r.room_alias_name = Some(alias.clone());
    let room = w.alice.client.create_room(r).await?;
    let id = room.room_id().to_owned();
    let mut search = RoomDirectorySearch::new(w.bob.client.clone());
    search.search(Some(name.to_uppercase()), 20, None).await?;
    let (found, _) = search.results();
    ensure!(found.len() == 1 && found[0].room_id == id, "found {found:?}");
    ensure!(
        found[0].topic.as_deref() == Some("Tea") && found[0].joined_members == 1,
        "{:?}",
        found[0]
    );
    search.search(None, 1, None).await?;
    w.ok("a search of the room directory finds alice's public room");
    let alias = matrix_sdk::ruma::RoomAliasId::parse(format!("#{alias}:localhost"))?;
    let p = w.bob.client.get_room_preview((&*alias).into(), vec![]).await?;
    ensure!(
        p.room_id == id && p.name.as_ref() == Some(&name) && p.topic.as_deref() == Some("Tea") && p.num_joined_members == 1,
        "{p:?}"
    );
    ensure!(p.state.is_none(), "state {:?}", p.state);
    println!(
        "    join rule {:?}, world readable {:?}, alias {:?}",
        p.join_rule, p.is_world_readable, p.canonical_alias
    );
    w.ok("its preview, by alias");
    ensure!(!w.bob.client.is_room_alias_available(&alias).await?, "the alias is free?");
    let r = w.bob.client.join_room_by_id_or_alias((&*alias).into(), &[]).await?;
    ensure!(r.room_id() == id);
    w.bob.entry_in(&id, RoomState::Joined).await?;
    w.ok("bob joins by the alias");
    // People.
    w.bob
        .client
        .account()
        .set_display_name(Some(&format!("Bob Dodgson {}", w.suffix)))
        .await?;
    let r = wait("alice finds bob by his new name", async || {
        let r = w.alice.client.search_users(&format!("dodgson {}", w.suffix), 10).await.ok()?;
        r.results.into_iter().find(|u| u.user_id == w.bob.me())
    })
    .await?;
    println!("    {r:?}");
    let r = w.alice.client.search_users(&w.user("bob"), 10).await?;
    ensure!(r.results.iter().any(|u| u.user_id == w.bob.me()), "not by user ID: {r:?}");
    w.ok("alice finds bob in the user directory, by name and by ID");
    let p = w
        .alice
        .client
        .account()
        .fetch_user_profile_of(<&UserId>::try_from("@nobody:localhost")?)
        .await;
    ensure!(p.is_err(), "nobody has a profile");
    // Threads.
    let dm = w.alice_dm()?;
    let list = w.bob_dm()?.thread_list_service();
    list.paginate().await?;
    println!("    threads in the DM: {}", list.items().len());
    let root = dm.send(text("a root for the list")).await?.response.event_id;
    let ta = w.alice.thread(&w.dm, &root).await?;
    ta.tl.send(text("a reply for the list").into()).await?;
    ta.message("a reply for the list").await?;
    w.btl()
        .item("bob's thread summary", |e| {
            e.event_id() == Some(&root)
                && e.content().thread_summary().is_some_and(|t| {
                    t.num_replies == 1
                        && matches!(&t.latest_event, matrix_sdk_ui::timeline::TimelineDetails::Ready(l) if l.content.is_message())
                })
        })
        .await?;
    w.ok("another thread, its summary with the latest message at bob");
    let list = w.bob_dm()?.thread_list_service();
    list.paginate().await?;
    let items = list.items();
    let t = items.first().context("no thread in the list")?;
    ensure!(t.root_event.event_id == root && t.num_replies == 1, "{t:?}");
    ensure!(
        t.root_event
            .content
            .as_ref()
            .and_then(|c| c.as_message())
            .is_some_and(|m| m.body() == "a root for the list"),
        "the root is {:?}",
        t.root_event.content
    );
    ensure!(
        t.latest_event.as_ref().is_some_and(|l| l
            .content
            .as_ref()
            .and_then(|c| c.as_message())
            .is_some_and(|m| m.body() == "a reply for the list")),
        "the latest event is {:?}",
        t.latest_event
    );
    w.ok(&format!(
        "the list of threads has {} of them, decrypted, the newest first",
        items.len()
    ));
    Ok(())
}

pub async fn knocking(w: &mut World) -> Result<()> {
    let mut r = Request::new();
    r.name = Some("Knock, knock".to_owned());
    r.preset = Some(RoomPreset::PrivateChat);
    r.initial_state = vec![
        encryption(),
        InitialStateEvent::with_empty_state_key(RoomJoinRulesEventContent::new(JoinRule::Knock)).to_raw_any(),
    ];
    let room = w.alice.client.create_room(r).await?;
    let id = room.room_id().to_owned();
    w.alice.entry_in(&id, RoomState::Joined).await?;
    let p = w.bob.client.get_room_preview((&*id).into(), vec![]).await?;
    println!("    preview: {:?}, {:?}", p.name, p.join_rule);
    let (requests, handle) = room.subscribe_to_knock_requests().await?;
    pin_mut!(requests);
    let first = requests.next().await.context("no requests")?;
    ensure!(first.is_empty(), "somebody knocks already");
    let b = w
        .bob
        .client
        .knock((*id).to_owned().into(), Some("let me in".to_owned()), vec![])
        .await?;
    ensure!(b.state() == RoomState::Knocked);
    w.ok("bob knocks");
    let knock = tokio::time::timeout(std::time::Duration::from_secs(20), async {
        loop {
            let Some(r) = requests.next().await else {
                bail!("the stream ended")
            };
            if let Some(k) = r.into_iter().find(|k| k.member_info.user_id == w.bob.me()) {
                return Ok(k);
            }
        }
    })
    .await
    .context("timed out: alice sees the knock")??;
    ensure!(
        knock.member_info.reason.as_deref() == Some("let me in"),
        "reason {:?}",
        knock.member_info.reason
    );
    w.ok("alice sees it, with its reason");
    w.bob.entry_in(&id, RoomState::Knocked).await?;
    w.ok("bob's list has the room as knocked");
    b.leave().await?;
    wait("bob's knock is taken back", async || (b.state() == RoomState::Left).then_some(())).await?;
    w.bob.client.knock((*id).to_owned().into(), None, vec![]).await?;
    w.ok("bob takes it back, and knocks again");
    let knock = tokio::time::timeout(std::time::Duration::from_secs(20), async {
        loop {
            let Some(r) = requests.next().await else {
                bail!("the stream ended")
            };
            if let Some(k) = r
                .into_iter()
                .find(|k| k.member_info.user_id == w.bob.me() && k.event_id != knock.event_id)
            {
                return Ok(k);
            }
        }
    })
    .await
    .context("timed out: alice sees the second knock")??;
    knock.accept().await?;
    w.bob.entry_in(&id, RoomState::Invited).await?.join().await?;
    w.bob.entry_in(&id, RoomState::Joined).await?;
    handle.abort();
    w.ok("alice accepts, bob is invited and joins");
    Ok(())
}

pub async fn moderation(w: &mut World) -> Result<()> {
    let room = make(&w.alice, "Court", RoomPreset::PrivateChat, true, vec![w.bob.me().to_owned()]).await?;
    let id = room.room_id().to_owned();
    let b = w.bob.entry_in(&id, RoomState::Invited).await?;
    b.join().await?;
    w.bob.entry_in(&id, RoomState::Joined).await?;
    wait("bob has joined", async || (room.joined_members_count() == 2).then_some(())).await?;
    let (mea, meb) = (w.alice.me().to_owned(), w.bob.me().to_owned());
    room.update_power_levels(vec![(&meb, int!(50))]).await?;
    wait("bob is a moderator", async || {
        let p = b.power_levels().await.ok()?;
        (p.user_can_kick(&meb) && !p.user_can_kick_user(&meb, &mea)).then_some(())
    })
    .await?;
    w.ok("bob is made a moderator, and knows it");
    room.update_power_levels(vec![(&meb, int!(0))]).await?;
    wait("bob is no moderator", async || {
        (!b.power_levels().await.ok()?.user_can_kick(&meb)).then_some(())
    })
    .await?;
    w.ok("and is none any more");
    b.report_room("off with their heads".to_owned()).await?;
    let sent = room.send(text("to be reported")).await?.response.event_id;
    let tl = w.bob.open(&id).await?;
    tl.message("to be reported").await?;
    b.report_content(sent, Some("rude".to_owned())).await?;
    w.ok("bob reports the room, and a message");
    room.kick_user(&meb, Some("off with his head")).await?;
    wait("bob is out", async || {
        (b.state() == RoomState::Left && w.bob.entry(&id).is_none()).then_some(())
    })
    .await?;
    w.ok("bob is kicked, and his list has the room no more");
    room.invite_user_by_id(&meb).await?;
    w.bob.entry_in(&id, RoomState::Invited).await?.join().await?;
    w.bob.entry_in(&id, RoomState::Joined).await?;
    w.ok("he is invited again, and joins");
    wait("bob has joined at alice", async || (room.joined_members_count() == 2).then_some(())).await?;
    room.send(text("welcome back")).await?;
    tl.message("welcome back").await?;
    w.ok("and reads what is said then");
    room.ban_user(&meb, Some("for good")).await?;
    wait("bob is banned", async || (b.state() == RoomState::Banned).then_some(())).await?;
    wait("alice knows", async || {
        room.get_member_no_sync(&meb)
            .await
            .ok()?
            .filter(|m| *m.membership() == MembershipState::Ban)
    })
    .await?;
    ensure!(room.members(RoomMemberships::BAN).await?.len() == 1, "not among the banned");
    ensure!(w.bob.client.join_room_by_id(&id).await.is_err(), "he can join");
    w.ok("bob is banned");
    room.unban_user(&meb, None).await?;
    wait("bob is not banned at alice", async || {
        room.get_member_no_sync(&meb)
            .await
            .ok()?
            .filter(|m| *m.membership() == MembershipState::Leave)
    })
    .await?;
    w.ok("and unbanned");
    drop(tl);
    let dm = w.dm.clone();
    w.bob.rls.subscribe_to_rooms(&[&dm]).await;

    // Ignoring.
    let dave = App::new("dave", &w.url, &w.dir.join("dave"), Auth::Register(&w.user("dave")), &w.utds).await?;
    let room = make(
        &w.bob,
        "With Dave",
        RoomPreset::PrivateChat,
        false,
        vec![dave.me().to_owned(), w.alice.me().to_owned()],
    )
    .await?;
    let id = room.room_id().to_owned();
    dave.entry_in(&id, RoomState::Invited).await?.join().await?;
    w.alice.entry_in(&id, RoomState::Invited).await?.join().await?;
    let tl = w.bob.open(&id).await?;
    dave.client.get_room(&id).context("no room")?.send(text("hear me")).await?;
    tl.message("hear me").await?;
    w.bob.client.account().ignore_user(dave.me()).await?;
    wait("dave is ignored", async || {
        w.bob.client.is_user_ignored(dave.me()).await.then_some(())
    })
    .await?;
    drop(tl);
    let tl = w.bob.open(&id).await?;
    dave.client.get_room(&id).context("no room")?.send(text("do you hear me?")).await?;
    w.alice.client.get_room(&id).context("no room")?.send(text("he does not")).await?;
    tl.message("he does not").await?;
    ensure!(
        tl.find(|e| e.sender() == dave.me() && e.content().is_message()).is_none(),
        "dave is heard"
    );
    w.ok("an ignored user is not heard");
    let invite = make(&dave, "Spam", RoomPreset::PrivateChat, false, vec![w.bob.me().to_owned()]).await?;
    w.bob.client.account().unignore_user(dave.me()).await?;
    wait("dave is not ignored", async || {
        (!w.bob.client.is_user_ignored(dave.me()).await).then_some(())
    })
    .await?;
    drop(tl);
    let tl = w.bob.open(&id).await?;
    dave.client.get_room(&id).context("no room")?.send(text("and now?")).await?;
    tl.message("and now?").await?;
    w.ok("and is heard again afterwards");
    println!(
        "    his invitation of the meantime: {:?}",
        w.bob.client.get_room(invite.room_id()).map(|r| r.state())
    );
    drop(tl);
    let dm = w.dm.clone();
    w.bob.rls.subscribe_to_rooms(&[&dm]).await;
    dave.close().await;
    Ok(())
}

pub async fn upgrade(w: &mut World) -> Result<()> {
    let mut r = Request::new();
    r.name = Some("Old".to_owned());
    r.preset = Some(RoomPreset::PublicChat);
    r.room_version = Some(RoomVersionId::V11);
    r.invite = vec![w.bob.me().to_owned()];
    let old = w.alice.client.create_room(r).await?;
    let id = old.room_id().to_owned();
    w.bob.entry_in(&id, RoomState::Invited).await?.join().await?;
    let b = w.bob.entry_in(&id, RoomState::Joined).await?;
    let new = w
        .alice
        .client
        .send(upgrade_room::v3::Request::new(id.clone(), RoomVersionId::V12))
        .await?
        .replacement_room;
    let s = wait("bob knows the successor", async || b.successor_room()).await?;
    ensure!(s.room_id == new && b.is_tombstoned(), "successor {s:?}");
    w.ok("a room is upgraded from version 11 to 12, and bob learns where it goes on");
    let route = b.route().await?;
    w.bob.client.join_room_by_id_or_alias((&*new).into(), &route).await?;
    let n = w.bob.entry_in(&new, RoomState::Joined).await?;
    wait("the predecessor", async || n.predecessor_room().filter(|p| p.room_id == id)).await?;
    ensure!(n.name().as_deref() == Some("Old"), "the new one is called {:?}", n.name());
    // The list looks at a room again when something happens there.
    w.alice
        .client
        .get_room(&id)
        .context("no old room")?
        .send(text("this room is closed"))
        .await?;
    wait("the old room is hidden in the list", async || {
        w.bob.entry(&id).is_none().then_some(())
    })
    .await?;
    w.ok("bob follows, and the list shows only the new one");
    Ok(())
}

/// Subscriptions to threads, live locations, pushers.
pub async fn threads_and_places(w: &mut World) -> Result<()> {
    if w.bob.client.enabled_thread_subscriptions().await? {
        let room = w.bob_dm()?;
        let root = w.alice_dm()?.send(text("subscribe to me")).await?.response.event_id;
        let ta = w.alice.thread(&w.dm, &root).await?;
        ta.tl.send(text("in it").into()).await?;
        let reply = ta.message("in it").await?.event_id().context("no ID")?.to_owned();
        room.subscribe_thread(root.clone(), None).await?;
        let s = room.fetch_thread_subscription(root.clone()).await?.context("no subscription")?;
        ensure!(!s.automatic, "automatic");
        room.unsubscribe_thread(root.clone()).await?;
        ensure!(room.fetch_thread_subscription(root.clone()).await?.is_none(), "still subscribed");
        // The client takes a refusal (M_CONFLICTING_UNSUBSCRIPTION) as it is.
        room.subscribe_thread(root.clone(), Some(reply)).await?;
        ensure!(
            room.fetch_thread_subscription(root.clone()).await?.is_none(),
            "subscribed in spite of the refusal"
        );
        room.subscribe_thread(root.clone(), None).await?;
        let phone = App::new("bob's tablet", &w.url, &w.dir.join("tablet"), Auth::Login(&w.user("bob")), &w.utds).await?;
        phone.entry_in(&w.dm, RoomState::Joined).await?;
        let there = phone.client.get_room(&w.dm).context("no room")?;
        wait("the subscription on another device", async || {
            there.load_or_fetch_thread_subscription(&root).await.ok()?
        })
        .await?;
        phone.client.logout().await?;
        phone.close().await;
        w.ok("threads are subscribed to, on all devices");
    } else {
        w.skip("subscriptions to threads: the server does not announce org.matrix.msc4306");
    }
    let a = w.alice_dm()?;
    a.start_live_location_share(60_000, Some("my way".to_owned())).await?;
    let e = w
        .btl()
        .item("alice's live location", |e| {
            e.content().as_live_location_state().is_some_and(|l| l.is_live())
        })
        .await?;
    wait("alice knows that she shares", async || {
        a.get_state_event_static_for_key::<matrix_sdk::ruma::events::beacon_info::BeaconInfoEventContent, UserId>(w.alice.me())
            .await
            .ok()?
    })
    .await?;
    a.send_location_beacon("geo:51.75,-1.25;u=10".to_owned()).await?;
    w.btl()
        .item("where she is", |x| {
            x.event_id() == e.event_id()
                && x.content()
                    .as_live_location_state()
                    .is_some_and(|l| l.latest_location().is_some_and(|p| p.geo_uri().starts_with("geo:51.75")))
        })
        .await?;
    a.stop_live_location_share().await?;
    w.btl()
        .item("the end of it", |x| {
            x.content().as_live_location_state().is_some_and(|l| !l.is_live())
        })
        .await?;
    w.ok("alice's live location begins, is told, and ends");
    use matrix_sdk::ruma::{
        api::client::push::{PusherIds, PusherInit, PusherKind},
        push::HttpPusherData,
    };
    let r = w
        .bob
        .client
        .pusher()
        .set(
            PusherInit {
                ids: PusherIds::new("key".to_owned(), "io.element.elementx.ios.prod".to_owned()),
                kind: PusherKind::Http(HttpPusherData::new("https://matrix.org/_matrix/push/v1/notify".to_owned())),
                app_display_name: "Element X".to_owned(),
                device_display_name: "iPhone".to_owned(),
                profile_tag: None,
                lang: "en".to_owned(),
            }
            .into(),
            false,
        )
        .await;
    println!("    pusher: {:?}", r.map_err(|e| e.to_string()));
    Ok(())
}

/// More of what Element X asks of a server.
pub async fn more(w: &mut World) -> Result<()> {
    use matrix_sdk::notification_settings::RoomNotificationMode;
    let c = &w.bob.client;
    println!("    versions: {:?}", c.server_versions().await?.into_iter().last());
    println!(
        "    max upload size: {:?}",
        c.load_or_fetch_max_upload_size().await.map_err(|e| e.to_string())
    );
    println!(
        "    can change password {:?}, name {:?}",
        c.homeserver_capabilities().can_change_password().await,
        c.homeserver_capabilities().can_change_displayname().await
    );
    println!(
        "    room versions {:?}",
        c.homeserver_capabilities().room_versions().await.map(|v| v.default)
    );
    println!(
        "    OAuth: {:?}",
        c.oauth()
            .server_metadata()
            .await
            .map(|m| m.issuer.to_string())
            .map_err(|e| e.to_string())
    );
    println!("    thread subscriptions: {:?}", c.enabled_thread_subscriptions().await);
    println!(
        "    push of encrypted events: {:?}",
        c.can_homeserver_push_encrypted_event_to_device().await
    );
    w.ok("capabilities, versions, metadata of OAuth");
    let s = w.bob.client.notification_settings().await;
    let mut changes = s.subscribe_to_changes();
    s.set_room_notification_mode(&w.dm, RoomNotificationMode::MentionsAndKeywordsOnly)
        .await?;
    wait("the push rules come back by sync", async || changes.try_recv().ok()).await?;
    wait("the mode", async || {
        (s.get_user_defined_room_notification_mode(&w.dm).await == Some(RoomNotificationMode::MentionsAndKeywordsOnly)).then_some(())
    })
    .await?;
    s.set_room_notification_mode(&w.dm, RoomNotificationMode::Mute).await?;
    s.delete_user_defined_room_rules(&w.dm).await?;
    s.add_keyword("tea".to_owned()).await?;
    s.remove_keyword("tea").await?;
    wait("no mode", async || {
        s.get_user_defined_room_notification_mode(&w.dm).await.is_none().then_some(())
    })
    .await?;
    w.ok("notification settings of a room: mentions only, mute, default; a keyword");
    w.bob.client.account().track_recently_visited_room(w.dm.clone()).await?;
    ensure!(
        w.bob.client.account().get_recently_visited_rooms().await?.len() == 1,
        "not one visited room"
    );
    w.bob
        .client
        .account()
        .set_media_previews_display_policy(matrix_sdk::ruma::events::media_preview_config::MediaPreviews::Off)
        .await?;
    w.ok("account data: recently visited rooms, media previews");
    let privacy = w.alice_dm()?;
    let p = privacy.privacy_settings();
    ensure!(p.get_room_visibility().await? == Visibility::Private, "public?");
    w.ok("visibility of a room");
    // A poll, a location.
    use matrix_sdk::ruma::events::poll::{
        unstable_response::UnstablePollResponseEventContent,
        unstable_start::{
            NewUnstablePollStartEventContent, UnstablePollAnswer, UnstablePollAnswers, UnstablePollStartContentBlock,
            UnstablePollStartEventContent,
        },
    };
    let answers = UnstablePollAnswers::try_from(vec![UnstablePollAnswer::new("1", "Tea"), UnstablePollAnswer::new("2", "More tea")])?;
    let block = UnstablePollStartContentBlock::new("What?", answers);
    let poll = UnstablePollStartEventContent::New(NewUnstablePollStartEventContent::plain_text("What? Tea, more tea", block));
    w.atl().tl.send(poll.into()).await?;
    let e = w.btl().item("the poll", |e| e.content().is_poll()).await?;
    let id = e.event_id().unwrap().to_owned();
    w.btl()
        .tl
        .send(UnstablePollResponseEventContent::new(vec!["2".to_owned()], id.clone()).into())
        .await?;
    w.atl()
        .item("bob's vote", |e| {
            e.event_id() == Some(&id)
                && e.content()
                    .as_poll()
                    .is_some_and(|p| p.results().votes.get("2").is_some_and(|v| v.len() == 1))
        })
        .await?;
    w.ok("a poll, and a vote");
    // A file, which the server cannot keep yet.
    let r = w.bob.client.media().upload(&"text/plain".parse()?, b"tea".to_vec(), None).await;
    println!(
        "    media upload: {:?}",
        r.map(|r| r.content_uri.to_string()).map_err(|e| e.to_string())
    );
    Ok(())
}
