"""The command line: `cli`, and a module for each command: `add_parser(subparsers)` and `run(args) -> int`.

May import all else of `webhook` and `common`, what is heavy inside `run`.
"""
