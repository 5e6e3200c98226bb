\set first random(1, 9900)
\set last :first + 9
\set other random(1, 10000)
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT sum(value) FROM ranges WHERE id BETWEEN :first AND :last;
DELETE FROM ranges WHERE id = :other;
INSERT INTO ranges VALUES (:other, :first, 'a name of some thirty characters');
END;
