-- A binding that was removed before its time is gone for good. A proxy that had not heard of it may still know the
-- binding, and tell it to the very proxy that owned it when that one has restarted and asks; it would be written down
-- again. Each binding has a name of its own (ruid): a phone that registers anew makes another one.
CREATE OR REPLACE FUNCTION location_is_gone() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM location_gone WHERE ruid = NEW.ruid) THEN
        RETURN NULL;
    END IF;
    RETURN NEW;
END
$$;

-- For new rows only: a refresh, which is what nearly every REGISTER is, changes the row that is there.
CREATE OR REPLACE TRIGGER location_is_gone BEFORE INSERT ON location FOR EACH ROW
    EXECUTE FUNCTION location_is_gone();

-- What a proxy tells the others while it removes a binding may be quicker than itself: the row would be removed by one that
-- does not own it, and that is not noted (sql/009_fleet.sql). Nor may a proxy that was cut off remove what it takes for
-- expired. So a valid row of another proxy stays, unless it is noted that the phone has left.
CREATE OR REPLACE FUNCTION location_is_anothers() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM location_gone WHERE ruid = OLD.ruid) THEN
        RETURN OLD;
    END IF;
    RETURN NULL;
END
$$;

CREATE OR REPLACE TRIGGER location_is_anothers BEFORE DELETE ON location FOR EACH ROW
    WHEN (OLD.expires > now() AT TIME ZONE 'UTC' AND OLD.server_id::text <> current_setting('vss.server_id', true))
    EXECUTE FUNCTION location_is_anothers();
