-- Accounting that could not be written when it happened. A proxy keeps it in files and writes each line here when the
-- database is back (files/kamailio/bin/late-records): this puts it where it belongs, once.
--
-- A line is the table and the values in the order in which module acc has them, separated by `|` (module db_flatstore,
-- which writes a `|` within a value as %7C). Whether a question that was cut off has been answered nobody knows: what is
-- there already is not written again. What cannot be read stays here, where it can be seen.

CREATE TABLE IF NOT EXISTS late_record (
    line  text        NOT NULL,
    noted timestamptz NOT NULL DEFAULT now()
);

-- Runs with the owner's rights: a proxy can write records, and neither read nor change them.
CREATE OR REPLACE FUNCTION late_record_placed() RETURNS trigger LANGUAGE plpgsql
    SECURITY DEFINER SET search_path = public AS $$
DECLARE
    field text[] := string_to_array(replace(NEW.line, '%7C', chr(1)), '|');
BEGIN
    field := string_to_array(replace(array_to_string(field, chr(2)), chr(1), '|'), chr(2));
    IF field[1] IN ('acc', 'missed_calls') AND cardinality(field) = 13 THEN
        EXECUTE format(
            'INSERT INTO %1$I (method, from_tag, to_tag, callid, sip_code, sip_reason, time,'
            ' src_user, src_domain, dst_user, dst_domain, src_ip)'
            ' SELECT $1[2], $1[3], $1[4], $1[5], $1[6], $1[7], to_timestamp($1[8]::bigint) AT TIME ZONE ''UTC'','
            ' $1[9], $1[10], $1[11], $1[12], $1[13]'
            ' WHERE NOT EXISTS (SELECT FROM %1$I WHERE callid = $1[5] AND method = $1[2] AND from_tag = $1[3]'
            ' AND sip_code = $1[6] AND time = to_timestamp($1[8]::bigint) AT TIME ZONE ''UTC'')', field[1]
        ) USING field;
        RETURN NULL;
    ELSIF field[1] = 'acc_cdrs' AND cardinality(field) = 9 THEN
        INSERT INTO acc_cdrs (start_time, end_time, duration, callid, src_user, src_domain, dst_user, dst_domain)
        SELECT to_timestamp(field[2]::bigint) AT TIME ZONE 'UTC', to_timestamp(field[3]::bigint) AT TIME ZONE 'UTC',
               field[4]::real, field[5], field[6], field[7], field[8], field[9]
         WHERE NOT EXISTS (SELECT FROM acc_cdrs WHERE callid = field[5]
                              AND start_time = to_timestamp(field[2]::bigint) AT TIME ZONE 'UTC');
        RETURN NULL;
    END IF;
    RETURN NEW;
EXCEPTION
    WHEN data_exception THEN
        RETURN NEW;
END
$$;

CREATE OR REPLACE TRIGGER late_record_placed BEFORE INSERT ON late_record FOR EACH ROW
    EXECUTE FUNCTION late_record_placed();
