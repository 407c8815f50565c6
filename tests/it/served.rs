//! The owner's page over real HTTP, and a person in front of it who has no browser.

use std::{net::SocketAddr, sync::Arc};

use haggle::{
    app::App,
    credential::CredentialDigest,
    page::{self, OwnerKey},
    transports::http::{self, Service},
};
use reqwest::header::{HeaderMap, LOCATION, SET_COOKIE};

/// The owner's key in tests.
pub(crate) const KEY: &str = "haggle_owner_4fZ2kq81Vw0cB7sLx93TnYdPEaRu6JmH";

fn key() -> OwnerKey {
    CredentialDigest::of(KEY).into()
}

fn free_port() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// A client that goes nowhere by itself.
pub(crate) fn browser() -> reqwest::Client {
    rustls::crypto::ring::default_provider().install_default().ok();
    reqwest::Client::builder()
        .tls_certs_only([])
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap()
}

/// An answer of the page.
#[derive(Debug)]
pub(crate) struct Shown {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Shown {
    /// Where a browser would go from here.
    pub(crate) fn leads_to(&self) -> &str {
        assert_eq!(self.status, 303, "{self:?}");
        self.headers[LOCATION].to_str().unwrap()
    }

    /// The first value of a hidden member of a form.
    pub(crate) fn hidden(&self, name: &str) -> String {
        let start = format!("name=\"{name}\" value=\"");
        let (_, rest) = self.text.split_once(&start).unwrap_or_else(|| panic!("no {name}"));
        rest.split_once('"').unwrap().0.to_owned()
    }

    /// Whether it says this.
    #[track_caller]
    pub(crate) fn says(&self, status: u16, words: &[&str]) {
        assert_eq!(self.status, status, "{}", self.text);
        for word in words {
            assert!(self.text.contains(word), "{word:?} is not in {}", self.text);
        }
    }
}

/// The page of an app, on a port of its own.
pub(crate) struct Served {
    pub(crate) base: String,
    http: reqwest::Client,
    /// What the browser would send, once somebody has signed in.
    pub(crate) cookie: Option<String>,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Served {
    /// Serves the page of `app`; nobody is signed in.
    pub(crate) async fn start(app: &Arc<App>) -> Self {
        let router = page::mounted(app.clone(), key());
        let listener = tokio::net::TcpListener::bind(free_port()).await.unwrap();
        let address = listener.local_addr().unwrap();
        Self::at(address, tokio::spawn(async move { axum::serve(listener, router).await.unwrap() }))
    }

    /// As [`Self::start`], within the whole HTTP server.
    pub(crate) async fn whole(app: &Arc<App>) -> Self {
        let beside = page::mounted(app.clone(), key());
        let service = Service { beside, ..http::service(app) };
        let listening = http::listen(free_port(), service, app.stopping().clone()).await.unwrap();
        Self::at(listening.address(), tokio::spawn(listening.serve()))
    }

    fn at(address: SocketAddr, server: tokio::task::JoinHandle<()>) -> Self {
        Self { base: format!("http://{address}"), http: browser(), cookie: None, server }
    }

    /// As [`Self::start`], with the owner signed in.
    pub(crate) async fn signed_in(app: &Arc<App>) -> Self {
        let mut served = Self::start(app).await;
        served.sign_in().await;
        served
    }

    /// Signs the owner in.
    pub(crate) async fn sign_in(&mut self) {
        let shown = self.post("/owner/sign-in", &[("key", KEY)]).await;
        assert_eq!(shown.leads_to(), "/owner");
        let cookie = shown.headers[SET_COOKIE].to_str().unwrap();
        self.cookie = Some(cookie.split_once(';').unwrap().0.to_owned());
    }

    /// A request with these headers beside the cookie.
    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<String>,
    ) -> Shown {
        let url = format!("{}{path}", self.base);
        let mut request = self.http.request(method.parse().unwrap(), url);
        if let Some(cookie) = &self.cookie {
            request = request.header("cookie", cookie);
        }
        if let Some(body) = body {
            let kind = ("content-type", "application/x-www-form-urlencoded");
            if !headers.iter().any(|(name, _)| *name == kind.0) {
                request = request.header(kind.0, kind.1);
            }
            request = request.body(body);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.send().await.unwrap();
        Shown {
            status: answer.status().as_u16(),
            headers: answer.headers().clone(),
            text: answer.text().await.unwrap(),
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Shown {
        self.send("GET", path, &[], None).await
    }

    pub(crate) async fn post(&self, path: &str, form: &[(&str, &str)]) -> Shown {
        self.send("POST", path, &[], Some(encoded(form))).await
    }

    /// What the session's forms carry.
    pub(crate) async fn token(&self) -> String {
        self.get("/owner").await.hidden("form_token")
    }

    /// Answers a purchase by the form that its page shows, with more members where there are any.
    pub(crate) async fn answer(&self, id: &str, answer: &str, more: &[(&str, &str)]) -> Shown {
        let page = self.get(&format!("/owner/purchases/{id}")).await;
        let (token, envelope) = (page.hidden("form_token"), page.hidden("envelope"));
        let mut form = vec![("form_token", &*token), ("envelope", &envelope), ("answer", answer)];
        form.extend(more);
        self.post(&format!("/owner/purchases/{id}/answer"), &form).await
    }
}

/// A form as a browser sends it.
pub(crate) fn encoded(form: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish()
}
