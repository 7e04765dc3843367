"""Where `tulle` begins; it is fast because nothing is imported that the command does not need."""

import sys
from typing import NoReturn


def main() -> NoReturn:
    """Run the command line; exit status: 0 done, 1 it failed, 2 it was not told right."""
    try:
        from cli.root import tulle
    except ModuleNotFoundError as error:
        print(
            f"tulle: {error.name} is not installed; expected the extra 'cli': pip install 'tulle[cli]'",
            file=sys.stderr,
        )
        sys.exit(1)
    tulle(prog_name="tulle")
    sys.exit(0)


if __name__ == "__main__":
    main()
