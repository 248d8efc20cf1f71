//! Recovery, verification, new devices.
use crate::{
    World,
    app::{App, Auth, PASSWORD, wait, wait_for},
    conversation::text,
};
use anyhow::{Context, Result, ensure};
use matrix_sdk::{
    SessionChange,
    encryption::{
        VerificationState,
        backups::BackupState,
        recovery::RecoveryState,
        verification::{SasVerification, Verification, VerificationRequest, VerificationRequestState},
    },
    ruma::api::client::uiaa,
};

pub async fn recovery(w: &mut World) -> Result<()> {
    let dm = w.dm.clone();
    let e = w.alice.client.encryption();
    wait("alice's backup is on by itself", async || {
        (e.backups().state() == BackupState::Enabled).then_some(())
    })
    .await?;
    ensure!(
        e.recovery().state() == RecoveryState::Disabled,
        "recovery is {:?}",
        e.recovery().state()
    );
    w.ok("alice has a key backup (auto_enable_backups), recovery is disabled");
    let key = e.recovery().enable().wait_for_backups_to_upload().await?;
    wait("recovery is enabled", async || {
        (e.recovery().state() == RecoveryState::Enabled).then_some(())
    })
    .await?;
    w.ok("alice enables recovery: secret storage, and all keys in the backup");

    let two = App::new("alice2", &w.url, &w.dir.join("alice2"), Auth::Login(&w.user("alice")), &w.utds).await?;
    w.ok("alice logs in on a new device");
    let e2 = two.client.encryption();
    wait("the new device knows that recovery is incomplete", async || {
        (e2.recovery().state() == RecoveryState::Incomplete).then_some(())
    })
    .await?;
    ensure!(
        e2.verification_state().get() == VerificationState::Unverified,
        "it is {:?}",
        e2.verification_state().get()
    );
    w.ok("it is unverified, and recovery is incomplete there");
    e2.recovery().recover(&key).await?;
    wait("the new device is verified", async || {
        (e2.verification_state().get() == VerificationState::Verified).then_some(())
    })
    .await?;
    wait("its recovery is enabled", async || {
        (e2.recovery().state() == RecoveryState::Enabled).then_some(())
    })
    .await?;
    wait("its backup is enabled", async || {
        (e2.backups().state() == BackupState::Enabled).then_some(())
    })
    .await?;
    w.ok("it recovers with the key: verified, with the backup");
    two.entry_in(&dm, matrix_sdk::RoomState::Joined).await?;
    let tl = two.open(&dm).await?;
    let mut n = 0;
    while !tl.tl.paginate_backwards(50).await? {
        n += 1;
        ensure!(n < 50, "no end");
    }
    tl.message("hello alice").await?;
    let r = wait("everything is decrypted", async || (tl.undecrypted() == 0).then_some(())).await;
    if r.is_err() {
        println!("    {} of {} undecrypted", tl.undecrypted(), tl.events().len());
    }
    r?;
    w.ok(&format!("it reads the old history: {} items", tl.events().len()));
    w.btl().tl.send(text("to both of alice's devices").into()).await?;
    tl.message("to both of alice's devices").await?;
    w.atl().message("to both of alice's devices").await?;
    w.ok("a message of bob is read on both devices");
    tl.tl.send(text("from the second device").into()).await?;
    w.btl().message("from the second device").await?;
    w.atl().message("from the second device").await?;
    w.ok("a message from the new one is read by bob, and by alice's first one");
    ensure!(e.recovery().is_last_device().await? == false, "the last device?");
    // The first device has the new one signed out.
    let mut changes = two.client.subscribe_to_session_changes();
    let id = two.client.device_id().unwrap().to_owned();
    let Err(error) = w.alice.client.delete_devices(&[id.clone()], None).await else {
        anyhow::bail!("a device was deleted without a password")
    };
    let info = error.as_uiaa_response().with_context(|| format!("not a UIAA response: {error}"))?;
    let mut password = uiaa::Password::new(
        uiaa::UserIdentifier::Matrix(uiaa::MatrixUserIdentifier::new(w.alice.me().to_string())),
        PASSWORD.to_owned(),
    );
    password.session = info.session.clone();
    w.alice
        .client
        .delete_devices(&[id.clone()], Some(uiaa::AuthData::Password(password)))
        .await?;
    wait("the deleted device notices", async || match changes.try_recv() {
        Ok(SessionChange::UnknownToken(_)) => Some(()),
        _ => None,
    })
    .await?;
    w.ok("alice deletes the device, with her password; it notices that it is logged out");
    drop(tl);
    two.close().await;
    ensure!(
        !w.alice.client.devices().await?.devices.iter().any(|d| d.device_id == id),
        "the device is still listed"
    );
    wait("bob's app forgets it", async || {
        (w.bob.client.encryption().get_device(w.alice.me(), &id).await.ok()?.is_none()).then_some(())
    })
    .await?;
    w.ok("bob's app knows that it is gone");
    Ok(())
}

