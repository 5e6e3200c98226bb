-- One row, one transaction; keys at random over 9e15, so that they practically never meet.
\set id random(1, 9000000000000000)
INSERT INTO bench_insert (id, number, name) VALUES (:id, 42, 'a name of some thirty characters');
