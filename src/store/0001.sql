-- Times are Unix seconds, amounts micro-units of USDC.
CREATE TABLE purchases (
  id              TEXT PRIMARY KEY,
  principal       TEXT NOT NULL,
  marketplace     TEXT NOT NULL,
  rail            TEXT NOT NULL,
  -- What makes two requests the same purchase.
  natural_key     TEXT NOT NULL,
  reference       TEXT,
  seller_id       TEXT NOT NULL,
  seller_name     TEXT NOT NULL,
  item_id         TEXT NOT NULL,
  item_name       TEXT NOT NULL,
  body            BLOB NOT NULL,
  body_digest     TEXT NOT NULL,
  idempotency_key TEXT NOT NULL,
  route           TEXT NOT NULL,
  origin          TEXT NOT NULL,
  asset           TEXT NOT NULL,
  chain_id        INTEGER NOT NULL,
  max_total       INTEGER NOT NULL CHECK (max_total >= 0),
  price           INTEGER NOT NULL CHECK (price >= 0),
  amount          INTEGER CHECK (amount >= 0),
  state           TEXT NOT NULL,
  delivery        TEXT NOT NULL,
  -- The instrument: everything the payment is made from, but no signature.
  instrument      TEXT,
  account         TEXT,
  account_nonce   INTEGER,
  answer          BLOB,
  answer_status   INTEGER,
  failure         TEXT,
  created_at      INTEGER NOT NULL,
  updated_at      INTEGER NOT NULL,
  reserved_at     INTEGER,
  finished_at     INTEGER
) STRICT;

-- At most one unfinished purchase a key and principal.
CREATE UNIQUE INDEX purchases_open ON purchases (principal, natural_key)
  WHERE finished_at IS NULL;
CREATE INDEX purchases_by_time ON purchases (created_at);
CREATE INDEX purchases_reserved ON purchases (reserved_at) WHERE reserved_at IS NOT NULL;
-- An account's nonce pays for one purchase.
CREATE UNIQUE INDEX purchases_nonce ON purchases (chain_id, account, account_nonce)
  WHERE account_nonce IS NOT NULL;

CREATE TABLE purchase_events (
  seq         INTEGER PRIMARY KEY AUTOINCREMENT,
  purchase_id TEXT NOT NULL REFERENCES purchases (id),
  at          INTEGER NOT NULL,
  state       TEXT NOT NULL,
  delivery    TEXT NOT NULL,
  note        TEXT NOT NULL
) STRICT;
CREATE INDEX purchase_events_of ON purchase_events (purchase_id);

CREATE TABLE approvals (
  purchase_id TEXT PRIMARY KEY REFERENCES purchases (id),
  -- What was approved; the answer holds for nothing else.
  envelope    TEXT NOT NULL,
  granted     INTEGER NOT NULL,
  granted_by  TEXT NOT NULL,
  at          INTEGER NOT NULL,
  expires_at  INTEGER NOT NULL,
  used_at     INTEGER
) STRICT;

-- A question that was put to the owner through the client; answered at most once.
CREATE TABLE questions (
  nonce       TEXT PRIMARY KEY,
  purchase_id TEXT NOT NULL,
  answered_at INTEGER
) STRICT;

CREATE TABLE grants (
  marketplace TEXT NOT NULL,
  seller_id   TEXT NOT NULL,
  up_to       INTEGER NOT NULL,
  since       INTEGER NOT NULL,
  expires_at  INTEGER NOT NULL,
  PRIMARY KEY (marketplace, seller_id)
) STRICT;

CREATE TABLE freezes (
  reason TEXT PRIMARY KEY,
  at     INTEGER NOT NULL
) STRICT;

-- The next nonce of each account that pays, as far as this store knows.
CREATE TABLE accounts (
  chain_id   INTEGER NOT NULL,
  address    TEXT NOT NULL,
  next_nonce INTEGER NOT NULL,
  PRIMARY KEY (chain_id, address)
) STRICT;

CREATE TABLE leases (
  name       TEXT PRIMARY KEY,
  holder     TEXT NOT NULL,
  expires_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE secrets (
  name    TEXT PRIMARY KEY,
  sealed  BLOB NOT NULL,
  at      INTEGER NOT NULL
) STRICT;

CREATE TABLE payees (
  name     TEXT PRIMARY KEY,
  address  TEXT NOT NULL,
  chain_id INTEGER NOT NULL
) STRICT;

CREATE TABLE inbox (
  seq       INTEGER PRIMARY KEY AUTOINCREMENT,
  principal TEXT NOT NULL,
  source    TEXT NOT NULL,
  dedup     TEXT NOT NULL,
  kind      TEXT NOT NULL,
  subject   TEXT NOT NULL,
  payload   TEXT NOT NULL,
  at        INTEGER NOT NULL,
  UNIQUE (source, dedup)
) STRICT;
