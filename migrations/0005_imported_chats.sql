-- Chats of the account that were begun elsewhere and that this server has read, so that clients can continue them.
-- They are never listed as this server's, and never deleted at the site.
CREATE TABLE imported_chats (
    chat_id TEXT PRIMARY KEY NOT NULL,
    updated_at INTEGER NOT NULL -- as the site reports it, in seconds; 0 while its turns are being read
) WITHOUT ROWID;
