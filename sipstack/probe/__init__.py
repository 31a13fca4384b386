"""A SIP client that proves a system: `options.options` asks, `phone.Phone` registers, calls and listens."""
