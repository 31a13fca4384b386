-- Several proxies on one table of bindings. Each keeps all bindings in memory and tells the others (modules dmq and
-- dmq_usrloc); each would also write down what it was told. So a row is written only by the proxy whose REGISTER it
-- is, which says its server_id when it connects (setting vss.server_id; without one, as for a proxy that is alone,
-- everything is written).

-- A copy is not written: the row is there already, or will be.
CREATE OR REPLACE FUNCTION location_is_a_copy() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RETURN NULL;
END
$$;

CREATE OR REPLACE TRIGGER location_copy BEFORE INSERT OR UPDATE ON location FOR EACH ROW
    WHEN (NEW.server_id::text <> current_setting('vss.server_id', true))
    EXECUTE FUNCTION location_is_a_copy();

-- A number of a TCP connection means something only while its proxy runs, and nothing to another one: read again, it
-- would let that one take the phone for gone and remove its binding.
CREATE OR REPLACE FUNCTION location_without_connection() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.connection_id = -1;
    RETURN NEW;
END
$$;

CREATE OR REPLACE TRIGGER location_connection BEFORE INSERT OR UPDATE ON location FOR EACH ROW
    WHEN (NEW.connection_id <> -1)
    EXECUTE FUNCTION location_without_connection();

-- Bindings that were removed before their time. A proxy that was cut off from the others was not told, and would go on
-- calling a phone that has left: when it is back it looks here.
CREATE TABLE IF NOT EXISTS location_gone (
    ruid     varchar(64) PRIMARY KEY,
    username varchar(64) NOT NULL,
    gone     timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX IF NOT EXISTS location_gone_idx ON location_gone (gone);

-- Runs with the owner's rights: a proxy can read this table, and write it only by removing a binding. Kept for a day,
-- the longest that a binding may last (setting register_max_seconds).
CREATE OR REPLACE FUNCTION location_note_gone() RETURNS trigger LANGUAGE plpgsql
    SECURITY DEFINER SET search_path = public AS $$
BEGIN
    INSERT INTO location_gone (ruid, username) VALUES (OLD.ruid, OLD.username) ON CONFLICT (ruid) DO NOTHING;
    DELETE FROM location_gone WHERE gone < now() - interval '1 day';
    RETURN NULL;
END
$$;

-- Only what its own proxy removes is noted: one that was cut off takes bindings for expired that were refreshed elsewhere,
-- and must not take them from everybody.
CREATE OR REPLACE TRIGGER location_gone AFTER DELETE ON location FOR EACH ROW
    WHEN (OLD.expires > now() AT TIME ZONE 'UTC' AND OLD.server_id::text = current_setting('vss.server_id', true))
    EXECUTE FUNCTION location_note_gone();
