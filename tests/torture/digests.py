"""Credentials that no phone writes, and some that phones do write and that look no better.

`{…}` is what a right answer to the challenge has in its place: RIGHT is the whole of it.
"""

RIGHT = 'Digest username="{user}", realm="{realm}", nonce="{nonce}", uri="{uri}", response="{response}", algorithm=MD5'
LONG = "x" * 4000

# Well-formed, if unusual: these register.
ODD = {
    "lower-case": RIGHT.replace("Digest", "digest"),
    "no space behind commas": RIGHT.replace(", ", ","),
    "spaces around commas": RIGHT.replace(", ", "  ,  "),
    "algorithm in quotes": RIGHT.replace("algorithm=MD5", 'algorithm="MD5"'),
    "no algorithm": RIGHT.replace(", algorithm=MD5", ""),
    "algorithm in lower case": RIGHT.replace("algorithm=MD5", "algorithm=md5"),
    "unknown parameter": RIGHT + ', novelty="1", other=2',
    "names in upper case": RIGHT.replace("username=", "USERNAME=").replace("nonce=", "Nonce="),
    "folded": RIGHT.replace(", ", ",\r\n "),
    "folded with a tab": RIGHT.replace(", ", ",\r\n\t"),
    "another order": "Digest "
    + 'response="{response}", uri="{uri}", nonce="{nonce}", realm="{realm}", username="{user}"',
    "a long parameter": RIGHT + f", {LONG}=1",
}

# What is broken: never 200, never an error of ours, never silence.
BROKEN = {
    "nothing": "",
    "a space": " ",
    "only a scheme": "Digest",
    "scheme and space": "Digest ",
    "no value": "Digest username",
    "no value behind =": "Digest username=",
    "a comma": "Digest ,",
    "commas": "Digest ,,,,,,,,",
    "an equals sign": "Digest =",
    "no scheme": RIGHT.removeprefix("Digest "),
    "Basic": "Basic c2xvdF82MDAxOnNlY3JldA==",
    # pragma: allowlist nextline secret
    "Bearer": "Bearer eyJhbGciOiJub25lIn0.e30.",
    "NTLM": 'NTLM realm="x", gssapi-data="AAAA"',
    "unknown scheme": "Digestive " + RIGHT.removeprefix("Digest "),
    "no username": RIGHT.replace('username="{user}", ', ""),
    "no realm": RIGHT.replace('realm="{realm}", ', ""),
    "no nonce": RIGHT.replace('nonce="{nonce}", ', ""),
    "no uri": RIGHT.replace('uri="{uri}", ', ""),
    "no response": RIGHT.replace('response="{response}", ', ""),
    "empty username": RIGHT.replace("{user}", ""),
    "empty realm": RIGHT.replace("{realm}", ""),
    "empty nonce": RIGHT.replace("{nonce}", ""),
    "empty uri": RIGHT.replace("{uri}", ""),
    "empty response": RIGHT.replace("{response}", ""),
    "another realm": RIGHT.replace("{realm}", "example.com"),
    "a nonce that is not ours": RIGHT.replace("{nonce}", "dcd98b7102dd2f0e8b11d0f600bfb0c093"),
    "a nonce that is no base64": RIGHT.replace("{nonce}", "%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%"),
    "half a nonce": RIGHT.replace("{nonce}", "aaaa"),
    "a nonce and more": RIGHT.replace("{nonce}", "{nonce}{nonce}"),
    "a long nonce": RIGHT.replace("{nonce}", LONG),
    "a long username": RIGHT.replace("{user}", LONG),
    "a long realm": RIGHT.replace("{realm}", LONG),
    "a long response": RIGHT.replace("{response}", LONG),
    "many parameters": RIGHT.replace("{response}", "0" * 32) + "".join(f", p{n}={n}" for n in range(500)),
    "a short response": RIGHT.replace("{response}", "0" * 31),
    "a response of 33": RIGHT.replace("{response}", "0" * 33),
    "a response that is no hex": RIGHT.replace("{response}", "z" * 32),
    "a quote that does not end": 'Digest username="{user}, realm={realm}, nonce={nonce}, response={response}',
    "escaped quotes": RIGHT.replace("{user}", '\\"\\"\\"'),
    "a backslash at the end": RIGHT.replace("algorithm=MD5", 'opaque="\\'),
    "SQL": RIGHT.replace("{user}", "' OR '1'='1' --"),
    "SQL with the user": RIGHT.replace("{user}", "{user}'; DROP TABLE subscriber; --"),
    "a wildcard": RIGHT.replace("{user}", "slot_%"),
    "a variable": RIGHT.replace("{user}", "$var(ha1)"),
    "UTF-8": RIGHT.replace("{user}", "sl\u00f6t_6001"),
    "somebody else": RIGHT.replace("{user}", "slot_6002"),
    "qop that was not asked for": RIGHT + ', qop=auth, nc=00000001, cnonce="0a4f113b"',
    "qop without nc": RIGHT + ', qop=auth, cnonce="0a4f113b"',
    "qop auth-int": RIGHT + ', qop=auth-int, nc=00000001, cnonce="0a4f113b"',
    "nc that is no number": RIGHT + ', qop=auth, nc=zzzzzzzz, cnonce="0a4f113b"',
    "response twice": RIGHT.replace("Digest ", f'Digest response="{"0" * 32}", ').replace("{response}", "1" * 32),
}

# Broken, with the right answer inside: who wrote that knows the password, so he may be let in, or not.
TOLERATED = {
    "a quote that ends twice": RIGHT.replace('"{user}"', '"{user}""'),
    "with a domain": RIGHT.replace("{user}", "{user}@example.com"),
    "an unknown algorithm": RIGHT.replace("MD5", "ROT13"),
    "SHA-256": RIGHT.replace("MD5", "SHA-256"),
    "MD5-sess": RIGHT.replace("MD5", "MD5-sess"),
    "username twice": RIGHT.replace("Digest ", 'Digest username="slot_6002", '),
}
