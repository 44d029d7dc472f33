-- Only the key that uploaded bytes reuses the upload: otherwise another key would learn that somebody has these bytes.
-- Rows by account belong to no scope any more, and expire with their links within minutes.
ALTER TABLE uploads RENAME COLUMN account TO scope; -- digest of the API key and the account
