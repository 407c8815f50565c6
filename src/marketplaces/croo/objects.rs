//! Files: the links that a storage takes and gives them by. Source: protocols/croo.md §7.
//!
//! A link is asked for with the key; what goes there is [`super::storage`]'s.

use std::fmt;

use reqwest::Method;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{id, text};
use crate::marketplaces::http::{Effect, Operation};

/// The longest key of an object, in bytes: what storages take.
const KEY_BYTES_MAX: usize = 1024;
/// How long a link to read from holds, in seconds: 30 minutes.
pub const LINK_SECONDS: i64 = 1_800;

/// The key of an object in CROO's storage, as a delivery names it: a path of plain characters. It
/// stands in a body alone, never in a path of ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(inline)]
pub struct ObjectKey(String);

impl ObjectKey {
    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Why a text is no key of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must have 1 to {KEY_BYTES_MAX} letters, digits and signs of a path")]
pub struct KeyError;

impl TryFrom<String> for ObjectKey {
    type Error = KeyError;

    fn try_from(key: String) -> Result<Self, KeyError> {
        let fits = |c: char| c.is_alphanumeric() || "-_./+=@:~()!,'&$*%".contains(c);
        let is_key = (1..=KEY_BYTES_MAX).contains(&key.len()) && key.chars().all(fits);
        if is_key { Ok(Self(key)) } else { Err(KeyError) }
    }
}

impl std::str::FromStr for ObjectKey {
    type Err = KeyError;

    fn from_str(key: &str) -> Result<Self, KeyError> {
        key.to_owned().try_into()
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Asks for a link to store a file by: `POST /objects/upload-url`. Until something is sent there,
/// it changes nothing that anybody sees.
#[derive(Debug, Serialize)]
pub struct GetUploadUrl<'a> {
    /// The file's name.
    pub file_name: &'a str,
    /// What it is; the same has to be said to the storage.
    pub content_type: &'a str,
}

impl Operation for GetUploadUrl<'_> {
    const NAME: &'static str = "croo.get_upload_url";
    const METHOD: Method = Method::POST;
    const EFFECT: Effect = Effect::Read;
    type Output = UploadUrl;

    fn path(&self) -> String {
        "/objects/upload-url".to_owned()
    }
}

/// A link to store a file by.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UploadUrl {
    /// The link. Who has it can store; it is neither logged nor shown.
    #[serde(default, deserialize_with = "text")]
    pub upload_url: String,
    /// What the file is known by from then on.
    #[serde(default, deserialize_with = "id")]
    pub object_key: Option<ObjectKey>,
}

impl fmt::Debug for UploadUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UploadUrl").field("object_key", &self.object_key).finish_non_exhaustive()
    }
}

/// Asks for a link to read a file from: `POST /objects/download-url`.
#[derive(Debug, Serialize)]
pub struct GetDownloadUrl<'a> {
    /// Which.
    pub object_key: &'a ObjectKey,
}

impl Operation for GetDownloadUrl<'_> {
    const NAME: &'static str = "croo.get_download_url";
    const METHOD: Method = Method::POST;
    const EFFECT: Effect = Effect::Read;
    type Output = DownloadUrl;

    fn path(&self) -> String {
        "/objects/download-url".to_owned()
    }
}

/// A link to read a file from.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DownloadUrl {
    /// The link. Who has it can read; it is not logged.
    #[serde(default, deserialize_with = "text")]
    pub download_url: String,
}

impl fmt::Debug for DownloadUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DownloadUrl").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_the_keys_of_storages() {
        let longest = "a".repeat(KEY_BYTES_MAX);
        let longer = "a".repeat(KEY_BYTES_MAX + 1);
        #[rustfmt::skip]
        let rows = [
            ("deliveries/7f0c/report.csv", true),  ("images/Übersicht_1.png", true),
            (longest.as_str(),             true),  (longer.as_str(),          false),
            ("",                           false), ("a b",                    false),
            ("a\nb",                       false), ("a\u{202e}b",             false),
            ("a?b",                        false), ("a#b",                    false),
            ("a\\b",                       false), ("<a>",                    false),
        ];
        for (key, accepted) in rows {
            assert_eq!(ObjectKey::try_from(key.to_owned()).is_ok(), accepted, "{key:?}");
        }
    }

    #[test]
    fn a_link_is_not_in_what_is_logged() {
        let upload: UploadUrl = serde_json::from_value(serde_json::json!({
            "uploadUrl": "https://s.example/k?token=hidden", "objectKey": "k", "expiresIn": "60",
        }))
        .unwrap();
        let download: DownloadUrl =
            serde_json::from_str(r#"{"downloadUrl":"https://s.example/k?token=hidden"}"#).unwrap();
        assert_eq!(upload.object_key.as_ref().map(ObjectKey::as_str), Some("k"));
        assert!(!format!("{upload:?} {download:?}").contains("hidden"));
    }
}
