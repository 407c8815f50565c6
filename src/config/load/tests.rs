//! Where settings come from, and how the mode is decided.

use std::collections::HashMap;

use secrecy::ExposeSecret as _;

use super::*;
use crate::money::Usdc;

/// A home of its own, with this configuration file where there is one.
struct Home {
    folder: tempfile::TempDir,
}

impl Home {
    fn new(file: Option<&str>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        if let Some(text) = file {
            std::fs::create_dir_all(folder.path().join("config/haggle")).unwrap();
            std::fs::write(folder.path().join("config/haggle/config.toml"), text).unwrap();
        }
        Self { folder }
    }

    fn load(&self, flags: &Flags, env: &[(&str, &str)]) -> Result<Loaded, LoadError> {
        let homes = Homes {
            config: self.folder.path().join("config"),
            data: self.folder.path().join("data"),
        };
        let env: HashMap<String, String> =
            env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let read = |name: &str| env.get(name).cloned();
        load(flags, Environment::new(&read), &homes)
    }
}

fn origin_of(loaded: &Loaded, setting: &str) -> String {
    let entry = loaded.entries.iter().find(|entry| entry.setting == setting);
    entry.map_or_else(|| "none".to_owned(), |entry| entry.origin.to_string())
}

fn live_store(home: &Home, credential: bool) {
    let folder = home.folder.path().join("data/haggle");
    let store = crate::store::Store::at(folder.join("live.db"));
    store
        .with_blocking(|db| {
            if credential {
                crate::store::secrets::put(db, crate::access::secret_names::CROCHET_KEY, b"x", 0)?;
            }
            Ok(())
        })
        .unwrap();
}

#[test]
fn flags_count_more_than_the_environment_and_that_more_than_the_file() {
    let file = "data_dir = \"/file\"\nlog = \"info\"\nprofiles = [\"sell\"]\nread_only = true\n";
    let env = [("HAGGLE_DATA_DIR", "/env"), ("HAGGLE_LOG", "debug")];
    let flags = Flags {
        data_dir: Some("/flag".into()),
        log: Some(LevelFilter::TRACE),
        profiles: vec![Profile::Account],
        ..Flags::default()
    };
    #[rustfmt::skip]
    let rows = [
        // what it shows   file        environment  flags             data directory   level                  origin
        ("all three",      Some(file), &env[..],    flags.clone(),    "/flag",         LevelFilter::TRACE,    "flag --data-dir"),
        ("without flags",  Some(file), &env[..],    Flags::default(), "/env",          LevelFilter::DEBUG,    "environment HAGGLE_DATA_DIR"),
        ("the file alone", Some(file), &[],         Flags::default(), "/file",         LevelFilter::INFO,     "file"),
        ("an empty value", Some(file), &[("HAGGLE_DATA_DIR", " ")], Flags::default(), "/file", LevelFilter::INFO, "file"),
    ];
    for (row, file, env, flags, data_dir, level, origin) in rows {
        let loaded = Home::new(file).load(&flags, env).unwrap();
        assert_eq!(loaded.settings.data_dir, PathBuf::from(data_dir), "{row}");
        assert_eq!(loaded.log, level, "{row}");
        assert_eq!(origin_of(&loaded, "data_dir"), origin, "{row}");
        assert!(loaded.settings.read_only, "{row}");
    }
    let home = Home::new(None);
    let nothing = home.load(&Flags::default(), &[]).unwrap();
    assert_eq!(nothing.settings.data_dir, home.folder.path().join("data/haggle"));
    assert_eq!(nothing.log, LevelFilter::WARN);
    assert_eq!(nothing.settings.profiles, [Profile::Market, Profile::Buy]);
    assert!(!home.folder.path().join("data").exists(), "loading creates nothing");
    let sell = Home::new(Some(file)).load(&Flags::default(), &[]).unwrap();
    assert_eq!(sell.settings.profiles, [Profile::Market, Profile::Sell], "market is always on");
    let account = Home::new(Some(file)).load(&flags, &[]).unwrap();
    assert_eq!(account.settings.profiles, [Profile::Market, Profile::Account]);
}

