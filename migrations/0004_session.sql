-- The session given at run time or renewed, of each configuration it began under. Shared by all isolates.
CREATE TABLE session (
    origin TEXT PRIMARY KEY, -- digest of the configured cookies
    version INTEGER NOT NULL, -- rises with each change of the credentials
    value TEXT NOT NULL, -- credentials, sealed with SESSION_KEY if there is one; empty: the configured ones
    standing TEXT NOT NULL, -- JSON: how the session fares; no secrets
    lease_until INTEGER NOT NULL, -- somebody is renewing the token until then, milliseconds since 1970
    updated_at INTEGER NOT NULL -- milliseconds since 1970
) WITHOUT ROWID;
