"""What other rules would have made of recorded runs: asked in a process of its own (`python -m loom.transports.whatif`).

wire.py      what is said to that process and what it answers
rules.py     the file of rules, read and checked
walking.py   the runs, walked under other rules
__main__.py  the process: confined, no file, no connection, no time without end
asking.py    the side of the surface: starts it, feeds it recorded runs, gathers its answers
"""
