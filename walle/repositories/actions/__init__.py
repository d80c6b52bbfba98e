"""Corporate actions: writing them and reading them."""

from walle.repositories.actions.repository import CorporateActionRepository

__all__ = ["CorporateActionRepository"]
