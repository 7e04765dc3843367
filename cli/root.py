"""The commands, each imported only when it is called, and errors told in one line without a traceback."""

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NoReturn

import click

from cli.options import cluster_options, mesh_option
from common.errors import InvalidSettings, MeshError

# Name: the module in cli/ (its command is called like the name), and what `tulle --help` says of it.
COMMANDS = {
    "bus": "Listen to what the mesh says, and say who else may.",
    "check": "Look whether the mesh is as it should be.",
    "completion": "Print what makes a shell complete this command.",
    "demo": "Run a whole mesh on this machine.",
    "diagnostics": "Show what is published, and what a proxy has in force.",
    "edges": "Show who talks to whom, and whether they proved who they are.",
    "identity": "Show which certificate each workload has, and when it ends.",
    "inject": "Add the proxy to Kubernetes manifests.",
    "install": "Print the manifests of the control plane.",
    "stat": "Show success rate, requests per second and latency.",
    "token": "Issue a token with which a workload joins the mesh.",
    "trust": "Replace the trust anchor while everything runs.",
    "uninject": "Take the proxy out of Kubernetes manifests.",
    "uninstall": "Print what to delete to be rid of the control plane.",
    "version": "Show which Tulle this is, and which runs in the mesh.",
}
INTERRUPTED = 130


class Root(click.Group):
    """Knows its commands by name and help; tells errors in one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every command's name."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command; a missing package is told with how to get it."""
        if cmd_name not in COMMANDS:
            return None
        try:
            command = getattr(import_module(f"cli.{cmd_name}"), cmd_name)
        except ModuleNotFoundError as error:
            raise click.ClickException(
                f"{cmd_name}: needs {error.name}, which is not installed; "
                "expected the extras: pip install 'tulle[cli,control,embedded]'"
            ) from None
        if not isinstance(command, click.Command):
            raise TypeError(f"cli.{cmd_name}.{cmd_name} is no command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The commands with their help, none of them imported."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> NoReturn:
        """Run, and exit with the status that tells how it went."""
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="replace")
        sys.exit(self._status(list(sys.argv[1:] if args is None else args), prog_name or "tulle"))

    def _status(self, args: list[str], prog_name: str) -> int:
        try:
            result = super().main(args, prog_name, standalone_mode=False)
            sys.stdout.flush()
        except click.exceptions.NoArgsIsHelpError as error:
            error.show()
            return 2
        except click.UsageError as error:
            return _tell(_usage(error, prog_name), 2)
        except click.ClickException as error:
            return _tell(f"{prog_name}: {error.format_message()}", 1)
        except InvalidSettings as error:
            return _tell(f"{prog_name}: {error}", 2)
        except MeshError as error:
            return _tell(f"{prog_name}: {error}", 1)
        except (KeyboardInterrupt, click.Abort):
            return INTERRUPTED
        except BrokenPipeError:
            # Whoever read us has gone; Python would complain once more when it closes stdout.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            return _tell(f"{prog_name}: {where}{error.strerror or error}", 1)
        return result if isinstance(result, int) else 0


def _usage(error: click.UsageError, prog_name: str) -> str:
    path = error.ctx.command_path if error.ctx else prog_name
    message = error.format_message().rstrip(".")
    return f"{path}: {message}; see {path} --help"


def _tell(line: str, status: int) -> int:
    click.echo(" ".join(line.split()), err=True)
    return status


@click.group(
    cls=Root,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Each command explains itself: tulle COMMAND --help",
)
@mesh_option(envvar="TULLE_MESH")
@cluster_options
def tulle() -> None:
    """Ask the mesh how it is, and who talks to whom.

    Most commands need to know the mesh: --mesh DIR, or the variable TULLE_MESH, names a mesh directory as
    made by `python -m services.identity.bootstrap DIR`. Without either it is the mesh in the cluster that
    kubectl would mean; NATS is reached through kubectl port-forward.
    """
