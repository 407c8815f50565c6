//! How Paegents answers when a fault strikes.

use axum::{
    Json,
    http::{Method, StatusCode},
    response::{IntoResponse, Response},
};
use serde_json::json;

use crate::sandbox::paegents::answers::ApiError;

/// The names under which answers give the addresses that money goes to, or that may take it.
pub(crate) const PAYEES: [&str; 7] = [
    "spender",
    "seller",
    "seller_wallet_address",
    "gas_wallet_address",
    "escrow_contract_address",
    "destination_wallet",
    "to",
];

/// The 202 of the fault `pending`, where the call is one that can move money; nothing is done.
pub(crate) fn pending(method: &Method, path: &str) -> Option<Response> {
    let is_metered = path.starts_with("/metered-proxy/")
        && !(*method == Method::GET && path.ends_with("/status"));
    let is_money = *method == Method::POST && moves_money(path);
    (is_metered || is_money).then(|| {
        let body = json!({ "status": "processing", "detail": "The request is being processed" });
        (StatusCode::ACCEPTED, Json(body)).into_response()
    })
}

fn moves_money(path: &str) -> bool {
    ["/ap2/pay", "/a2a/pay", "/a2a/payment", "/mcp/payments", "/usage-agreements/"].contains(&path)
        || path.starts_with("/usage-agreements/")
            && (path.ends_with("/activate-escrow") || path.contains("/sponsored-actions/"))
}

/// The 502 of the fault `charge_then_fail`: everything was done, but the answer is lost.
pub(crate) fn failed() -> Response {
    ApiError::new(StatusCode::BAD_GATEWAY, "Bad Gateway").into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaves_only_money_pending() {
        #[rustfmt::skip]
        let rows = [
            (Method::POST, "/ap2/pay",                                          true),
            (Method::POST, "/a2a/pay",                                          true),
            (Method::POST, "/a2a/status",                                       false),
            (Method::POST, "/a2a/payment",                                      true),
            (Method::POST, "/mcp/payments",                                     true),
            (Method::POST, "/usage-agreements/",                                true),
            (Method::GET,  "/usage-agreements/agr_1",                           false),
            (Method::POST, "/usage-agreements/agr_1/cancel",                    false),
            (Method::POST, "/usage-agreements/agr_1/activate-escrow",           true),
            (Method::POST, "/usage-agreements/agr_1/sponsored-actions/x",       true),
            (Method::GET,  "/metered-proxy/agr_1/status",                       false),
            (Method::GET,  "/metered-proxy/agr_1/units",                        true),
            (Method::POST, "/metered-proxy/agr_1/sha256",                       true),
        ];
        for (method, path, expected) in rows {
            assert_eq!(pending(&method, path).is_some(), expected, "{method} {path}");
        }
    }
}
