"""Staging: the smallest fleet that has everything production has, two proxies among it."""

_ssh = {"ssh_user": "root"}

proxies = [
    ("sip1.staging.example.net", {**_ssh, "address": "192.0.2.111"}),
    ("sip2.staging.example.net", {**_ssh, "address": "192.0.2.112"}),
]
databases = [("db1.staging.example.net", {**_ssh, "address": "192.0.2.121"})]
media = [("media1.staging.example.net", {**_ssh, "address": "192.0.2.131"})]
pbx = [("pbx1.staging.example.net", {**_ssh, "address": "192.0.2.141"})]
