"""`tulle uninstall`: where the command line looks for it."""

from cli.install import uninstall as uninstall
