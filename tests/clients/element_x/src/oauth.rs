//! Logging in as Element X does it: by OAuth 2.0, with a browser.
use crate::{
    World,
    app::{App, Auth, PASSWORD, wait},
    conversation::text,
};
use anyhow::{Context, Result, bail, ensure};
use matrix_sdk::{
    Client, RoomState,
    authentication::oauth::{
        ClientRegistrationData,
        registration::{ApplicationType, ClientMetadata, Localized, OAuthGrantType},
    },
    encryption::{CrossSigningResetAuthType, VerificationState},
    ruma::{api::client::uiaa, serde::Raw},
    utils::UrlOrQuery,
};
use reqwest::Url;
use std::collections::HashMap;

const REDIRECT: &str = "io.element.android:/callback";

/// A browser that knows forms, cookies and redirects.
struct Browser {
    http: reqwest::Client,
    cookies: HashMap<String, String>,
}

impl Browser {
    fn new() -> Result<Self> {
        let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build()?;
        Ok(Browser {
            http,
            cookies: HashMap::new(),
        })
    }

    /// The page, or where the browser is sent that is no page.
    async fn go(&mut self, mut url: Url, mut form: Option<Vec<(String, String)>>) -> Result<(Url, Option<String>)> {
        for _ in 0..10 {
            let mut request = match &form {
                None => self.http.get(url.clone()),
                Some(f) => {
                    let mut body = Url::parse("http://x/")?;
                    body.query_pairs_mut().extend_pairs(f);
                    self.http
                        .post(url.clone())
                        .header("Content-Type", "application/x-www-form-urlencoded")
                        .header("Origin", url.origin().ascii_serialization())
                        .body(body.query().unwrap_or_default().to_owned())
                }
            };
            let cookies: Vec<_> = self.cookies.iter().map(|(k, v)| format!("{k}={v}")).collect();
            if !cookies.is_empty() {
                request = request.header("Cookie", cookies.join("; "));
            }
            let response = request.send().await?;
            for c in response.headers().get_all("set-cookie") {
                if let Some((k, v)) = c.to_str()?.split(';').next().and_then(|c| c.split_once('=')) {
                    self.cookies.insert(k.to_owned(), v.to_owned());
                }
            }
            if response.status().is_redirection() {
                let to = url.join(response.headers().get("location").context("no location")?.to_str()?)?;
                if !to.scheme().starts_with("http") {
                    return Ok((to, None));
                }
                (url, form) = (to, None);
                continue;
            }
            ensure!(
                response.status().is_success(),
                "{url}: {} {}",
                response.status(),
                response.text().await?
            );
            return Ok((url, Some(response.text().await?)));
        }
        bail!("too many redirects")
    }

    /// Fills in the first form of the page.
    async fn submit(&mut self, (url, page): (Url, Option<String>), fields: &[(&str, &str)]) -> Result<(Url, Option<String>)> {
        let page = page.with_context(|| format!("no page but {url}"))?;
        let form = page
            .split("<form")
            .nth(1)
            .with_context(|| format!("no form: {page}"))?
            .split("</form>")
            .next()
            .unwrap_or_default();
        let attribute = |tag: &str, name: &str| Some(tag.split(&format!("{name}=\"")).nth(1)?.split('"').next()?.replace("&amp;", "&"));
        let mut all: Vec<(String, String)> = fields.iter().map(|(a, b)| (a.to_string(), b.to_string())).collect();
        for input in form.split("<input").skip(1).filter(|i| i.contains("type=\"hidden\"")) {
            all.push((
                attribute(input, "name").context("no name")?,
                attribute(input, "value").unwrap_or_default(),
            ));
        }
        let action = attribute(form.split('>').next().unwrap_or_default(), "action").unwrap_or_default();
        self.go(url.join(&action)?, Some(all)).await
    }
}

