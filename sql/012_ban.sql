-- Who is not heard any more (routes/guard.cfg): an address, or a user at an address behind which there are other phones.
--
-- The proxies have it in memory and tell each other; this is what they read when they start. Written by the proxy that
-- bans, within seconds. proxy: its server_id.
CREATE TABLE IF NOT EXISTS ban (
    who    text        PRIMARY KEY,
    reason text        NOT NULL,
    since  timestamptz NOT NULL,
    until  timestamptz NOT NULL,
    proxy  integer     NOT NULL
);

-- In the columns that module htable reads: value_type 0 is a text, 1 a number.
CREATE OR REPLACE VIEW ban_loaded AS
SELECT who AS key_name, 0 AS key_type, 0 AS value_type,
       concat_ws(':', reason, extract(epoch FROM since)::integer, extract(epoch FROM until)::integer, proxy) AS key_value,
       extract(epoch FROM until)::integer AS expires
FROM ban WHERE until > now();

-- Addresses from which a phone of ours has registered: those that a forged datagram does not get banned. The value is when
-- that was last shown (routes/guard.cfg); 0: with its next registration it counts anew.
CREATE OR REPLACE VIEW known_loaded AS
SELECT address AS key_name, 0 AS key_type, 1 AS value_type,
       '0' AS key_value,
       extract(epoch FROM max(expires) AT TIME ZONE 'UTC')::integer AS expires
FROM (SELECT substring(coalesce(nullif(received, ''), contact) FROM '^sips?:(?:[^@]*@)?([0-9]+(?:[.][0-9]+){3})') AS address,
             expires
      FROM location) bound
WHERE address IS NOT NULL AND expires > now() AT TIME ZONE 'UTC'
GROUP BY address;
