-- One row of the client's own thousand, by its primary key.
\set id :client_id * 1000 + random(1, 1000)
SELECT value FROM own_rows WHERE id = :id;
