"""`tulle completion`: what makes a shell complete `tulle` with the Tab key."""

import click

SHELLS = ("bash", "zsh", "fish")
_VARIABLE = "_TULLE_COMPLETE"
"""What the script sets to ask for completions; click looks for it by this name."""


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print a script with which SHELL completes commands and options of tulle.

    \b
    bash   source <(tulle completion bash)                      in ~/.bashrc; bash 4.4 or later
    zsh    source <(tulle completion zsh)                       in ~/.zshrc, after compinit
    fish   tulle completion fish > ~/.config/fish/completions/tulle.fish
    """
    from click.shell_completion import get_completion_class

    made = get_completion_class(shell)
    root = click.get_current_context().find_root().command
    if made is None:
        raise click.ClickException(f"{shell}: this version of click knows no such shell")
    # Not its source(), which runs bash to see how old it is.
    script = made(root, {}, "tulle", _VARIABLE)
    click.echo(script.source_template % script.source_vars())
