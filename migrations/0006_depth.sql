-- How many answers lead to a turn, its own with it: an answer alone tells a conversation only where the client shows fewer.
ALTER TABLE turns ADD COLUMN depth INTEGER NOT NULL DEFAULT 0;
