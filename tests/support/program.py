"""A program of Tulle that is told wrongly, and what it says before it ends."""

import sys

import anyio


async def told(module: str, **variables: object) -> str:
    """What `python -m module` says on standard error before it ends with 2, as it must with these settings."""
    env = {f"TULLE_{name.upper()}": str(value) for name, value in variables.items()}
    with anyio.fail_after(20):
        done = await anyio.run_process([sys.executable, "-m", module], env=env, check=False)
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"Traceback" not in done.stderr
    return done.stderr.decode()
