-- What PostgreSQL needs to answer AS OF: a trigger that keeps each superseded row with its period, under a range index.
CREATE EXTENSION btree_gist;
CREATE TABLE versioned (id int PRIMARY KEY, value int, name text, since timestamptz NOT NULL DEFAULT clock_timestamp());
CREATE TABLE versioned_history (id int, value int, name text, during tstzrange NOT NULL);
CREATE INDEX ON versioned_history USING gist (id, during);
CREATE FUNCTION keep_version() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.since := clock_timestamp();
    INSERT INTO versioned_history VALUES (OLD.id, OLD.value, OLD.name, tstzrange(OLD.since, NEW.since));
    RETURN NEW;
END $$;
CREATE TRIGGER keep_version BEFORE UPDATE ON versioned FOR EACH ROW EXECUTE FUNCTION keep_version();
