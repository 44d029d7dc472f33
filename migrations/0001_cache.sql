-- Texts that outlive an isolate or a restart, such as the site's last good list of models.
CREATE TABLE cache (
    key TEXT PRIMARY KEY NOT NULL,
    value TEXT NOT NULL,
    updated_at INTEGER NOT NULL -- milliseconds since 1970
) WITHOUT ROWID;
