//! CROO: whether it is there, whether it knows us, and where files go.

use super::{Finding, remote::ask};
use crate::{app::App, error::Error, marketplaces::croo::Croo};

/// What there is to say of CROO. The event stream is not tried: a key has one, and a server may hold
/// it.
pub(super) async fn findings(app: &App) -> Vec<Finding> {
    let unusable = |error: Error| {
        Finding::broken("croo", error.to_string(), "check CROO_API_URL and the sandbox")
    };
    let croo = match app.croo().await {
        Ok(croo) => croo,
        Err(error) => return vec![unusable(error)],
    };
    let host = croo.api.base.host_str().unwrap_or_default().to_owned();
    let store = ask(&croo.api, "croo.platform_stats", "/public/platform-stats", false).await;
    let reached = match store {
        Err(problem) => {
            let todo = "nothing can be ordered there now; check the network";
            return vec![Finding::broken("croo", format!("{host}: {problem}"), todo)];
        }
        Ok(answer) if answer.status.is_server_error() => {
            let text = format!("{host} answers HTTP {}", answer.status.as_u16());
            Finding::broken("croo", text, "it has trouble; try again later")
        }
        Ok(_) => Finding::good("croo", format!("{host} answers")),
    };
    vec![reached, agent(&croo).await, files(app)]
}

async fn agent(croo: &Croo) -> Finding {
    const OWN: &str = "/orders/negotiate?page=1&page_size=1&role=requester";
    if croo.api.key().is_none() {
        return Finding::note(
            "croo agent",
            "there is no key: services can be searched, not ordered",
            "make an agent in CROO's dashboard and set CROO_SDK_KEY",
        );
    }
    match ask(&croo.api, "croo.list_negotiations", OWN, true).await {
        Err(problem) => Finding::broken("croo agent", problem, "ask again"),
        Ok(answer) if answer.status.is_success() => {
            Finding::good("croo agent", "CROO accepts the key")
        }
        Ok(answer) if matches!(answer.status.as_u16(), 401 | 403) => Finding::broken(
            "croo agent",
            format!("CROO does not accept the key (HTTP {})", answer.status.as_u16()),
            "set the key that the dashboard shows as CROO_SDK_KEY",
        ),
        Ok(answer) => Finding::note(
            "croo agent",
            format!("unknown: CROO answers HTTP {}", answer.status.as_u16()),
            "ask again later",
        ),
    }
}

/// The folder that files are delivered from: whatever is in it, the agent may send.
fn files(app: &App) -> Finding {
    let folder = &app.settings().files_dir;
    let name = folder.display();
    match std::fs::metadata(folder) {
        Ok(found) if found.is_dir() => {
            Finding::good("files", format!("the agent reads and writes {name}, and nothing else"))
        }
        Ok(_) => Finding::broken(
            "files",
            format!("{name} is no folder"),
            "set files_dir or HAGGLE_FILES_DIR to one",
        ),
        Err(_) => Finding::good("files", format!("{name} is made when a file is needed")),
    }
}
