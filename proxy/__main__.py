"""`python -m proxy`: the sidecar; its settings are in the environment, see proxy/settings.py."""

from common.lifecycle import run
from proxy.app import main

if __name__ == "__main__":
    run(main)
