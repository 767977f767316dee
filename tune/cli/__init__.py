"""The command line: one module for each group of commands."""

from tune.cli.command_line import command_parser, main

__all__ = ["command_parser", "main"]
