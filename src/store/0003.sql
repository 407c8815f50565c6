-- Calls that draw on an escrow which was approved and paid: no approval and no budget of their own.
CREATE TABLE draws (
  -- The nonce that went with it, which is its name in the marketplace's ledger.
  id           TEXT PRIMARY KEY,
  principal    TEXT NOT NULL,
  agreement_id TEXT NOT NULL,
  method       TEXT NOT NULL,
  path         TEXT NOT NULL,
  body_digest  TEXT NOT NULL,
  -- What was sent and what came, kept as long as either can be asked for again.
  body         BLOB,
  answer       BLOB,
  -- What the agreement had used before it.
  units_before INTEGER NOT NULL CHECK (units_before >= 0),
  -- What it drew, once that is known.
  units        INTEGER CHECK (units >= 0),
  state        TEXT NOT NULL,
  -- The HTTP status of the answer.
  status       INTEGER,
  at           INTEGER NOT NULL,
  -- When it was noticed that no answer would come.
  lost_at      INTEGER,
  ended_at     INTEGER
) STRICT;
-- The next one waits until the last is resolved.
CREATE UNIQUE INDEX draws_open ON draws (agreement_id) WHERE ended_at IS NULL;
CREATE INDEX draws_by_agreement ON draws (agreement_id, at);

-- What brings money home, or prepares it: a close, a claim, a withdrawal, an exact allowance.
CREATE TABLE actions (
  id            TEXT PRIMARY KEY,
  principal     TEXT NOT NULL,
  agreement_id  TEXT NOT NULL,
  action        TEXT NOT NULL,
  -- `sponsored`: signed, and sent by the platform; `own`: a transaction of the wallet.
  mode          TEXT NOT NULL,
  chain_id      INTEGER NOT NULL,
  account       TEXT NOT NULL,
  account_nonce INTEGER,
  -- What it is made from, but no signature.
  details       TEXT NOT NULL,
  state         TEXT NOT NULL,
  tx_hash       TEXT,
  failure       TEXT,
  at            INTEGER NOT NULL,
  updated_at    INTEGER NOT NULL,
  ended_at      INTEGER
) STRICT;
CREATE UNIQUE INDEX actions_open ON actions (agreement_id, action) WHERE ended_at IS NULL;

-- What only the owner may let happen, other than a payment: asked once, answered by their command,
-- used once.
CREATE TABLE asks (
  id          TEXT PRIMARY KEY,
  principal   TEXT NOT NULL,
  tool        TEXT NOT NULL,
  -- Of the tool, all its arguments and the description.
  digest      TEXT NOT NULL,
  -- What it would do, as the owner is told.
  described   TEXT NOT NULL,
  at          INTEGER NOT NULL,
  granted     INTEGER,
  -- Of the question, and once there is one, of the answer.
  expires_at  INTEGER NOT NULL,
  used_at     INTEGER
) STRICT;
CREATE INDEX asks_by_digest ON asks (principal, digest);

-- What genuine webhooks have told: the same event again is a repetition.
CREATE TABLE heard (
  event_id TEXT PRIMARY KEY,
  at       INTEGER NOT NULL
) STRICT;
CREATE INDEX heard_by_time ON heard (at);

-- Mandates that were asked for: under which key, and what came of it. A cart is paid only where its
-- total is known from here.
CREATE TABLE mandates (
  -- The key it was asked for under.
  key        TEXT PRIMARY KEY,
  principal  TEXT NOT NULL,
  -- `intent` or `cart`.
  kind       TEXT NOT NULL,
  -- Of what was asked for.
  digest     TEXT NOT NULL,
  -- The intent's maximum, or the cart's total.
  amount     INTEGER NOT NULL CHECK (amount > 0),
  -- The marketplace's name for it, once it was answered.
  id         TEXT,
  -- The intent that a cart belongs to.
  intent_id  TEXT,
  at         INTEGER NOT NULL
) STRICT;
CREATE INDEX mandates_by_digest ON mandates (principal, kind, digest, at);
CREATE INDEX mandates_by_id ON mandates (id);
