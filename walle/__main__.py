"""``python -m walle``."""

from walle.cli import main

__all__: list[str] = []

raise SystemExit(main())
