"""README's settings table is the code's: the test prints what it should be."""

import runpy

from sipstack.paths import ROOT
from sipstack.settings import Settings

BEGIN, END = "<!-- settings -->\n", "<!-- /settings -->"


def settings_table() -> str:
    """Every setting with its default and its meaning."""
    defaults = runpy.run_path(str(ROOT / "group_data" / "all.py"))
    rows = [
        f"| `{name}` | {shown(defaults[name])} | {field.description} |" for name, field in Settings.model_fields.items()
    ]
    return "\n".join(["| setting | default | meaning |", "|---|---|---|", *rows, ""])


def shown(default: object) -> str:
    """A default as a cell of a table, in which a bar would begin the next one."""
    return "empty" if default == "" else f"`{default!r}`".replace("|", "\\|")


def test_the_settings_table_is_the_codes() -> None:
    readme = (ROOT / "README.md").read_text()
    assert readme.split(BEGIN)[1].split(END)[0] == settings_table(), f"README.md should have:\n{settings_table()}"


def test_every_setting_has_a_default_and_a_meaning() -> None:
    defaults = {name for name in runpy.run_path(str(ROOT / "group_data" / "all.py")) if not name.startswith("_")}
    assert defaults == set(Settings.model_fields)
    assert all(field.description for field in Settings.model_fields.values())
