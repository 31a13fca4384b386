-- Calls of slots in progress, as module htable reads them when a proxy starts (routes/limits.cfg): a slot may have only so many
-- at once, and those from before a restart count. key_name is that of the dialog, value_type 0 a text and 1 a number.
--
-- A proxy reads its own: `dialog` is the table that it finds first (sipstack/database/own_tables.py), whose rows stand in
-- public.dialog, too. A row whose time is over by a minute is of a call that the proxy no longer knows.
CREATE OR REPLACE VIEW calling_loaded AS
SELECT concat(hash_entry, ':', hash_id) AS key_name, 0 AS key_type, 0 AS value_type, dialog_value AS key_value,
       timeout + 60 AS expires
FROM public.dialog JOIN public.dialog_vars USING (hash_entry, hash_id)
WHERE dialog.tableoid = to_regclass('dialog') AND dialog_vars.tableoid = to_regclass('dialog_vars')
  AND dialog_key = 'src_user' AND dialog_value LIKE 'slot\_%'
  AND timeout + 60 > extract(epoch FROM now());

CREATE OR REPLACE VIEW at_once_loaded AS
SELECT key_value AS key_name, 0 AS key_type, 1 AS value_type, count(*)::text AS key_value, 0 AS expires
FROM calling_loaded GROUP BY calling_loaded.key_value;
