//! CROO's files: addresses, the storage behind them, its errors.

use serde_json::{Value, json};

use super::World;
use crate::sandbox::croo::objects;

/// What the storage answers.
#[derive(Debug)]
struct Stored {
    status: u16,
    content_type: String,
    length: Option<u64>,
    bytes: Vec<u8>,
}

impl Stored {
    /// The code of an error.
    fn refusal(&self) -> (u16, &str) {
        let text = std::str::from_utf8(&self.bytes).unwrap();
        let code = text.split_once("<Code>").and_then(|(_, rest)| rest.split_once("</Code>"));
        assert_eq!(self.content_type, "application/xml", "{self:?}");
        (self.status, code.unwrap_or_else(|| panic!("{text}")).0)
    }
}

impl World {
    async fn ask_objects(&self, path: &str, key: &str, body: Value) -> super::Reply {
        let url = format!("{}/backend/v1/objects/{path}", self.info.croo.api_url);
        self.send(self.http.post(url).header("X-SDK-Key", key).json(&body)).await.unwrap()
    }

    /// An upload address of the provider's, and the object's key.
    async fn upload_url(&self, name: &str, content_type: &str) -> (String, String) {
        let body = json!({ "file_name": name, "content_type": content_type });
        let reply = self.ask_objects("upload-url", &self.info.croo.provider.sdk_key, body).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        assert_eq!(reply.json["expiresIn"], "1800");
        let text = |name: &str| reply.json[name].as_str().unwrap().to_owned();
        (text("uploadUrl"), text("objectKey"))
    }

    async fn download_url(&self, object_key: &str) -> super::Reply {
        let key = &self.info.croo.requester.sdk_key;
        self.ask_objects("download-url", key, json!({ "object_key": object_key })).await
    }

    async fn stored(&self, request: reqwest::RequestBuilder) -> Stored {
        let response = request.send().await.unwrap();
        let content_type = response.headers().get("content-type");
        Stored {
            status: response.status().as_u16(),
            content_type: content_type.map_or("", |value| value.to_str().unwrap()).to_owned(),
            length: response.content_length(),
            bytes: response.bytes().await.unwrap().into(),
        }
    }

    async fn put(&self, url: &str, content_type: &str, bytes: Vec<u8>) -> Stored {
        self.stored(self.http.put(url).header("Content-Type", content_type).body(bytes)).await
    }

    async fn fetch(&self, url: &str) -> Stored {
        self.stored(self.http.get(url)).await
    }
}

#[tokio::test]
async fn a_file_goes_up_and_comes_down() {
    let world = World::start().await;
    let bytes: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    let (url, key) = world.upload_url("Größe 1.bin", "application/x-thing").await;
    assert!(key.starts_with("deliveries/") && key.ends_with("/Gr__e_1.bin"), "{key}");
    assert_eq!(world.download_url(&key).await.json["reason"], "OBJECT_NOT_FOUND", "not sent yet");
    assert_eq!(world.put(&url, "application/x-thing", b"first".to_vec()).await.status, 200);
    assert_eq!(world.put(&url, "application/x-thing", bytes.clone()).await.status, 200);

    let reply = world.download_url(&key).await;
    assert_eq!(reply.json["expiresIn"], 1_800);
    let fetched = world.fetch(reply.json["downloadUrl"].as_str().unwrap()).await;
    assert_eq!(fetched.status, 200);
    assert_eq!(fetched.content_type, "application/x-thing");
    assert_eq!(fetched.length, Some(100_000));
    assert_eq!(fetched.bytes, bytes, "the second upload, whole");

    // Recorded with its query, of a binary body the first 64 KiB.
    let all = world.admin("GET", "/requests", Value::Null).await.json;
    let of_storage: Vec<&Value> = all["entries"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|entry| entry["marketplace"] == "storage")
        .collect();
    assert_eq!(of_storage.len(), 3);
    assert_eq!(of_storage[1]["method"], "PUT");
    assert_eq!(of_storage[1]["path"], format!("/{key}"));
    assert!(of_storage[1]["query"].as_str().unwrap().starts_with("token="));
    assert_eq!(of_storage[1]["body"].as_str().unwrap().chars().count(), 65_536);
}

#[tokio::test]
async fn a_built_in_sellers_file_comes_down() {
    let world = World::start().await;
    let key = world
        .inside()
        .transact(|db, now| objects::put(db, now, world.provider(), "..", "text/csv", b"a,b\n"))
        .unwrap();
    assert!(key.ends_with("/file"), "{key}");
    let reply = world.download_url(&key).await;
    let fetched = world.fetch(reply.json["downloadUrl"].as_str().unwrap()).await;
    assert_eq!((fetched.status, &fetched.bytes[..]), (200, &b"a,b\n"[..]));
    assert_eq!(fetched.content_type, "text/csv");
}

