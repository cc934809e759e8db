"""The corpus, by theme. Each is a plain Lightning program; importing a theme registers its programs."""

from importlib import import_module

THEMES = (
    *("callbacks", "checkpoints", "cli", "data", "distributed", "distributed_by_hand", "evaluation", "export", "flags"),
    *("loggers", "logging", "optimization", "surface", "training", "utilities"),
)


def load() -> None:
    """Register every program."""
    for theme in THEMES:
        import_module(f"{__name__}.{theme}")
