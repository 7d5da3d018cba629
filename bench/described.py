"""Requests made by schemathesis from the OpenAPI description, and its checks of the answers."""

from __future__ import annotations

from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import ignored_auth, positive_data_acceptance

EXCLUDED = [
    ignored_auth,  # a wrong key is a 400 with Google, and so it is here
    positive_data_acceptance,  # a description cannot say which bytes are a photo
]


def check(address: str, operation: str, right: bool, examples: int, key: str = "") -> int:
    """Send up to `examples` requests, valid or invalid by the description. Return their number.

    Raise if an answer is not as described.
    """
    schema: Any = schemathesis.openapi.from_url(f"{address}/openapi.json")
    [found] = [each.ok() for each in schema.get_all_operations() if each.ok().label == operation]
    mode = GenerationMode.POSITIVE if right else GenerationMode.NEGATIVE
    sent = 0

    @given(case=found.as_strategy(generation_mode=mode))
    @settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def ask(case: Any) -> None:
        nonlocal sent
        sent += 1
        case.call_and_validate(
            headers={"X-Goog-Api-Key": key} if key else None, excluded_checks=EXCLUDED
        )

    try:
        ask()
    except Unsatisfiable:  # nothing can be wrong with a request that has no parameters
        assert not right
    return sent
