"""What `tulle check` looks at: groups of checks, each a question with a yes, a doubt or a no.

frame      checks, groups, findings, and how they are gone through
context    what a check may look at: the mesh directory, the bus
show       findings as a table, as JSON, in short
lives      how long certificates still live
directory  the mesh directory
bus        NATS, and what is retained on it
identity   who signs, and who shows what
"""

from cli.checks.bus import BUS
from cli.checks.directory import DIRECTORY
from cli.checks.frame import Group
from cli.checks.identity import IDENTITY

GROUPS: tuple[Group, ...] = (DIRECTORY, BUS, IDENTITY)
"""In this order: what comes later needs what comes before."""
