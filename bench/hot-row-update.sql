-- The same row for all.
UPDATE own_rows SET value = value + 1 WHERE id = 1;
