-- Which upstream chat, and which answer in it, a history of messages belongs to. docs/conversations.md explains the keys.
-- No secondary index: each would be one more row written for every chat request.
CREATE TABLE turns (
    key TEXT PRIMARY KEY NOT NULL,
    kind TEXT NOT NULL, -- 'history': a digest of all messages so far; 'answer': a digest of the last answer alone
    conversation TEXT NOT NULL,
    chat_id TEXT, -- NULL: several chats gave this last answer, so it identifies none
    response_id TEXT NOT NULL, -- the upstream message to continue from
    system TEXT NOT NULL, -- digest of the system text then
    created_at INTEGER NOT NULL -- milliseconds since 1970
) WITHOUT ROWID;

CREATE TABLE conversations (
    scope TEXT NOT NULL, -- digest of the API key and the account
    id TEXT NOT NULL, -- the client's own id, or one of ours
    chat_id TEXT NOT NULL,
    head TEXT NOT NULL, -- the newest answer
    system TEXT NOT NULL,
    title TEXT NOT NULL,
    model TEXT NOT NULL,
    turns INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (scope, id)
) WITHOUT ROWID;
