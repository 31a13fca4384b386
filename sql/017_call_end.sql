-- How a call has ended: who hung up, why where nobody did, and the RTP of each side (files/kamailio/etc/routes/ended.cfg).
--
-- ended_by is caller, called or proxy; end_reason says why the proxy ended it, or that the caller had not acknowledged the
-- answer. Packets are those that came from a side; lost is how many of these the other side missed, as it said by RTCP.
-- Null is what nobody knows: calls of a release before this one, and media of a call that its rtpengine has lost.

ALTER TABLE acc_cdrs
    ADD COLUMN IF NOT EXISTS ended_by text,
    ADD COLUMN IF NOT EXISTS end_reason text,
    ADD COLUMN IF NOT EXISTS packets_from_caller integer,
    ADD COLUMN IF NOT EXISTS packets_from_called integer,
    ADD COLUMN IF NOT EXISTS lost_from_caller integer,
    ADD COLUMN IF NOT EXISTS lost_from_called integer;

-- A proxy writes all six into one of the first two, with blanks between and a hyphen for what it does not know: into the first
-- one when a BYE has ended the call, into the other one when it has ended the call itself.
CREATE OR REPLACE FUNCTION call_end_split() RETURNS trigger LANGUAGE plpgsql
    SET search_path = public AS $$
DECLARE
    said text := coalesce(nullif(NEW.ended_by, ''), nullif(NEW.end_reason, ''));
    part text[] := string_to_array(said, ' ', '-');
BEGIN
    NEW.ended_by := part[1];
    NEW.end_reason := part[2];
    NEW.packets_from_caller := substring(part[3] FROM '^[0-9]{1,9}$')::integer;
    NEW.packets_from_called := substring(part[4] FROM '^[0-9]{1,9}$')::integer;
    NEW.lost_from_caller := substring(part[5] FROM '^[0-9]{1,9}$')::integer;
    NEW.lost_from_called := substring(part[6] FROM '^[0-9]{1,9}$')::integer;
    RETURN NEW;
END
$$;

CREATE OR REPLACE TRIGGER call_end_split BEFORE INSERT ON acc_cdrs FOR EACH ROW
    EXECUTE FUNCTION call_end_split();

-- Files of a release before this one have two values less.
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
    ELSIF field[1] = 'acc_cdrs' AND cardinality(field) IN (9, 11) THEN
        INSERT INTO acc_cdrs (start_time, end_time, duration, callid, src_user, src_domain, dst_user, dst_domain,
                              ended_by, end_reason)
        SELECT to_timestamp(field[2]::bigint) AT TIME ZONE 'UTC', to_timestamp(field[3]::bigint) AT TIME ZONE 'UTC',
               field[4]::real, field[5], field[6], field[7], field[8], field[9], field[10], field[11]
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

-- Calls as operators read them, the newest last. Of a Call-ID with several records, the longest: as its duration has it.
CREATE OR REPLACE VIEW calls AS
SELECT time, src_user, src_ip, dst_user, sip_code, sip_reason, duration, cdr.*, callid
  FROM accounting
  LEFT JOIN LATERAL (
       SELECT ended_by, end_reason, packets_from_caller, packets_from_called, lost_from_caller, lost_from_called
         FROM acc_cdrs
        WHERE acc_cdrs.callid = accounting.callid AND accounting.duration IS NOT NULL
        ORDER BY acc_cdrs.duration DESC LIMIT 1) cdr ON true
 WHERE event = 'call';
