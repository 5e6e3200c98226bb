-- One row of the client's own thousand, in the table that is scanned meanwhile.
\set id :client_id * 1000 + random(1, 1000)
UPDATE scanned SET value = value + 1 WHERE id = :id;
