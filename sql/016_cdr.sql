-- Completes a CDR. Each value that a proxy keeps with a call costs it a statement (routes/accounting.cfg), so it keeps no
-- domain of ours; and a call that ran out before anybody answered it has no end.

-- Runs with the owner's rights: a proxy need not read subscribers' domains for it.
CREATE OR REPLACE FUNCTION cdr_completed() RETURNS trigger LANGUAGE plpgsql
    SECURITY DEFINER SET search_path = public AS $$
DECLARE
    own text;
BEGIN
    IF NEW.src_domain IS NULL OR NEW.src_domain = '' OR NEW.dst_domain IS NULL OR NEW.dst_domain = '' THEN
        SELECT domain INTO own FROM subscriber LIMIT 1;
        NEW.src_domain := coalesce(nullif(NEW.src_domain, ''), own);
        NEW.dst_domain := coalesce(nullif(NEW.dst_domain, ''), own);
    END IF;
    NEW.end_time := coalesce(NEW.end_time, NEW.start_time);
    NEW.duration := coalesce(NEW.duration, 0);
    RETURN NEW;
END
$$;

CREATE OR REPLACE TRIGGER cdr_completed BEFORE INSERT ON acc_cdrs FOR EACH ROW
    EXECUTE FUNCTION cdr_completed();
