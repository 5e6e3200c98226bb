-- The row that was current at the instant, by its key.
\set id random(1, ROWS)
SELECT value FROM versioned FOR SYSTEM_TIME AS OF TIMESTAMPTZ 'INSTANT' WHERE id = :id;
