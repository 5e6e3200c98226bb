\set first random(1, 9900)
\set last :first + 99
\set other random(1, 10000)
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT sum(value) FROM ranges WHERE id BETWEEN :first AND :last;
UPDATE ranges SET value = value + 1 WHERE id = :other;
END;
