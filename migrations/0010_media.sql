-- Links to pictures and videos that the site made (/v1/media/{id}).
CREATE TABLE media (
    id TEXT PRIMARY KEY NOT NULL, -- 128 random bits
    account TEXT NOT NULL, -- digest of the account that made it
    scope TEXT NOT NULL, -- digest of the API key and the account
    conversation TEXT NOT NULL, -- the conversation whose life it has; '' = none
    chat_id TEXT NOT NULL,
    response_id TEXT NOT NULL, -- the upstream message that it is in; '' = not known
    link TEXT NOT NULL, -- the site's own link, encrypted when SESSION_KEY is set
    expires_at INTEGER NOT NULL -- milliseconds since 1970
) WITHOUT ROWID;

-- Requests for pictures that run or were answered a short while ago, so that none is asked for twice.
CREATE TABLE drawings (
    key TEXT PRIMARY KEY NOT NULL, -- digest of the API key, the account and the request
    attempt TEXT NOT NULL, -- changes each time that the request is begun anew
    holder TEXT NOT NULL, -- who works on it
    held_until INTEGER NOT NULL, -- when somebody else may go on with it
    state TEXT NOT NULL, -- 'running', 'done' or 'failed'
    body TEXT NOT NULL, -- chats and pictures as JSON, encrypted when SESSION_KEY is set
    updated_at INTEGER NOT NULL -- milliseconds since 1970
) WITHOUT ROWID;

-- Videos (/v1/videos).
CREATE TABLE videos (
    id TEXT PRIMARY KEY NOT NULL, -- 'video_' and 128 random bits
    scope TEXT NOT NULL, -- digest of the API key and the account
    account TEXT NOT NULL, -- digest of the account
    request TEXT NOT NULL, -- digest of the API key, the account and the request
    state TEXT NOT NULL, -- 'creating', 'running', 'completed', 'failed', or 'refused' (never begun, and not listed)
    held_until INTEGER NOT NULL, -- when somebody may begin it anew or ask for its state, in milliseconds since 1970
    body TEXT NOT NULL, -- the job as JSON, encrypted when SESSION_KEY is set
    created_at INTEGER NOT NULL, -- milliseconds since 1970
    ended_at INTEGER NOT NULL -- milliseconds since 1970; 0 while it is not over
) WITHOUT ROWID;
CREATE INDEX videos_by_scope ON videos (scope, created_at, id);
CREATE INDEX videos_by_request ON videos (request);
CREATE INDEX videos_by_state ON videos (account, state, held_until);
CREATE INDEX videos_by_end ON videos (ended_at);
