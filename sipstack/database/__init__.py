"""PostgreSQL as the proxies see it: schema, roles and rights, and the rows that a deploy owns."""
