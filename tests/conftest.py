"""Fixtures every test may use, and the rule for services that are not there: skip with the reason, or fail."""

import os
from functools import cache

import pytest

from tests.services import SERVICES


@cache
def _missing(service: str) -> str:
    return SERVICES[service]()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose service is missing; with REQUIRE_SERVICES=1 fail it instead."""
    for service in SERVICES:
        if item.get_closest_marker(service) and (reason := _missing(service)):
            if os.environ.get("REQUIRE_SERVICES") == "1":
                pytest.fail(f"{service}: {reason}", pytrace=False)
            pytest.skip(f"{service}: {reason}")
