"""What ends on hosts, from `templates/`."""

from functools import cache

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from sipstack.paths import ROOT


def render(template: str, /, **values: object) -> str:
    """A template with its values; one that it asks for and does not get is a jinja2.UndefinedError."""
    return _environment().get_template(template).render(**values)


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(ROOT / "templates"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
