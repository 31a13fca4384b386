-- How often slots have called outside today (module htable; key_name is day:server_id:slot). Read whole at start: no index
-- but the key's, by which a proxy writes anew what it has counted.

CREATE TABLE IF NOT EXISTS outside_calls (
    key_name   text    PRIMARY KEY,
    key_type   integer NOT NULL DEFAULT 0,
    value_type integer NOT NULL DEFAULT 0,
    key_value  text    NOT NULL DEFAULT '',
    expires    integer NOT NULL DEFAULT 0
);
