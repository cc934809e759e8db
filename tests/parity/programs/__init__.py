"""The corpus, by theme. Each is a plain Lightning program; importing a theme registers its programs."""

from importlib import import_module
from pathlib import Path

THEMES = sorted(path.stem for path in Path(__file__).parent.glob("[!_]*.py"))


def load() -> None:
    """Register every program."""
    for theme in THEMES:
        import_module(f"{__name__}.{theme}")
