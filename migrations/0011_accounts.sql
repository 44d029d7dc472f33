-- Which account a scope belongs to, so that an account's rows are found after its session has gone.
-- A scope without a row belongs to 'default'.
CREATE TABLE scopes (
    scope TEXT PRIMARY KEY NOT NULL, -- digest of the API key and the account
    account TEXT NOT NULL -- the account's name on this server
) WITHOUT ROWID;

ALTER TABLE responses ADD COLUMN scope TEXT NOT NULL DEFAULT ''; -- digest of the API key and the account; '' = of 'default'
ALTER TABLE drawings ADD COLUMN scope TEXT NOT NULL DEFAULT ''; -- digest of the API key and the account; '' = of 'default'
