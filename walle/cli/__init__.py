"""The ``walle`` command: one file for each group of its subcommands."""
