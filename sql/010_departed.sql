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
