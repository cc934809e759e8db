"""Programs drawn at random, each from its number alone, so that one can be run again.

:mod:`~parity.drawn.draw` says what a program is made of, :mod:`~parity.drawn.agreed` takes out of it what the two
libraries do differently, :mod:`~parity.drawn.module` is its module and :mod:`~parity.drawn.play` runs it;
:mod:`~parity.drawn.interrupt` compares its whole run with resumed ones.
"""