#[tokio::test]
async fn addresses_end_after_half_an_hour() {
    let world = World::start().await;
    let (put, key) = world.upload_url("a.txt", "text/plain").await;
    world.pass(1_800_000);
    assert_eq!(world.put(&put, "text/plain", b"a".to_vec()).await.status, 200);
    let reply = world.download_url(&key).await;
    let get = reply.json["downloadUrl"].as_str().unwrap();
    world.pass(1);
    assert_eq!(world.put(&put, "text/plain", b"b".to_vec()).await.refusal(), (403, "AccessDenied"));
    assert_eq!(world.fetch(get).await.bytes, b"a", "what came too late was not kept");
    world.pass(1_800_000);
    assert_eq!(world.fetch(get).await.refusal(), (403, "AccessDenied"));
}

#[tokio::test]
async fn an_address_allows_one_thing_on_one_object() {
    let world = World::start().await;
    let (put, key) = world.upload_url("a.txt", "text/plain").await;
    let (_, other) = world.upload_url("a.txt", "text/plain").await;
    world.put(&put, "text/plain", b"a".to_vec()).await;
    let reply = world.download_url(&key).await;
    let get = reply.json["downloadUrl"].as_str().unwrap();
    let expires: i64 = get.split_once("expires=").unwrap().1.parse().unwrap();
    let denied = [
        world.fetch(&put).await,
        world.put(get, "text/plain", b"b".to_vec()).await,
        world.fetch(&get.replace(&key, &other)).await,
        world.fetch(&get.replace("token=", "token=0")).await,
        world.fetch(&get.replace(&expires.to_string(), &(expires + 1).to_string())).await,
        world.fetch(get.split_once('?').unwrap().0).await,
    ];
    for (row, refused) in denied.iter().enumerate() {
        assert_eq!(refused.refusal(), (403, "AccessDenied"), "{row}");
    }
    assert_eq!(world.fetch(get).await.bytes, b"a");
}

#[tokio::test]
async fn uploads_are_of_the_declared_type_and_not_too_large() {
    let world = World::start().await;
    let (url, key) = world.upload_url("a.json", "application/json").await;
    let wrong = world.put(&url, "text/plain", b"{}".to_vec()).await;
    assert_eq!(wrong.refusal(), (403, "SignatureDoesNotMatch"));
    let limit = 10 * 1024 * 1024;
    let large = world.put(&url, "application/json", vec![b' '; limit + 1]).await;
    assert_eq!(large.refusal(), (400, "EntityTooLarge"));
    assert_eq!(world.download_url(&key).await.status, 404);
    assert_eq!(world.put(&url, "application/json", vec![b' '; limit]).await.status, 200);
    assert_eq!(world.download_url(&key).await.status, 200);
}

#[tokio::test]
async fn addresses_are_for_agents_who_ask_well() {
    let world = World::start().await;
    let key = world.info.croo.provider.sdk_key.clone();
    let fine = json!({ "file_name": "a.png", "content_type": "image/png", "object_prefix": 2 });
    let reply = world.ask_objects("upload-url", &key, fine.clone()).await;
    assert!(reply.json["objectKey"].as_str().unwrap().starts_with("images/"));
    #[rustfmt::skip]
    let rows = [
        ("upload-url",   "wrong", fine,                                                      401, "SDK_KEY_INVALID"),
        ("download-url", "wrong", json!({ "object_key": "deliveries/a/b" }),                  401, "SDK_KEY_INVALID"),
        ("upload-url",   &key,    json!({ "file_name": "", "content_type": "text/plain" }),   400, "INVALID_PARAMETERS"),
        ("upload-url",   &key,    json!({ "file_name": "a", "content_type": "a\r\nb: c" }),   400, "INVALID_PARAMETERS"),
        ("upload-url",   &key,    json!({ "file_name": "a".repeat(256), "content_type": "a/b" }), 400, "INVALID_PARAMETERS"),
        ("upload-url",   &key,    json!({ "file_name": "a", "content_type": "a/b", "object_prefix": 3 }), 400, "INVALID_PARAMETERS"),
        ("upload-url",   &key,    json!({ "file_name": 7 }),                                  400, "CODEC"),
        ("download-url", &key,    json!({}),                                                  400, "INVALID_PARAMETERS"),
        ("download-url", &key,    json!({ "object_key": "deliveries/a/b" }),                  404, "OBJECT_NOT_FOUND"),
    ];
    for (path, key, body, status, reason) in rows {
        let reply = world.ask_objects(path, key, body.clone()).await;
        let told = (reply.status.as_u16(), reply.json["reason"].as_str().unwrap());
        assert_eq!(told, (status, reason), "{path} {body}");
    }
}

#[tokio::test]
async fn the_storage_meets_faults() {
    let world = World::start().await;
    let (url, key) = world.upload_url("a.txt", "text/plain").await;
    let fault = json!({ "marketplace": "storage", "method": "PUT", "action": { "status": 503 } });
    world.fault(fault).await;
    assert_eq!(world.put(&url, "text/plain", b"hello".to_vec()).await.status, 503);
    world.put(&url, "text/plain", b"hello".to_vec()).await;
    let reply = world.download_url(&key).await;
    let fault = json!({ "marketplace": "storage", "path": "/deliveries/*",
        "action": { "truncate": 2 } });
    world.fault(fault).await;
    let response = world.http.get(reply.json["downloadUrl"].as_str().unwrap()).send().await;
    assert!(response.unwrap().bytes().await.is_err());
}
