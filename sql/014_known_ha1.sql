-- Digest secrets as module htable reads them when a proxy starts: a slot is known to it before it has ever asked, also while
-- the database is away.
CREATE OR REPLACE VIEW known_ha1 AS
SELECT username AS key_name, 0 AS key_type, 0 AS value_type, ha1 AS key_value, 0 AS expires FROM subscriber;