/// The owner's profile is no client's. The server's own may be inherited without harm: it is left out.
#[test]
fn a_client_never_has_the_owner_s_profile() {
    let client = |profiles: &str| {
        format!("[clients.ann]\ntoken_sha256 = \"{}\"\n{profiles}\n", "ab".repeat(32))
    };
    let of_file = format!("profiles = [\"owner\"]\n{}", client(""));
    #[rustfmt::skip]
    let rows = [
        // what it shows           file                                        flags                  the client's
        ("inherited, by a flag",   client(""),                                 vec![Profile::Owner],  Some(vec![Profile::Market])),
        ("inherited, by the file", of_file,                                    vec![],                Some(vec![Profile::Market])),
        ("others, inherited",      client(""),                                 vec![Profile::Sell],   Some(vec![Profile::Market, Profile::Sell])),
        ("its own",                client("profiles = [\"sell\"]"),            vec![Profile::Owner],  Some(vec![Profile::Market, Profile::Sell])),
        ("the owner's, by name",   client("profiles = [\"market\", \"owner\"]"), vec![],               None),
    ];
    for (row, file, profiles, expected) in rows {
        let flags = Flags { profiles, ..Flags::default() };
        let loaded = Home::new(Some(&file)).load(&flags, &[]);
        match expected {
            Some(expected) => {
                assert_eq!(loaded.unwrap().settings.clients[0].profiles, expected, "{row}");
            }
            None => assert!(loaded.unwrap_err().to_string().contains("stdio alone"), "{row}"),
        }
    }
}

/// Each limit of the HTTP server is refused where nothing could be served by it, by its name.
#[test]
fn limits_of_the_http_server_have_bounds() {
    let most = tokio::sync::Semaphore::MAX_PERMITS as u64;
    #[rustfmt::skip]
    let rows = [
        ("body_bytes_max",          1, u64::MAX >> 1),
        ("connections_max",         1, most),
        ("sessions_max",            1, u64::MAX >> 1),
        ("session_idle_seconds",    1, u64::MAX >> 1),
        ("in_flight_max",           1, most),
        ("requests_per_minute_max", 1, u64::from(u32::MAX)),
    ];
    for (name, least, most) in rows {
        let load = |value: u64| {
            Home::new(Some(&format!("[http]\n{name} = {value}\n"))).load(&Flags::default(), &[])
        };
        for value in [least, most] {
            load(value).unwrap_or_else(|error| panic!("{name} = {value}: {error}"));
        }
        let refused = load(least - 1).unwrap_err().to_string();
        assert!(refused.contains(&format!("http.{name} ")), "{refused}");
        if most < u64::MAX >> 1 {
            let refused = load(most + 1).unwrap_err().to_string();
            assert!(refused.contains(name) || refused.contains("u32"), "{name}: {refused}");
        }
    }
}

#[test]
fn f17_the_owner_s_token_is_loaded_for_its_profile_alone() {
    let env = [("OWNER_JWT", "a.s3cret.jwt"), ("PAEGENTS_API_KEY", "sk_1")];
    let load = |profiles: &[Profile]| {
        let flags = Flags { live: true, profiles: profiles.to_vec(), ..Flags::default() };
        Home::new(None).load(&flags, &env)
    };
    for profile in Profile::ALL.iter().filter(|profile| **profile != Profile::Owner) {
        let loaded = load(&[*profile]).unwrap();
        assert!(loaded.settings.paegents.owner_jwt.is_none(), "{profile:?}");
        let token = Origin::Environment(Variable::OwnerJwt);
        assert!(loaded.entries.iter().all(|entry| entry.origin != token), "{profile:?}");
        let together = load(&[*profile, Profile::Owner]);
        assert_eq!(together.is_ok(), *profile == Profile::Market, "{profile:?}");
    }
    let own = load(&[Profile::Owner]).unwrap();
    assert!(own.settings.paegents.owner_jwt.is_some());
    // Nor do the tools that get an account come beside them, where there is none.
    assert_eq!(own.settings.profiles, [Profile::Market, Profile::Owner]);
}