/// Takes the last request that came.
async fn incoming(app: &App, flow: &str) -> Result<VerificationRequest> {
    let (user, flow) = wait(&format!("{}: the verification request {flow}", app.name), async || {
        app.requests.lock().unwrap().iter().find(|r| r.1 == flow).cloned()
    })
    .await?;
    wait(&format!("{}: get_verification_request", app.name), async || {
        app.client.encryption().get_verification_request(&user, &flow).await
    })
    .await
}

fn emojis(s: &SasVerification) -> Option<String> {
    Some(s.emoji()?.iter().map(|e| e.description).collect::<Vec<_>>().join(" "))
}

/// A request of a device that the other app does not know yet would be dropped there.
async fn is_known(app: &App, new: &App) -> Result<()> {
    let id = new.client.device_id().context("no device ID")?;
    wait("the other app knows the new device", async || {
        app.client.encryption().get_device(new.me(), id).await.ok()?
    })
    .await?;
    Ok(())
}

async fn compare(asked: VerificationRequest, app: &App) -> Result<()> {
    let theirs = incoming(app, asked.flow_id()).await?;
    theirs.accept().await?;
    wait("the request is ready", async || asked.is_ready().then_some(())).await?;
    let a = asked.start_sas().await?.context("SAS was not started")?;
    let b = wait("SAS has begun", async || match theirs.state() {
        VerificationRequestState::Transitioned {
            verification: Verification::SasV1(sas),
        } => Some(sas),
        _ => None,
    })
    .await?;
    b.accept().await?;
    // Between two of this SDK in a room each answer waits for the encryption connection: up to 30 s (its PR 6753).
    let r = wait_for("emojis", 100, async || Some((emojis(&a)?, emojis(&b)?))).await;
    if r.is_err() {
        println!("    states: {:?} {:?}", a.state(), b.state());
    }
    let (ea, eb) = r?;
    ensure!(ea == eb, "other emojis: {ea}, {eb}");
    println!("    {ea}");
    a.confirm().await?;
    b.confirm().await?;
    wait_for("both are done", 100, async || {
        if a.is_cancelled() || b.is_cancelled() {
            println!("    cancelled: {:?} {:?}", a.cancel_info(), b.cancel_info());
        }
        (a.is_done() && b.is_done()).then_some(())
    })
    .await
}

/// Many devices in turn, each verified by emojis, each gets all secrets.
pub async fn many_devices(w: &mut World) -> Result<()> {
    for i in 0..3 {
        let app = App::new(
            &format!("alice-{i}"),
            &w.url,
            &w.dir.join(format!("many{i}")),
            Auth::Login(&w.user("alice")),
            &w.utds,
        )
        .await?;
        let e = app.client.encryption();
        let me = wait("own identity", async || e.get_user_identity(app.me()).await.ok()?).await?;
        is_known(&w.alice, &app).await?;
        compare(me.request_verification().await?, &w.alice).await?;
        wait("the secrets have come", async || {
            e.cross_signing_status().await.filter(|s| s.is_complete()).map(|_| ())
        })
        .await?;
        wait(&format!("the backup is on at {:?}", app.client.device_id()), async || {
            (e.backups().state() == BackupState::Enabled).then_some(())
        })
        .await?;
        app.client.logout().await?;
        app.close().await;
        w.ok(&format!("device {i} has got all secrets"));
    }
    Ok(())
}

