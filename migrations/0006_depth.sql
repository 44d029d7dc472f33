-- How many answers lead to a turn, including its own: an answer alone identifies a conversation only if the client shows fewer.
ALTER TABLE turns ADD COLUMN depth INTEGER NOT NULL DEFAULT 0;
