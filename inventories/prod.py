"""Production: three proxies, each with a whole copy of the bindings; behind them a database, media and Asterisk.

`address` is where a host is reached by phones (proxies, media) and by the others.
"""

_ssh = {"ssh_user": "root"}

proxies = [
    ("sip1.example.net", {**_ssh, "address": "192.0.2.11"}),
    ("sip2.example.net", {**_ssh, "address": "192.0.2.12"}),
    ("sip3.example.net", {**_ssh, "address": "192.0.2.13"}),
]
databases = [("db1.example.net", {**_ssh, "address": "192.0.2.21"})]
media = [
    ("media1.example.net", {**_ssh, "address": "192.0.2.31"}),
    ("media2.example.net", {**_ssh, "address": "192.0.2.32"}),
]
pbx = [
    ("pbx1.example.net", {**_ssh, "address": "192.0.2.41"}),
    ("pbx2.example.net", {**_ssh, "address": "192.0.2.42"}),
]
