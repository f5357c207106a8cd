"""The command line: parses, calls, prints. Nothing else in the package prints.

Modules import only typer and the standard library at the top: `platform --help` must cost next to nothing.
"""
