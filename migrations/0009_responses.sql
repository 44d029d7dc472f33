-- Responses that can be retrieved and continued (/v1/responses).
CREATE TABLE responses (
    key TEXT PRIMARY KEY NOT NULL, -- digest of the API key, the account and the response's id
    previous TEXT NOT NULL, -- the key of the response that it goes on from; '' = none
    conversation TEXT NOT NULL,
    chat_id TEXT NOT NULL, -- '' = no chat can go on from it
    response_id TEXT NOT NULL, -- the upstream message to continue from
    system TEXT NOT NULL, -- digest of the system text that the chat has
    tools TEXT NOT NULL, -- digest of the catalogue that the chat has; '' = none
    depth INTEGER NOT NULL,
    unseen INTEGER NOT NULL,
    created_at INTEGER NOT NULL, -- milliseconds since 1970
    body TEXT -- its input and the response itself as JSON, encrypted when SESSION_KEY is set; NULL = not kept
) WITHOUT ROWID;
