"""Stands for Lightning in child processes, which know no more of their parent than its environment."""

from leyden.compat import become

become(__name__)
