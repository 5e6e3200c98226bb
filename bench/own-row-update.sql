-- One row of the client's own thousand: no two clients ever want the same.
\set id :client_id * 1000 + random(1, 1000)
UPDATE own_rows SET value = value + 1 WHERE id = :id;
