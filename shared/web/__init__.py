"""What every HTTP function shares.

``app`` makes a function's app; ``problems`` answers errors; ``intake`` receives files; ``conditional``
knows tags and ranges; ``paging`` lists; ``idempotency`` repeats answers; ``language``, ``logs``,
``metrics`` and ``docs`` are what their names say.
"""
