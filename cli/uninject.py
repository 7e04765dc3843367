"""`tulle uninject`: where the command line looks for it."""

from cli.inject import uninject as uninject
