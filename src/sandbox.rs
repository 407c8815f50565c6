//! The sandbox: fake marketplaces and a fake chain on one loopback port.
//!
//! The real client, the tests and the demo talk to it over HTTP. It behaves as the protocol pages
//! say, checks every signature, keeps its own ledger of what was really charged, and breaks on
//! demand. It shares no wire type with the client. Its keys are worth nothing.

use std::{
    fmt, io,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
};

use axum::{Router, middleware, routing::get};
use serde::{Deserialize, Serialize};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

mod admin;
mod chain;
mod clock;
mod crochet;
mod croo;
mod faults;
mod front;
mod keys;
mod ledger;
mod line;
mod paegents;
mod store;
#[cfg(test)]
mod tests;
mod workers;
mod world;

pub use clock::TimeSource;
pub use store::StoreError;

use clock::Clock;
use keys::Seed;
use line::{Line, Loopback};
use store::Store;
use world::World;

/// How long things take that are asynchronous in real life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pace {
    /// 300 ms each; easy proof of work; no rate limits.
    #[default]
    Fast,
    /// As observed: 2 s to be mined, 8 s to settle; five zeros of work; rate limits.
    Real,
}

/// How to start a sandbox.
#[derive(Clone)]
pub struct Options {
    /// Where to listen; loopback only. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// What all keys and identifiers derive from. A store keeps the seed it began with.
    pub seed: u64,
    /// How long things take.
    pub pace: Pace,
    /// The file that keeps the world; none for a world in memory.
    pub store: Option<PathBuf>,
    /// The time, in milliseconds since 1970.
    pub now: TimeSource,
}

impl Options {
    /// A world in memory at fast pace, on a free port, with this time source.
    #[must_use]
    pub fn new(now: TimeSource) -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            seed: 0,
            pace: Pace::Fast,
            store: None,
            now,
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("listen", &self.listen)
            .field("seed", &self.seed)
            .field("pace", &self.pace)
            .field("store", &self.store)
            .finish_non_exhaustive()
    }
}

/// Why a sandbox did not start.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// It holds keys that everybody knows, so nobody else may reach it.
    #[error("the sandbox listens on loopback only, not on {0}")]
    NotLoopback(SocketAddr),
    /// The port is taken, or may not be used.
    #[error("the sandbox cannot listen on {address}")]
    Listen {
        /// Where it wanted to.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The file is no store of this version.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The HTTP client for sellers' endpoints could not be made.
    #[error("the sandbox cannot make its HTTP client")]
    Http(#[source] reqwest::Error),
}

/// What a client needs to know of a running sandbox: the line `haggle sandbox` prints.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Info {
    /// The base of the admin routes.
    pub admin_url: String,
    /// The chain.
    pub chain: ChainInfo,
    /// CROO.
    pub croo: CrooInfo,
    /// Crochet.
    pub crochet: CrochetInfo,
    /// Paegents.
    pub paegents: PaegentsInfo,
}

/// The chain of a running sandbox.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChainInfo {
    /// Its JSON-RPC endpoint.
    pub rpc_url: String,
    /// Its id.
    pub chain_id: u64,
    /// The USDC contract.
    pub usdc: String,
    /// Paegents' escrow contract.
    pub escrow: String,
    /// A wallet with 100 ether to pay gas from.
    pub gas_wallet: WalletInfo,
}

/// A wallet whose key is given away.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WalletInfo {
    /// Its address.
    pub wallet: String,
    /// Its key: `0x` and 64 hex digits.
    pub wallet_private_key: String,
}

/// CROO in a running sandbox.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CrooInfo {
    /// The base of its API, as its clients are configured: `/backend/v1` comes after it.
    pub api_url: String,
    /// Its event socket.
    pub ws_url: String,
    /// The chain's JSON-RPC endpoint.
    pub rpc_url: String,
    /// An agent with 1,000 USDC and one ether: the buyer's wallet of the other marketplaces.
    pub requester: CrooAgentInfo,
    /// The agent who owns the `manual` services.
    pub provider: CrooAgentInfo,
    /// What is on sale from the start.
    pub services: Vec<ItemInfo>,
}

/// An agent of CROO whose keys are given away.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CrooAgentInfo {
    /// Its identifier.
    pub agent_id: String,
    /// Its SDK key.
    pub sdk_key: String,
    /// Its wallet's address.
    pub wallet: String,
    /// Its wallet's key: `0x` and 64 hex digits.
    pub wallet_private_key: String,
}

/// Crochet in a running sandbox.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CrochetInfo {
    /// The base of its API.
    pub api_url: String,
    /// An agent with 1,000 USDC and one ether.
    pub buyer: AgentInfo,
    /// The agent who owns the `manual` listings.
    pub seller: AgentInfo,
    /// What is on sale from the start.
    pub listings: Vec<ItemInfo>,
}

/// Paegents in a running sandbox.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PaegentsInfo {
    /// The base of its API.
    pub api_url: String,
    /// The chain's JSON-RPC endpoint.
    pub rpc_url: String,
    /// An agent with 1,000 USDC and one ether: the buyer's wallet of the other marketplaces.
    pub buyer: AgentInfo,
    /// The agent who owns the `manual` services.
    pub seller: AgentInfo,
    /// The token of the person who owns `buyer`.
    pub owner_jwt: String,
    /// The secret that the deliveries of `buyer`'s first webhook are signed with.
    pub webhook_secret: String,
    /// What is on sale from the start.
    pub services: Vec<ItemInfo>,
}

/// A registered agent whose keys are given away.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AgentInfo {
    /// Its identifier.
    pub agent_id: String,
    /// Its API key.
    pub api_key: String,
    /// Its wallet's address.
    pub wallet: String,
    /// Its wallet's key: `0x` and 64 hex digits.
    pub wallet_private_key: String,
}