pub async fn sas(w: &mut World) -> Result<()> {
    let dm = w.dm.clone();
    let three = App::new("alice3", &w.url, &w.dir.join("alice3"), Auth::Login(&w.user("alice")), &w.utds).await?;
    let e3 = three.client.encryption();
    let id = three.client.device_id().unwrap().to_owned();
    three.entry_in(&dm, matrix_sdk::RoomState::Joined).await?;
    let tl = three.open(&dm).await?;
    w.ok("alice has another new device, unverified");
    w.btl().tl.send(text("to the unverified device").into()).await?;
    tl.message("to the unverified device").await?;
    w.ok("bob's next message is read there");
    tl.tl.send(text("from the unverified device").into()).await?;
    w.btl().message("from the unverified device").await?;
    w.ok("bob reads what it sends");
    ensure!(e3.has_devices_to_verify_against().await?, "no devices to verify against");
    let me = wait("own identity", async || e3.get_user_identity(three.me()).await.ok()?).await?;
    is_known(&w.alice, &three).await?;
    let asked = me.request_verification().await?;
    compare(asked, &w.alice).await?;
    w.ok("alice's two devices are verified by emojis");
    wait("the new device is verified", async || {
        (e3.verification_state().get() == VerificationState::Verified).then_some(())
    })
    .await?;
    w.ok("the new device is verified");
    wait("the secrets have come", async || {
        e3.cross_signing_status().await.filter(|s| s.is_complete()).map(|_| ())
    })
    .await?;
    w.ok("it has got the cross-signing keys");
    let has_recovery = w.alice.client.encryption().recovery().state();
    wait("the backup is on", async || {
        (e3.backups().state() == BackupState::Enabled).then_some(())
    })
    .await?;
    w.ok(&format!(
        "it has got the key of the backup (recovery at alice: {has_recovery:?}, here: {:?})",
        e3.recovery().state()
    ));
    let mut n = 0;
    while !tl.tl.paginate_backwards(50).await? {
        n += 1;
        ensure!(n < 50, "no end");
    }
    tl.message("hello alice").await?;
    let mut tl = tl;
    if wait("all is decrypted", async || (tl.undecrypted() == 0).then_some(()))
        .await
        .is_err()
    {
        println!("    {} not decrypted; the room is opened again", tl.undecrypted());
        drop(tl);
        tl = three.open(&dm).await?;
        while !tl.tl.paginate_backwards(50).await? {}
        wait("all is decrypted", async || (tl.undecrypted() == 0).then_some(())).await?;
    }
    w.ok(&format!("and reads the old history: {} items", tl.events().len()));
    wait("bob's app knows that the device is signed", async || {
        w.bob
            .client
            .encryption()
            .get_device(w.alice.me(), &id)
            .await
            .ok()?
            .filter(|d| d.is_cross_signed_by_owner())
            .map(|_| ())
    })
    .await?;
    w.ok("bob's app knows that alice has signed it");

    let e = w.alice.client.encryption();
    let bob = wait("bob's identity", async || e.get_user_identity(w.bob.me()).await.ok()?).await?;
    ensure!(!bob.is_verified(), "bob is verified already");
    let asked = bob.request_verification().await?;
    compare(asked, &w.bob).await?;
    w.ok("alice and bob verify each other by emojis, in their DM");
    let eb = w.bob.client.encryption();
    wait("both are verified", async || {
        let b = e.get_user_identity(w.bob.me()).await.ok()??.is_verified();
        let a = eb.get_user_identity(w.alice.me()).await.ok()??.is_verified();
        (a && b).then_some(())
    })
    .await?;
    w.ok("each is verified at the other");
    wait("alice's new device knows it, too", async || {
        e3.get_user_identity(w.bob.me()).await.ok()?.filter(|i| i.is_verified()).map(|_| ())
    })
    .await?;
    w.ok("and on alice's new device");
    w.btl().tl.send(text("after the verification").into()).await?;
    tl.message("after the verification").await?;
    let m = w.atl().message("after the verification").await?;
    println!("    shield: {:?}", m.get_shield(true));
    w.bob_dm()?.discard_room_key().await?;
    w.btl().tl.send(text("with a new key after the verification").into()).await?;
    tl.message("with a new key after the verification").await?;
    let m = w.atl().message("with a new key after the verification").await?;
    println!("    shield with a new key: {:?}", m.get_shield(true));
    w.ok("messages go on");
    drop(tl);
    three.client.logout().await?;
    three.close().await;
    wait("bob's app forgets it", async || {
        (w.bob.client.encryption().get_device(w.alice.me(), &id).await.ok()?.is_none()).then_some(())
    })
    .await?;
    ensure!(
        !w.alice.client.devices().await?.devices.iter().any(|d| d.device_id == id),
        "the device is still listed"
    );
    w.ok("the new device logs out, and is gone for alice and bob");
    Ok(())
}