#[test]
fn tools_that_get_an_account_are_there_where_there_is_none() {
    let (id, key) = (("PAEGENTS_AGENT_ID", "agt_1"), ("PAEGENTS_API_KEY", "sk_1"));
    let without = [Profile::Market, Profile::Buy];
    let with = [Profile::Market, Profile::Buy, Profile::Account];
    #[rustfmt::skip]
    let rows = [
        // what it shows         marketplace             environment       profiles
        ("no key",               Marketplace::Paegents,  &[][..],          &with[..]),
        ("a key of no agent",    Marketplace::Paegents,  &[key][..],       &with[..]),
        ("an agent and its key", Marketplace::Paegents,  &[id, key][..],   &without[..]),
        ("no key at Crochet",    Marketplace::Crochet,   &[id, key][..],   &with[..]),
        ("no key at CROO",       Marketplace::Croo,      &[][..],          &without[..]),
    ];
    for (row, marketplace, env, profiles) in rows {
        let flags = Flags { marketplaces: vec![marketplace], ..Flags::default() };
        let loaded = Home::new(None).load(&flags, env).unwrap();
        assert_eq!(loaded.settings.profiles, profiles, "{row}");
    }
}

#[test]
fn sandbox_or_live() {
    const URL: &str = "http://127.0.0.1:9/admin";
    let key = [("CROCHET_API_KEY", "am_k_1")];
    let url = [("HAGGLE_SANDBOX_URL", URL), ("CROCHET_API_KEY", "am_k_1")];
    let named = "marketplaces = [\"crochet\"]\n";
    let shared = Flags { sandbox: Some(SandboxFlag::Shared), ..Flags::default() };
    let at = Flags { sandbox: Some(SandboxFlag::At(URL.to_owned())), ..Flags::default() };
    let list = Flags { marketplaces: vec![Marketplace::Crochet], ..Flags::default() };
    let both = Flags { sandbox: Some(SandboxFlag::Shared), ..list.clone() };
    let keys = Flags { live: true, ..Flags::default() };
    let (none, default) = (&[][..], Flags::default());
    #[rustfmt::skip]
    let rows = [
        // what it shows                  flags     file         environment  store        mode
        ("nothing",                       &default, "",          none,        None,        "sandbox"),
        ("a list on the command line",    &list,    "",          none,        None,        "live"),
        ("a list in the file",            &default, named,       none,        None,        "live"),
        ("an empty list",                 &default, "marketplaces = []\n", none, None,     "sandbox"),
        ("a key in the environment",      &default, "",          &key[..],    None,        "live"),
        ("a store without a key",         &default, "",          none,        Some(false), "sandbox"),
        ("a key in the store",            &default, "",          none,        Some(true),  "live"),
        ("the sandbox, whatever else",    &both,    named,       &key[..],    Some(true),  "sandbox"),
        ("the sandbox by flag",           &shared,  "",          &key[..],    None,        "sandbox"),
        ("a sandbox by flag",             &at,      named,       none,        None,        "at"),
        ("a sandbox by the environment",  &list,    named,       &url[..],    Some(true),  "at"),
        ("the flag before the variable",  &shared,  "",          &url[..],    None,        "sandbox"),
        ("the keys command",              &keys,    "",          none,        None,        "live"),
        ("with the sandbox's variable",   &keys,    "",          &url[..],    None,        "live"),
    ];
    for (row, flags, file, env, store, expected) in rows {
        let home = Home::new((!file.is_empty()).then_some(file));
        if let Some(credential) = store {
            live_store(&home, credential);
        }
        let loaded = home.load(flags, env).unwrap();
        let shown = loaded.entries.iter().find(|entry| entry.setting == "mode").unwrap();
        assert!(shown.value.starts_with(loaded.settings.mode.name()), "{row}: {}", shown.value);
        let mode = loaded.settings.mode;
        let found = match &mode {
            Mode::Live => "live",
            Mode::Sandbox { url: None } => "sandbox",
            Mode::Sandbox { url: Some(url) } => {
                assert_eq!(url, URL, "{row}");
                "at"
            }
        };
        assert_eq!(found, expected, "{row}");
    }
}

