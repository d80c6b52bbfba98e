"""``python -m walle.cli``."""

from walle.cli.main import main

__all__: list[str] = []

raise SystemExit(main())
