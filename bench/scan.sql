-- Every row is read, one in seven is counted.
SELECT count(*), sum(value) FROM scanned WHERE value % 7 = 3;
