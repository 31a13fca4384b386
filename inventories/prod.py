"""Production: one host with every role. `address` is where phones reach it."""

databases = media = pbx = proxies = [("sip1.example.net", {"ssh_user": "root", "address": "192.0.2.10"})]
