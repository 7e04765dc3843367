"""`tulle version`: which Tulle this is."""

import click

from cli.options import output_option


@click.command()
@output_option("table", "json")
def version(form: str) -> None:
    """Show which Tulle this is, and on which Python it runs."""
    import platform
    from importlib import metadata

    try:
        own = metadata.version("tulle")
    except metadata.PackageNotFoundError:
        own = "unknown (not installed)"
    if form == "json":
        import json

        print(json.dumps({"version": own, "python": platform.python_version()}))
    else:
        print(f"tulle {own} (Python {platform.python_version()})")