/// Something on sale.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ItemInfo {
    /// Its identifier.
    pub id: String,
    /// The agent who sells it.
    pub owner_id: String,
    /// Its name.
    pub name: String,
    /// Its price in dollars, as a decimal.
    pub price_usd: String,
    /// An input that works.
    pub input_example: serde_json::Value,
    /// How it behaves; the words of the contract.
    pub behaviour: String,
}

/// A running sandbox. Dropping it stops it.
#[derive(Debug)]
pub struct Sandbox {
    info: Info,
    #[cfg(test)]
    world: Arc<World>,
    stop: CancellationToken,
    server: Option<JoinHandle<()>>,
}

impl Sandbox {
    /// Starts a sandbox and waits until it listens.
    ///
    /// # Errors
    ///
    /// [`SandboxError::NotLoopback`] for an address that others could reach,
    /// [`SandboxError::Listen`] where the port cannot be had, [`SandboxError::Store`] where the
    /// file cannot be used, [`SandboxError::Http`] where TLS has no provider.
    pub async fn start(options: Options) -> Result<Self, SandboxError> {
        if !options.listen.ip().is_loopback() {
            return Err(SandboxError::NotLoopback(options.listen));
        }
        let address = options.listen;
        let listen = |source| SandboxError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(listen)?;
        let origin = format!("http://{}", listener.local_addr().map_err(listen)?);
        let world = Arc::new(open(&options, origin)?);
        let info = info(&world).map_err(StoreError::from)?;
        let stop = CancellationToken::new();
        let app = Router::new()
            .route("/chain", chain::rpc::route())
            .nest(croo::BASE, croo::router(&world))
            .nest(crochet::BASE, crochet::router(&world))
            .nest(paegents::BASE, paegents::router(&world))
            .nest(croo::storage::BASE, croo::storage::router())
            .route(croo::socket::PATH, get(croo::socket::open))
            .nest("/admin", admin::router())
            .layer(middleware::from_fn_with_state(Arc::clone(&world), front::pass))
            .with_state(Arc::clone(&world))
            .into_make_service_with_connect_info::<Line>();
        let serve = axum::serve(Loopback::new(listener, stop.clone()), app);
        let stopped = stop.clone();
        let server = tokio::spawn(async move {
            tokio::select! {
                _ = async { serve.await } => {}
                () = stopped.cancelled() => {}
            }
        });
        tokio::spawn(paegents::hooks::courier::work(Arc::clone(&world), stop.clone()));
        Ok(Self {
            info,
            #[cfg(test)]
            world,
            stop,
            server: Some(server),
        })
    }

    /// What a client needs to know.
    #[must_use]
    pub fn info(&self) -> Info {
        self.info.clone()
    }

    /// The base of the admin routes.
    #[must_use]
    pub fn admin_url(&self) -> &str {
        &self.info.admin_url
    }

    /// Stops listening, cuts what is connected, and waits until the port is free.
    pub async fn shutdown(mut self) {
        self.stop.cancel();
        if let Some(server) = self.server.take()
            && let Err(error) = server.await
        {
            tracing::error!(%error, "the sandbox's server ended badly");
        }
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Opens the world, and fills it if it is new.
fn open(options: &Options, origin: String) -> Result<World, SandboxError> {
    // The client for sellers' endpoints needs a provider, though it speaks plain HTTP only.
    // Somebody else may have installed it first.
    rustls::crypto::ring::default_provider().install_default().ok();
    let http = reqwest::Client::builder()
        .tls_certs_only([])
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .map_err(SandboxError::Http)?;
    let tables = [
        chain::TABLES,
        chain::escrow::TABLES,
        croo::TABLES,
        croo::events::TABLES,
        croo::objects::TABLES,
        crochet::TABLES,
    ];
    let tables: Vec<_> = tables.into_iter().chain(paegents::TABLES).collect();
    let store = Store::open(options.store.as_deref(), &tables)?;
    let kept = |key| store.transact(|db| store::meta(db, key)).map_err(StoreError::from);
    let seed = kept("seed")?.and_then(|text| text.parse().ok());
    let offset_ms = kept("offset_ms")?.and_then(|text| text.parse().ok()).unwrap_or(0);
    let world = World {
        clock: Clock::new(Arc::clone(&options.now), offset_ms),
        seed: Seed(seed.unwrap_or(options.seed)),
        pace: options.pace,
        store,
        origin,
        http,
        sockets: croo::socket::Sockets::default(),
        courier: paegents::hooks::courier::Courier::default(),
    };
    let now = world.clock.now_ms();
    world
        .store
        .transact(|db| {
            if seed.is_none() {
                store::set_meta(db, "seed", &options.seed.to_string())?;
                chain::found(db, &world, now)?;
                croo::found(db, &world, now)?;
                crochet::found(db, &world, now)?;
                paegents::found(db, &world, now)?;
            }
            crochet::relays::resume(db)?;
            paegents::metered::resume(db)
        })
        .map_err(StoreError::from)?;
    Ok(world)
}

fn info(world: &World) -> rusqlite::Result<Info> {
    world.transact(|db, _| {
        let gas = world.gas_wallet();
        Ok(Info {
            admin_url: format!("{}/admin", world.origin),
            chain: ChainInfo {
                rpc_url: format!("{}/chain", world.origin),
                chain_id: chain::CHAIN_ID,
                usdc: chain::USDC.to_string(),
                escrow: chain::ESCROW.to_string(),
                gas_wallet: WalletInfo {
                    wallet: gas.address.to_string(),
                    wallet_private_key: gas.private_key,
                },
            },
            croo: croo::info(db, world)?,
            crochet: crochet::info(db, world)?,
            paegents: paegents::info(db, world)?,
        })
    })
}
