-- Tools: which catalogue a chat was told of, and turns whose node in the chat is not to be continued.
-- 'call' is a new kind of key: a digest of what the ids of an answer's calls have in common.
ALTER TABLE turns ADD COLUMN tools TEXT NOT NULL DEFAULT ''; -- digest of the catalogue that the chat has; '' = none
ALTER TABLE turns ADD COLUMN unseen INTEGER NOT NULL DEFAULT 0; -- how many messages at the end of the history that node has not seen
ALTER TABLE conversations ADD COLUMN tools TEXT NOT NULL DEFAULT '';
ALTER TABLE conversations ADD COLUMN unseen INTEGER NOT NULL DEFAULT 0;