/// Lets the client in, as the user does it in the browser.
pub async fn log_in(client: &Client, user: &str) -> Result<()> {
    let mut metadata = ClientMetadata::new(
        ApplicationType::Native,
        vec![
            OAuthGrantType::AuthorizationCode {
                redirect_uris: vec![Url::parse(REDIRECT)?],
            },
            OAuthGrantType::DeviceCode,
        ],
        Localized::new(Url::parse("https://element.io/")?, []),
    );
    metadata.client_name = Some(Localized::new("Element X".to_owned(), []));
    metadata.logo_uri = Some(Localized::new(Url::parse("https://element.io/mobile-icon.png")?, []));
    metadata.policy_uri = Some(Localized::new(Url::parse("https://element.io/privacy")?, []));
    metadata.tos_uri = Some(Localized::new(Url::parse("https://element.io/acceptable-use-policy-terms")?, []));
    let data = ClientRegistrationData::new(Raw::new(&metadata)?);
    let begun = client.oauth().login(Url::parse(REDIRECT)?, None, Some(data), None).build().await?;
    let mut browser = Browser::new()?;
    let page = browser.go(begun.url, None).await?;
    let page = browser.submit(page, &[("user", user), ("password", PASSWORD)]).await?;
    let (to, page) = browser.submit(page, &[("decision", "allow")]).await?;
    ensure!(
        page.is_none() && to.as_str().starts_with("io.element.android:"),
        "sent to {to}, {page:?}"
    );
    client.oauth().finish_login(UrlOrQuery::Url(to)).await?;
    Ok(())
}

pub async fn oauth(w: &mut World) -> Result<()> {
    let dm = w.dm.clone();
    let dir = w.dir.join("oauth");
    let app = App::new("alice by OAuth", &w.url, &dir, Auth::OAuth(&w.user("alice")), &w.utds).await?;
    w.ok("alice logs in by OAuth 2.0: registration of the client, browser, consent, code, tokens");
    app.entry_in(&dm, RoomState::Joined).await?;
    let tl = app.open(&dm).await?;
    w.btl().tl.send(text("to the OAuth device").into()).await?;
    tl.message("to the OAuth device").await?;
    tl.tl.send(text("from the OAuth device").into()).await?;
    w.btl().message("from the OAuth device").await?;
    w.ok("messages go both ways");
    let before = app.client.access_token();
    app.client.refresh_access_token().await?;
    ensure!(app.client.access_token() != before, "the same token");
    w.btl().tl.send(text("after the refresh").into()).await?;
    tl.message("after the refresh").await?;
    tl.tl.send(text("refreshed").into()).await?;
    w.btl().message("refreshed").await?;
    println!("    its states: {:?}", app.states.lock().unwrap());
    w.ok("the tokens are refreshed while it syncs, it goes on");
    let session = app.client.oauth().full_session().context("no session")?;
    let id = app.client.device_id().context("no device")?.to_owned();
    drop(tl);
    app.close().await;
    let app = App::new("alice by OAuth again", &w.url, &dir, Auth::RestoreOAuth(session), &w.utds).await?;
    app.entry_in(&dm, RoomState::Joined).await?;
    let tl = app.open(&dm).await?;
    tl.message("refreshed").await?;
    w.ok("the app is closed and opened again");
    drop(tl);
    if !w.url.starts_with("https:") {
        app.client.matrix_auth().logout().await?;
        app.close().await;
        w.skip("logout by revocation: the SDK does that with https only");
        return Ok(());
    }
    app.client.logout().await?;
    app.close().await;
    wait("the device is gone", async || {
        let d = w.alice.client.devices().await.ok()?.devices;
        (!d.iter().any(|d| d.device_id == id)).then_some(())
    })
    .await?;
    w.ok("it logs out (revocation), and its device is gone");
    Ok(())
}