#[test]
fn a_live_store_that_cannot_be_read_is_no_reason_to_use_the_sandbox() {
    let home = Home::new(None);
    let folder = home.folder.path().join("data/haggle");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("live.db"), "this is no database, whatever it is".repeat(99))
        .unwrap();
    // Nor is it one to leave out a marketplace whose account may be in it.
    for env in [vec![], vec![("CROO_SDK_KEY", "croo_sk_x")]] {
        let error = home.load(&Flags::default(), &env).unwrap_err();
        assert!(matches!(error, LoadError::Store { .. }), "{env:?}: {error}");
    }
    let shared = Flags { sandbox: Some(SandboxFlag::Shared), ..Flags::default() };
    assert!(home.load(&shared, &[]).is_ok(), "it is not looked at");
}

#[test]
fn the_shared_sandbox_gets_no_secret_and_no_address_of_the_owner() {
    let env = [
        ("CROCHET_API_KEY", "am_k_1"),
        ("CROCHET_SIGNING_SECRET", "s"),
        ("AGENT_PRIVATE_KEY", "00"),
        ("AGENT_WALLET_ADDRESS", "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"),
        ("HAGGLE_SOLANA_KEY", "x"),
    ];
    let shared = Flags { sandbox: Some(SandboxFlag::Shared), ..Flags::default() };
    let loaded = Home::new(None).load(&shared, &env).unwrap();
    let (crochet, wallet) = (&loaded.settings.crochet, &loaded.settings.wallet);
    assert!(crochet.api_key.is_none() && crochet.signing_secret.is_none());
    assert!(wallet.private_key.is_none() && wallet.solana_key.is_none());
    assert!(wallet.address.is_none() && wallet.keystore.is_none());
    // What is given together with a sandbox's URL is that sandbox's.
    let url = [("HAGGLE_SANDBOX_URL", "http://127.0.0.1:9")];
    let loaded = Home::new(None).load(&Flags::default(), &[&env[..], &url].concat()).unwrap();
    assert!(loaded.settings.crochet.api_key.is_some());
    assert!(loaded.settings.wallet.private_key.is_some());
}

#[test]
fn limits_of_the_file_stand_over_those_of_the_mode() {
    let usd = |text: &str| text.parse::<Usdc>().unwrap();
    let file = "[policy]\nday_max_usd = \"7.5\"\nother_assets = { SOL = \"0.1\" }\n";
    let live = Flags { marketplaces: vec![Marketplace::Crochet], ..Flags::default() };
    #[rustfmt::skip]
    let rows = [
        // what it shows  flags              purchase  first purchase asks
        ("the sandbox",   Flags::default(),  usd("5"),   false),
        ("live",          live,              usd("10"),  true),
    ];
    for (row, flags, purchase_max, first) in rows {
        let loaded = Home::new(Some(file)).load(&flags, &[]).unwrap();
        let policy = &loaded.settings.policy;
        assert_eq!(policy.day_max_usd, usd("7.5"), "{row}");
        assert_eq!(policy.other_assets.get("SOL").map(String::as_str), Some("0.1"), "{row}");
        assert_eq!(policy.purchase_max_usd, purchase_max, "{row}");
        assert_eq!(policy.first_purchase_asks, first, "{row}");
        assert_eq!(origin_of(&loaded, "policy.day_max_usd"), "file", "{row}");
        assert_eq!(origin_of(&loaded, "policy.purchase_max_usd"), "default", "{row}");
    }
}

