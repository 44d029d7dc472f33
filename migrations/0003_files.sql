-- What was uploaded to the site's storage, so that the same bytes need not be uploaded again while their link lives.
CREATE TABLE uploads (
    account TEXT NOT NULL, -- digest
    hash TEXT NOT NULL, -- SHA-256 of the content
    id TEXT NOT NULL, -- the site's id of the file
    owner TEXT NOT NULL, -- the site's id of the user
    url TEXT NOT NULL,
    expires_at INTEGER NOT NULL, -- end of the link, milliseconds since 1970
    PRIMARY KEY (account, hash)
) WITHOUT ROWID;

-- Files that a client uploaded to use later.
CREATE TABLE files (
    scope TEXT NOT NULL, -- digest of the API key and the account
    id TEXT NOT NULL, -- the site's id of the file
    owner TEXT NOT NULL,
    hash TEXT NOT NULL,
    name TEXT NOT NULL,
    size INTEGER NOT NULL, -- bytes
    kind TEXT NOT NULL,
    content_type TEXT NOT NULL,
    purpose TEXT NOT NULL,
    url TEXT NOT NULL,
    expires_at INTEGER NOT NULL, -- end of the link, milliseconds since 1970
    created_at INTEGER NOT NULL, -- milliseconds since 1970
    PRIMARY KEY (scope, id)
) WITHOUT ROWID;
