"""The command line: one module a command, imported when the command is used, so that ``diag --help`` is quick."""

from __future__ import annotations

import gc
import os
import sys
from importlib import import_module

import click

from diag import __version__
from diag.errors import DiagError

COMMANDS = {
    "analyze": "Say what went wrong in training runs, why, and what to change.",
    "gate": "Say whether runs are as good as known-good ones and models remember what they knew.",
    "watch": "Follow a run that is being written, and tell what goes wrong.",
    "baseline": "Accept the findings that are there, so that only new ones count.",
    "lint": "Look at training configs before anything has run.",
    "fix": "Turn findings into changes: arguments, YAML, JSON, Python, a diff, or in place.",
    "convert": "Write a training config in another framework's words.",
    "plot": "Draw the curves of runs, with what was found, as PNG, SVG or PDF.",
    "replay": "Test a prescription by short trainings with and without it.",
    "lr-find": "Find a learning rate by training at rising ones.",
    "batch-find": "Find the micro-batch that fits into memory and pays.",
    "config": "Print the configuration that is in force, and where it comes from.",
    "checks": "List the checks, the findings of the gate and the lint rules.",
    "explain": "Print the page of a check, a finding of the gate or a lint rule.",
    "rules": "List what the published guides say.",
    "schema": "Print the JSON Schema of a report, or of the configuration.",
}
"""Command name to its one-line help; with an underscore for the hyphen it is also its module under ``diag.cli``."""

EXIT_USAGE = 2
EXIT_BUG = 4
EXIT_INTERRUPTED = 130


class LazyGroup(click.Group):
    """A group that knows its commands by name and imports one only to run it."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The command names, in reading order."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command."""
        if cmd_name not in COMMANDS:
            return None
        command = import_module(f"diag.cli.{cmd_name.replace('-', '_')}").command
        assert isinstance(command, click.Command)  # narrows the type; the module is ours
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or suggest the nearest name."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            from diag.text import nearest

            raise click.UsageError(f"no command {args[0]!r}{nearest(args[0], COMMANDS)}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="diag", message="%(prog)s %(version)s")
@click.option("--debug", is_flag=True, envvar="DIAG_DEBUG", help="Show the traceback of an error (also: DIAG_DEBUG=1).")
def cli(debug: bool) -> None:
    """Read training logs, say what went wrong and which hyperparameter to change to what.

    Start with: diag analyze RUN_FOLDER
    """


COLLECT_AFTER = 50_000
"""New objects after which garbage is collected. What a start imports lives to its end; looking through it finds nothing."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return the exit code; errors become one line on stderr.

    Args:
        arguments: the command line without the program name; ``sys.argv[1:]`` if None.
    """
    gc.set_threshold(COLLECT_AFTER)
    arguments = sys.argv[1:] if arguments is None else arguments
    if "--debug" in arguments:
        os.environ["DIAG_DEBUG"] = "1"  # worker processes inherit it
    debug = os.environ.get("DIAG_DEBUG", "") not in ("", "0")
    try:
        result = cli.main(arguments, prog_name="diag", standalone_mode=False)
        code = result if isinstance(result, int) else 0
        sys.stdout.flush()
    except click.exceptions.Exit as stop:
        code = stop.exit_code
    except getattr(click.exceptions, "NoArgsIsHelpError", ()) as error:  # click 8.2 and newer
        click.echo(error.format_message(), err=True)
        code = EXIT_USAGE
    except click.ClickException as error:
        _say(error.format_message(), getattr(error, "ctx", None))
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        _say("interrupted")
        code = EXIT_INTERRUPTED
    except (BrokenPipeError, SystemExit):  # click exits by itself where the reader of its help has left
        silence_stdout()
        code = 0
    except DiagError as error:
        if debug:
            raise
        _say(str(error))
        code = error.exit_code
    except (OSError, MemoryError, RecursionError) as error:
        if debug:
            raise
        _say(str(error) or type(error).__name__)
        code = EXIT_USAGE
    except Exception as error:
        if debug:
            raise
        _say(f"internal error: {type(error).__name__}: {error}; run again with --debug for the traceback")
        code = EXIT_BUG
    return code


def silence_stdout() -> None:
    """Send what is still to be written to nowhere: the reader of a pipe has left (``| head``)."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _say(message: str, context: click.Context | None = None) -> None:
    from diag.terminal import safe

    line = " ".join(safe(message).split())
    hint = f"\nTry: {context.command_path} --help" if context is not None else ""
    click.echo(f"diag: {line}{hint}", err=True)
