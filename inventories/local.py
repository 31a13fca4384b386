"""This machine itself, with every role."""

databases = media = pbx = proxies = ["@local"]
