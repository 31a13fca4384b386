"""What `sipstack bans` makes of what a proxy prints."""

import json
import re

import pytest

from sipstack.bans import Ban, in_force

NOW = 1_790_000_000
SAID = f"""{{
	entry: 7
	size: 2
	slot: {{
		item: {{
			name: 198.51.100.200
			value: guesses:{NOW - 5}:{NOW + 3595}:4711
			type: str
		}}
		item: {{
			name: slot_6005@198.51.100.201
			value: guesses:{NOW - 10}:{NOW + 1}:12
			type: str
		}}
	}}
}}
{{
	entry: 9
	size: 1
	slot: {{
		item: {{
			name: 198.51.100.202
			value: flood:{NOW - 3600}:{NOW}:4711
			type: str
		}}
	}}
}}
now:{NOW}
"""
ADDRESS = Ban("198.51.100.200", "guesses", NOW - 5, NOW + 3595, 4711)
USER = Ban("slot_6005@198.51.100.201", "guesses", NOW - 10, NOW + 1, 12)


def as_json() -> str:
    """The same as JSON-RPC has it."""
    entries = re.findall(r"name: (\S+)\s+value: (\S+)", SAID)
    slots = [{"name": name, "value": value, "type": "str"} for name, value in entries]
    result = [{"entry": 7, "size": 2, "slot": slots[:2]}, {"entry": 9, "size": 1, "slot": slots[2:]}]
    return json.dumps({"jsonrpc": "2.0", "result": result, "id": 1}, separators=(",", ":")) + f"\nnow:{NOW}\n"


def test_bans_that_have_run_out_are_none() -> None:
    assert in_force(SAID) == {ADDRESS, USER}
    assert in_force(as_json()) == {ADDRESS, USER}
    assert in_force(f"now:{NOW}\n") == set()
    assert in_force("") == set()


@pytest.mark.parametrize(
    ("whom", "bans"),
    [
        ("all", [ADDRESS, USER]),
        ("198.51.100.200", [ADDRESS]),
        ("198.51.100.201", [USER]),
        ("slot_6005@198.51.100.201", [USER]),
        ("198.51.100.20", []),
        ("slot_6005", []),
    ],
)
def test_an_address_is_lifted_with_its_users(whom: str, bans: list[Ban]) -> None:
    assert [ban for ban in (ADDRESS, USER) if ban.concerns(whom)] == bans