#[test]
fn values_that_cannot_be_right_are_refused_and_not_shown() {
    #[rustfmt::skip]
    let rows = [
        // what it shows             variable                value                             setting
        ("another chain",            "HAGGLE_CHAIN_ID",      "1",                              "chain.chain_id"),
        ("no number",                "HAGGLE_CHAIN_ID",      "base",                           "chain.chain_id"),
        ("no level",                 "HAGGLE_LOG",           "5",                              "log"),
        ("a sandbox elsewhere",      "HAGGLE_SANDBOX_URL",   "https://sandbox.example/admin",  "sandbox"),
        ("an API in the clear",      "CROCHET_API_URL",      "http://crochet.example/api",     "crochet.api_url"),
        ("a node in the clear",      "BASE_RPC_URL",         "http://node.example/s3cret",     "chain.rpc_url"),
        ("no address",               "AGENT_WALLET_ADDRESS", "0x12",                           "wallet.address"),
        ("a key of two lines",       "CROCHET_API_KEY",      "am_k_s3cret\nx",                 "crochet.api_key"),
        ("neither yes nor no",       "HAGGLE_NO_KEYRING",    "maybe",                          "vault.no_keyring"),
    ];
    for (row, variable, value, setting) in rows {
        let live = Flags { live: true, ..Flags::default() };
        let flags = if setting == "sandbox" { Flags::default() } else { live };
        let error = Home::new(None).load(&flags, &[(variable, value)]).unwrap_err().to_string();
        assert!(error.contains(setting) && error.contains(variable), "{row}: {error}");
        assert!(!error.contains(value) && !error.contains("s3cret"), "{row}: {error}");
    }
    let missing = Home::new(None).load(&Flags::default(), &[("HAGGLE_CONFIG", "/none/x.toml")]);
    assert!(matches!(missing, Err(LoadError::ConfigMissing { .. })), "{missing:?}");
}

#[test]
fn a_key_may_be_given_with_its_scheme() {
    for given in ["am_k_1", "Bearer am_k_1", "bearer  am_k_1"] {
        let loaded = Home::new(None).load(&Flags::default(), &[("CROCHET_API_KEY", given)]);
        let key = loaded.unwrap().settings.crochet.api_key.unwrap();
        assert_eq!(key.expose_secret(), "Bearer am_k_1", "{given}");
    }
}

/// Every variable of the table is read, decides the setting that the table names, and is shown as
/// the table says.
#[test]
fn every_variable_of_the_table_is_read() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    for variable in Variable::ALL {
        let value = match variable {
            Variable::Config | Variable::Keystore | Variable::PassphraseFile => path,
            Variable::DataDir | Variable::FilesDir => "/data",
            Variable::CrooApiUrl => "https://croo.example",
            Variable::CrooWsUrl => "wss://croo.example/ws",
            Variable::Log => "debug",
            Variable::SandboxUrl => "http://127.0.0.1:9/admin",
            Variable::CrochetApiUrl => "https://crochet.example/api",
            Variable::PaegentsApiUrl => "https://paegents.example",
            Variable::PaegentsAgentId => "agt_1",
            Variable::BaseRpcUrl => "https://node.example/s3cret",
            Variable::ChainId => "84532",
            Variable::AgentWalletAddress => "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266",
            Variable::NoKeyring => "1",
            Variable::CrooSdkKey
            | Variable::CrochetApiKey
            | Variable::CrochetSigningSecret
            | Variable::PaegentsApiKey
            | Variable::PaegentsWebhookSecret
            | Variable::OwnerJwt
            | Variable::AgentPrivateKey
            | Variable::SolanaKey => "s3cret",
        };
        let profiles = vec![Profile::Owner];
        let live = *variable != Variable::SandboxUrl;
        let flags = Flags { profiles, live, ..Flags::default() };
        let loaded = Home::new(None).load(&flags, &[(variable.name(), value)]).unwrap();
        let entry = loaded.entries.iter().find(|entry| entry.setting == variable.setting());
        let entry = entry.unwrap_or_else(|| panic!("{} is not read", variable.name()));
        assert_eq!(entry.origin, Origin::Environment(*variable), "{}", variable.name());
        assert_eq!(entry.value == MASK, variable.shown() == Shown::Masked, "{}", variable.name());
        let all = format!("{loaded:?}");
        assert!(!loaded.entries.iter().any(|e| e.value.contains("s3cret")), "{all}");
    }
}
