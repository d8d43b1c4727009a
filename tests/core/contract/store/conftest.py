from tests.core.contract.store.kept import store

__all__ = ["store"]
