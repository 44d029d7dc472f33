-- The session that was set or refreshed at run time, one row for each configuration. All isolates share it.
CREATE TABLE session (
    origin TEXT PRIMARY KEY, -- digest of the configured cookies
    version INTEGER NOT NULL, -- rises with each change of the credentials
    value TEXT NOT NULL, -- the credentials, encrypted if there is a SESSION_KEY; empty: the configured ones
    standing TEXT NOT NULL, -- the session's status as JSON, without secrets
    lease_until INTEGER NOT NULL, -- a process refreshes the token until then, milliseconds since 1970
    updated_at INTEGER NOT NULL -- milliseconds since 1970
) WITHOUT ROWID;
