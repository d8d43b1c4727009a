"""The contract of each kind of component, as checks that a plugin author runs on a plugin.

    from core.testing import check_component

    def test_my_interaction_keeps_its_contract():
        check_component(MyInteraction)
        check_component(MyInteraction, temperature=0.01)

A check is a function of a case (a component with its configuration and small inputs) that yields what is wrong.
"""

from .check import check_component
from .contract import ContractError

__all__ = ["ContractError", "check_component"]
