-- An upload is used again by the key that sent it alone: else it would tell another that somebody has these bytes.
-- What was kept by account is nobody's any more, and goes with its link within minutes.
ALTER TABLE uploads RENAME COLUMN account TO scope; -- digest of the API key and the account
