"""Throw-away Debian hosts on one machine, and the outside world that calls them."""
