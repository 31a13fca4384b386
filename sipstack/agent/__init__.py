"""A small SIP phone of the standard library alone: proves a system (`selftest`), watches it, loads it.

The folder also runs by itself, as `python3 -m agent`, where nothing of this project is installed; so it imports
nothing from outside.
"""
