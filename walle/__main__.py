"""``python -m walle``."""

from walle.cli.main import main

__all__: list[str] = []

raise SystemExit(main())