/// "Reset identity": by the password, and by the page of the account.
pub async fn reset_identity(w: &mut World) -> Result<()> {
    let dm = w.dm.clone();
    let by_password = App::new("alice5", &w.url, &w.dir.join("alice5"), Auth::Login(&w.user("alice")), &w.utds).await?;
    let e = by_password.client.encryption();
    by_password.entry_in(&dm, RoomState::Joined).await?;
    wait("own identity", async || e.get_user_identity(by_password.me()).await.ok()?).await?;
    // A keys/query that is under way when the keys are replaced has the SDK throw the new ones away.
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    let before = w
        .bob
        .client
        .encryption()
        .get_user_identity(w.alice.me())
        .await?
        .context("no identity")?
        .master_key()
        .get_first_key()
        .map(|k| k.to_base64());
    let handle = e.recovery().reset_identity().await?.context("no authentication was wanted")?;
    let CrossSigningResetAuthType::Uiaa(info) = handle.auth_type() else {
        bail!("by OAuth?")
    };
    let mut p = uiaa::Password::new(
        uiaa::UserIdentifier::Matrix(uiaa::MatrixUserIdentifier::new(by_password.me().to_string())),
        PASSWORD.to_owned(),
    );
    p.session = info.session.clone();
    handle.reset(Some(uiaa::AuthData::Password(p))).await?;
    wait("the device is verified by the new identity", async || {
        (e.verification_state().get() == VerificationState::Verified).then_some(())
    })
    .await?;
    wait("it has the keys", async || {
        e.cross_signing_status().await.filter(|s| s.is_complete()).map(|_| ())
    })
    .await?;
    w.ok("alice resets her identity on a new device, with her password");
    wait("bob's app has the new identity", async || {
        let k = w
            .bob
            .client
            .encryption()
            .get_user_identity(w.alice.me())
            .await
            .ok()??
            .master_key()
            .get_first_key()
            .map(|k| k.to_base64());
        (k != before).then_some(())
    })
    .await?;
    let i = w
        .bob
        .client
        .encryption()
        .get_user_identity(w.alice.me())
        .await?
        .context("no identity")?;
    println!(
        "    at bob: was verified {}, violation {}",
        i.was_previously_verified(),
        i.has_verification_violation()
    );
    if i.has_verification_violation() {
        i.withdraw_verification().await?;
    }
    wait("alice's first device is not verified any more", async || {
        (w.alice.client.encryption().verification_state().get() == VerificationState::Unverified).then_some(())
    })
    .await?;
    w.ok("bob's app has the new identity, and alice's first device is not verified any more");
    let key = e.recovery().enable().await?;
    w.alice.client.encryption().recovery().recover(&key).await?;
    wait("alice's first device is verified", async || {
        (w.alice.client.encryption().verification_state().get() == VerificationState::Verified).then_some(())
    })
    .await?;
    w.ok("recovery is set up anew, and her first device recovers");
    w.btl().tl.send(text("to your new self").into()).await?;
    w.atl().message("to your new self").await?;
    w.atl().tl.send(text("thank you").into()).await?;
    w.btl().message("thank you").await?;
    w.ok("messages go on");
    by_password.close().await;

    let app = App::new("alice6", &w.url, &w.dir.join("alice6"), Auth::OAuth(&w.user("alice")), &w.utds).await?;
    let e = app.client.encryption();
    app.entry_in(&dm, RoomState::Joined).await?;
    wait("own identity", async || e.get_user_identity(app.me()).await.ok()?).await?;
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    let handle = e.recovery().reset_identity().await?.context("no authentication was wanted")?;
    let CrossSigningResetAuthType::OAuth(info) = handle.auth_type() else {
        bail!("not by OAuth: {:?}", handle.auth_type())
    };
    println!("    {}", info.approval_url);
    let url = info.approval_url.clone();
    let mut browser = Browser::new()?;
    let page = browser.go(url, None).await?;
    let page = browser.submit(page, &[("user", &w.user("alice")), ("password", PASSWORD)]).await?;
    browser.submit(page, &[("password", PASSWORD)]).await?;
    handle.reset(None).await?;
    wait("the device is verified by the new identity", async || {
        (e.verification_state().get() == VerificationState::Verified).then_some(())
    })
    .await?;
    w.ok("alice resets her identity on a device that came by OAuth, on the page of her account");
    app.close().await;
    Ok(())
}
