"""Files and addresses that somebody broke: nothing but a WalleError may come out. ``python -m tests.fuzz`` runs it."""
