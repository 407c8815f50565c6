//! The resources: two that stand still, one that may be watched, one made from a template.

use rmcp::{
    ErrorData,
    model::{
        CacheScope, ReadResourceResponse, ReadResourceResult, Resource, ResourceContents,
        ResourceTemplate,
    },
};
use serde_json::json;

use crate::answers::PNG;

const TEXT: &str = "test://static-text";
const BINARY: &str = "test://static-binary";
const WATCHED: &str = "test://watched-resource";
/// How long a client may keep what it has read, in milliseconds.
const TTL_MS: u64 = 60_000;

/// What `resources/list` sends.
pub(crate) fn list() -> Vec<Resource> {
    let resource = |uri: &str, name: &str, kind: &str, description: &str| {
        Resource::new(uri, name).with_mime_type(kind).with_description(description)
    };
    vec![
        resource(TEXT, "static-text", "text/plain", "A line of text."),
        resource(BINARY, "static-binary", "image/png", "A red pixel."),
        resource(WATCHED, "watched-resource", "text/plain", "A line that may be watched."),
    ]
}

/// What `resources/templates/list` sends.
pub(crate) fn templates() -> Vec<ResourceTemplate> {
    let template = ResourceTemplate::new("test://template/{id}/data", "template")
        .with_mime_type("application/json")
        .with_description("An object that holds its identifier.");
    vec![template]
}

/// What `resources/read` sends.
pub(crate) fn read(uri: &str) -> Result<ReadResourceResponse, ErrorData> {
    let contents = match (uri, template_id(uri)) {
        (TEXT, _) => text("This is the content of the static text resource.", uri),
        (WATCHED, _) => text("Watched resource content", uri),
        (BINARY, _) => ResourceContents::blob(PNG, uri).with_mime_type("image/png"),
        (_, Some(id)) => {
            let data = format!("Data for ID: {id}");
            let object = json!({ "id": id, "templateTest": true, "data": data });
            text(object.to_string(), uri).with_mime_type("application/json")
        }
        (_, None) => {
            let data = json!({ "uri": uri });
            return Err(ErrorData::resource_not_found("Resource not found", Some(data)));
        }
    };
    let result = ReadResourceResult::new(vec![contents]).with_ttl_ms(TTL_MS);
    Ok(result.with_cache_scope(CacheScope::Private).into())
}

fn text(text: impl Into<String>, uri: &str) -> ResourceContents {
    ResourceContents::text(text, uri).with_mime_type("text/plain")
}

/// The identifier in an address that fits the template.
fn template_id(uri: &str) -> Option<&str> {
    let id = uri.strip_prefix("test://template/")?.strip_suffix("/data")?;
    (!id.is_empty() && !id.contains('/')).then_some(id)
}
