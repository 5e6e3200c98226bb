-- The row that was current at the instant, by its key: still current, or in the history table.
\set id random(1, ROWS)
SELECT value FROM versioned WHERE id = :id AND since <= 'INSTANT' UNION ALL SELECT value FROM versioned_history WHERE id = :id AND during @> 'INSTANT'::timestamptz;
